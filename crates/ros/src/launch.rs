//! A service of the plan → a container of the engine: the only meeting of the two.

use crate::resolve::InForce;
use corral_config::model::RegistryAuth;
use corral_engine::image::registry::Settings;
use corral_engine::spec::{Bind, ContainerSpec, Limits};
use corral_plan::Service;
use corral_plan::labels::KillMode;
use corral_plan::service::{Network, Restart, Sharing};
use std::collections::BTreeMap;

/// What the engine is to make of a service.
pub(crate) fn container(service: &Service, environment: &BTreeMap<String, String>) -> ContainerSpec {
    let host = |sharing| sharing == Sharing::Host;
    let (restart, restart_limit) = restart(service.restart);
    ContainerSpec {
        name: service.name.to_string(),
        image: service.image.clone(),
        entrypoint: service.entrypoint.clone(),
        command: service.command.clone(),
        env: expand(service, environment),
        working_dir: service.working_dir.clone(),
        user: service.user.clone(),
        hostname: service.hostname.clone(),
        tty: service.tty,
        open_stdin: service.stdin_open,
        privileged: service.privileged,
        read_only: service.read_only,
        cap_add: service.cap_add.clone(),
        cap_drop: service.cap_drop.clone(),
        no_new_privileges: service.security_opt.iter().any(|option| option.starts_with("no-new-privileges")),
        devices: service.devices.clone(),
        host_network: service.network == Network::Host,
        host_pid: host(service.pid),
        host_ipc: host(service.ipc),
        host_uts: host(service.uts),
        binds: service
            .volumes
            .iter()
            .map(|volume| Bind {
                source: volume.source.clone(),
                target: volume.target.clone(),
                read_only: volume.read_only,
                shared: volume.shared,
                ..Bind::default()
            })
            .collect(),
        tmpfs: tmpfs(service),
        labels: service.label_map.clone(),
        restart: restart.to_owned(),
        restart_limit,
        stop_signal: service.stop_signal.clone(),
        stop_timeout: service.stop_grace.as_secs(),
        limits: Limits { memory: service.memory_limit, ..Limits::default() },
        keep_children: service.labels.kill_mode == KillMode::Process,
        ..ContainerSpec::default()
    }
}

/// A system container has a /run of its own unless it shares another, and programs may lie in what is in memory.
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

/// What the configuration in force says about registries, for the engine of the system.
pub(crate) fn registries() -> Settings {
    let Ok(in_force) = InForce::load() else { return Settings::default() };
    let rancher = in_force.config.rancher;
    let engine = rancher.system_docker;
    let account = |(host, auth): (String, RegistryAuth)| Some((host, auth.account()?));
    Settings {
        mirrors: Some(engine.registry_mirror).filter(|mirror| !mirror.is_empty()).into_iter().collect(),
        insecure: engine.insecure_registry,
        accounts: rancher.registry_auths.into_iter().filter_map(account).collect(),
    }
}

/// Docker's words for a restart policy.
pub(crate) fn restart(policy: Restart) -> (&'static str, u32) {
    match policy {
        Restart::No => ("no", 0),
        Restart::Always => ("always", 0),
        Restart::UnlessStopped => ("unless-stopped", 0),
        Restart::OnFailure(limit) => ("on-failure", limit),
    }
}

/// The policy that Docker's word stands for.
pub(crate) fn policy(spec: &ContainerSpec) -> Restart {
    match spec.restart.as_str() {
        "always" => Restart::Always,
        "unless-stopped" => Restart::UnlessStopped,
        "on-failure" => Restart::OnFailure(spec.restart_limit),
        _ => Restart::No,
    }
}

/// `KEY` takes its value from `rancher.environment`, first as `service/KEY`; `PREFIX*` takes all that begin so.
fn expand(service: &Service, environment: &BTreeMap<String, String>) -> Vec<String> {
    let mut result = Vec::new();
    for item in &service.environment {
        if item.contains('=') {
            result.push(item.clone());
        } else if let Some(prefix) = item.strip_suffix('*') {
            let matching = environment.iter().filter(|(key, _)| key.starts_with(prefix));
            result.extend(matching.map(|(key, value)| format!("{key}={value}")));
        } else {
            let own = environment.get(&format!("{}/{item}", service.name));
            result.extend(own.or_else(|| environment.get(item)).map(|value| format!("{item}={value}")));
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_is_taken_by_name_and_by_prefix() {
        let text = "s: {image: i, environment: [A, B*, C=3, D]}";
        let service = &corral_plan::compose::parse("f", text).unwrap().services[0];
        let table = [("A", "0"), ("s/A", "1"), ("BB", "2"), ("BC", "2")];
        let table = table.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        assert_eq!(expand(service, &table), ["A=1", "BB=2", "BC=2", "C=3"]);
    }
}
