//! A seccomp profile in Docker's format → the part of the OCI runtime configuration. What a profile
//! allows may depend on the container's capabilities and on the kernel.
//! <https://docs.docker.com/engine/security/seccomp/>

use crate::paths;
use crate::spec::{ContainerSpec, Seccomp};
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs;

const ARCHITECTURE: &str = "amd64";
/// What this machine runs: 64 bit, and 32 bit as well. Not x32, which Debian's kernel has switched
/// off: the filter refuses it, and is made in two thirds of the time.
const ARCHITECTURES: [&str; 2] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    syscalls: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    names: Vec<String>,
    /// An older form has one name.
    #[serde(default)]
    name: String,
    action: String,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Value>>,
    #[serde(default)]
    includes: Condition,
    #[serde(default)]
    excludes: Condition,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// The profile of a container with these capabilities; None where it has none.
pub(super) fn profile(spec: &ContainerSpec, capabilities: &[String]) -> Result<Option<Value>> {
    let text = match &spec.seccomp {
        _ if spec.privileged => return Ok(None),
        Seccomp::Unconfined => return Ok(None),
        Seccomp::Profile(text) => text.clone(),
        Seccomp::Default => fs::read_to_string(paths::SECCOMP)
            .with_context(|| format!("reading the default seccomp profile {}", paths::SECCOMP))?,
    };
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    convert(&text, capabilities, &kernel).map(Some)
}

fn convert(text: &str, capabilities: &[String], kernel: &str) -> Result<Value> {
    let profile: Profile = serde_json::from_str(text).context("the seccomp profile")?;
    let wanted = |rule: &&Rule| {
        rule.includes.holds(capabilities, kernel) && !rule.excludes.meets(capabilities, kernel)
    };
    let rule = |rule: &Rule| {
        let names: Vec<&String> =
            rule.names.iter().chain(Some(&rule.name).filter(|name| !name.is_empty())).collect();
        let mut value = json!({"names": names, "action": rule.action});
        if let Some(code) = rule.errno_ret {
            value["errnoRet"] = json!(code);
        }
        if let Some(args) = rule.args.as_ref().filter(|args| !args.is_empty()) {
            value["args"] = json!(args);
        }
        value
    };
    let rules: Vec<Value> = profile.syscalls.iter().filter(wanted).map(rule).collect();
    let architectures =
        profile.architectures.unwrap_or_else(|| ARCHITECTURES.map(str::to_owned).to_vec());
    let mut value = json!({
        "defaultAction": profile.default_action, "architectures": architectures,
        "syscalls": rules,
    });
    if let Some(code) = profile.default_errno_ret {
        value["defaultErrnoRet"] = json!(code);
    }
    Ok(value)
}

impl Condition {
    /// Are all of its conditions met?
    fn holds(&self, capabilities: &[String], kernel: &str) -> bool {
        self.caps.iter().flatten().all(|name| capabilities.contains(name))
            && self
                .arches
                .as_ref()
                .is_none_or(|list| list.is_empty() || list.iter().any(|name| name == ARCHITECTURE))
            && self.min_kernel.as_ref().is_none_or(|wanted| version(kernel) >= version(wanted))
    }

    /// Is any of its conditions met?
    fn meets(&self, capabilities: &[String], kernel: &str) -> bool {
        self.caps.iter().flatten().any(|name| capabilities.contains(name))
            || self.arches.iter().flatten().any(|name| name == ARCHITECTURE)
            || self.min_kernel.as_ref().is_some_and(|wanted| version(kernel) >= version(wanted))
    }
}

/// Major and minor number: no profile names more.
fn version(text: &str) -> (u32, u32) {
    let mut parts = text.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_depend_on_capabilities_and_kernel() {
        let text = r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "syscalls": [
            {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}},
            {"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38,
             "excludes": {"caps": ["CAP_BPF"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["arm_only"], "action": "SCMP_ACT_ALLOW",
             "includes": {"arches": ["arm"]}}]}"#;
        let names = |caps: &[&str], kernel: &str| -> Vec<String> {
            let caps: Vec<String> = caps.iter().map(|cap| (*cap).to_owned()).collect();
            let value = convert(text, &caps, kernel).unwrap();
            let rules = value["syscalls"].as_array().unwrap().clone();
            rules
                .iter()
                .map(|rule| {
                    format!(
                        "{} {}",
                        rule["names"][0].as_str().unwrap(),
                        rule["action"].as_str().unwrap()
                    )
                })
                .collect()
        };
        assert_eq!(
            names(&[], "6.12.1-amd64"),
            ["read SCMP_ACT_ALLOW", "bpf SCMP_ACT_ERRNO", "ptrace SCMP_ACT_ALLOW"]
        );
        assert_eq!(names(&["CAP_BPF"], "4.4.0"), ["read SCMP_ACT_ALLOW", "bpf SCMP_ACT_ALLOW"]);
    }
}
