//! Device nodes of the host in a container, and the rules of what it may open.

use super::host_dev;
use crate::spec::ContainerSpec;
use anyhow::{Context, Result, bail};
use rustix::fs::{FileType, Stat, lstat, stat};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// What every container's /dev has of its own, or is made by the runtime.
const OWN: [&str; 12] = [
    "console", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "tty", "urandom",
    "zero",
];

/// The nodes that a container gets: those it requests, first. A privileged one gets all of the
/// host's, unless it has the host's /dev.
pub(super) fn of(spec: &ContainerSpec) -> Result<Vec<Value>> {
    let mut found: Vec<Value> = present(spec).map(requested).collect::<Result<_>>()?;
    let has_hosts = spec.binds.iter().any(|bind| bind.target == host_dev::TARGET);
    if spec.privileged && !has_hosts {
        add_all(Path::new("/dev"), &mut found);
    }
    Ok(found)
}

/// The rules for devices, in the order in which they are applied.
pub(super) fn rules(spec: &ContainerSpec, devices: &[Value]) -> Vec<Value> {
    let mut rules = vec![json!({"allow": spec.privileged, "access": "rwm"})];
    if spec.privileged {
        return rules;
    }
    for (device, text) in devices.iter().zip(present(spec)) {
        let access = text.split(':').nth(2).unwrap_or("rwm");
        rules.push(json!({
            "allow": true, "type": device["type"], "major": device["major"],
            "minor": device["minor"], "access": access,
        }));
    }
    rules.extend(spec.device_rules.iter().filter_map(|text| rule(text)));
    rules
}

/// `c 13:* rwm`.
fn rule(text: &str) -> Option<Value> {
    let mut words = text.split_whitespace();
    let (kind, numbers, access) = (words.next()?, words.next()?, words.next()?);
    let (major, minor) = numbers.split_once(':')?;
    let mut rule = json!({"allow": true, "type": kind, "access": access});
    for (key, number) in [("major", major), ("minor", minor)] {
        if number != "*" {
            rule[key] = json!(number.parse::<i64>().ok()?);
        }
    }
    Some(rule)
}

/// The requested devices, without those that may be missing and are.
fn present(spec: &ContainerSpec) -> impl Iterator<Item = &str> {
    let all = spec.devices.iter().map(String::as_str);
    all.filter(move |text| !spec.devices_may_be_missing || Path::new(source(text)).exists())
}

fn source(text: &str) -> &str {
    text.split(':').next().unwrap_or_default()
}

/// A device node of the host as the container gets it.
fn requested(text: &str) -> Result<Value> {
    let source = source(text);
    let target = text.split(':').nth(1).unwrap_or(source);
    let data = stat(source).with_context(|| {
        format!("device {source}: this machine has none (`ls -l {source}`; is its module loaded?)")
    })?;
    node(&data, target).with_context(|| format!("{source} is not a device"))
}

fn node(data: &Stat, target: &str) -> Result<Value> {
    let kind = match FileType::from_raw_mode(data.st_mode) {
        FileType::CharacterDevice => "c",
        FileType::BlockDevice => "b",
        _ => bail!("neither a character nor a block device"),
    };
    Ok(json!({
        "path": target, "type": kind, "major": rustix::fs::major(data.st_rdev),
        "minor": rustix::fs::minor(data.st_rdev),
        "fileMode": data.st_mode & 0o7777, "uid": data.st_uid, "gid": data.st_gid,
    }))
}

fn add_all(folder: &Path, found: &mut Vec<Value>) {
    let Ok(items) = fs::read_dir(folder) else { return };
    for item in items.flatten() {
        let (path, name) = (item.path(), item.file_name());
        let is_own = folder == Path::new("/dev") && OWN.iter().any(|own| name == *own);
        let Ok(data) = lstat(&path) else { continue };
        let target = path.to_string_lossy().into_owned();
        if is_own || found.iter().any(|known| known["path"] == target.as_str()) {
            continue;
        }
        if FileType::from_raw_mode(data.st_mode) == FileType::Directory {
            add_all(&path, found);
        } else {
            // Links and sockets are no devices.
            found.extend(node(&data, &target));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(devices: &[&str], devices_may_be_missing: bool) -> ContainerSpec {
        let devices = devices.iter().map(|text| (*text).to_owned()).collect();
        ContainerSpec { devices, devices_may_be_missing, ..ContainerSpec::default() }
    }

    #[test]
    fn a_device_that_is_not_there_is_an_error_with_its_name() {
        let error = of(&spec(&["/dev/null", "/dev/no-such:/dev/x:r"], false)).unwrap_err();
        assert!(format!("{error:#}").starts_with("device /dev/no-such: "), "{error:#}");
        let error = of(&spec(&["/"], false)).unwrap_err();
        assert!(format!("{error:#}").starts_with("/ is not a device"), "{error:#}");
    }

    #[test]
    fn each_rule_is_that_of_its_own_device() {
        let spec = spec(&["/dev/no-such::r", "/dev/null:/dev/nil:w", "/dev/zero"], true);
        let devices = of(&spec).unwrap();
        let paths: Vec<&str> = devices.iter().filter_map(|node| node["path"].as_str()).collect();
        assert_eq!(paths, ["/dev/nil", "/dev/zero"]);
        let rules = rules(&spec, &devices);
        let accesses: Vec<&str> =
            rules.iter().skip(1).filter_map(|rule| rule["access"].as_str()).collect();
        assert_eq!(accesses, ["w", "rwm"]);
    }
}
