//! OpenStack's metadata service; a config drive holds the same files.
//! <https://docs.openstack.org/nova/latest/user/metadata.html>

use super::http::Http;
use super::instance_data::InstanceData;
use super::network_data;
use anyhow::Result;
use corral_config::metadata::{Metadata, keys_from};
use serde_json::Value;

pub(super) fn fetch(http: &Http, base: &str) -> Result<Option<InstanceData>> {
    let at = |name: &str| format!("{base}/openstack/latest/{name}");
    let Some(data) = http.get_json(&at("meta_data.json"), &[])? else { return Ok(None) };
    let user_data = http.get(&at("user_data"));
    let network = http.get_json(&at("network_data.json"), &[]);
    let network = network.map(|data| network_data::from_openstack(&data?));
    let vendor = http.brief().get_json(&at("vendor_data.json"), &[]);
    let vendor = vendor.map(|data| vendor_data(&data?));
    let found = InstanceData::with_user_data(user_data, metadata(&data));
    Ok(Some(found.with_network(network).with_vendor_data(vendor)))
}

/// `vendor_data.json`: a text, or a mapping with a text or a list of texts at `cloud-init`.
/// Mappings of other programs say nothing here.
pub fn vendor_data(data: &Value) -> Option<Vec<u8>> {
    let data = if data.is_object() { data.get("cloud-init")? } else { data };
    let text = match data {
        Value::String(text) => Some(text.as_str()),
        Value::Array(items) => {
            let texts = items.iter().filter_map(Value::as_str);
            texts.into_iter().find(|text| text.trim_start().starts_with("#cloud-config"))
        }
        _ => None,
    };
    text.map(|text| text.as_bytes().to_vec())
}

/// `meta_data.json`, or NoCloud's `meta-data`: the same things under a few names.
pub fn metadata(data: &Value) -> Metadata {
    let names = ["hostname", "local-hostname", "name"];
    let name = names.iter().find_map(|key| data.get(*key)?.as_str());
    let keys = ["public_keys", "public-keys"].iter().find_map(|key| data.get(*key));
    Metadata {
        hostname: name.filter(|name| !name.is_empty()).map(str::to_owned),
        ssh_public_keys: keys.map(keys_from).unwrap_or_default(),
        ..Metadata::default()
    }
}
