//! The owner's `daemon.json`. dockerd refuses to start if an option is in it and is an argument as
//! well. So the file wins: arguments for its options are left out.

use serde_json::Value;
use std::fs;
use std::path::Path;

/// The file that dockerd reads if its arguments name no other.
const DEFAULT: &str = "/etc/docker/daemon.json";

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

/// The arguments that go with the file at `path` (empty: the default), and the names of the options
/// that it has instead. A file that dockerd cannot read either changes nothing: dockerd reports it.
pub(super) fn without_its_own(path: &str, arguments: Vec<String>) -> (Vec<String>, Vec<String>) {
    let path = if path.is_empty() { DEFAULT } else { path };
    let text = fs::read_to_string(Path::new(path)).unwrap_or_default();
    let file = serde_json::from_str(&text).unwrap_or_default();
    separate(&file, arguments)
}

fn separate(file: &Value, arguments: Vec<String>) -> (Vec<String>, Vec<String>) {
    let mut left_out = Vec::new();
    let kept = |argument: &String| {
        let Some(flag) = argument.strip_prefix("--") else { return true };
        let name = flag.split('=').next().unwrap_or_default();
        let listed = NAMES.iter().find(|(flag, _)| *flag == name);
        let key = listed.map_or(name, |(_, key)| *key);
        let is_in_file = file.get(key).is_some();
        if is_in_file && !left_out.iter().any(|other| other == key) {
            left_out.push(key.to_owned());
        }
        !is_in_file
    };
    let arguments = arguments.into_iter().filter(kept).collect();
    (arguments, left_out)
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
}
