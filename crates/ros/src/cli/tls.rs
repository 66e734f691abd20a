//! `ros tls generate`: certificates for Docker over TLS (`rancher.docker.tls`). The authority is
//! created once. It is kept in the configuration, as is the server's pair. The client's pair is
//! written where the docker CLI looks for it.

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use corral_config::model::Docker;
use corral_machine::files::write_atomic;
use corral_resolve::{self, store};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustix::fs::{Gid, Uid, chown};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SERVER_FOLDER: &str = "/etc/docker/tls";
const CLIENT_FOLDER: &str = "/home/rancher/.docker";
/// User and group rancher.
const RANCHER: u32 = 1100;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const AUTHORITY_DAYS: u32 = 3650;
const DAYS: u32 = 1080;
/// Certificates are valid from this long ago: another machine's clock may be late.
const GRACE: Duration = Duration::from_secs(60 * 60);

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Generate a certificate and its key for the client, or for the server
    #[command(
        visible_alias = "gen",
        after_help = "Examples:
  ros tls generate --server -H docker.example.com -H 192.0.2.7
  ros tls generate                       for the client: ~rancher/.docker"
    )]
    Generate(Options),
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Names and addresses of the server
    #[arg(
        short = 'H',
        long = "hostname",
        value_name = "HOST",
        default_values = ["localhost", "127.0.0.1"]
    )]
    hosts: Vec<String>,
    /// For the server; it takes effect when Docker restarts with rancher.docker.tls
    #[arg(short, long)]
    server: bool,
    /// Output folder [default: /etc/docker/tls for the server, ~rancher/.docker for the client]
    #[arg(short, long)]
    dir: Option<PathBuf>,
}

pub(crate) fn run(command: &Command) -> Result<()> {
    let Command::Generate(options) = command;
    let docker = corral_resolve::stored_config().rancher.docker;
    let authority = Authority::of(&docker)?;
    let pair = authority.sign(options)?;
    let mut kept = json!({});
    if docker.ca_key.is_empty() {
        kept["ca_cert"] = json!(authority.certificate);
        kept["ca_key"] = json!(authority.key);
    }
    if options.server {
        kept["server_cert"] = json!(pair.certificate);
        kept["server_key"] = json!(pair.key);
    }
    if kept != json!({}) {
        store::merge(&json!({"rancher": {"docker": kept}}))?;
    }
    let default = if options.server { SERVER_FOLDER } else { CLIENT_FOLDER };
    let folder = options.dir.as_deref().unwrap_or(Path::new(default));
    let prefix = if options.server { "server-" } else { "" };
    let files = [
        ("ca.pem".to_owned(), &authority.certificate, 0o644),
        (format!("{prefix}cert.pem"), &pair.certificate, 0o644),
        (format!("{prefix}key.pem"), &pair.key, 0o600),
    ];
    for (name, text, mode) in &files {
        write_atomic(&folder.join(name), text.as_bytes(), *mode)?;
    }
    if !options.server && options.dir.is_none() {
        let owned = files.iter().map(|(name, ..)| folder.join(name)).chain([folder.to_owned()]);
        for path in owned {
            chown(&path, Some(Uid::from_raw(RANCHER)), Some(Gid::from_raw(RANCHER)))
                .with_context(|| format!("chown {}", path.display()))?;
        }
    }
    println!("{}: ca.pem, {prefix}cert.pem, {prefix}key.pem", folder.display());
    Ok(())
}

/// A certificate and its key, PEM.
#[derive(Debug)]
struct Pair {
    certificate: String,
    key: String,
}

/// The certificate authority that signs.
struct Authority {
    certificate: String,
    key: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// The authority of the configuration; a new one if there is none.
    fn of(docker: &Docker) -> Result<Authority> {
        let (certificate, key) = (docker.ca_cert.trim(), docker.ca_key.trim());
        match (certificate.is_empty(), key.is_empty()) {
            (true, true) => Authority::make(),
            (false, false) => {
                let signer = parse_key(key).context("rancher.docker.ca_key")?;
                let issuer = Issuer::from_ca_cert_pem(certificate, signer)
                    .map_err(|error| anyhow::anyhow!("rancher.docker.ca_cert: {error}"))?;
                Ok(Authority {
                    certificate: format!("{certificate}\n"),
                    key: format!("{key}\n"),
                    issuer,
                })
            }
            _ => bail!(
                "rancher.docker.ca_cert and ca_key belong together, and one is missing; set both, \
                 or none"
            ),
        }
    }

    fn make() -> Result<Authority> {
        let mut params = params("Corral Docker authority", AUTHORITY_DAYS, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let signer = KeyPair::generate()?;
        let certificate = params.self_signed(&signer)?.pem();
        let key = signer.serialize_pem();
        Ok(Authority { certificate, key, issuer: Issuer::new(params, signer) })
    }

    fn sign(&self, options: &Options) -> Result<Pair> {
        let (name, hosts, purpose) = if options.server {
            ("Docker", options.hosts.as_slice(), ExtendedKeyUsagePurpose::ServerAuth)
        } else {
            ("client", [].as_slice(), ExtendedKeyUsagePurpose::ClientAuth)
        };
        let mut params = params(name, DAYS, hosts)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Pair { certificate, key: key.serialize_pem() })
    }
}

fn params(name: &str, days: u32, hosts: &[String]) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(hosts)
        .with_context(|| format!("{} is not a host name", hosts.join(", ")))?;
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::OrganizationName, "Corral");
    distinguished.push(DnType::CommonName, name);
    params.distinguished_name = distinguished;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    params.not_before = date_time_ymd(1970, 1, 1) + now.saturating_sub(GRACE);
    params.not_after = date_time_ymd(1970, 1, 1) + now + DAY * days;
    Ok(params)
}

/// A key in either form: PKCS #8, or the PKCS #1 of RSA keys from RancherOS.
fn parse_key(pem: &str) -> Result<KeyPair> {
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| anyhow::anyhow!("not a key: {error}"))?;
    let der = match &key {
        PrivateKeyDer::Pkcs8(key) => key.secret_pkcs8_der().to_vec(),
        PrivateKeyDer::Pkcs1(key) => to_pkcs8(key.secret_pkcs1_der()),
        _ => bail!(
            "SEC 1 keys are not supported; convert it to PKCS #8: openssl pkcs8 -topk8 -nocrypt"
        ),
    };
    KeyPair::try_from(&PrivatePkcs8KeyDer::from(der))
        .context("the key cannot sign; expected a key of RSA, ECDSA or Ed25519")
}

/// The same key as PKCS #8: version 0, the algorithm rsaEncryption, and the PKCS #1 key.
fn to_pkcs8(pkcs1: &[u8]) -> Vec<u8> {
    const VERSION_AND_ALGORITHM: [u8; 18] =
        [2, 1, 0, 0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
    let content = [VERSION_AND_ALGORITHM.as_slice(), &element(4, pkcs1)].concat();
    element(0x30, &content)
}

/// A DER element.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let bytes: Vec<u8> =
        content.len().to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    let length = match u8::try_from(content.len()) {
        Ok(short @ 0..128) => vec![short],
        _ => [&[0x80 | bytes.len() as u8], bytes.as_slice()].concat(),
    };
    [&[tag], length.as_slice(), content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(server: bool) -> Options {
        Options { hosts: vec!["docker.example".to_owned(), "::1".to_owned()], server, dir: None }
    }

    #[test]
    fn an_authority_signs_again_after_it_was_kept() -> Result<()> {
        let made = Authority::of(&Docker::default())?;
        let docker = Docker {
            ca_cert: made.certificate.clone(),
            ca_key: made.key.clone(),
            ..Docker::default()
        };
        let kept = Authority::of(&docker)?;
        assert_eq!((&kept.certificate, &kept.key), (&made.certificate, &made.key));
        for server in [true, false] {
            assert!(
                kept.sign(&options(server))?.certificate.starts_with("-----BEGIN CERTIFICATE-----")
            );
        }
        Ok(())
    }

    #[test]
    fn half_an_authority_is_no_authority() {
        let docker = Docker { ca_cert: "x".to_owned(), ..Docker::default() };
        assert!(
            Authority::of(&docker)
                .is_err_and(|error| error.to_string().contains("belong together"))
        );
        let docker =
            Docker { ca_cert: "x".to_owned(), ca_key: "y".to_owned(), ..Docker::default() };
        assert!(
            Authority::of(&docker)
                .is_err_and(|error| format!("{error:#}").contains("rancher.docker.ca_key"))
        );
    }

    #[test]
    fn lengths_of_der_have_as_many_bytes_as_they_need() {
        assert_eq!(element(4, &[7; 2]), [4, 2, 7, 7]);
        assert_eq!(element(4, &[0; 200])[..3], [4, 0x81, 200]);
        assert_eq!(element(4, &[0; 300])[..4], [4, 0x82, 1, 44]);
    }
}
