//! What an owner is to know of values that are right. Warnings only, and never with the value: some
//! are secrets.

use crate::model::{Keyboard, Sudo, old_docker};
use crate::names::{is_password_hash, is_too_long};
use crate::text::source::Source;
use crate::text::ssh_key;
use serde::Deserialize;
use serde_json::Value;

/// `hostname`, `fqdn`
pub(super) fn long_name(value: &Value, _: &Source) -> Option<&'static str> {
    value.as_str().is_some_and(is_too_long).then_some(
        "this name is longer than the 64 bytes that the kernel takes; its first part is used, and \
         /etc/hosts has all of it",
    )
}

/// `write_files`: a file that a program of RancherOS read, and the program in its place does not.
pub(super) fn unread_file(value: &Value, _: &Source) -> Option<&'static str> {
    let is_unread = |file: &Value| {
        let is = |key: &str, text: &str| file.get(key).and_then(Value::as_str) == Some(text);
        is("container", "ntp") && is("path", "/etc/ntp.conf")
    };
    value.as_array()?.iter().any(is_unread).then_some(
        "/etc/ntp.conf of the container ntp is not read, because the service is chrony: use \
         ntp.servers, or write /etc/chrony/conf.d/NAME.conf, with lines such as: server \
         time.example.com iburst",
    )
}

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

/// `rancher.docker.selinux_enabled`
pub(super) fn no_selinux(value: &Value, _: &Source) -> Option<&'static str> {
    (*value == Value::Bool(true)).then_some(
        "this system has no SELinux: dockerd logs a warning, and no container gets a label",
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

/// `users`: sshd lets in the group docker only. Who is root by sudo anyway is put into it, and the
/// keys of `default` are rancher's.
pub(super) fn no_way_in(value: &Value, _: &Source) -> Option<&'static str> {
    let is_out = |user: &Value| {
        let has =
            |key: &str| user.get(key).and_then(Value::as_array).is_some_and(|v| !v.is_empty());
        let groups = user.get("groups").and_then(Value::as_array).into_iter().flatten();
        let mut groups = groups.filter_map(Value::as_str).flat_map(|group| group.split(','));
        let has_keys = has("ssh_authorized_keys") || has("ssh_import_id");
        let sudo = user.get("sudo").and_then(|sudo| Sudo::deserialize(sudo).ok());
        let is_in = sudo.is_some_and(|sudo| sudo.is_unlimited())
            || user.get("name").and_then(Value::as_str) == Some("default")
            || groups.any(|group| group.trim() == "docker");
        has_keys && !is_in
    };
    value.as_array()?.iter().any(is_out).then_some(
        "a user here has keys, but cannot log in over ssh: that takes the group docker, or sudo \
         for all without a password",
    )
}

/// `user`
pub(super) fn root_as_user(value: &Value, _: &Source) -> Option<&'static str> {
    (value.get("name").and_then(Value::as_str) == Some("root"))
        .then_some("root never logs in over ssh; log in as rancher and use sudo")
}

/// `disable_root`
pub(super) fn root_login(value: &Value, _: &Source) -> Option<&'static str> {
    (*value == Value::Bool(false) || value.as_i64() == Some(0))
        .then_some("root never logs in over ssh; log in as rancher and use sudo")
}

/// `chpasswd.list`
pub(super) fn password_lines(value: &Value, source: &Source) -> Option<&'static str> {
    let items = value.as_array()?.iter().filter_map(Value::as_str);
    let mut lines = items.flat_map(str::lines).map(str::trim).filter(|line| !line.is_empty());
    lines.find_map(|line| match line.split_once(':') {
        None | Some((_, "")) => Some("a line here is not user:password; it has no effect"),
        Some((_, "R" | "RANDOM")) => Some(RANDOM),
        Some((_, password)) => clear_text(&password.into(), source),
    })
}

const RANDOM: &str = "no random password is made; give the hash of one: openssl passwd -6";

/// `chpasswd.users`
pub(super) fn random_password(value: &Value, source: &Source) -> Option<&'static str> {
    value.as_array()?.iter().find_map(|user| {
        if user.get("type").and_then(Value::as_str) == Some("RANDOM") {
            return Some(RANDOM);
        }
        clear_text(user.get("password")?, source)
    })
}

/// `chpasswd.expire`
pub(super) fn expiry(value: &Value, _: &Source) -> Option<&'static str> {
    (*value == Value::Bool(true)).then_some(
        "passwords do not expire: each boot sets them again, and sshd would refuse keys too",
    )
}

/// The zones of the image's tzdata.
const ZONES: &str = include_str!("zones.txt");

/// `timezone`
pub(super) fn unknown_zone(value: &Value, _: &Source) -> Option<&'static str> {
    let zone = value.as_str()?;
    (!ZONES.lines().any(|known| known == zone))
        .then_some("unknown time zone; the names are those below /usr/share/zoneinfo; UTC is used")
}

/// `keyboard.layout`
pub(super) fn unknown_layout(value: &Value, _: &Source) -> Option<&'static str> {
    Keyboard::map(value.as_str()?, "")
        .is_none()
        .then_some("no keymap for this layout; the manual lists those that there are; us is used")
}

/// `ca_certs.trusted`
pub(super) fn no_certificate(value: &Value, _: &Source) -> Option<&'static str> {
    let mut items = value.as_array()?.iter().filter_map(Value::as_str);
    items
        .any(|text| crate::model::certificates(text).is_empty())
        .then_some("not every item is a certificate in PEM form; such an item has no effect")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_without_a_way_in_are_a_warning() {
        for (more, warns) in [
            (json!({}), true),
            (json!({"sudo": false}), true),
            (json!({"sudo": ["ALL=(root) /usr/bin/reboot"]}), true),
            (json!({"sudo": ["ALL=(ALL) NOPASSWD:ALL"]}), false),
            (json!({"groups": ["staff, docker"]}), false),
            (json!({"name": "default"}), false),
        ] {
            let mut user = json!({"name": "ann", "ssh_authorized_keys": ["k"]});
            for (key, value) in more.as_object().unwrap() {
                user[key.as_str()] = value.clone();
            }
            let found = no_way_in(&json!([user]), &Source::CommandLine);
            assert_eq!(found.is_some(), warns, "{more}");
        }
    }

    #[test]
    fn a_file_that_no_program_reads_is_a_warning() {
        let first = json!({"container": "ntp", "path": "/etc/chrony/conf.d/a.conf"});
        for (container, path, warns) in [
            (json!("ntp"), "/etc/ntp.conf", true),
            (json!("ntp"), "/etc/chrony/conf.d/b.conf", false),
            (json!("console"), "/etc/ntp.conf", false),
            (json!(null), "/etc/ntp.conf", false),
        ] {
            let files = json!([first, {"container": container, "path": path}]);
            let found = unread_file(&files, &Source::CommandLine);
            assert_eq!(found.is_some(), warns, "{files}");
            assert!(found.is_none_or(|text| text.contains("/etc/chrony/conf.d/")), "{files}");
        }
    }

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
        for (value, warns) in [(true, true), (false, false)] {
            assert_eq!(no_selinux(&json!(value), &Source::CommandLine).is_some(), warns, "{value}");
        }
    }
}
