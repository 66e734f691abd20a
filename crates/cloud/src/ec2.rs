//! Amazon EC2: IMDSv2, and v1 where there is no v2.
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html>

use super::http::Http;
use super::instance_data::InstanceData;
use anyhow::Result;
use corral_config::metadata::Metadata;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long vendor data is waited for.
const VENDOR_DATA: Duration = Duration::from_secs(2);

pub(super) fn fetch(http: &Http, base: &str) -> Result<Option<InstanceData>> {
    let seconds = [("X-aws-ec2-metadata-token-ttl-seconds", "21600")];
    // A server that does not know tokens answers with an error. It gets the requests of v1.
    let token = http.put(&format!("{base}/latest/api/token"), &seconds).ok().flatten();
    let token = token.and_then(|token| String::from_utf8(token).ok()).unwrap_or_default();
    let headers: &[(&str, &str)] =
        if token.is_empty() { &[] } else { &[("X-aws-ec2-metadata-token", token.as_str())] };
    let at = |path: &str| format!("{base}/latest/{path}");
    let Some(id) = http.get_text(&at("meta-data/instance-id"), headers)? else { return Ok(None) };
    // A page of some other server is no instance.
    if !id.starts_with("i-") {
        return Ok(None);
    }
    // These items are left out if they fail again and again: half of what a provider knows is
    // better than nothing.
    let brief = http.brief();
    let get = |path: &str| -> Result<String> {
        let text = brief.get_text(&at(&format!("meta-data/{path}")), headers)?;
        Ok(text.unwrap_or_default().trim().to_owned())
    };
    let data = |path: &str| get(path).unwrap_or_default();
    let (ssh_public_keys, failures) = keys(&get);
    let hostname = data("hostname").split_whitespace().next().map(str::to_owned);
    let metadata = Metadata {
        hostname,
        ssh_public_keys,
        public_ipv4: data("public-ipv4"),
        private_ipv4: data("local-ipv4"),
        public_ipv6: data("ipv6"),
        private_ipv6: String::new(),
    };
    let user_data = http.get_with(&at("user-data"), headers);
    // Amazon has none; clouds with the same service do. It takes no time from user data.
    let vendor_data = http.once(VENDOR_DATA).get_with(&at("vendor-data"), headers);
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
