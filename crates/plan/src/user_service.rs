//! A service of the user's Docker: its compose definition → arguments of `docker create`, as one would type them.

use crate::compose::Environment;
use serde_json::Value;
use std::collections::BTreeSet;

/// A service that Docker is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserService {
    pub name: String,
    /// After `docker create`.
    pub arguments: Vec<String>,
    /// `KEY=VALUE`: apart, as there may be secrets in it that no list of processes is to show.
    pub environment: Vec<String>,
    /// Names of services that must be there first.
    pub needs: BTreeSet<String>,
    /// Keys that mean nothing here.
    pub ignored: Vec<String>,
}

/// Keys that are a flag with one value.
const SCALARS: [(&str, &str); 21] = [
    ("hostname", "--hostname"),
    ("domainname", "--domainname"),
    ("user", "--user"),
    ("working_dir", "--workdir"),
    ("restart", "--restart"),
    ("net", "--network"),
    ("network_mode", "--network"),
    ("pid", "--pid"),
    ("ipc", "--ipc"),
    ("uts", "--uts"),
    ("mem_limit", "--memory"),
    ("memswap_limit", "--memory-swap"),
    ("cpu_shares", "--cpu-shares"),
    ("cpu_quota", "--cpu-quota"),
    ("cpuset", "--cpuset-cpus"),
    ("mac_address", "--mac-address"),
    ("cgroup_parent", "--cgroup-parent"),
    ("log_driver", "--log-driver"),
    ("volume_driver", "--volume-driver"),
    ("stop_signal", "--stop-signal"),
    ("shm_size", "--shm-size"),
];

/// Keys that are a flag for each item of a list.
const LISTS: [(&str, &str); 16] = [
    ("ports", "--publish"),
    ("expose", "--expose"),
    ("volumes", "--volume"),
    ("volumes_from", "--volumes-from"),
    ("links", "--link"),
    ("external_links", "--link"),
    ("cap_add", "--cap-add"),
    ("cap_drop", "--cap-drop"),
    ("devices", "--device"),
    ("dns", "--dns"),
    ("dns_search", "--dns-search"),
    ("security_opt", "--security-opt"),
    ("tmpfs", "--tmpfs"),
    ("env_file", "--env-file"),
    ("extra_hosts", "--add-host"),
    ("group_add", "--group-add"),
];

/// Keys that are a flag when they are true.
const SWITCHES: [(&str, &str); 5] = [
    ("privileged", "--privileged"),
    ("read_only", "--read-only"),
    ("tty", "--tty"),
    ("stdin_open", "--interactive"),
    ("init", "--init"),
];

/// Keys that are a flag `KEY=VALUE` for each entry.
const MAPS: [(&str, &str); 4] =
    [("labels", "--label"), ("log_opt", "--log-opt"), ("sysctls", "--sysctl"), ("ulimits", "--ulimit")];

/// Reads a definition, in which variables were put in already.
pub fn parse(name: &str, definition: &Value, table: &Environment) -> Result<UserService, String> {
    let Some(keys) = definition.as_object() else { return Err(format!("{name}: a mapping is wanted")) };
    let image = definition.get("image").map(scalar).filter(|image| !image.is_empty());
    let image = image.ok_or_else(|| format!("{name}: image is missing"))?;
    let container = definition.get("container_name").map_or_else(|| name.to_owned(), scalar);
    let mut service = UserService {
        name: container.clone(),
        arguments: vec!["--name".to_owned(), container],
        environment: Vec::new(),
        needs: BTreeSet::new(),
        ignored: Vec::new(),
    };
    let (mut entrypoint, mut command) = (Vec::new(), Vec::new());
    for (key, value) in keys {
        match key.as_str() {
            "image" | "container_name" => {}
            "command" => command = words(value),
            "entrypoint" => entrypoint = words(value),
            "environment" => service.add_environment(name, value, table),
            "depends_on" => service.needs.extend(names(value)),
            _ if service.add(key, value) => {}
            other => service.ignored.push(other.to_owned()),
        }
    }
    if let Some((first, rest)) = entrypoint.split_first() {
        service.arguments.extend(["--entrypoint".to_owned(), first.clone()]);
        command = rest.iter().cloned().chain(command).collect();
    }
    service.arguments.push(image);
    service.arguments.extend(command);
    Ok(service)
}

impl UserService {
    fn flag(&mut self, flag: &str, value: String) {
        self.arguments.push(format!("{flag}={value}"));
    }

    /// Takes one key; false if it is not known.
    fn add(&mut self, key: &str, value: &Value) -> bool {
        let find = |table: &[(&str, &'static str)]| {
            table.iter().find(|(name, _)| *name == key).map(|(_, flag)| *flag)
        };
        if let Some(flag) = find(&SCALARS) {
            self.flag(flag, scalar(value));
        } else if let Some(flag) = find(&LISTS) {
            for item in pairs(value, ":") {
                self.flag(flag, item);
            }
            if ["links", "volumes_from"].contains(&key) {
                self.needs.extend(names(value));
            }
        } else if let Some(flag) = find(&SWITCHES) {
            if scalar(value) == "true" {
                self.arguments.push(flag.to_owned());
            }
        } else if let Some(flag) = find(&MAPS) {
            for item in pairs(value, "=") {
                self.flag(flag, item);
            }
        } else {
            return key.starts_with("x-");
        }
        true
    }

    /// `KEY` alone takes its value from the table, `PREFIX*` all that begin so.
    fn add_environment(&mut self, service: &str, value: &Value, table: &Environment) {
        for item in pairs(value, "=") {
            if item.contains('=') {
                self.environment.push(item);
            } else if let Some(prefix) = item.strip_suffix('*') {
                let matching = table.iter().filter(|(key, _)| key.starts_with(prefix));
                self.environment.extend(matching.map(|(key, value)| format!("{key}={value}")));
            } else {
                let own = table.get(&format!("{service}/{item}")).or_else(|| table.get(&item));
                self.environment.extend(own.map(|value| format!("{item}={value}")));
            }
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A list, a mapping (joined by `separator`) or one value, as texts.
fn pairs(value: &Value, separator: &str) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().map(scalar).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| match value {
                Value::Null => key.clone(),
                // ulimits: {nofile: {soft: 1, hard: 2}}
                Value::Object(limits) => format!(
                    "{key}{separator}{}:{}",
                    limits.get("soft").map(scalar).unwrap_or_default(),
                    limits.get("hard").map(scalar).unwrap_or_default()
                ),
                other => format!("{key}{separator}{}", scalar(other)),
            })
            .collect(),
        Value::Null => Vec::new(),
        one => vec![scalar(one)],
    }
}

/// The services that `links`, `volumes_from` or `depends_on` name.
fn names(value: &Value) -> Vec<String> {
    let first = |text: &String| text.split(':').next().unwrap_or_default().to_owned();
    match value {
        Value::Object(map) => map.keys().map(first).collect(),
        other => pairs(other, ":").iter().map(first).collect(),
    }
}

/// A list of words, or one text that is split as a shell would.
fn words(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().map(scalar).collect(),
        Value::Null => Vec::new(),
        other => crate::compose::split_words(&scalar(other)).unwrap_or_else(|| vec![scalar(other)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_definition_becomes_what_one_would_type() {
        let table: Environment = [("A".to_owned(), "1".to_owned())].into();
        let definition = json!({
            "image": "nginx", "ports": ["80:80"], "privileged": "true", "restart": "always", "links": ["db:d"],
            "environment": ["A", "B=2"], "labels": {"x": "y"}, "command": "sh -c 'echo \"a b\"'",
            "entrypoint": ["/run", "-v"], "ulimits": {"nofile": {"soft": 1, "hard": 2}}, "scale": 3,
        });
        let service = parse("web", &definition, &table).unwrap();
        let expected = "--name web --label=x=y --link=db:d --publish=80:80 --privileged \
                        --restart=always --ulimit=nofile=1:2 --entrypoint /run nginx -v sh -c echo \"a b\"";
        assert_eq!(service.arguments.join(" "), expected);
        assert_eq!(service.environment, ["A=1", "B=2"]);
        assert_eq!((service.needs, service.ignored), (["db".to_owned()].into(), vec!["scale".to_owned()]));
        assert_eq!(parse("web", &json!({}), &table).unwrap_err(), "web: image is missing");
    }
}
