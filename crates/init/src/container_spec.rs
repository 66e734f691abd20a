//! A service of the plan → the specification of a container. Pure: the only file that knows both
//! the crate `plan` and the crate `engine`.

use corral_engine::paths::{BOOT_LOGS, DOCKER_LOG};
use corral_engine::spec::{
    self, Bind, ContainerSpec, Dns, Grace, Health, Limits, LogCopy, LogOptions, NetworkAttachment,
    Port, Requirements, RestartPolicy, Seccomp, Ulimit,
};
use corral_plan::Service;
use corral_plan::labels::KillMode;
use corral_plan::service::{Attachment, Network, Pull, Restart, Sharing, Source};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Bytes of a file with the output of a program of the boot.
const BOOT_LOG_BYTES: u64 = 1 << 20;
/// Bytes of a file with the output of the user's Docker.
const DOCKER_LOG_BYTES: u64 = 10 << 20;

/// The specification of a service's container.
pub(crate) fn of_service(
    service: &Service,
    environment: &BTreeMap<String, String>,
) -> ContainerSpec {
    let has_option =
        |wanted: &str| service.security_opt.iter().any(|option| option.replace('=', ":") == wanted);
    let mut spec = ContainerSpec {
        name: service.name.to_string(),
        image: service.image.clone(),
        image_id: service.image_id.clone(),
        entrypoint: service.entrypoint.clone(),
        command: service.command.clone(),
        env: expand(service, environment),
        working_dir: service.working_dir.clone(),
        user: service.user.clone(),
        group_add: service.group_add.clone(),
        hostname: service.hostname.clone(),
        domainname: service.domainname.clone(),
        tty: service.tty,
        open_stdin: service.stdin_open,
        init: service.init,
        privileged: service.privileged,
        read_only: service.read_only,
        cap_add: service.cap_add.clone(),
        cap_drop: service.cap_drop.clone(),
        no_new_privileges: has_option("no-new-privileges") || has_option("no-new-privileges:true"),
        seccomp: if has_option("seccomp:unconfined") {
            Seccomp::Unconfined
        } else {
            Seccomp::Default
        },
        bare_system_paths: has_option("systempaths:unconfined"),
        devices: service.devices.clone(),
        // They are made for any machine: one has no clock, the other no radio switch.
        devices_may_be_missing: service.built_in,
        device_rules: service.device_rules.clone(),
        binds: binds(service),
        tmpfs: tmpfs(service),
        shm_size: service.shm_size,
        labels: service.label_map.clone(),
        keep: service.keep.clone(),
        sysctls: service.sysctls.clone(),
        oom_score_adj: service.oom_score_adj,
        restart: restart_policy(service.restart),
        // What names no signal was reported when the configuration was resolved.
        stop_signal: service.stop_signal.parse().unwrap_or_default(),
        stop_timeout: Grace::Limited(in_seconds(service.stop_grace)),
        keep_children: service.labels.kill_mode == KillMode::Process,
        ..ContainerSpec::default()
    };
    limit(service, &mut spec);
    connect(service, &mut spec);
    spec.requirements = requirements(service, &spec);
    spec
}

fn limit(service: &Service, spec: &mut ContainerSpec) {
    let limits = service.limits.clone();
    spec.limits = Limits {
        memory: limits.memory,
        memory_reservation: limits.memory_reservation,
        memory_swap: limits.memory_swap,
        cpu_quota: limits.cpu_quota,
        cpu_period: limits.cpu_period,
        cpu_shares: limits.cpu_shares,
        cpus: limits.cpuset,
        mems: String::new(),
        pids: limits.pids,
    };
    let ulimits = service.ulimits.iter().cloned();
    spec.ulimits = ulimits
        .map(|limit| Ulimit { name: limit.name, soft: limit.soft, hard: limit.hard })
        .collect();
    spec.log = LogOptions {
        none: service.logging.none,
        max_bytes: service.logging.max_bytes,
        max_files: service.logging.max_files,
        copy: copy_of_log(service),
    };
    spec.health = service.health.clone().map(|check| Health {
        test: check.test,
        interval: or_default(check.interval),
        timeout: or_default(check.timeout),
        start_period: or_default(check.start_period),
        start_interval: or_default(check.start_interval),
        retries: check.retries,
    });
    // As in Docker: no test, no check.
    spec.health.take_if(|check| check.command().is_none());
}

/// Where RancherOS had the logs of the programs of the boot and of Docker. Services of the owner
/// have only the log of their container.
fn copy_of_log(service: &Service) -> Option<LogCopy> {
    if service.logging.none {
        return None;
    }
    if service.name.as_str() == "docker" {
        // dockerd writes the time itself.
        return Some(LogCopy {
            path: DOCKER_LOG.into(),
            max_bytes: DOCKER_LOG_BYTES,
            with_time: false,
        });
    }
    if !service.built_in {
        return None;
    }
    let program = match service.command.as_deref() {
        Some([ros, program, ..]) if ros == "ros" => program.as_str(),
        _ => service.name.as_str(),
    };
    let path = Path::new(BOOT_LOGS).join(program).with_extension("log");
    Some(LogCopy { path, max_bytes: BOOT_LOG_BYTES, with_time: true })
}

/// The engine's unit, rounded up: no grace is shorter than it was written.
fn in_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}

/// A time of a check; the engine knows what to do without.
fn or_default(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

/// Whose namespaces it shares, its names and its ports.
fn connect(service: &Service, spec: &mut ContainerSpec) {
    let shared = |sharing: &Sharing| match sharing {
        Sharing::Private => (false, String::new()),
        Sharing::Host => (true, String::new()),
        Sharing::Service(name) => (false, name.clone()),
    };
    (spec.host_pid, spec.pid_of) = shared(&service.pid);
    (spec.host_ipc, spec.ipc_of) = shared(&service.ipc);
    spec.host_uts = service.uts == Sharing::Host;
    spec.extra_hosts.clone_from(&service.extra_hosts);
    spec.dns = Dns {
        servers: service.dns.clone(),
        search: service.dns_search.clone(),
        options: service.dns_options.clone(),
    };
    match &service.network {
        Network::Host => spec.host_network = true,
        Network::None => {}
        Network::Service(name) => spec.network_of.clone_from(name),
        Network::Bridges(_) => spec.own_names = true,
    }
    // A name of its own on the host's network, for one that says so.
    spec.own_names |= !spec.extra_hosts.is_empty() || spec.dns != Dns::default();
    let ports = service.ports.iter().cloned();
    spec.ports = ports
        .map(|port| Port {
            host_ip: port.host_ip,
            host_port: port.host_port,
            container_port: port.container_port,
            protocol: port.protocol,
        })
        .collect();
}

fn binds(service: &Service) -> Vec<Bind> {
    let bind = |volume: &corral_plan::service::Volume| {
        let (source, name) = match &volume.source {
            Source::Path(path) => (path.clone(), None),
            Source::Volume(name) => (String::new(), Some(name.clone())),
        };
        Bind {
            source,
            target: volume.target.clone(),
            read_only: volume.read_only,
            shared: volume.shared,
            volume: name,
            must_exist: volume.must_exist,
            optional: volume.optional,
        }
    };
    service.volumes.iter().map(bind).collect()
}

/// A system container has a /run of its own unless it shares another. Programs may run from a tmpfs
/// (`exec`).
fn tmpfs(service: &Service) -> Vec<String> {
    let with = |text: &String| match text.split_once(':') {
        Some((target, options)) => format!("{target}:exec,mode=755,{options}"),
        None => format!("{text}:exec,mode=755"),
    };
    let mut all: Vec<String> = service.tmpfs.iter().map(with).collect();
    if !service.volumes.iter().any(|volume| volume.target == "/run") {
        all.push("/run:exec,mode=755".to_owned());
    }
    all
}

/// What the engine daemon must get for it first. None where PID 1 can go ahead by itself, as with
/// all that is built in.
fn requirements(service: &Service, spec: &ContainerSpec) -> Option<Requirements> {
    let required = |attachment: &Attachment| NetworkAttachment {
        network: attachment.network.name.clone(),
        may_be_created: !attachment.network.external,
        internal: attachment.network.internal,
        subnet: attachment.network.subnet,
        gateway: attachment.network.gateway,
        labels: attachment.network.labels.clone(),
        aliases: attachment.aliases.clone(),
        address: attachment.address,
        mac: service.mac_address.parse().ok(),
    };
    let networks: Vec<NetworkAttachment> = match &service.network {
        Network::Bridges(attachments) => attachments.iter().map(required).collect(),
        Network::Host | Network::None | Network::Service(_) => Vec::new(),
    };
    let pull = match service.pull {
        Pull::Missing => spec::Pull::Missing,
        Pull::Always => spec::Pull::Always,
        Pull::Never => spec::Pull::Never,
    };
    let has_volumes = spec.binds.iter().any(|bind| bind.source.is_empty());
    if pull == spec::Pull::Never && networks.is_empty() && !has_volumes {
        return None;
    }
    let links = service.links.iter().map(|link| (link.container.clone(), link.alias.clone()));
    // Without a bridge there is no address to link to.
    let links = if networks.is_empty() { Vec::new() } else { links.collect() };
    Some(Requirements { pull, networks, links })
}

fn restart_policy(policy: Restart) -> RestartPolicy {
    match policy {
        Restart::No => RestartPolicy::No,
        Restart::Always => RestartPolicy::Always,
        Restart::UnlessStopped => RestartPolicy::UnlessStopped,
        Restart::OnFailure(limit) => RestartPolicy::OnFailure((limit > 0).then_some(limit)),
    }
}

/// `KEY` takes its value from `rancher.environment`, first as `service/KEY`. `PREFIX*` takes all
/// that begin so. If a variable is given twice, the last value takes effect.
fn expand(service: &Service, environment: &BTreeMap<String, String>) -> Vec<String> {
    let mut values: Vec<(String, String)> = Vec::new();
    let mut set = |key: &str, value: &str| {
        values.retain(|(other, _)| other != key);
        values.push((key.to_owned(), value.to_owned()));
    };
    for item in &service.environment {
        if let Some((key, value)) = item.split_once('=') {
            set(key, value);
        } else if let Some(prefix) = item.strip_suffix('*') {
            let matching = environment.iter().filter(|(key, _)| key.starts_with(prefix));
            matching.for_each(|(key, value)| set(key, value));
        } else {
            let own = environment.get(&format!("{}/{item}", service.name));
            own.or_else(|| environment.get(item)).into_iter().for_each(|value| set(item, value));
        }
    }
    values.into_iter().map(|(key, value)| format!("{key}={value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_is_taken_by_name_and_by_prefix() {
        let text = "s: {image: i, environment: [A, B*, C=2, D, C=3]}";
        let service = &corral_plan::compose::parse("f", text).unwrap().services[0];
        let table = [("A", "0"), ("s/A", "1"), ("BB", "2"), ("BC", "2")];
        let table =
            table.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        assert_eq!(expand(service, &table), ["A=1", "BB=2", "BC=2", "C=3"]);
    }

    #[test]
    fn programs_of_the_boot_have_a_log_by_their_names() {
        let cases = [
            ("udev: {image: i, command: [udevd]}", Some("/var/log/boot/udev.log")),
            ("network: {image: i, command: [ros, netconf]}", Some("/var/log/boot/netconf.log")),
            ("docker: {image: i, command: [ros, user-docker]}", Some("/var/log/docker.log")),
            ("udev: {image: i, logging: {driver: none}}", None),
        ];
        for (text, path) in cases {
            let mut service = corral_plan::compose::parse("f", text).unwrap().services.remove(0);
            if service.name.as_str() != "docker" {
                assert_eq!(copy_of_log(&service), None, "{text}: a service of the owner");
            }
            service.built_in = true;
            let copy = copy_of_log(&service).map(|copy| copy.path.display().to_string());
            assert_eq!(copy.as_deref(), path, "{text}");
        }
    }

    #[test]
    fn a_container_is_the_same_after_its_way_through_a_message() {
        let text = "s: {image: i, stop_grace_period: 1500ms, restart: 'on-failure:3', \
                    stop_signal: SIGRTMIN+3, mac_address: '02:42:ac:12:00:02', \
                    healthcheck: {test: [CMD, a], interval: 1500ms}, links: [b]}";
        let service = corral_plan::compose::parse("f", text).unwrap().services.remove(0);
        let spec = of_service(&service, &BTreeMap::new());
        let read: ContainerSpec =
            serde_json::from_slice(&serde_json::to_vec(&spec).unwrap()).unwrap();
        assert_eq!(read, spec);
        assert_eq!(spec.stop_timeout, Grace::Limited(Duration::from_secs(2)));
    }

    #[test]
    fn built_in_services_need_no_preparation_and_the_rest_does() {
        let requirements = |text: &str, pull| {
            let mut service = corral_plan::compose::parse("f", text).unwrap().services.remove(0);
            service.pull = pull;
            of_service(&service, &BTreeMap::new()).requirements
        };
        assert_eq!(requirements("s: {image: i, net: host, volumes: ['/a:/a']}", Pull::Never), None);
        assert!(requirements("s: {image: i, net: host}", Pull::Missing).is_some());
        assert!(requirements("s: {image: i, net: host, volumes: ['a:/a']}", Pull::Never).is_some());
        let bridged = requirements("s: {image: i, links: ['db:d']}", Pull::Never).unwrap();
        assert_eq!(
            (bridged.networks[0].network.as_str(), bridged.networks[0].may_be_created),
            ("bridge", false)
        );
        assert_eq!(bridged.links, [("db".to_owned(), "d".to_owned())]);
    }
}
