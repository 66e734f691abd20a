//! Which registries to try for a name, how, and with which account.

use corral_engine::error::EngineError;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Where the certificates of a private CA lie: `<folder>/<host[:port]>/*.crt`, in PEM.
const CERTIFICATES: [&str; 2] = ["/etc/docker/certs.d", "/var/lib/rancher/certs.d"];
const CONNECT_TIME: Duration = Duration::from_secs(15);
/// A registry that sends nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(60);
const USER_AGENT: &str = concat!("corral/", env!("CARGO_PKG_VERSION"));

/// The registry settings of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Tried before Docker Hub, as `https://host[:port]` or `http://…`.
    pub mirrors: Vec<String>,
    /// Registries that need not have a good certificate, or speak plain HTTP.
    pub insecure: Vec<String>,
    /// Host → user and password.
    pub accounts: BTreeMap<String, (String, String)>,
}

/// What a client of the API sends in `X-Registry-Auth`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    pub username: String,
    pub password: String,
    pub serveraddress: String,
    pub identitytoken: String,
    pub registrytoken: String,
}

/// A registry to send requests to, and with which account.
pub(super) struct Endpoint {
    pub(super) client: Client,
    pub(super) reference: Reference,
    pub(super) auth: RegistryAuth,
    /// For messages.
    pub(super) host: String,
    /// For what `client` does not do.
    pub(super) http: reqwest::Client,
    /// `https` or `http`.
    pub(super) scheme: &'static str,
    /// What the registry gave at the last login.
    token: Mutex<Option<String>>,
}

impl Endpoint {
    /// Logs in for pulling.
    pub(super) async fn authorize(&self) -> Result<(), EngineError> {
        self.log_in().await.map_err(|error| explain(self, &error))
    }

    /// The same with the error of the registry.
    pub(super) async fn log_in(&self) -> Result<(), OciDistributionError> {
        let token = self.client.auth(&self.reference, &self.auth, RegistryOperation::Pull).await?;
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
        Ok(())
    }

    pub(super) fn token(&self) -> Option<String> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Settings {
    /// The registries to try for a name, in order.
    pub(super) fn endpoints(
        &self,
        reference: &Reference,
        account: Option<&Account>,
    ) -> Result<Vec<Endpoint>, EngineError> {
        let mut found = Vec::new();
        if is_hub(reference.registry()) {
            for mirror in &self.mirrors {
                let (host, plain) = match mirror.split_once("://") {
                    Some((scheme, rest)) => (rest.trim_end_matches('/'), scheme == "http"),
                    None => (mirror.trim_end_matches('/'), false),
                };
                let mut mirrored = reference.clone();
                mirrored.set_mirror_registry(host.to_owned());
                let auth = self.account(host);
                for protocol in self.protocols(host, plain) {
                    found.push(self.endpoint(mirrored.clone(), host, auth.clone(), protocol)?);
                }
            }
        }
        let host = reference.registry();
        let auth = account.and_then(Account::auth).unwrap_or_else(|| self.account(host));
        for protocol in self.protocols(host, false) {
            found.push(self.endpoint(reference.clone(), host, auth.clone(), protocol)?);
        }
        Ok(found)
    }

    /// HTTPS. Where the owner allows it, or on this machine itself, plain HTTP if that fails.
    fn protocols(&self, host: &str, plain: bool) -> Vec<ClientProtocol> {
        if plain {
            return vec![ClientProtocol::Http];
        }
        if self.is_insecure(host) {
            return vec![ClientProtocol::Https, ClientProtocol::Http];
        }
        vec![ClientProtocol::Https]
    }

    fn is_insecure(&self, host: &str) -> bool {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        self.insecure.iter().any(|listed| listed == host || listed == name)
            || ["localhost", "127.0.0.1", "[::1]"].contains(&name)
    }

    fn account(&self, host: &str) -> RegistryAuth {
        let hub = is_hub(host).then(|| self.accounts.get("https://index.docker.io/v1/")).flatten();
        match self.accounts.get(host).or(hub) {
            Some((user, password)) => RegistryAuth::Basic(user.clone(), password.clone()),
            None => RegistryAuth::Anonymous,
        }
    }

    fn endpoint(
        &self,
        reference: Reference,
        host: &str,
        auth: RegistryAuth,
        protocol: ClientProtocol,
    ) -> Result<Endpoint, EngineError> {
        let failed =
            |error: OciDistributionError| EngineError::Failed(format!("querying {host}: {error}"));
        let accept_invalid_certificates = self.is_insecure(host);
        let extra_root_certificates = certificates(host);
        let scheme = if protocol == ClientProtocol::Http { "http" } else { "https" };
        let roots = extra_root_certificates.iter().map(reqwest::Certificate::try_from);
        let http = reqwest::Client::builder()
            .danger_accept_invalid_certs(accept_invalid_certificates)
            .tls_certs_merge(roots.collect::<Result<Vec<_>, _>>().map_err(failed)?)
            .connect_timeout(CONNECT_TIME)
            .read_timeout(SILENCE)
            .user_agent(USER_AGENT)
            .build()
            .map_err(|error| failed(error.into()))?;
        let client = Client::try_from(ClientConfig {
            protocol,
            accept_invalid_certificates,
            extra_root_certificates,
            connect_timeout: Some(CONNECT_TIME),
            read_timeout: Some(SILENCE),
            user_agent: USER_AGENT,
            ..ClientConfig::default()
        });
        let (client, host) = (client.map_err(failed)?, host.to_owned());
        let token = Mutex::default();
        Ok(Endpoint { client, reference, auth, host, http, scheme, token })
    }

    /// Are these a user and a password that a registry takes?
    pub async fn check(&self, account: &Account) -> Result<(), EngineError> {
        let host =
            account.serveraddress.trim_start_matches("https://").trim_start_matches("http://");
        let host = host.split('/').next().unwrap_or_default();
        let host = if host.is_empty() || host == "index.docker.io" { "docker.io" } else { host };
        // The scope of a login is no repository; registries answer for any.
        let reference = corral_engine::image::reference::parse(&format!("{host}/library/login"))?;
        let mut last = EngineError::BadRequest("no registry to query".to_owned());
        for endpoint in self.endpoints(&reference, Some(account))? {
            if endpoint.host != reference.registry() {
                continue;
            }
            let asked = endpoint
                .client
                .auth(&endpoint.reference, &endpoint.auth, RegistryOperation::Pull)
                .await;
            let found = match asked {
                Ok(_) => endpoint
                    .client
                    .fetch_manifest_digest(&endpoint.reference, &endpoint.auth)
                    .await
                    .map(|_| ()),
                Err(error) => Err(error),
            };
            match found.map_err(|error| explain(&endpoint, &error)) {
                Ok(()) | Err(EngineError::NoSuchImage(_)) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Account {
    fn auth(&self) -> Option<RegistryAuth> {
        let token =
            [&self.registrytoken, &self.identitytoken].into_iter().find(|token| !token.is_empty());
        if let Some(token) = token {
            return Some(RegistryAuth::Bearer(token.clone()));
        }
        (!self.username.is_empty())
            .then(|| RegistryAuth::Basic(self.username.clone(), self.password.clone()))
    }
}

fn is_hub(host: &str) -> bool {
    ["docker.io", "index.docker.io", "registry-1.docker.io"].contains(&host)
}

fn certificates(host: &str) -> Vec<Certificate> {
    let files =
        CERTIFICATES.iter().filter_map(|folder| fs::read_dir(Path::new(folder).join(host)).ok());
    files
        .flat_map(|items| items.flatten())
        .filter(|item| item.path().extension().is_some_and(|extension| extension == "crt"))
        .filter_map(|item| fs::read(item.path()).ok())
        .map(|data| Certificate { encoding: CertificateEncoding::Pem, data })
        .collect()
}

/// The error of a registry in words for users; a refused login comes with what to do.
pub(super) fn explain(endpoint: &Endpoint, error: &OciDistributionError) -> EngineError {
    let (host, reference) =
        (&endpoint.host, corral_engine::image::reference::name(&endpoint.reference));
    match error {
        OciDistributionError::ImageManifestNotFoundError(_) => {
            EngineError::NoSuchImage(format!("{reference}: not found on {host}"))
        }
        OciDistributionError::RegistryError { envelope, .. } => {
            let missing = envelope.errors.iter().any(|each| {
                matches!(each.code, OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown)
            });
            let denied = envelope
                .errors
                .iter()
                .any(|each| matches!(each.code, OciErrorCode::Unauthorized | OciErrorCode::Denied));
            match (missing, denied) {
                (true, _) => EngineError::NoSuchImage(format!("{reference}: not found on {host}")),
                (_, true) => unauthorized(&reference, host),
                _ => EngineError::Failed(format!("{host}: {envelope}")),
            }
        }
        OciDistributionError::ServerError { code: 404, .. } => {
            EngineError::NoSuchImage(format!("{reference}: not found on {host}"))
        }
        OciDistributionError::UnauthorizedError { .. }
        | OciDistributionError::AuthenticationFailure(_)
        | OciDistributionError::ServerError { code: 401 | 403, .. } => {
            unauthorized(&reference, host)
        }
        OciDistributionError::RequestError(error) => {
            let mut text = format!("querying {host}: {error}");
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            EngineError::Failed(text)
        }
        other => EngineError::Failed(format!("{host}: {other}")),
    }
}

fn unauthorized(reference: &str, host: &str) -> EngineError {
    EngineError::Unauthorized(format!(
        "{host} denies access to {reference}: \
         run docker login {host}, or set rancher.registry_auths"
    ))
}
