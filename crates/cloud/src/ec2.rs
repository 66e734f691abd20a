//! Amazon EC2: IMDSv2, and v1 where there is no v2.
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html>

use super::http::Http;
use super::instance_data::InstanceData;
use anyhow::Result;
use corral_config::metadata::Metadata;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long vendor data is waited for.
const VENDOR_DATA: Duration = Duration::from_secs(2);

/// Where the service is.
pub(super) const ADDRESS: &str = "http://169.254.169.254";

/// The variables of RancherOS's service amazon-metadata, and what each is in the metadata.
const FACTS: [(&str, &str); 14] = [
    ("AWS_AVAILABILITY_ZONE", "placement/availability-zone"),
    ("AWS_DEFAULT_REGION", "placement/region"),
    ("AWS_INSTANCE_ID", "instance-id"),
    ("AWS_AMI_ID", "ami-id"),
    ("AWS_AMI_LAUNCH_INDEX", "ami-launch-index"),
    ("AWS_AMI_MANIFEST_PATH", "ami-manifest-path"),
    ("AWS_ANCESTOR_AMI_IDS", "ancestor-ami-ids"),
    ("AWS_HOSTNAME", "hostname"),
    ("AWS_LOCAL_HOSTNAME", "local-hostname"),
    ("AWS_INSTANCE_ACTION", "instance-action"),
    ("AWS_INSTANCE_TYPE", "instance-type"),
    ("AWS_LOCAL_IPV4", "local-ipv4"),
    ("AWS_PUBLIC_IPV4", "public-ipv4"),
    ("AWS_SECURITY_GROUPS", "security-groups"),
];

/// What a machine is at Amazon, as variables. What it has no value for is empty, what could not be
/// read is left out. The address is Amazon's unless one is given. None if there is no service.
pub fn facts(base: Option<&str>, deadline: Instant) -> Result<Option<BTreeMap<String, String>>> {
    let http = Http::direct(deadline)?;
    let base = base.unwrap_or(ADDRESS).trim_end_matches('/');
    let Some(service) = Service::open(&http, base)? else { return Ok(None) };
    let mut facts = BTreeMap::new();
    for (name, path) in FACTS {
        // A list has a line for each item.
        if let Ok(value) = service.get(path) {
            let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
            facts.insert(name.to_owned(), value);
        }
    }
    Ok(Some(facts))
}

/// The service, with the token of a session.
struct Service<'a> {
    http: &'a Http,
    base: &'a str,
    token: String,
}

impl Service<'_> {
    /// None if there is none, or if another server answers at its address.
    fn open<'a>(http: &'a Http, base: &'a str) -> Result<Option<Service<'a>>> {
        let seconds = [("X-aws-ec2-metadata-token-ttl-seconds", "21600")];
        // A server that does not know tokens answers with an error. It gets the requests of v1.
        let token = http.put(&format!("{base}/latest/api/token"), &seconds).ok().flatten();
        let token = token.and_then(|token| String::from_utf8(token).ok()).unwrap_or_default();
        let service = Service { http, base, token };
        let id = http.get_text(&service.at("meta-data/instance-id"), &service.headers())?;
        Ok(id.is_some_and(|id| id.starts_with("i-")).then_some(service))
    }

    fn at(&self, path: &str) -> String {
        format!("{}/latest/{path}", self.base)
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        let token = (!self.token.is_empty()).then_some(self.token.as_str());
        token.map(|token| ("X-aws-ec2-metadata-token", token)).into_iter().collect()
    }

    /// An item of the metadata; empty if there is none. It is left out if it fails again and again:
    /// half of what a provider knows is better than nothing.
    fn get(&self, path: &str) -> Result<String> {
        let brief = self.http.brief();
        let text = brief.get_text(&self.at(&format!("meta-data/{path}")), &self.headers())?;
        Ok(text.unwrap_or_default().trim().to_owned())
    }
}

pub(super) fn fetch(http: &Http, base: &str) -> Result<Option<InstanceData>> {
    let Some(service) = Service::open(http, base)? else { return Ok(None) };
    let data = |path: &str| service.get(path).unwrap_or_default();
    let (ssh_public_keys, failures) = keys(&|path| service.get(path));
    let hostname = data("hostname").split_whitespace().next().map(str::to_owned);
    let metadata = Metadata {
        hostname,
        ssh_public_keys,
        public_ipv4: data("public-ipv4"),
        private_ipv4: data("local-ipv4"),
        public_ipv6: data("ipv6"),
        private_ipv6: String::new(),
    };
    let user_data = http.get_with(&service.at("user-data"), &service.headers());
    // Amazon has none; clouds with the same service do. It takes no time from user data.
    let once = http.once(VENDOR_DATA);
    let vendor_data = once.get_with(&service.at("vendor-data"), &service.headers());
    let mut found = InstanceData::with_user_data(user_data, metadata).with_vendor_data(vendor_data);
    found.unread.keys = !failures.is_empty();
    found.problems.extend(failures);
    Ok(Some(found))
}

/// The keys, and why others could not be read.
fn keys(get: &dyn Fn(&str) -> Result<String>) -> (BTreeMap<String, String>, Vec<String>) {
    let (mut keys, mut failures) = (BTreeMap::new(), Vec::new());
    let failure = |error: anyhow::Error| format!("public-keys: {error:#}");
    let list = get("public-keys/").unwrap_or_else(|error| {
        failures.push(failure(error));
        String::new()
    });
    for (number, name) in parse_key_list(&list) {
        match get(&format!("public-keys/{number}/openssh-key")) {
            Ok(key) if key.is_empty() => {}
            Ok(key) => {
                keys.insert(name, key);
            }
            Err(error) => failures.push(failure(error)),
        }
    }
    (keys, failures)
}

/// The list has a line `0=name` for each key.
pub fn parse_key_list(list: &str) -> Vec<(u32, String)> {
    let lines = list.lines().filter_map(|line| line.split_once('='));
    lines
        .filter_map(|(number, name)| Some((number.trim().parse().ok()?, name.trim().to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn keys_that_cannot_be_read_are_not_taken_for_none() {
        let ask = |failing: &str| {
            keys(&|path| match path {
                path if path == failing => bail!("HTTP status 500"),
                "public-keys/" => Ok("0=a\n1=b\n2=empty\n".to_owned()),
                "public-keys/0/openssh-key" => Ok("one".to_owned()),
                "public-keys/1/openssh-key" => Ok("two".to_owned()),
                _ => Ok(String::new()),
            })
        };
        for (failing, expected, failures) in [
            ("nothing", &["one", "two"][..], 0),
            ("public-keys/1/openssh-key", &["one"][..], 1),
            ("public-keys/", &[][..], 1),
        ] {
            let (keys, said) = ask(failing);
            assert_eq!(keys.into_values().collect::<Vec<_>>(), expected, "{failing}");
            assert_eq!(said.len(), failures, "{failing}: {said:?}");
        }
    }
}
