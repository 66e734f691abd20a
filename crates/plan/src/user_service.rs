//! A service of the user's Docker: its compose definition → arguments of `docker create`, as a user
//! would type them.

mod flags;

use crate::compose::{self, duration};
use crate::resolved::Environment;
use crate::service::{Condition, EnvFile};
use corral_config::error::clip;
use flags::{ENDPOINT, HEALTH, LISTS, MAPS, SCALARS, SWITCHES, VOLUME};
use serde_json::Value;
use std::collections::BTreeMap;

/// A service that Docker is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserService {
    pub name: String,
    /// After `docker create`.
    pub arguments: Vec<String>,
    /// `KEY=VALUE`: apart, as there may be secrets in it that no list of processes is to show.
    pub environment: Vec<String>,
    /// Files with more of them, which these override: see [`UserService::add_files`].
    pub env_files: Vec<EnvFile>,
    /// Names of services that must be there first, and how far they must be.
    pub needs: BTreeMap<String, Condition>,
    /// Networks that it is in: Docker is to make those that are not there.
    pub networks: Vec<String>,
    /// Not empty: it is only there when one of these is active.
    pub profiles: Vec<String>,
    /// Keys that mean nothing here, such as `scale`, `deploy.replicas`, `volumes[0].consistency`.
    pub ignored: Vec<String>,
}

/// Reads a definition. Its variables were put in already, or only its form is checked.
pub fn parse(name: &str, definition: &Value, table: &Environment) -> Result<UserService, String> {
    let Some(keys) = definition.as_object() else {
        return Err(format!("{name}: expected a mapping"));
    };
    let image = definition.get("image").map(scalar).filter(|image| !image.is_empty());
    let image = image.ok_or_else(|| format!("{name}: image is missing"))?;
    let container = definition.get("container_name").map_or_else(|| name.to_owned(), scalar);
    let mut service = UserService {
        name: container.clone(),
        arguments: vec!["--name".to_owned(), container],
        environment: Vec::new(),
        env_files: Vec::new(),
        needs: BTreeMap::new(),
        networks: Vec::new(),
        profiles: Vec::new(),
        ignored: Vec::new(),
    };
    let (mut entrypoint, mut command) = (Vec::new(), Vec::new());
    for (key, value) in keys {
        match key.as_str() {
            "image" | "container_name" => {}
            "command" => command = words(value),
            "entrypoint" => entrypoint = words(value),
            "env_file" => service.env_files = env_files(name, value)?,
            "environment" => service.add_environment(name, value, table),
            _ if service.add(key, value) || service.add_in_parts(key, value) => {}
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

    /// Adds the variables of its `env_files`, given their texts in order. Of one name the last
    /// file's is taken, and the service's own before all. A name alone has its value in the table.
    pub fn add_files(&mut self, texts: &[String], table: &Environment) {
        let name = |item: &str| item.split('=').next().unwrap_or_default().to_owned();
        let lines = texts.iter().flat_map(|text| compose::env_file(text));
        let mut read: BTreeMap<String, String> = BTreeMap::new();
        for line in lines {
            let item = if line.contains('=') {
                Some(line)
            } else {
                table.get(&line).map(|value| format!("{line}={value}"))
            };
            read.extend(item.map(|item| (name(&item), item)));
        }
        self.environment.iter().for_each(|item| drop(read.remove(&name(item))));
        self.environment.splice(0..0, read.into_values());
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
                for name in names(value) {
                    self.needs.entry(name).or_insert(Condition::ServiceStarted);
                }
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

    /// Takes one of the keys that have parts of their own; false if it is none.
    fn add_in_parts(&mut self, key: &str, value: &Value) -> bool {
        match key {
            "depends_on" => self.add_dependencies(value),
            "profiles" => self.profiles = pairs(value, ":"),
            "healthcheck" => self.add_health(value),
            "logging" => {
                self.optional("--log-driver", &value["driver"]);
                pairs(&value["options"], "=")
                    .into_iter()
                    .for_each(|item| self.flag("--log-opt", item));
                self.ignore_rest(key, value, &["driver", "options"]);
            }
            "networks" => self.add_networks(value),
            "ports" => items(value).iter().for_each(|port| self.flag("--publish", published(port))),
            "volumes" => {
                for (number, volume) in items(value).iter().enumerate() {
                    self.add_volume(volume, &format!("volumes[{number}]"));
                }
            }
            "deploy" => self.add_deploy(value),
            "stop_grace_period" => {
                let seconds = duration(&scalar(value)).map(|time| time.as_secs().to_string());
                seconds.into_iter().for_each(|seconds| self.flag("--stop-timeout", seconds));
            }
            "pull_policy" => match scalar(value).as_str() {
                policy @ ("always" | "missing" | "never") => self.flag("--pull", policy.to_owned()),
                "if_not_present" => self.flag("--pull", "missing".to_owned()),
                _ => return false,
            },
            _ => return false,
        }
        true
    }

    /// Notes the keys of a mapping that have no effect: all but these, and what is the owner's own.
    fn ignore_rest(&mut self, above: &str, value: &Value, known: &[&str]) {
        let keys = value.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
        let rest = keys.filter(|key| !known.contains(key) && !key.starts_with("x-"));
        // With a long name above them, each of many keys would be as long.
        let above = clip(above);
        self.ignored.extend(rest.map(|key| format!("{above}.{key}")));
    }

    fn optional(&mut self, flag: &str, value: &Value) {
        if !value.is_null() {
            self.flag(flag, scalar(value));
        }
    }

    fn add_dependencies(&mut self, value: &Value) {
        for name in names(value) {
            let condition = match value[&name]["condition"].as_str() {
                Some("service_healthy") => Condition::ServiceHealthy,
                Some("service_completed_successfully") => Condition::ServiceCompletedSuccessfully,
                _ => Condition::ServiceStarted,
            };
            self.needs.insert(name, condition);
        }
    }

    /// `docker create` takes a test as a line for the shell only.
    fn add_health(&mut self, value: &Value) {
        self.ignore_rest("healthcheck", value, &HEALTH);
        let test = match &value["test"] {
            Value::Array(words) => words.iter().map(scalar).collect(),
            Value::Null => Vec::new(),
            line => vec!["CMD-SHELL".to_owned(), scalar(line)],
        };
        let kind = test.first().map(String::as_str).unwrap_or_default();
        if kind == "NONE" || scalar(&value["disable"]) == "true" {
            return self.arguments.push("--no-healthcheck".to_owned());
        }
        let words = test.get(1..).unwrap_or_default();
        match kind {
            "CMD-SHELL" => self.flag("--health-cmd", words.join(" ")),
            "CMD" => self.flag(
                "--health-cmd",
                words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
            ),
            _ => {}
        }
        for (key, flag) in [
            ("interval", "--health-interval"),
            ("timeout", "--health-timeout"),
            ("start_period", "--health-start-period"),
            ("start_interval", "--health-start-interval"),
        ] {
            let time = duration(&scalar(&value[key])).filter(|time| !time.is_zero());
            time.into_iter().for_each(|time| self.flag(flag, format!("{}ms", time.as_millis())));
        }
        self.optional("--health-retries", &value["retries"]);
    }

    fn add_networks(&mut self, value: &Value) {
        for name in names(value) {
            let endpoint = &value[&name];
            let mut words = vec![format!("name={name}")];
            words.extend(
                pairs(&endpoint["aliases"], "=").into_iter().map(|alias| format!("alias={alias}")),
            );
            for (key, word) in
                [("ipv4_address", "ip"), ("ipv6_address", "ip6"), ("mac_address", "mac-address")]
            {
                words
                    .extend(endpoint.get(key).map(|address| format!("{word}={}", scalar(address))));
            }
            self.flag("--network", words.join(","));
            self.ignore_rest(&format!("networks.{name}"), endpoint, &ENDPOINT);
            self.networks.push(name);
        }
    }

    fn add_volume(&mut self, value: &Value, name: &str) {
        let Value::Object(_) = value else { return self.flag("--volume", scalar(value)) };
        let kind = value["type"].as_str().unwrap_or("volume");
        let mut words =
            vec![format!("type={kind}"), format!("target={}", scalar(&value["target"]))];
        words.extend(value.get("source").map(|source| format!("source={}", scalar(source))));
        if scalar(&value["read_only"]) == "true" {
            words.push("readonly".to_owned());
        }
        let propagation = value["bind"].get("propagation");
        words.extend(propagation.map(|word| format!("bind-propagation={}", scalar(word))));
        words.extend(value["tmpfs"].get("size").map(|size| format!("tmpfs-size={}", scalar(size))));
        self.flag("--mount", words.join(","));
        self.ignore_rest(name, value, &VOLUME);
        // Docker never creates the path of a mount.
        let is_so = scalar(&value["bind"]["create_host_path"]) == "false";
        let of_bind: &[&str] =
            if is_so { &["propagation", "create_host_path"] } else { &["propagation"] };
        self.ignore_rest(&format!("{name}.bind"), &value["bind"], of_bind);
        self.ignore_rest(&format!("{name}.tmpfs"), &value["tmpfs"], &["size"]);
        self.ignore_rest(&format!("{name}.volume"), &value["volume"], &[]);
    }

    fn add_deploy(&mut self, value: &Value) {
        self.ignore_rest_of_deploy(value);
        let resources = &value["resources"];
        self.optional("--cpus", &resources["limits"]["cpus"]);
        self.optional("--memory", &resources["limits"]["memory"]);
        self.optional("--pids-limit", &resources["limits"]["pids"]);
        self.optional("--memory-reservation", &resources["reservations"]["memory"]);
        let policy = &value["restart_policy"];
        match policy["condition"].as_str() {
            Some("none") => self.flag("--restart", "no".to_owned()),
            Some("on-failure") => {
                let attempts =
                    policy.get("max_attempts").map(|count| format!(":{}", scalar(count)));
                self.flag("--restart", format!("on-failure{}", attempts.unwrap_or_default()));
            }
            Some(_) => self.flag("--restart", "always".to_owned()),
            None => {}
        }
    }

    fn ignore_rest_of_deploy(&mut self, value: &Value) {
        // There is one container in any case.
        let is_one = scalar(&value["replicas"]) == "1";
        let known: &[&str] = if is_one {
            &["resources", "restart_policy", "replicas"]
        } else {
            &["resources", "restart_policy"]
        };
        self.ignore_rest("deploy", value, known);
        let resources = &value["resources"];
        self.ignore_rest("deploy.resources", resources, &["limits", "reservations"]);
        let limits = &resources["limits"];
        self.ignore_rest("deploy.resources.limits", limits, &["cpus", "memory", "pids"]);
        let reservations = &resources["reservations"];
        self.ignore_rest("deploy.resources.reservations", reservations, &["memory"]);
        let policy = &value["restart_policy"];
        // Docker has attempts for `on-failure` only.
        let has_attempts = policy["condition"] == "on-failure";
        let known: &[&str] =
            if has_attempts { &["condition", "max_attempts"] } else { &["condition"] };
        self.ignore_rest("deploy.restart_policy", policy, known);
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
pub fn pairs(value: &Value, separator: &str) -> Vec<String> {
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

/// The items of a list, or the one that there is.
fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        Value::Null => &[],
        one => std::slice::from_ref(one),
    }
}

/// `env_file`: paths, or mappings with `path` and `required`. A path with `$` is not checked: its
/// variables may not be put in yet.
fn env_files(name: &str, value: &Value) -> Result<Vec<EnvFile>, String> {
    let file = |item: &Value| {
        let path = scalar(item.get("path").unwrap_or(item));
        let required = item.get("required").is_none_or(|required| scalar(required) != "false");
        if path.starts_with('/') || path.contains('$') {
            Ok(EnvFile { path, required })
        } else {
            Err(format!(
                "{name}: env_file: {path:?}: the path must be absolute, such as \
                 /home/rancher/web.env"
            ))
        }
    };
    items(value).iter().map(file).collect()
}

/// A port in either form, as `--publish` takes it.
fn published(value: &Value) -> String {
    let Value::Object(_) = value else { return scalar(value) };
    let part =
        |key: &str| value.get(key).map(|part| format!("{}:", scalar(part))).unwrap_or_default();
    let protocol = value.get("protocol").map_or("tcp".to_owned(), scalar);
    format!("{}{}{}/{protocol}", part("host_ip"), part("published"), scalar(&value["target"]))
}

/// A word that a shell takes as it is.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The names that `links`, `volumes_from`, `networks` or `depends_on` begin with.
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
            "image": "nginx", "ports": ["80:80"], "privileged": "true", "restart": "always",
            "links": ["db:d"], "environment": ["A", "B=2"], "labels": {"x": "y"},
            "command": "sh -c 'echo \"a b\"'",
            "entrypoint": ["/run", "-v"], "ulimits": {"nofile": {"soft": 1, "hard": 2}}, "scale": 3,
        });
        let service = parse("web", &definition, &table).unwrap();
        let expected = "--name web --label=x=y --link=db:d --publish=80:80 --privileged \
                        --restart=always --ulimit=nofile=1:2 --entrypoint /run \
                        nginx -v sh -c echo \"a b\"";
        assert_eq!(service.arguments.join(" "), expected);
        assert_eq!(service.environment, ["A=1", "B=2"]);
        assert_eq!(
            (service.needs, service.ignored),
            ([("db".to_owned(), Condition::ServiceStarted)].into(), vec!["scale".to_owned()])
        );
        assert_eq!(parse("web", &json!({}), &table).unwrap_err(), "web: image is missing");
    }

    #[test]
    fn variables_of_files_are_below_the_services_own() {
        let table: Environment = [("T".to_owned(), "table".to_owned())].into();
        let definition = json!({
            "image": "i", "environment": {"A": "own"},
            "env_file": ["/home/a.env", {"path": "/home/b.env", "required": "false"}],
        });
        let mut service = parse("s", &definition, &table).unwrap();
        let files: Vec<(&str, bool)> =
            service.env_files.iter().map(|file| (file.path.as_str(), file.required)).collect();
        assert_eq!(files, [("/home/a.env", true), ("/home/b.env", false)]);
        let texts = ["A=1\nB=1\n# no\nT\nMISSING\n", "export B='2 3'\n"].map(str::to_owned);
        service.add_files(&texts, &table);
        assert_eq!(service.environment, ["B=2 3", "T=table", "A=own"]);
        assert_eq!(service.arguments.join(" "), "--name s i");
        let relative = parse("s", &json!({"image": "i", "env_file": "a.env"}), &table);
        assert!(relative.unwrap_err().contains("must be absolute"));
        let variable = json!({"image": "i", "env_file": "${DIR}/a.env"});
        assert_eq!(parse("s", &variable, &table).unwrap().env_files[0].path, "${DIR}/a.env");
    }

    #[test]
    fn keys_with_parts_become_flags() {
        let cases = [
            (
                json!({
                    "healthcheck": {
                        "test": ["CMD", "test", "it's"],
                        "interval": "1m30s",
                        "retries": 3,
                    },
                }),
                r"--health-cmd='test' 'it'\''s' --health-interval=90000ms --health-retries=3",
            ),
            (json!({"healthcheck": {"test": "true"}}), "--health-cmd=true"),
            (json!({"healthcheck": {"disable": true}}), "--no-healthcheck"),
            (
                json!({"logging": {"driver": "local", "options": {"max-size": "1m"}}}),
                "--log-driver=local --log-opt=max-size=1m",
            ),
            (
                json!({"networks": {"n": {"aliases": ["a"], "ipv4_address": "10.0.0.9"}}}),
                "--network=name=n,alias=a,ip=10.0.0.9",
            ),
            (json!({"networks": ["m", "n"]}), "--network=name=m --network=name=n"),
            (
                json!({"ports": [{"target": 80, "published": 8080, "host_ip": "127.0.0.1"}]}),
                "--publish=127.0.0.1:8080:80/tcp",
            ),
            (
                json!({
                    "volumes": [
                        {"type": "bind", "source": "/a", "target": "/b", "read_only": true},
                    ],
                }),
                "--mount=type=bind,target=/b,source=/a,readonly",
            ),
            (
                json!({
                    "deploy": {
                        "resources": {"limits": {"memory": "1g"}},
                        "restart_policy": {"condition": "on-failure", "max_attempts": 3},
                    },
                }),
                "--memory=1g --restart=on-failure:3",
            ),
            (json!({"stop_grace_period": "1m"}), "--stop-timeout=60"),
        ];
        for (mut definition, expected) in cases {
            definition["image"] = json!("i");
            let service = parse("s", &definition, &Environment::new()).unwrap();
            assert_eq!(
                service.arguments.join(" "),
                format!("--name s {expected} i"),
                "{:?}",
                service.ignored
            );
            assert!(service.ignored.is_empty(), "{definition}: {:?}", service.ignored);
        }
    }

    /// The keys of a definition that have no effect, with blanks between them.
    fn ignored(definition: &Value) -> String {
        let mut complete = definition.clone();
        complete["image"] = json!("i");
        parse("s", &complete, &Environment::new()).unwrap().ignored.join(" ")
    }

    #[test]
    fn of_deploy_only_limits_and_restarts_have_an_effect() {
        let limits = json!({"cpus": "1", "memory": "1g", "pids": 9, "gpus": 1});
        let reservations = json!({"memory": "1g", "cpus": "1"});
        for (deploy, expected) in [
            (json!(null), ""),
            (json!({"replicas": 1, "x-own": 1}), ""),
            (json!({"replicas": 3}), "deploy.replicas"),
            (json!({"replicas": "1", "mode": "global"}), "deploy.mode"),
            (json!({"resources": {"limits": limits}}), "deploy.resources.limits.gpus"),
            (
                json!({"resources": {"reservations": reservations}}),
                "deploy.resources.reservations.cpus",
            ),
            (json!({"resources": {"limit": limits}}), "deploy.resources.limit"),
            (
                json!({"restart_policy": {"condition": "on-failure", "delay": "5s"}}),
                "deploy.restart_policy.delay",
            ),
            (
                json!({"restart_policy": {"condition": "any", "max_attempts": 3}}),
                "deploy.restart_policy.max_attempts",
            ),
            (json!({"restart_policy": {"max_attempts": 3}}), "deploy.restart_policy.max_attempts"),
        ] {
            assert_eq!(ignored(&json!({"deploy": deploy})), expected, "{deploy}");
        }
    }

    #[test]
    fn a_long_name_is_not_repeated_for_each_key_below_it() {
        let keys: BTreeMap<String, u32> =
            (0..1000).map(|number| (format!("key{number}"), number)).collect();
        let networks = BTreeMap::from([("n".repeat(100_000), keys)]);
        let definition = json!({"image": "i", "networks": networks});
        let ignored = parse("s", &definition, &Environment::new()).unwrap().ignored;
        assert_eq!(ignored.len(), 1000);
        assert!(ignored.iter().all(|key| key.len() < 1000), "{}", ignored[0]);
    }

    #[test]
    fn keys_without_effect_are_named_at_any_depth() {
        let bind = |creates: bool| {
            json!({
                "type": "bind", "source": "/a", "target": "/b",
                "bind": {"create_host_path": creates, "propagation": "rshared"},
            })
        };
        for (definition, expected) in [
            (json!({"scale": 2, "x-own": 1}), "scale"),
            (json!({"healthcheck": {"test": "true", "intervall": "1s"}}), "healthcheck.intervall"),
            (json!({"healthcheck": {"disable": true, "retry": 3}}), "healthcheck.retry"),
            (json!({"logging": {"driver": "local", "option": {}}}), "logging.option"),
            (
                json!({"networks": {"m": null, "n": {"aliases": ["a"], "priority": 9}}}),
                "networks.n.priority",
            ),
            (json!({"volumes": ["/a:/b", {"target": "/c", "nocopy": true}]}), "volumes[1].nocopy"),
            (
                json!({"volumes": [{"target": "/c", "volume": {"subpath": "d"}}]}),
                "volumes[0].volume.subpath",
            ),
            (
                json!({"volumes": [{"type": "tmpfs", "target": "/c", "tmpfs": {"mode": 448}}]}),
                "volumes[0].tmpfs.mode",
            ),
            (json!({"volumes": [bind(false), bind(true)]}), "volumes[1].bind.create_host_path"),
        ] {
            assert_eq!(ignored(&definition), expected, "{definition}");
        }
    }

    #[test]
    fn conditions_profiles_and_networks_are_not_flags() {
        let definition = json!({
            "image": "i",
            "depends_on": {"db": {"condition": "service_healthy"}},
            "profiles": ["x"],
            "networks": ["n"],
        });
        let service = parse("s", &definition, &Environment::new()).unwrap();
        assert_eq!(service.needs, [("db".to_owned(), Condition::ServiceHealthy)].into());
        assert_eq!(
            (service.profiles, service.networks),
            (vec!["x".to_owned()], vec!["n".to_owned()])
        );
    }
}
