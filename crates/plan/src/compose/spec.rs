//! One service of a compose file: key by key into [`Service`].

use super::{ComposeError, Reader};
use crate::labels;
use crate::service::{Network, Restart, Service, Sharing, Volume};
use corral_config::names::ServiceName;
use corral_config::yaml::Node;

/// Keys of compose that are fine to have and mean nothing to this engine yet.
const WITHOUT_EFFECT: &[&str] = &[
    "build",
    "cgroup_parent",
    "configs",
    "container_name",
    "cpu_quota",
    "cpu_shares",
    "cpuset",
    "depends_on",
    "dns",
    "dns_search",
    "dockerfile",
    "domainname",
    "env_file",
    "expose",
    "external_links",
    "extra_hosts",
    "healthcheck",
    "init",
    "links",
    "log_driver",
    "log_opt",
    "logging",
    "mac_address",
    "memswap_limit",
    "networks",
    "ports",
    "profiles",
    "secrets",
    "sysctls",
    "ulimits",
    "volume_driver",
    "volumes_from",
    "deploy",
    "pull_policy",
    "shm_size",
];

/// Reads one service.
pub(super) fn parse_service(
    reader: &mut Reader<'_>,
    name: ServiceName,
    node: &Node,
) -> Result<Service, ComposeError> {
    let mut service = Service::new(name, String::new());
    for (key, value) in reader.mapping(node)? {
        let known = parse_process(reader, &mut service, key, value)?
            || parse_limits(reader, &mut service, key, value)?
            || parse_surroundings(reader, &mut service, key, value)?;
        if !known {
            let word = if WITHOUT_EFFECT.contains(&key.as_str()) {
                "has no effect in this version"
            } else {
                "unknown key"
            };
            reader.warn(value.at, format!("{}: {key}: {word}", service.name));
        }
    }
    if service.image.is_empty() {
        return Err(reader.error(node.at, format!("{}: image is missing", service.name)));
    }
    service.labels = labels::parse(&service.label_map);
    Ok(service)
}

/// What runs in the container.
fn parse_process(
    reader: &Reader<'_>,
    to: &mut Service,
    key: &str,
    value: &Node,
) -> Result<bool, ComposeError> {
    match key {
        "image" => to.image = reader.string(value)?,
        "entrypoint" => to.entrypoint = reader.command(value)?,
        "command" => to.command = reader.command(value)?,
        "environment" => to.environment = reader.assignments(value)?,
        "working_dir" => to.working_dir = reader.string(value)?,
        "user" => to.user = reader.string(value)?,
        "tty" => to.tty = reader.boolean(value)?,
        "stdin_open" => to.stdin_open = reader.boolean(value)?,
        "labels" => to.label_map = reader.map(value)?,
        "restart" => to.restart = parse_restart(reader, value)?,
        "stop_signal" => to.stop_signal = reader.string(value)?,
        "stop_grace_period" => to.stop_grace = reader.duration(value)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// What it may do.
fn parse_limits(
    reader: &Reader<'_>,
    to: &mut Service,
    key: &str,
    value: &Node,
) -> Result<bool, ComposeError> {
    match key {
        "privileged" => to.privileged = reader.boolean(value)?,
        "read_only" => to.read_only = reader.boolean(value)?,
        "cap_add" => to.cap_add = reader.strings(value)?,
        "cap_drop" => to.cap_drop = reader.strings(value)?,
        "security_opt" => to.security_opt = reader.strings(value)?,
        "devices" => to.devices = reader.strings(value)?,
        "mem_limit" => to.memory_limit = reader.bytes(value)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// What it sees.
fn parse_surroundings(
    reader: &Reader<'_>,
    to: &mut Service,
    key: &str,
    value: &Node,
) -> Result<bool, ComposeError> {
    match key {
        "hostname" => to.hostname = reader.string(value)?,
        "net" | "network_mode" => to.network = parse_network(reader, value)?,
        "pid" => to.pid = parse_sharing(reader, value)?,
        "ipc" => to.ipc = parse_sharing(reader, value)?,
        "uts" => to.uts = parse_sharing(reader, value)?,
        "tmpfs" => to.tmpfs = reader.strings(value)?,
        "volumes" => {
            let volumes = reader.strings(value)?;
            to.volumes =
                volumes.iter().map(|text| parse_volume(reader, value, text)).collect::<Result<_, _>>()?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn parse_restart(reader: &Reader<'_>, node: &Node) -> Result<Restart, ComposeError> {
    let text = reader.string(node)?;
    let (policy, limit) = text.split_once(':').unwrap_or((&text, "0"));
    match (policy, limit.parse()) {
        ("no" | "false" | "", _) => Ok(Restart::No),
        ("always", _) => Ok(Restart::Always),
        ("unless-stopped", _) => Ok(Restart::UnlessStopped),
        ("on-failure", Ok(limit)) => Ok(Restart::OnFailure(limit)),
        _ => Err(reader
            .error(node.at, format!("{text:?} is not one of no, always, unless-stopped, on-failure[:N]"))),
    }
}

fn parse_network(reader: &Reader<'_>, node: &Node) -> Result<Network, ComposeError> {
    match reader.string(node)?.as_str() {
        "host" => Ok(Network::Host),
        "none" => Ok(Network::None),
        other => Err(reader.error(node.at, format!("network {other:?}: this version has host and none"))),
    }
}

fn parse_sharing(reader: &Reader<'_>, node: &Node) -> Result<Sharing, ComposeError> {
    match reader.string(node)?.as_str() {
        "host" => Ok(Sharing::Host),
        "" | "private" | "shareable" => Ok(Sharing::Private),
        other => Err(reader.error(node.at, format!("{other:?} is not one of host, private"))),
    }
}

/// `SOURCE:TARGET[:OPTIONS]`; options are `ro`, `rw`, `shared`, `rshared`, in any order, with commas.
fn parse_volume(reader: &Reader<'_>, node: &Node, text: &str) -> Result<Volume, ComposeError> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [path] => (*path, *path, ""),
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => return Err(reader.error(node.at, format!("volume {text:?}: SOURCE:TARGET[:OPTIONS] is wanted"))),
    };
    if !source.starts_with('/') || !target.starts_with('/') {
        return Err(reader.error(node.at, format!("volume {text:?}: both paths must be absolute")));
    }
    let has = |wanted: &[&str]| options.split(',').any(|option| wanted.contains(&option));
    let volume = |read_only, shared| Volume {
        source: source.to_owned(),
        target: target.to_owned(),
        read_only,
        shared,
    };
    Ok(volume(has(&["ro"]), has(&["shared", "rshared"])))
}

#[cfg(test)]
mod tests {
    use crate::compose::parse;
    use crate::service::{Network, Restart};

    #[test]
    fn v1_and_the_specification_mean_the_same() {
        let body = "image: i\n  net: host\n  privileged: \"true\"\n  restart: on-failure:3\n  command: sh -c 'echo \"a b\"'\n  environment: {A: 1, B: }\n  volumes: ['/a:/b:ro,shared']\n  labels:\n  - io.rancher.os.scope=system\n";
        let v1 = parse("f", &format!("s:\n  {body}")).unwrap();
        let spec = parse("f", &format!("services:\n s:\n  {body}")).unwrap();
        assert_eq!(v1.services, spec.services);
        let service = &v1.services[0];
        assert_eq!(service.network, Network::Host);
        assert_eq!(service.restart, Restart::OnFailure(3));
        assert_eq!(service.command, Some(vec!["sh".into(), "-c".into(), "echo \"a b\"".into()]));
        assert_eq!(service.environment, ["A=1", "B"]);
        assert!(service.volumes[0].read_only && service.volumes[0].shared && service.labels.system);
    }

    #[test]
    fn mistakes_have_a_place() {
        let cases = [
            ("s: {image: i, privileged: perhaps}", "f:1:27: true or false is wanted here, not a string"),
            ("s: {command: x}", "f:1:4: s: image is missing"),
            ("s: 1", "f:1:4: a mapping is wanted here, not a number"),
            ("s: {image: i, volumes: [a]}", "f:1:24: volume \"a\": both paths must be absolute"),
        ];
        for (text, expected) in cases {
            assert_eq!(parse("f", text).unwrap_err().to_string(), expected);
        }
        let warnings = parse("f", "s: {image: i, imgae: x}").unwrap().warnings;
        assert_eq!(warnings[0].to_string(), "f:1:22: s: imgae: unknown key");
    }
}
