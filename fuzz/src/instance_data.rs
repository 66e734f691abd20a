//! Invariants of the data of every data source.

use corral_cloud::InstanceData;
use corral_config::metadata::Metadata;
use corral_config::{Layer, Source, resolve};
use serde_json::{Value, json};

/// It is kept in a file and read again as the same, and it becomes a layer that resolves.
pub(crate) fn check(found: &InstanceData) {
    check_metadata(&found.metadata);
    let Some(network) = &found.network else { return };
    for card in network["interfaces"].as_object().into_iter().flat_map(serde_json::Map::values) {
        for command in card["post_up"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let is_plain = |letter: char| letter.is_ascii_alphanumeric() || " ./".contains(letter);
            assert!(command.chars().all(is_plain), "a provider writes a command: {command:?}");
        }
    }
    let layer = Layer::from_value(Source::Metadata, &json!({"rancher": {"network": network}}));
    layer.problems.iter().for_each(|problem| drop(problem.to_string()));
    let _ = resolve(&[corral_config::defaults(), layer]);
}

fn check_metadata(metadata: &Metadata) {
    if let Ok(text) = metadata.to_yaml() {
        let again = Metadata::parse(&text).expect("metadata that was written is read");
        assert_eq!(again, *metadata, "{text}");
    }
    let layer = Layer::from_value(Source::Metadata, &metadata.to_layer(false, &[]));
    let _ = resolve(&[corral_config::defaults(), layer]);
    let text = metadata.substitute("$public_ipv4 \\$private_ipv4 $public_ipv6 $");
    assert!(text.starts_with(&metadata.public_ipv4));
}
