//! What an owner writes under the name of a service of the system image: variables, labels,
//! volumes, ports and the log are added to it, and everything else is refused. Another image or
//! command would be another service, and one without a login. A console or an engine of the owner's
//! choice has keys of its own (`rancher.console`, `rancher.docker.engine`).

use crate::compose::parse_tree;
use crate::resolved::Environment;
use crate::service::{Network, Service, Source, Volume};
use corral_config::yaml::Node;
use serde_json::{Map, Value, json};

/// Keys that are merged.
const MERGED: [&str; 8] =
    ["environment", "labels", "volumes", "ports", "logging", "log_driver", "log_opt", "log_opts"];
/// Labels that say how the system runs a service.
const LABELS_OF_THE_SYSTEM: [&str; 3] = ["io.rancher.", "io.corral.", "io.docker.compose."];
/// The top folders that are an owner's own, as far as nothing built in is mounted there. What is
/// mounted elsewhere can hide programs, accounts, devices or sockets that a login needs.
const OF_OWNER: [&str; 6] = ["/data", "/home", "/media", "/mnt", "/opt", "/srv"];
/// And folders of the system that hold nothing of the kind.
const HARMLESS: [&str; 11] = [
    "/etc/chrony",
    "/etc/docker",
    "/etc/rsyslog.d",
    "/etc/ssl",
    "/usr/local",
    "/usr/share/ca-certificates",
    "/usr/share/zoneinfo",
    "/var/cache",
    "/var/log",
    "/var/opt",
    "/var/spool",
];

/// A part of a definition that is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The key below the service: `image`, `volumes`.
    pub key: String,
    pub why: String,
}

/// Adds an owner's definition to a built-in service. Returns what was left out.
pub fn amend(service: &mut Service, definition: &Value, table: &Environment) -> Vec<Refusal> {
    let Value::Object(written) = definition else {
        return vec![refuse("", "expected a mapping".to_owned())];
    };
    let mut refusals = Vec::new();
    for (key, value) in written {
        if !MERGED.contains(&key.as_str()) {
            if !is_said_already(service, key, value) {
                refusals.push(refuse(key, not_merged(service)));
            }
        } else if !is_log(key) {
            merge_one(service, key, &json!({ key: value }), table, &mut refusals);
        }
    }
    // Driver and options of the log are one thing, in whichever keys they are written.
    let log: Map<String, Value> = written
        .iter()
        .filter(|(key, _)| is_log(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if let Some(key) = log.keys().next().cloned() {
        merge_one(service, &key, &Value::Object(log), table, &mut refusals);
    }
    refusals
}

fn is_log(key: &str) -> bool {
    key.starts_with("log")
}

/// An owner who copied the complete definition of a service to add a line repeats the image's name
/// too.
fn is_said_already(service: &Service, key: &str, value: &Value) -> bool {
    key == "image" && value.as_str() == Some(service.image.as_str())
}

fn not_merged(service: &Service) -> String {
    let other = match service.name.as_str() {
        "console" => "; rancher.console replaces it",
        "docker" => "; rancher.docker.engine replaces it",
        _ => "",
    };
    format!(
        "{} is a service of the system: only environment, labels, volumes and logging can be \
         added{other}; a service of your own needs another name",
        service.name
    )
}

/// A part of the definition by itself, so that what is wrong costs only that part.
fn merge_one(
    service: &mut Service,
    key: &str,
    part: &Value,
    table: &Environment,
    refusals: &mut Vec<Refusal>,
) {
    match parse_part(service, part, table) {
        Ok(added) => merge(service, key, added, refusals),
        Err(why) => refusals.push(refuse(key, why)),
    }
}

fn parse_part(service: &Service, part: &Value, table: &Environment) -> Result<Service, String> {
    let mut definition = part.as_object().cloned().unwrap_or_default();
    definition.insert("image".to_owned(), Value::String(service.image.clone()));
    let file =
        Value::Object(Map::from_iter([(service.name.to_string(), Value::Object(definition))]));
    let parsed = parse_tree("", &Node::from_value(&file), table).map_err(|error| error.message)?;
    parsed.services.into_iter().next().ok_or_else(|| "expected a service".to_owned())
}

fn merge(service: &mut Service, key: &str, added: Service, refusals: &mut Vec<Refusal>) {
    match key {
        "environment" => merge_environment(service, added.environment, refusals),
        "labels" => merge_labels(service, added, refusals),
        "volumes" => merge_volumes(service, added.volumes, refusals),
        "ports" if matches!(service.network, Network::Bridges(_)) => {
            service.ports.extend(added.ports)
        }
        "ports" => refusals.push(refuse(
            key,
            format!("{} has the host's network: its ports need not be published", service.name),
        )),
        _ => service.logging = added.logging,
    }
}

fn merge_environment(service: &mut Service, added: Vec<String>, refusals: &mut Vec<Refusal>) {
    for item in added {
        let name = item.split('=').next().unwrap_or_default();
        match check_variable(name) {
            Ok(()) => service.environment.push(item),
            Err(why) => refusals.push(refuse("environment", format!("{name}: {why}"))),
        }
    }
}

/// Not by a pattern: that may mean any variable.
fn check_variable(name: &str) -> Result<(), &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || !name.bytes().all(is_plain) || name.as_bytes()[0].is_ascii_digit() {
        return Err("variables of a service of the system have names of letters, digits and _");
    }
    if ["PATH", "ENV", "BASH_ENV", "IFS"].contains(&name) || name.starts_with("LD_") {
        return Err("it decides which programs of the service run and cannot be changed");
    }
    Ok(())
}

fn merge_labels(service: &mut Service, added: Service, refusals: &mut Vec<Refusal>) {
    for (label, value) in added.label_map {
        let is_of_system = LABELS_OF_THE_SYSTEM.iter().any(|prefix| label.starts_with(prefix));
        if !is_of_system {
            service.label_map.insert(label, value);
        } else if service.label_map.get(&label) != Some(&value) {
            let why =
                format!("{label} is set by the system for {} and cannot be changed", service.name);
            refusals.push(refuse("labels", why));
        }
    }
}

fn merge_volumes(service: &mut Service, added: Vec<Volume>, refusals: &mut Vec<Refusal>) {
    for volume in added {
        if service.volumes.contains(&volume) {
            continue;
        }
        match check_volume(service, &volume) {
            Ok(()) => {
                service.volumes.retain(|other| other.target != volume.target);
                service.volumes.push(Volume { optional: true, ..volume });
            }
            Err(why) => refusals.push(refuse("volumes", format!("{}: {why}", volume.target))),
        }
    }
}

fn check_volume(service: &Service, volume: &Volume) -> Result<(), String> {
    let target = volume.target.trim_end_matches('/');
    let parts_are_plain = target.split('/').skip(1).all(|part| !["", ".", ".."].contains(&part));
    if !target.starts_with('/') || !parts_are_plain {
        return Err("expected an absolute path without . and .., other than /".to_owned());
    }
    if !matches!(&volume.source, Source::Path(path) if path.starts_with('/')) {
        return Err("a service of the system accepts only paths of the host".to_owned());
    }
    let is_in =
        |inner: &str, outer: &str| inner == outer || inner.starts_with(&format!("{outer}/"));
    if !OF_OWNER.iter().chain(&HARMLESS).any(|path| is_in(target, path)) {
        let allowed = [OF_OWNER.as_slice(), &HARMLESS].concat().join(", ");
        return Err(format!("a volume can be added to {} below {allowed}", service.name));
    }
    let own = service.volumes.iter().find(|own| !own.optional && is_in(&own.target, target));
    own.map_or(Ok(()), |own| {
        Err(format!("it would hide {}, which {} needs", own.target, service.name))
    })
}

fn refuse(key: &str, why: String) -> Refusal {
    Refusal { key: key.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::parse;

    fn console() -> Service {
        let text = "console: {image: corral/os-console, command: [ros, console-init], net: host, \
                    environment: [A=1], volumes: ['/run:/run', '/home:/home'], \
                    labels: {io.rancher.os.scope: system}}";
        let mut service = parse("f", text).unwrap().services.remove(0);
        service.built_in = true;
        service
    }

    fn amended(definition: Value) -> (Service, Vec<String>) {
        let mut service = console();
        let refusals = amend(&mut service, &definition, &Environment::new());
        (service, refusals.into_iter().map(|refusal| refusal.key).collect())
    }

    #[test]
    fn variables_labels_volumes_and_the_log_are_added() {
        let (service, refused) = amended(json!({
            "environment": {"B": "2"},
            "labels": {"mine": "yes", "io.rancher.os.scope": "system"},
            "volumes": ["/home:/home", "/data:/data", "/home/ca.crt:/etc/docker/certs.d/ca.crt:ro"],
            "log_driver": "none",
            "log_opt": {"max-file": "3"},
            "image": "corral/os-console",
        }));
        assert_eq!(refused, Vec::<String>::new());
        assert_eq!(service.environment, ["A=1", "B=2"]);
        assert_eq!(service.label_map["mine"], "yes");
        let added: Vec<(&str, bool)> = service
            .volumes
            .iter()
            .map(|volume| (volume.target.as_str(), volume.optional))
            .collect();
        let expected = [
            ("/run", false),
            ("/home", false),
            ("/data", true),
            ("/etc/docker/certs.d/ca.crt", true),
        ];
        assert_eq!(added, expected);
        assert!(service.logging.none);
    }

    #[test]
    fn what_could_close_the_machine_is_refused_and_the_service_stays_as_it_is() {
        let cases = [
            ("image", json!({"image": "mine"})),
            ("command", json!({"command": "sleep 9"})),
            ("privileged", json!({"privileged": false})),
            ("network_mode", json!({"network_mode": "none"})),
            ("restart", json!({"restart": "no"})),
            ("nonsense", json!({"nonsense": 1})),
            ("environment", json!({"environment": ["PATH=/x"]})),
            ("environment", json!({"environment": ["LD_PRELOAD=/x"]})),
            ("environment", json!({"environment": ["*"]})),
            ("environment", json!({"environment": ["P*"]})),
            ("environment", json!({"environment": ["console/PATH"]})),
            ("environment", json!({"environment": 7})),
            ("labels", json!({"labels": {"io.rancher.os.after": "never"}})),
            ("labels", json!({"labels": {"io.rancher.os.scope": "user"}})),
            ("labels", json!({"labels": {"io.docker.compose.rebuild": "false"}})),
            ("volumes", json!({"volumes": ["/x:/"]})),
            ("volumes", json!({"volumes": ["/x:/run"]})),
            ("volumes", json!({"volumes": ["/x:/run/sshd"]})),
            ("volumes", json!({"volumes": ["/x:/var/run"]})),
            ("volumes", json!({"volumes": ["/x:/home/"]})),
            ("volumes", json!({"volumes": ["/x:/etc"]})),
            ("volumes", json!({"volumes": ["/x:/etc/passwd"]})),
            ("volumes", json!({"volumes": ["/x:/etc/passwd/x"]})),
            ("volumes", json!({"volumes": ["/x:/etc/nologin"]})),
            ("volumes", json!({"volumes": ["/x:/etc/ssh/sshd_config"]})),
            ("volumes", json!({"volumes": ["/x:/usr"]})),
            ("volumes", json!({"volumes": ["/x:/usr/lib64"]})),
            ("volumes", json!({"volumes": ["/x:/usr/sbin/sshd"]})),
            ("volumes", json!({"volumes": ["/x:/opt/../usr/sbin"]})),
            ("volumes", json!({"volumes": ["/x:/lib64"]})),
            ("volumes", json!({"volumes": ["/x:/tmp"]})),
            ("volumes", json!({"volumes": ["/x:/var/lib/rancher/conf"]})),
            ("volumes", json!({"volumes": ["/x:/boot"]})),
            ("volumes", json!({"volumes": ["named:/data"]})),
            ("volumes", json!({"volumes": {"a": 1}})),
            ("ports", json!({"ports": ["80:80"]})),
            ("", json!("text")),
            ("", Value::Null),
        ];
        for (key, definition) in cases {
            let (service, refused) = amended(definition.clone());
            assert_eq!(refused, [key], "{definition}");
            assert_eq!(service, console(), "{definition}");
        }
    }
}
