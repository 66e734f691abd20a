//! The owner's logins and addresses, from the last configuration without errors. They are for a
//! boot in which the configuration cannot be resolved at all.

use super::file_change::FileChange;
use super::root::Root;
use corral_config::error::Severity;
use corral_config::{Layer, Source};
use corral_config::{merge, path};
use corral_init::boot::state::CONF;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// What a login needs, and nothing else.
const KEYS: [&str; 18] = [
    "chpasswd",
    "fqdn",
    "hostname",
    "password",
    "prefer_fqdn_over_hostname",
    "preserve_hostname",
    "ssh_authorized_keys",
    "ssh_import_id",
    "ssh_keys",
    "ssh_pwauth",
    "user",
    "users",
    "rancher.autologin",
    "rancher.defaults",
    "rancher.modules",
    "rancher.network",
    "rancher.password",
    "rancher.ssh",
];
const LARGEST: u64 = 1 << 20;

fn file() -> PathBuf {
    Path::new(CONF).join("last-good/way-in.json")
}

/// The new content, if these layers have no error in these keys and the stored content differs.
pub(super) fn decide(root: &Root, layers: &[Layer]) -> Option<FileChange> {
    if !root.is_dir(CONF) || layers.iter().any(is_wrong) {
        return None;
    }
    let text = serde_json::to_vec(&of(layers)).ok()?;
    let is_kept = root.read_complete(file(), LARGEST).ok().as_ref() == Some(&text);
    (!is_kept).then(|| FileChange::write(file(), text, 0o600))
}

/// True if the layer has an error in one of these keys, or one without a key: then something may be
/// missing.
fn is_wrong(layer: &Layer) -> bool {
    let concerns = |key: &str| key.is_empty() || KEYS.iter().any(|ours| key.starts_with(ours));
    layer
        .problems
        .iter()
        .any(|problem| problem.severity == Severity::Error && concerns(&problem.key))
}

/// What the owner's files set for these keys. The kernel's command line is left out: it exists at
/// each boot, and may be meant for one boot only.
fn of(layers: &[Layer]) -> Value {
    let is_file = |layer: &&Layer| !matches!(layer.source, Source::Defaults | Source::CommandLine);
    let merged = merge::merge(layers.iter().filter(is_file).map(|layer| &layer.value));
    let mut kept = Value::Object(Map::new());
    for key in KEYS {
        if let Some(value) = path::get(&merged, key) {
            path::set(&mut kept, key, value.clone());
        }
    }
    kept
}

/// The stored content, as a document; empty if there is none.
pub(super) fn text(root: &Root) -> Vec<u8> {
    let is_empty = |value: &Value| value.as_object().is_none_or(Map::is_empty);
    let text = root.read_complete(file(), LARGEST).unwrap_or_default();
    match serde_json::from_slice::<Value>(&text) {
        Ok(value) if !is_empty(&value) => text,
        _ => Vec::new(),
    }
}

/// The stored content, as a layer.
pub(super) fn load(root: &Root) -> Option<Layer> {
    let text = root.read_complete(file(), LARGEST).ok()?;
    let value: Value = serde_json::from_slice(&text).ok()?;
    let source = Source::File(file().display().to_string());
    Some(Layer::from_value(source, &value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn file(text: &str) -> Layer {
        Layer::parse(Source::File("a".to_owned()), text)
    }

    #[test]
    fn it_is_logins_and_addresses_of_the_owners_files() {
        let layers = [
            corral_config::defaults(),
            file(
                "ssh_authorized_keys: [one]\nruncmd: [x]\n\
                 rancher: {debug: true, network: {dns: {search: [a]}}}\n",
            ),
            Layer::from_command_line("rancher.password=once"),
        ];
        let expected = json!({
            "ssh_authorized_keys": ["one"],
            "rancher": {"network": {"dns": {"search": ["a"]}}},
        });
        assert_eq!(of(&layers), expected);
    }

    #[test]
    fn errors_elsewhere_do_not_keep_it_from_being_kept() {
        assert!(!is_wrong(&file("rancher: {debug: perhaps}\nnonsense: 1\n")));
        for text in ["users: 7\n", "rancher: {ssh: {port: 70000}}\n", "a: [\n"] {
            assert!(is_wrong(&file(text)), "{text}");
        }
    }
}
