//! The process of an exec: an OCI `process` object, written where libcontainer reads it.

use super::{account, bundle, capabilities, private};
use crate::paths;
use crate::spec::ExecSpec;
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// Writes the process description and returns its path. What the exec does not set is as in the
/// container.
pub(super) fn write(id: &str, spec: &ExecSpec) -> Result<PathBuf> {
    let folder = paths::bundle(id);
    let text = fs::read(folder.join("config.json"))
        .context("the container has no bundle: is it running?")?;
    let config: Value = serde_json::from_slice(&text)?;
    let mut process = config.get("process").cloned().context("the bundle has no process")?;
    process["args"] = serde_json::to_value(&spec.args)?;
    process["terminal"] = Value::Bool(spec.tty);
    if !spec.working_dir.is_empty() {
        process["cwd"] = Value::String(spec.working_dir.clone());
    }
    if !spec.user.is_empty() {
        let account = account::find(id, &spec.user, &[])?;
        process["user"] = bundle::user_value(&account);
        let bound: Vec<String> =
            serde_json::from_value(process["capabilities"]["bounding"].clone()).unwrap_or_default();
        process["capabilities"] = capabilities::sets(&bound, account.uid);
        set_home(&mut process, &account.home);
    }
    let mut env: Vec<Value> = process["env"].as_array().cloned().unwrap_or_default();
    if spec.tty {
        env.push(Value::String("TERM=xterm".to_owned()));
    }
    env.extend(spec.env.iter().cloned().map(Value::String));
    process["env"] = Value::Array(env);
    if spec.privileged {
        process["capabilities"] = capabilities::sets(&capabilities::possible(), 0);
    }
    let file = folder.join(format!("exec-{}.json", std::process::id()));
    private::write_json(&file, &process)?;
    Ok(file)
}

/// The home folder that the container had was another user's.
fn set_home(process: &mut Value, home: &str) {
    for item in process["env"].as_array_mut().into_iter().flatten() {
        if item.as_str().is_some_and(|item| item.starts_with("HOME=")) {
            *item = Value::String(format!("HOME={home}"));
        }
    }
}
