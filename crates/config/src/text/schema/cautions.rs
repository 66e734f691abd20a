//! What an owner is to know of values that are right. Warnings only, and never with the value: some
//! are secrets.

use crate::model::old_docker;
use crate::names::is_password_hash;
use crate::text::source::Source;
use crate::text::ssh_key;
use serde_json::Value;

/// `ssh_pwauth`
pub(super) fn ssh_passwords(value: &Value, _: &Source) -> Option<&'static str> {
    (*value == Value::Bool(true)).then_some(
        "passwords can be guessed over the network; keys (ssh_authorized_keys) are safer",
    )
}

/// `rancher.password`
pub(super) fn clear_text(value: &Value, source: &Source) -> Option<&'static str> {
    if value.as_str().is_none_or(|text| text.is_empty() || is_password_hash(text)) {
        return None;
    }
    Some(match source {
        Source::CommandLine => {
            "every container can read this password in /proc/cmdline; use its hash: \
             openssl passwd -6"
        }
        _ => "this password is clear text; its hash is safer: openssl passwd -6",
    })
}

/// `rancher.docker.storage_driver`
pub(super) fn old_driver(value: &Value, _: &Source) -> Option<&'static str> {
    value.as_str().is_some_and(|name| old_docker::storage_driver(name) != name).then_some(
        "Docker has no such driver any more, and cannot read what it stored; overlay2 is used: \
         write overlay2, or leave the key out",
    )
}

/// `rancher.docker.extra_args`
pub(super) fn old_arguments(value: &Value, _: &Source) -> Option<&'static str> {
    let items = value.as_array()?.iter().filter_map(Value::as_str);
    let words: Vec<String> = items.map(str::to_owned).collect();
    (old_docker::arguments(&words) != words).then_some(
        "Docker has renamed or removed some of these, and they are translated: write --data-root \
         for -g and --graph, overlay2 for other storage drivers; leave out \
         --disable-legacy-registry and storage options of dm and aufs",
    )
}

/// `ssh_authorized_keys`, of a user as well. A line that sshd does not take opens nothing, and a
/// key that was cut off locks its owner out.
pub(super) fn no_ssh_key(value: &Value, _: &Source) -> Option<&'static str> {
    let lines = value.as_array()?.iter().filter_map(Value::as_str);
    let is_wrong = |text: &str| ssh_key::parse_list(text).iter().any(Result::is_err);
    lines.into_iter().any(is_wrong).then_some(
        "not every line is an ssh public key that sshd accepts; see `ssh-keygen -l -f FILE`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_docker_does_not_take_any_more_is_a_warning() {
        for (value, warns) in
            [("overlay2", false), ("overlay", true), ("devicemapper", true), ("", false)]
        {
            assert_eq!(old_driver(&json!(value), &Source::CommandLine).is_some(), warns, "{value}");
        }
        for (value, warns) in [
            (json!(["--insecure-registry", "r:5000"]), false),
            (json!(["-g", "/mnt"]), true),
            (json!(["--graph=/mnt"]), true),
            (json!(["--storage-opt", "dm.fs=xfs"]), true),
        ] {
            assert_eq!(old_arguments(&value, &Source::CommandLine).is_some(), warns, "{value}");
        }
    }
}
