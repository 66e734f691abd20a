//! Azure's wireserver: the goal state of a machine, and the report that it is ready. Without that
//! report the platform takes the machine for failed.

use crate::http::Http;
use anyhow::{Context, Result};

/// The platform's own address, the same everywhere.
pub(super) const ADDRESS: &str = "http://168.63.129.16";
/// What the wireserver expects of every agent.
const AGENT: (&str, &str) = ("x-ms-agent-name", "corral");
const VERSION: (&str, &str) = ("x-ms-version", "2012-11-30");
const XML: (&str, &str) = ("Content-Type", "text/xml; charset=utf-8");

/// Fetches the goal state, and reports the health that it requests.
pub(super) fn report_ready(http: &Http, base: &str) -> Result<()> {
    let url = format!("{base}/machine/?comp=goalstate");
    let text = http.get_text(&url, &[AGENT, VERSION])?.context("no goal state")?;
    let health = parse_goal_state(&text)?;
    let url = format!("{base}/machine?comp=health");
    http.post(&url, &[AGENT, VERSION, XML], &health).map(drop)
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
        let state = "<GoalState><Version>2012</Version><Incarnation>1</Incarnation>\
            <Container><ContainerId>c</ContainerId><RoleInstanceList><RoleInstance>\
            <InstanceId>i</InstanceId></RoleInstance></RoleInstanceList></Container></GoalState>";
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
