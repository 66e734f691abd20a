//! `ros user-services`, in a system container: the services of the configuration that are not
//! system services, run by the user's Docker. A container with an unchanged definition is only
//! started.

mod variables;

use super::wait_for_docker;
use anyhow::{Context, Result, bail};
use corral_config::model::RegistryAuth;
use corral_config::yaml::Node;
use corral_docker::{Client, Container, Engine};
use corral_machine::files::{read_complete, remove_durably, write_atomic};
use corral_machine::program;
use corral_plan::compose;
use corral_plan::resolved::Environment;
use corral_plan::service::Condition;
use corral_plan::user_service::{self, UserService};
use corral_resolve::effective::load_config;
use corral_resolve::environment;
use corral_resolve::services::is_of_system;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use variables::Variables;

/// Where Docker's CLI finds the registry logins: in the memory of this container.
const CLIENT_CONFIG: &str = "/var/lib/docker-client";
/// How long a service waits for its dependencies.
const TIMEOUT: Duration = Duration::from_secs(300);
/// Limit of a file with variables: no text that a person wrote is larger.
const LONGEST_FILE: u64 = 1 << 20;
/// Hash of the definition that a container was created from.
pub(crate) const HASH_LABEL: &str = "io.corral.hash";

/// Starts all services. After an error (such as an image that is not there yet) PID 1 runs this
/// again after a pause.
pub(crate) fn run() -> Result<()> {
    let config = load_config()?;
    wait_for_docker::run()?;
    let client = Client::of(Engine::User)?;
    write_logins(&config.rancher.registry_auths)?;
    let table = environment(&config);
    let mut failures = Vec::new();
    let mut open: Vec<UserService> = Vec::new();
    for (name, definition) in
        config.rancher.services.iter().filter(|(_, value)| !is_of_system(value))
    {
        match parse(name, definition, &table) {
            Ok(service) if compose::is_active(&service.profiles, &table) => open.push(service),
            Ok(_) => {}
            Err(error) => failures.push(error),
        }
    }
    let names: BTreeSet<String> = open.iter().map(|service| service.name.clone()).collect();
    let mut done = BTreeSet::new();
    while let Some(at) = open.iter().position(|service| is_ready(service, &names, &done)) {
        let service = open.remove(at);
        if let Err(error) =
            wait_for_others(&client, &service, &names).and_then(|()| bring_up(&client, &service))
        {
            failures.push(format!("{}: {error:#}", service.name));
        }
        done.insert(service.name);
    }
    failures.extend(open.iter().map(|service| {
        format!("{}: it depends on itself, through {:?}", service.name, service.needs)
    }));
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("\n")) }
}

fn parse(name: &str, definition: &Value, table: &Environment) -> Result<UserService, String> {
    let (definition, complaints) =
        compose::interpolate_value(name, &Node::from_value(definition), table);
    complaints.iter().for_each(|complaint| println!("{complaint}"));
    let mut service = user_service::parse(name, &definition, table)?;
    service.ignored.iter().for_each(|key| println!("{name}: {key} has no effect in this version"));
    let texts = read_env_files(&service).map_err(|error| format!("{name}: {error:#}"))?;
    service.add_files(&texts, table);
    Ok(service)
}

/// The texts of its files with variables. They are read here, not by Docker's CLI: a container is
/// recreated when one of them has changed.
fn read_env_files(service: &UserService) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for file in &service.env_files {
        if !file.path.starts_with('/') {
            bail!(
                "env_file: {:?}: the path must be absolute, such as /home/rancher/web.env",
                file.path
            );
        }
        match read_complete(Path::new(&file.path), LONGEST_FILE) {
            Ok(bytes) => texts.push(
                String::from_utf8(bytes)
                    .with_context(|| format!("env_file: {} is not UTF-8 text", file.path))?,
            ),
            Err(_) if !file.required => {}
            Err(error) => {
                return Err(error).context(
                    "env_file; files are read below /home, /opt and /var/lib/rancher/conf",
                );
            }
        }
    }
    Ok(texts)
}

fn is_ready(service: &UserService, names: &BTreeSet<String>, done: &BTreeSet<String>) -> bool {
    service.needs.keys().all(|need| !names.contains(need) || done.contains(need))
}

/// Waits until the services that it depends on meet their conditions.
fn wait_for_others(client: &Client, service: &UserService, names: &BTreeSet<String>) -> Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    for (name, condition) in service.needs.iter().filter(|(name, _)| names.contains(*name)) {
        let met = client.watch(&[name.as_str()], deadline, || {
            let found =
                client.container(name)?.with_context(|| format!("{name} has no container"))?;
            is_met(name, &found, *condition).map(|is_met| is_met.then_some(()))
        })?;
        met.with_context(|| format!("{name}: not {condition:?} within {} s", TIMEOUT.as_secs()))?;
    }
    Ok(())
}

/// Fails when the condition can never be met.
fn is_met(name: &str, container: &Container, condition: Condition) -> Result<bool> {
    let state = &container.state;
    match condition {
        Condition::ServiceStarted => Ok(true),
        Condition::ServiceHealthy if state.health() == Some("unhealthy") => {
            bail!("{name} is not healthy")
        }
        Condition::ServiceHealthy => Ok(state.health() == Some("healthy")),
        Condition::ServiceCompletedSuccessfully if state.status != "exited" => Ok(false),
        Condition::ServiceCompletedSuccessfully if state.exit_code == 0 => Ok(true),
        Condition::ServiceCompletedSuccessfully => bail!("{name} has failed ({})", state.exit_code),
    }
}

fn bring_up(client: &Client, service: &UserService) -> Result<()> {
    for network in &service.networks {
        if !client.has_network(network)? {
            client.create_network(network)?;
        }
    }
    let definition = [service.arguments.join("\0"), service.environment.join("\0")].join("\0\0");
    let hash = hex::encode(&Sha256::digest(definition)[..16]);
    match client.container(&service.name)? {
        Some(old) if old.label(HASH_LABEL) == Some(hash.as_str()) => {}
        _ => {
            client.remove(&service.name, false)?;
            create(service, &hash)?;
        }
    }
    client.start(&service.name).map_err(Into::into)
}

/// Creates the container by Docker's CLI. `plan::user_service` writes a service as its arguments.
/// The CLI also pulls missing images, with the registry logins.
///
/// Values of variables go through a file that only root reads. The CLI's command line is visible to
/// every user and to every container with the host's processes.
fn create(service: &UserService, hash: &str) -> Result<()> {
    let variables = Variables::sort(&service.environment)?;
    let mut arguments = vec!["create".to_owned(), format!("--label={HASH_LABEL}={hash}")];
    arguments.extend(variables.flags);
    let file = Path::new(CLIENT_CONFIG).join("environment");
    // The first word of the service's command may look like a flag.
    let is_flag = |word: &&String| word.starts_with("--") && *word != "--entrypoint";
    let name = service.arguments.len().min(2);
    let flags = service.arguments[name..].iter().take_while(is_flag).count();
    let (front, rest) = service.arguments.split_at(name + flags);
    arguments.extend_from_slice(front);
    if !variables.lines.is_empty() {
        write_atomic(&file, variables.lines.as_bytes(), 0o600)?;
        arguments.push(format!("--env-file={}", file.display()));
    }
    arguments.extend_from_slice(rest);
    let created = docker(docker_command().args(arguments).envs(variables.own));
    remove_durably(&file)?;
    created
}

fn docker_command() -> Command {
    let mut command = Command::new("/usr/bin/docker");
    command.args(["--config", CLIENT_CONFIG]);
    command
}

/// Runs the CLI; its output is the error.
fn docker(command: &mut Command) -> Result<()> {
    program::run(command).map(drop)
}

/// `rancher.registry_auths` in the client's own format.
fn write_logins(logins: &BTreeMap<String, RegistryAuth>) -> Result<()> {
    let mut auths = Map::new();
    for (registry, login) in logins {
        let fields = [
            ("username", &login.username),
            ("password", &login.password),
            ("auth", &login.auth),
            ("identitytoken", &login.identity_token),
            ("registrytoken", &login.registry_token),
        ];
        let entry: Map<String, Value> = fields
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        auths.insert(registry.clone(), Value::Object(entry));
    }
    let text = serde_json::to_vec(&json!({ "auths": auths }))?;
    let folder = Path::new(CLIENT_CONFIG);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("making {CLIENT_CONFIG}"))?;
    write_atomic(&folder.join("config.json"), &text, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_waits_for_what_its_condition_names() {
        use Condition::{
            ServiceCompletedSuccessfully as Completed, ServiceHealthy as Healthy, ServiceStarted,
        };
        let all = [
            (json!({"Status": "created"}), ServiceStarted, "true"),
            (json!({"Status": "running"}), Healthy, "false"),
            (json!({"Status": "running", "Health": {"Status": "starting"}}), Healthy, "false"),
            (json!({"Status": "running", "Health": {"Status": "healthy"}}), Healthy, "true"),
            (
                json!({"Status": "running", "Health": {"Status": "unhealthy"}}),
                Healthy,
                "db is not healthy",
            ),
            (json!({"Status": "running"}), Completed, "false"),
            (json!({"Status": "exited", "ExitCode": 0}), Completed, "true"),
            (json!({"Status": "exited", "ExitCode": 2}), Completed, "db has failed (2)"),
        ];
        for (state, condition, expected) in all {
            let shown = json!({"Id": "1", "State": state, "Mounts": null});
            let container: Container = serde_json::from_value(shown).unwrap();
            let met = is_met("db", &container, condition)
                .map_or_else(|error| error.to_string(), |met| met.to_string());
            assert_eq!(met, expected, "{state} for {condition:?}");
        }
    }
}
