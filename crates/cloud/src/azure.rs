//! Microsoft Azure: the instance metadata service. The provisioning CD completes what it says, and
//! the wireserver gets the report that the machine is provisioned.
//! <https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service>

pub mod provisioning;
mod wire;

use super::http::Http;
use super::instance_data::{InstanceData, Unread};
use anyhow::Result;
use corral_config::encoding;
use corral_config::metadata::{Metadata, keys_from};
use serde_json::Value;
use std::time::{Duration, Instant};
pub use wire::parse_goal_state;

const METADATA: [(&str, &str); 1] = [("Metadata", "true")];
/// Where the service is.
pub(super) const ADDRESS: &str = "http://169.254.169.254";
/// All machines of Azure's have this tag.
const ASSET_TAG: &str = "7783-7084-3265-9085-8269-3286-77";
const ASSET_TAG_FILE: &str = "/sys/class/dmi/id/chassis_asset_tag";
/// How long the wireserver is waited for: what the sources gave takes effect only afterwards.
const REPORT: Duration = Duration::from_secs(10);

pub(super) fn fetch(http: &Http, base: &str) -> Result<Option<InstanceData>> {
    let url = format!("{base}/metadata/instance?api-version=2021-02-01");
    let answer = if base != ADDRESS || is_here() {
        // A service that has just begun answers 404 or 410.
        http.insistent().get_json(&url, &METADATA)
    } else {
        // Other clouds have their service at the same address.
        http.get_json(&url, &METADATA)
    };
    Ok(answer?.as_ref().and_then(parse))
}

/// Is this a machine of Azure's, as its firmware says?
pub fn is_here() -> bool {
    std::fs::read_to_string(ASSET_TAG_FILE).is_ok_and(|tag| tag.trim() == ASSET_TAG)
}

/// Reports that the machine is provisioned. `base` is where the services of a test are.
pub fn report_ready(base: Option<&str>) -> Result<()> {
    let http = Http::direct(Instant::now() + REPORT)?;
    wire::report_ready(&http, base.unwrap_or(wire::ADDRESS).trim_end_matches('/'))
}

/// What the answer says; None if it is not of Azure's service.
pub fn parse(data: &Value) -> Option<InstanceData> {
    let compute = data.get("compute")?;
    let mut problems = Vec::new();
    let user_data = match compute["userData"].as_str().unwrap_or_default() {
        "" => None,
        text => encoding::base64(text.as_bytes())
            .map_err(|error| problems.push(format!("userData: {error}")))
            .ok(),
    };
    let keys = keys(compute, &mut problems);
    // What is stored of an earlier boot still lets the owner in.
    let unread = Unread { keys: keys == Value::from(Vec::<Value>::new()), ..Unread::default() };
    let address =
        |path: &str| data.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let first = "/network/interface/0";
    let metadata = Metadata {
        hostname: compute
            .pointer("/osProfile/computerName")
            .or(compute.get("name"))
            .and_then(Value::as_str)
            .filter(|name| !name.is_empty())
            .map(str::to_owned),
        ssh_public_keys: keys_from(&keys),
        public_ipv4: address(&format!("{first}/ipv4/ipAddress/0/publicIpAddress")),
        private_ipv4: address(&format!("{first}/ipv4/ipAddress/0/privateIpAddress")),
        private_ipv6: address(&format!("{first}/ipv6/ipAddress/0/privateIpAddress")),
        public_ipv6: String::new(),
    };
    Some(InstanceData { user_data, metadata, problems, unread, ..InstanceData::default() })
}

/// The keys of one line each. The service gives one back as it was uploaded, which may be in the
/// form of several lines that sshd does not read.
fn keys(compute: &Value, problems: &mut Vec<String>) -> Value {
    let keys = compute["publicKeys"].as_array().into_iter().flatten();
    let keys = keys.filter_map(|key| key.get("keyData")?.as_str()).map(str::trim);
    let (usable, others): (Vec<&str>, Vec<&str>) = keys.partition(|key| key.lines().count() == 1);
    if !others.is_empty() {
        problems
            .push(format!("{} of its keys are not in one line, as OpenSSH has them", others.len()));
    }
    Value::from(usable)
}
