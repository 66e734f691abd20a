//! Names that cannot be wrong: parsed once at the edge.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a {what}: {why}")]
pub struct NameError {
    name: String,
    what: &'static str,
    why: &'static str,
}

/// A host name: letters, digits, hyphens and dots, at most 253 bytes (RFC 1035).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hostname(String);

/// The name of a service: what Docker takes as a container's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(String);

/// The kernel's limit in bytes: sethostname(2).
const LONGEST_HOSTNAME: usize = 64;

/// Is it longer than the kernel takes?
pub(crate) fn is_too_long(hostname: &str) -> bool {
    hostname.len() > LONGEST_HOSTNAME
}

/// What the kernel takes of a host name: all of it, or the first part of one that is too long.
pub(crate) fn for_kernel(hostname: &str) -> &str {
    if !is_too_long(hostname) {
        return hostname;
    }
    let first = hostname.split('.').next().unwrap_or_default();
    // In DNS, no part is longer than 63 bytes.
    first.get(..LONGEST_HOSTNAME - 1).unwrap_or(first).trim_end_matches('-')
}

impl Hostname {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ServiceName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Hostname {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        let refuse = |why| Err(NameError { name: name.clone(), what: "host name", why });
        if name.is_empty() || name.len() > 253 {
            return refuse("it must have 1 to 253 characters");
        }
        if !name.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.' || byte == b'_'
        }) {
            return refuse("only letters, digits, hyphens and dots are allowed");
        }
        if name
            .split('.')
            .any(|label| label.is_empty() || label.starts_with('-') || label.ends_with('-'))
        {
            return refuse("no part of it may be empty, or begin or end with a hyphen");
        }
        Ok(Hostname(name))
    }
}

impl TryFrom<String> for ServiceName {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let rest = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        if first && rest && name.len() <= 128 {
            return Ok(ServiceName(name));
        }
        let why = "it must begin with a letter or digit, then letters, digits, _ . or -";
        Err(NameError { name, what: "service name", why })
    }
}

impl From<Hostname> for String {
    fn from(name: Hostname) -> String {
        name.0
    }
}

impl From<ServiceName> for String {
    fn from(name: ServiceName) -> String {
        name.0
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Where a configuration may come from: `type[:argument]` in `rancher.cloud_init.datasources`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataSource {
    /// A drive labelled `config-2`, or a folder laid out like one.
    ConfigDrive(Option<String>),
    /// A drive labelled `cidata`.
    NoCloud(Option<String>),
    File(String),
    Url(String),
    /// `cloud-config-url=` on the kernel's command line.
    CommandLine,
    /// A provider's metadata service, at its own address or at the one given.
    Service(Provider, Option<String>),
    /// VMware's guestinfo, or a file with an OVF environment.
    Vmware(Option<String>),
}

/// A provider with a metadata service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    Ec2,
    Gce,
    DigitalOcean,
    OpenStack,
    Packet,
    Azure,
}

impl DataSource {
    /// Every kind, for a list that says `*`. The order is that of the list.
    pub fn all() -> Vec<DataSource> {
        let service = |provider| DataSource::Service(provider, None);
        vec![
            DataSource::ConfigDrive(None),
            DataSource::NoCloud(None),
            DataSource::Vmware(None),
            service(Provider::Ec2),
            service(Provider::DigitalOcean),
            service(Provider::Packet),
            service(Provider::Gce),
            service(Provider::OpenStack),
            service(Provider::Azure),
        ]
    }

    /// Found without a network?
    pub fn is_local(&self) -> bool {
        use DataSource::{ConfigDrive, File, NoCloud, Vmware};
        matches!(self, ConfigDrive(_) | NoCloud(_) | File(_) | Vmware(_))
    }
}

impl Provider {
    /// Its name in a list of data sources.
    pub fn name(self) -> &'static str {
        match self {
            Provider::Ec2 => "ec2",
            Provider::Gce => "gce",
            Provider::DigitalOcean => "digitalocean",
            Provider::OpenStack => "openstack",
            Provider::Packet => "packet",
            Provider::Azure => "azure",
        }
    }
}

impl std::str::FromStr for DataSource {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = |why| Err(NameError { name: text.to_owned(), what: "data source", why });
        let (kind, argument) = match text.split_once(':') {
            Some((kind, argument)) if !argument.is_empty() => (kind, Some(argument.to_owned())),
            Some((kind, _)) => (kind, None),
            None => (text, None),
        };
        let needed = argument.clone();
        match (kind, needed) {
            ("configdrive", _) => Ok(DataSource::ConfigDrive(argument)),
            ("nocloud", _) => Ok(DataSource::NoCloud(argument)),
            ("file", Some(path)) => Ok(DataSource::File(path)),
            ("url", Some(url)) => Ok(DataSource::Url(url)),
            ("file" | "url", None) => refuse("it needs an argument: file:/path or url:http://…"),
            ("cmdline", _) => Ok(DataSource::CommandLine),
            ("vmware", _) => Ok(DataSource::Vmware(argument)),
            ("ec2", _) => Ok(DataSource::Service(Provider::Ec2, argument)),
            ("gce", _) => Ok(DataSource::Service(Provider::Gce, argument)),
            ("digitalocean", _) => Ok(DataSource::Service(Provider::DigitalOcean, argument)),
            ("openstack", _) => Ok(DataSource::Service(Provider::OpenStack, argument)),
            ("packet" | "equinix", _) => Ok(DataSource::Service(Provider::Packet, argument)),
            ("azure" | "waagent", _) => Ok(DataSource::Service(Provider::Azure, argument)),
            ("*", _) => refuse("* must be the only entry of the list"),
            _ => refuse(
                "supported: configdrive, nocloud, file, url, cmdline, vmware, ec2, gce, \
                 digitalocean, openstack, packet, azure and *",
            ),
        }
    }
}

/// Whose public keys to fetch: `gh:NAME` of GitHub, `lp:NAME` or `NAME` of Launchpad.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyId {
    GitHub(String),
    Launchpad(String),
}

impl KeyId {
    /// Where the keys are, one on each line.
    pub fn url(&self) -> String {
        match self {
            KeyId::GitHub(name) => format!("https://github.com/{name}.keys"),
            KeyId::Launchpad(name) => format!("https://launchpad.net/~{name}/+sshkeys"),
        }
    }
}

impl std::str::FromStr for KeyId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (service, name) = text.split_once(':').unwrap_or(("lp", text));
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
        let is_name = !name.is_empty()
            && name.len() <= 64
            && name.bytes().all(good)
            && !name.starts_with(['.', '-']);
        match service {
            "gh" if is_name => Ok(KeyId::GitHub(name.to_owned())),
            "lp" if is_name => Ok(KeyId::Launchpad(name.to_owned())),
            _ => Err(NameError {
                name: text.to_owned(),
                what: "name of an account with keys",
                why: "expected gh:NAME (GitHub) or lp:NAME (Launchpad)",
            }),
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyId::GitHub(name) => write!(formatter, "gh:{name}"),
            KeyId::Launchpad(name) => write!(formatter, "lp:{name}"),
        }
    }
}

/// A URL as it may be shown: without user, password and query, in which people put tokens.
pub fn shown_url(url: &str) -> String {
    let (plain, query) = url.split_once('?').map_or((url, ""), |(plain, _)| (plain, "?…"));
    match plain.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            format!("{scheme}://{host}{path}{query}")
        }
        None => format!("{plain}{query}"),
    }
}

/// The methods of crypt(5) that the console's programs check passwords by.
const CRYPT: [&str; 12] = ["1", "2a", "2b", "2x", "2y", "5", "6", "7", "gy", "md5", "sha1", "y"];

/// Is this a hash of a password as crypt(3) makes it, `$method$salt$hash`? Anything else is clear
/// text.
pub fn is_password_hash(text: &str) -> bool {
    let Some((method, rest)) = text.strip_prefix('$').and_then(|rest| rest.split_once('$')) else {
        return false;
    };
    let is_of_crypt = |byte: u8| byte.is_ascii_graphic() && !b":;*!\\".contains(&byte);
    let has_hash = rest.rsplit_once('$').is_some_and(|(_, hash)| !hash.is_empty());
    CRYPT.contains(&method) && has_hash && rest.bytes().all(is_of_crypt)
}

/// As it may be shown in logs.
impl fmt::Display for DataSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, argument) = match self {
            DataSource::ConfigDrive(argument) => ("configdrive", argument.as_deref()),
            DataSource::NoCloud(argument) => ("nocloud", argument.as_deref()),
            DataSource::File(path) => ("file", Some(path.as_str())),
            DataSource::Url(url) => ("url", Some(url.as_str())),
            DataSource::CommandLine => ("cmdline", None),
            DataSource::Service(provider, argument) => (provider.name(), argument.as_deref()),
            DataSource::Vmware(argument) => ("vmware", argument.as_deref()),
        };
        match argument {
            Some(argument) => write!(formatter, "{kind}:{}", shown_url(argument)),
            None => formatter.write_str(kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_sources_are_read_and_shown_without_secrets() {
        for (text, shown) in [
            ("ec2", "ec2"),
            ("configdrive:/media/config-2", "configdrive:/media/config-2"),
            ("url:https://me:token@host:8080/a/b?key=secret", "url:https://host:8080/a/b?…"),
            ("equinix:http://h", "packet:http://h"),
        ] {
            assert_eq!(text.parse::<DataSource>().unwrap().to_string(), shown);
        }
        assert!("url".parse::<DataSource>().is_err() && "floppy".parse::<DataSource>().is_err());
    }

    #[test]
    fn of_a_host_name_that_is_too_long_the_kernel_gets_the_first_part() {
        let (most, more) = ("a".repeat(64), "a".repeat(65));
        let full = format!("web-1.{}", "x".repeat(60));
        let cut = format!("{}-b", "a".repeat(62));
        for (name, expected) in [
            (most.as_str(), most.as_str()),
            (&full, "web-1"),
            (&more, &most[..63]),
            (&format!("{cut}cd"), &most[..62]),
            ("a.b", "a.b"),
        ] {
            assert_eq!(for_kernel(name), expected, "{name}");
            assert!(Hostname::try_from(name.to_owned()).is_ok(), "{name}");
        }
        assert!(Hostname::try_from("a.".repeat(126) + "aa").is_err());
    }

    #[test]
    fn hashes_of_passwords_are_not_clear_text() {
        for hash in [
            "$6$XJ2u2QHlVrKpMEWF$Ygq1nT8cYQ0J0Zw2w8T0f1",
            "$6$rounds=5000$salt$hash",
            "$5$salt$hash",
            "$1$salt$hash",
            "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7",
            "$2b$12$abcdefghijklmnopqrstuuT4Kq1ocm",
        ] {
            assert!(is_password_hash(hash), "{hash}");
        }
        for text in [
            "", "$", "$6$", "$6$salt", "$6$salt$", "$6$a b$c", "$6$a$b:c", "secret", "$x$a$b",
            "!$6$a$b",
        ] {
            assert!(!is_password_hash(text), "{text}");
        }
    }
}
