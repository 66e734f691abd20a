//! Microsoft Azure: the instance metadata service, and the report that the machine is provisioned.
//! Without that report the platform takes the machine for failed.
//! <https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service>

use super::http::Http;
use super::instance_data::InstanceData;
use anyhow::{Context, Result};
use corral_config::encoding;
use corral_config::metadata::{Metadata, keys_from};
use serde_json::Value;

const METADATA: [(&str, &str); 1] = [("Metadata", "true")];
/// The platform's own address, the same everywhere.
const WIRE_SERVER: &str = "http://168.63.129.16";
const VERSION: [(&str, &str); 2] =
    [("x-ms-version", "2012-11-30"), ("Content-Type", "text/xml; charset=utf-8")];

pub(super) fn fetch(http: &Http, base: &str) -> Result<Option<InstanceData>> {
    let url = format!("{base}/metadata/instance?api-version=2021-02-01");
    let Some(data) = http.get_json(&url, &METADATA)? else { return Ok(None) };
    let found = parse(&data)?;
    if found.is_some() && base.contains("169.254.169.254") {
        // The machine runs all the same if the report is not taken.
        let _ = report_ready(http);
    }
    Ok(found)
}

/// What the answer says; None if it is not of Azure's service.
pub fn parse(data: &Value) -> Result<Option<InstanceData>> {
    let Some(compute) = data.get("compute") else { return Ok(None) };
    let user_data = match compute["userData"].as_str().unwrap_or_default() {
        "" => None,
        text => Some(
            encoding::base64(text.as_bytes())
                .map_err(|error| anyhow::anyhow!("userData: {error}"))?,
        ),
    };
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
        ssh_public_keys: keys_from(&keys(compute)),
        public_ipv4: address(&format!("{first}/ipv4/ipAddress/0/publicIpAddress")),
        private_ipv4: address(&format!("{first}/ipv4/ipAddress/0/privateIpAddress")),
        private_ipv6: address(&format!("{first}/ipv6/ipAddress/0/privateIpAddress")),
        public_ipv6: String::new(),
    };
    Ok(Some(InstanceData { user_data, metadata, ..InstanceData::default() }))
}

fn keys(compute: &Value) -> Value {
    let keys = compute["publicKeys"].as_array().into_iter().flatten();
    keys.filter_map(|key| key.get("keyData").cloned()).collect()
}

/// Fetches the goal state, and reports the health that it requests.
fn report_ready(http: &Http) -> Result<()> {
    let url = format!("{WIRE_SERVER}/machine/?comp=goalstate");
    let text = http.get_text(&url, &VERSION)?.context("no goal state")?;
    let health = parse_goal_state(&text)?;
    http.post(&format!("{WIRE_SERVER}/machine?comp=health"), &VERSION, &health).map(drop)
}

/// The report that answers a goal state.
pub fn parse_goal_state(goal_state: &str) -> Result<String> {
    let document = roxmltree::Document::parse(goal_state).context("the goal state is not XML")?;
    let text = |name: &str| {
        let node = document.descendants().find(|node| node.has_tag_name(name));
        let text = node.and_then(|node| node.text());
        text.map(escape).with_context(|| format!("the goal state has no {name}"))
    };
    Ok(format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Health>\
         <GoalStateIncarnation>{}</GoalStateIncarnation><Container><ContainerId>{}</ContainerId>\
         <RoleInstanceList><Role><InstanceId>{}</InstanceId><Health><State>Ready</State></Health>\
         </Role></RoleInstanceList></Container></Health>",
        text("Incarnation")?,
        text("ContainerId")?,
        text("InstanceId")?
    ))
}

/// Text as XML writes it.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\r', "&#13;")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_report_names_what_the_goal_state_names() {
        let state = "<GoalState><Version>2012</Version><Incarnation>1</Incarnation><Container><ContainerId>c</ContainerId>\
            <RoleInstanceList><RoleInstance><InstanceId>i</InstanceId></RoleInstance></RoleInstanceList></Container></GoalState>";
        let health = super::parse_goal_state(state).unwrap();
        assert!(
            health.contains("<GoalStateIncarnation>1<") && health.contains("<InstanceId>i<"),
            "{health}"
        );
        assert!(super::parse_goal_state("<html>").is_err());
        let health = super::parse_goal_state(&state.replace(">i<", ">&lt;i&amp;<")).unwrap();
        assert!(health.contains("<InstanceId>&lt;i&amp;<"), "{health}");
    }
}
