//! The owner's `daemon.json`. dockerd refuses to start if an option is in it and is an argument as
//! well. So the file wins: arguments for its options are left out.

use corral_config::model::Docker;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The file that dockerd reads if its arguments name no other.
const DEFAULT: &str = "/etc/docker/daemon.json";
/// dockerd's own choice, if nothing names another.
const DATA_ROOT: &str = "/var/lib/docker";

/// Options that may be given more than once have another name in the file.
/// <https://docs.docker.com/reference/cli/dockerd/#daemon-configuration-file>
const NAMES: [(&str, &str); 11] = [
    ("host", "hosts"),
    ("insecure-registry", "insecure-registries"),
    ("registry-mirror", "registry-mirrors"),
    ("log-opt", "log-opts"),
    ("storage-opt", "storage-opts"),
    ("exec-opt", "exec-opts"),
    ("label", "labels"),
    ("default-ulimit", "default-ulimits"),
    ("add-runtime", "runtimes"),
    ("dns-opt", "dns-opts"),
    ("authorization-plugin", "authorization-plugins"),
];

/// Options with a short name.
const SHORT: [(char, &str); 7] = [
    ('H', "host"),
    ('l', "log-level"),
    ('D', "debug"),
    ('G', "group"),
    ('b', "bridge"),
    ('p', "pidfile"),
    ('s', "storage-driver"),
];

/// The arguments that go with the file at `path` (empty: the default), and the names of the options
/// that it has instead. A file that dockerd cannot read either changes nothing: dockerd reports it.
pub(super) fn without_its_own(path: &str, arguments: Vec<String>) -> (Vec<String>, Vec<String>) {
    separate(&load(path), arguments)
}

/// Where dockerd keeps images, containers and volumes.
pub(super) fn data_root(docker: &Docker) -> PathBuf {
    let file = load(&docker.config_file);
    let of_file = file.get("data-root").and_then(Value::as_str);
    let configured = Some(docker.graph.as_str()).filter(|path| !path.is_empty());
    PathBuf::from(of_file.or(configured).unwrap_or(DATA_ROOT))
}

fn load(path: &str) -> Value {
    let path = if path.is_empty() { DEFAULT } else { path };
    let text = fs::read_to_string(Path::new(path)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn separate(file: &Value, arguments: Vec<String>) -> (Vec<String>, Vec<String>) {
    let (mut kept, mut left_out) = (Vec::new(), Vec::new());
    let mut words = arguments.into_iter().peekable();
    while let Some(word) = words.next() {
        let (key, has_value) = option(&word).unwrap_or((String::new(), true));
        // dockerd takes no other word than an option or its value.
        let value = if has_value { None } else { words.next_if(|next| !next.starts_with('-')) };
        if file.get(&key).is_none() {
            kept.extend(std::iter::once(word).chain(value));
        } else if !left_out.contains(&key) {
            left_out.push(key);
        }
    }
    (kept, left_out)
}

/// The key of an option in the file, and whether its value is in the same word: `--label=a=b`,
/// `--label a=b`, `-lwarn`, `-l warn`.
fn option(word: &str) -> Option<(String, bool)> {
    let (name, has_value) = match word.strip_prefix("--") {
        Some(long) => (long.split('=').next()?, long.contains('=')),
        None => {
            let letters = word.strip_prefix('-')?;
            let (_, name) = SHORT.iter().find(|(letter, _)| letters.starts_with(*letter))?;
            (*name, letters.len() > 1)
        }
    };
    let listed = NAMES.iter().find(|(option, _)| *option == name);
    Some((listed.map_or(name, |(_, key)| *key).to_owned(), has_value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_file_has_is_no_argument() {
        let arguments = || {
            ["--host=unix:///a", "--host=tcp://b", "--log-opt=max-size=1m", "--debug=true", "word"]
                .map(str::to_owned)
                .to_vec()
        };
        for (file, expected, names) in [
            (
                json!({}),
                "--host=unix:///a --host=tcp://b --log-opt=max-size=1m --debug=true word",
                "",
            ),
            (json!({"hosts": [], "debug": false}), "--log-opt=max-size=1m word", "hosts debug"),
            (
                json!({"log-opts": {"max-size": "2m"}, "dns": ["1.1.1.1"]}),
                "--host=unix:///a --host=tcp://b --debug=true word",
                "log-opts",
            ),
            // Not the form of the file: dockerd reports it.
            (
                json!(["hosts"]),
                "--host=unix:///a --host=tcp://b --log-opt=max-size=1m --debug=true word",
                "",
            ),
        ] {
            let (kept, left_out) = separate(&file, arguments());
            assert_eq!(
                (kept.join(" "), left_out.join(" ")),
                (expected.to_owned(), names.to_owned())
            );
        }
    }

    #[test]
    fn an_option_goes_with_its_value() {
        for (file, words, expected, names) in [
            (json!({"labels": []}), "--label a=b --debug", "--debug", "labels"),
            (json!({"labels": []}), "--debug --label a=b --label c", "--debug", "labels"),
            (json!({"mtu": 1}), "--label a=b --mtu 9000", "--label a=b", "mtu"),
            (json!({"hosts": []}), "-H unix:///a -Htcp://b -H=c -D", "-D", "hosts"),
            (
                json!({"debug": true, "log-level": "warn"}),
                "-D -l info -linfo x",
                "x",
                "debug log-level",
            ),
            (json!({"labels": []}), "-D -l info --x", "-D -l info --x", ""),
        ] {
            let arguments = words.split(' ').map(str::to_owned).collect();
            let (kept, left_out) = separate(&file, arguments);
            assert_eq!((kept.join(" "), left_out.join(" ")), (expected.into(), names.into()));
        }
    }
}
