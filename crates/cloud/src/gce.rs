//! Google Compute Engine. <https://cloud.google.com/compute/docs/metadata/predefined-metadata-keys>

use super::http::Http;
use super::instance_data::InstanceData;
use anyhow::Result;
use chrono::DateTime;
use corral_config::encoding;
use corral_config::metadata::Metadata;
use corral_config::names::Hostname;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

const FLAVOR: [(&str, &str); 1] = [("Metadata-Flavor", "Google")];
/// Where the service is. Its name, metadata.google.internal, needs a name server as well.
pub(super) const ADDRESS: &str = "http://169.254.169.254";
/// The comment of a key with a time at which it expires.
const COMMENT: &str = "google-ssh";
const TIME: &str = "%Y-%m-%dT%H:%M:%S%z";

pub(super) fn fetch(http: &Http, base: &str) -> Result<Option<InstanceData>> {
    let get = |path: &str| http.get_text(&format!("{base}/computeMetadata/v1/{path}"), &FLAVOR);
    let text =
        |path: &str| -> Result<String> { Ok(get(path)?.unwrap_or_default().trim().to_owned()) };
    let Some(hostname) = get("instance/hostname")? else { return Ok(None) };
    // Some networks answer every request with a page of theirs.
    let hostname = hostname.trim().trim_end_matches('.').to_owned();
    let Ok(hostname) = Hostname::try_from(hostname) else { return Ok(None) };
    let attribute = |name: &str| {
        http.get_with(&format!("{base}/computeMetadata/v1/instance/attributes/{name}"), &FLAVOR)
    };
    let user_data = || match attribute("user-data")? {
        Some(data) => decode(data, &text("instance/attributes/user-data-encoding")?).map(Some),
        None => attribute("startup-script"),
    };
    let interface = "instance/network-interfaces/0";
    let metadata = Metadata {
        hostname: Some(hostname.to_string()),
        ssh_public_keys: keys(&text)?,
        private_ipv4: text(&format!("{interface}/ip"))?,
        public_ipv4: text(&format!("{interface}/access-configs/0/external-ip"))?,
        ..Metadata::default()
    };
    Ok(Some(InstanceData::with_user_data(user_data(), metadata)))
}

/// The keys of the instance, and those of its project unless the instance blocks them.
fn keys(text: &dyn Fn(&str) -> Result<String>) -> Result<BTreeMap<String, String>> {
    let mut keys = BTreeMap::new();
    let of_instance = text("instance/attributes/sshKeys")?;
    let blocks = text("instance/attributes/block-project-ssh-keys")?.eq_ignore_ascii_case("true");
    // The old name of the instance's own keys replaces those of the project as well.
    if !blocks && of_instance.is_empty() {
        keys.extend(parse_keys(&text("project/attributes/sshKeys")?, "project-old"));
        keys.extend(parse_keys(&text("project/attributes/ssh-keys")?, "project"));
    }
    keys.extend(parse_keys(&of_instance, "instance-old"));
    keys.extend(parse_keys(&text("instance/attributes/ssh-keys")?, "instance"));
    Ok(keys)
}

/// User data in the encoding that its attribute names.
fn decode(data: Vec<u8>, encoding: &str) -> Result<Vec<u8>> {
    match encoding {
        "base64" => encoding::base64(&data).map_err(|error| anyhow::anyhow!("user-data: {error}")),
        _ => Ok(data),
    }
}

/// Lines of `user:key`. A key that has expired is left out.
pub fn parse_keys(text: &str, origin: &str) -> BTreeMap<String, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let lines = text.lines().enumerate();
    let keys = lines.filter_map(|(number, line)| {
        let (user, key) = line.split_once(':')?;
        Some((format!("{origin}-{number:03}-{user}"), key.trim().to_owned()))
    });
    keys.filter(|(_, key)| !key.is_empty() && !has_expired(key, now)).collect()
}

/// `TYPE KEY google-ssh {"userName":"joe","expireOn":"2030-12-04T20:12:00+0000"}`. A time that
/// cannot be read has passed, as for Google's own agent: such a key was to end some time.
fn has_expired(key: &str, now: u64) -> bool {
    let comment = key.split_once(COMMENT).map_or("", |(_, comment)| comment.trim());
    if comment.is_empty() {
        return false;
    }
    let said: Value = serde_json::from_str(comment).unwrap_or_default();
    let time = said["expireOn"].as_str().and_then(|text| {
        let google = || DateTime::parse_from_str(text, TIME).ok();
        DateTime::parse_from_rfc3339(text).ok().or_else(google)
    });
    time.is_none_or(|time| time.timestamp() <= i64::try_from(now).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_works_until_it_expires() {
        let key = |time: &str| {
            format!(r#"ssh-rsa A google-ssh {{"userName":"joe","expireOn":"{time}"}}"#)
        };
        for (key, expected) in [
            (key("1970-01-01T00:01:00+0000"), true),
            (key("1970-01-01T00:02:00+0000"), false),
            (key("1970-01-01T00:01:00Z"), true),
            (key("1970-01-01T00:02:00Z"), false),
            (key("never"), true),
            ("ssh-rsa A google-ssh {".to_owned(), true),
            ("ssh-rsa A joe@google".to_owned(), false),
            ("ssh-rsa A google-ssh".to_owned(), false),
        ] {
            assert_eq!(has_expired(&key, 100), expected, "{key}");
        }
    }

    #[test]
    fn an_instance_may_block_the_keys_of_its_project() {
        let ask = |name: &'static str, value: &'static str| {
            keys(&|path| {
                Ok(match path {
                    "project/attributes/ssh-keys" => "a:ssh-rsa PROJECT",
                    "instance/attributes/ssh-keys" => "b:ssh-rsa OWN",
                    path if path.ends_with(name) && path.starts_with("instance") => value,
                    _ => "",
                }
                .to_owned())
            })
            .unwrap()
            .into_values()
            .collect::<Vec<_>>()
        };
        assert_eq!(ask("block-project-ssh-keys", "TRUE"), ["ssh-rsa OWN"]);
        assert_eq!(ask("block-project-ssh-keys", "FALSE"), ["ssh-rsa OWN", "ssh-rsa PROJECT"]);
        assert_eq!(ask("/sshKeys", "c:ssh-rsa OLD"), ["ssh-rsa OWN", "ssh-rsa OLD"]);
    }
}
