//! config.yml of the archive: the merged configuration without secret keys and without free text.
//! Both are removed from the tree, so it does not matter how their values would be printed.

use super::names::{HIDDEN, has_secret, is_free};
use corral_config::export;
use corral_config::yaml::{self, YamlError};
use serde_json::Value;

/// The tree as YAML.
pub(super) fn shown(mut tree: Value) -> Result<String, YamlError> {
    export::remove_secrets(&mut tree);
    hide(&mut tree, &mut Vec::new());
    yaml::to_string(&tree)
}

fn hide(value: &mut Value, path: &mut Vec<String>) {
    let is_named = path.last().is_some_and(|key| has_secret(key)) && !value.is_boolean();
    if is_named || is_free(path, value) {
        *value = HIDDEN.into();
        return;
    }
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                path.push(key.clone());
                hide(value, path);
                path.pop();
            }
        }
        Value::Array(items) => {
            path.push("[]".to_owned());
            items.iter_mut().for_each(|item| hide(item, path));
            path.pop();
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn free_text_is_not_in_the_tree() {
        let free = json!("hush \"quoted\"\ttab é");
        let tree = json!({
            "hostname": "web-1",
            "runcmd": ["hush", ["hush", 1234]],
            "bootcmd": ["hush"],
            "coreos": {"a": "hush"},
            "users": [{"name": "ann", "passwd": "hush", "lock_passwd": true}],
            "write_files": [{"path": "/etc/app", "content": "hush"}],
            "rancher": {
                "password": "hush",
                "environment": {"A": 1234, "B": "hush"},
                "docker": {"extra_args": ["hush"], "tls_args": ["hush"], "log_opts": {"a": "hush"}},
                "network": {
                    "pre_cmds": ["hush"],
                    "wifi_networks": {"a": {"key": "hush"}},
                    "interfaces": {"eth0": {
                        "dhcp": true, "dhcp_args": "hush", "pre_up": ["hush"], "post_up": ["hush"],
                    }},
                },
                "services": {
                    "odd": "hush",
                    "list": ["hush"],
                    "web": {
                        "image": "nginx:1",
                        "command": free,
                        "entrypoint": ["hush"],
                        "healthcheck": {"test": ["CMD", "hush"]},
                        "environment": ["A=hush"],
                        "labels": {"a": "hush"},
                        "x-new": {"b": [1234]},
                        "volumes": [{"type": "volume", "driver_opts": {"o": "hush"}}],
                    },
                },
            },
        });
        let text = shown(tree).unwrap();
        assert!(!text.contains("hush") && !text.contains("1234"), "{text}");
        for shown in
            ["web-1", "name: ann", "lock_passwd: true", "/etc/app", "dhcp: true", "nginx:1"]
        {
            assert!(text.contains(shown), "{shown} is not in:\n{text}");
        }
    }
}
