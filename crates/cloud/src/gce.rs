//! Google Compute Engine. <https://cloud.google.com/compute/docs/metadata/predefined-metadata-keys>

use super::http::Http;
use super::instance_data::InstanceData;
use anyhow::Result;
use corral_config::metadata::Metadata;
use std::collections::BTreeMap;

const FLAVOR: [(&str, &str); 1] = [("Metadata-Flavor", "Google")];

pub(super) fn fetch(http: &Http, base: &str) -> Result<Option<InstanceData>> {
    let get = |path: &str| http.get_text(&format!("{base}/computeMetadata/v1/{path}"), &FLAVOR);
    let text =
        |path: &str| -> Result<String> { Ok(get(path)?.unwrap_or_default().trim().to_owned()) };
    let Some(hostname) = get("instance/hostname")? else { return Ok(None) };
    let attribute = |name: &str| {
        http.get_with(&format!("{base}/computeMetadata/v1/instance/attributes/{name}"), &FLAVOR)
    };
    let user_data = match attribute("user-data")? {
        Some(data) => Some(data),
        None => attribute("startup-script")?,
    };
    let mut keys = BTreeMap::new();
    for place in ["project/attributes/sshKeys", "project/attributes/ssh-keys"] {
        keys.extend(parse_keys(&text(place)?, "project"));
    }
    for place in ["instance/attributes/sshKeys", "instance/attributes/ssh-keys"] {
        keys.extend(parse_keys(&text(place)?, "instance"));
    }
    let interface = "instance/network-interfaces/0";
    let metadata = Metadata {
        hostname: hostname.split_whitespace().next().map(str::to_owned),
        ssh_public_keys: keys,
        private_ipv4: text(&format!("{interface}/ip"))?,
        public_ipv4: text(&format!("{interface}/access-configs/0/external-ip"))?,
        ..Metadata::default()
    };
    Ok(Some(InstanceData { user_data, metadata, ..InstanceData::default() }))
}

/// Lines of `user:key`.
pub fn parse_keys(text: &str, origin: &str) -> BTreeMap<String, String> {
    let lines = text.lines().enumerate();
    let keys = lines.filter_map(|(number, line)| {
        let (user, key) = line.split_once(':')?;
        Some((format!("{origin}-{number:03}-{user}"), key.trim().to_owned()))
    });
    keys.filter(|(_, key)| !key.is_empty()).collect()
}
