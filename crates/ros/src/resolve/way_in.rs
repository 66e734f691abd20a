//! The owner's way in: who may log in, and at which address. It is kept from the last configuration without errors, for
//! a boot in which the configuration cannot be resolved at all.

use super::CONF;
use corral_config::error::Severity;
use corral_config::layer::{Layer, Source};
use corral_config::{merge, path};
use corral_machine::files::{read_whole, write_atomic};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// What a login needs, and nothing else.
const KEYS: [&str; 7] = [
    "hostname",
    "ssh_authorized_keys",
    "ssh_pwauth",
    "users",
    "rancher.password",
    "rancher.ssh",
    "rancher.network",
];
const LARGEST: u64 = 1 << 20;

fn file() -> PathBuf {
    Path::new(CONF).join("last-good/way-in.json")
}

/// Keeps it, if these layers are without errors. Without room for it there is no last one; nothing else depends on it.
pub(super) fn keep(layers: &[Layer]) {
    let is_wrong = |layer: &Layer| layer.problems.iter().any(|problem| problem.severity == Severity::Error);
    if !Path::new(CONF).is_dir() || layers.iter().any(is_wrong) {
        return;
    }
    let Ok(text) = serde_json::to_vec(&of(layers)) else { return };
    if read_whole(&file(), LARGEST).ok().as_deref() != Some(text.as_slice()) {
        let _ = write_atomic(&file(), &text, 0o600);
    }
}

/// What the owner says of it, without the defaults.
fn of(layers: &[Layer]) -> Value {
    let said = layers.iter().filter(|layer| layer.source != Source::Defaults).map(|layer| &layer.value);
    let merged = merge::merge(said);
    let mut kept = Value::Object(Map::new());
    for key in KEYS {
        if let Some(value) = path::get(&merged, key) {
            path::set(&mut kept, key, value.clone());
        }
    }
    kept
}

/// The last one.
pub(super) fn load() -> Option<Layer> {
    let text = read_whole(&file(), LARGEST).ok()?;
    let value: Value = serde_json::from_slice(&text).ok()?;
    let source = Source::File(file().display().to_string());
    Some(Layer::from_value(source, &value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_is_keys_users_and_addresses_of_all_layers_and_no_default() {
        let layers = [
            corral_config::defaults(),
            Layer::parse(
                Source::File("a".to_owned()),
                "ssh_authorized_keys: [one]\nruncmd: [x]\nrancher: {debug: true}\n",
            ),
            Layer::from_command_line("rancher.network.interfaces.eth0.address=192.0.2.1/24"),
        ];
        let expected = json!({
            "ssh_authorized_keys": ["one"],
            "rancher": {"network": {"interfaces": {"eth0": {"address": "192.0.2.1/24"}}}},
        });
        assert_eq!(of(&layers), expected);
    }
}
