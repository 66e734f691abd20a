//! Amazon EC2: IMDSv2, and v1 where there is no v2.
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html>

use super::http::Http;
use super::instance_data::InstanceData;
use anyhow::Result;
use corral_config::metadata::Metadata;
use std::collections::BTreeMap;

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
    let data = |path: &str| -> String {
        let text = brief.get_text(&at(&format!("meta-data/{path}")), headers).ok().flatten();
        text.unwrap_or_default().trim().to_owned()
    };
    let hostname = data("hostname").split_whitespace().next().map(str::to_owned);
    let metadata = Metadata {
        hostname,
        ssh_public_keys: keys(&data("public-keys/"), &data),
        public_ipv4: data("public-ipv4"),
        private_ipv4: data("local-ipv4"),
        public_ipv6: data("ipv6"),
        private_ipv6: String::new(),
    };
    // Amazon has none; clouds with the same service do.
    let vendor_data = brief.get_with(&at("vendor-data"), headers).ok().flatten();
    let user_data = http.get_with(&at("user-data"), headers);
    Ok(Some(InstanceData::with_user_data(user_data, metadata).with_vendor_data(vendor_data)))
}

fn keys(list: &str, data: &dyn Fn(&str) -> String) -> BTreeMap<String, String> {
    let keys = parse_key_list(list).into_iter();
    let keys =
        keys.map(|(number, name)| (name, data(&format!("public-keys/{number}/openssh-key"))));
    keys.filter(|(_, key)| !key.is_empty()).collect()
}

/// The list has a line `0=name` for each key.
pub fn parse_key_list(list: &str) -> Vec<(u32, String)> {
    let lines = list.lines().filter_map(|line| line.split_once('='));
    lines
        .filter_map(|(number, name)| Some((number.trim().parse().ok()?, name.trim().to_owned())))
        .collect()
}
