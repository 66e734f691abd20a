//! Keys of the state disk in a source that is read only after the state disk was looked for. They
//! have no effect there, and their owner is told.

use corral_config::error::{Problem, Severity};
use corral_config::{Layer, Source, merge, path};
use corral_init::boot::oem;
use serde_json::Value;

const KEY: &str = "rancher.state";

/// The keys that say something else than the boot has read.
pub(super) fn problems(layers: &[Layer]) -> Vec<Problem> {
    let (early, late): (Vec<&Layer>, Vec<&Layer>) =
        layers.iter().partition(|layer| is_early(layer));
    let read = merge::merge(early.into_iter().map(|layer| &layer.value));
    let late = late.into_iter().filter(|layer| !matches!(layer.source, Source::Vendor(_)));
    late.flat_map(|layer| of_layer(layer, &read)).collect()
}

/// What the boot reads before the state disk is there. The author of vendor data is not told.
fn is_early(layer: &Layer) -> bool {
    match &layer.source {
        Source::Defaults | Source::CommandLine => true,
        Source::File(path) => path == oem::CONFIG,
        Source::Metadata | Source::Vendor(_) => false,
    }
}

fn of_layer(layer: &Layer, read: &Value) -> Vec<Problem> {
    let given = path::get(&layer.value, KEY).and_then(Value::as_object);
    let names = given.into_iter().flatten().map(|(name, value)| (format!("{KEY}.{name}"), value));
    names
        .filter(|(key, value)| path::get(read, key) != Some(value))
        .map(|(key, _)| {
            let node = path::parse(&key).iter().try_fold(&layer.tree, |node, part| node.get(part));
            let at = node.map(|node| node.at).unwrap_or_default();
            let message = format!(
                "no effect here: the state disk is looked for before this is read; put it on the \
                 kernel command line ({key}=...), or into oem-config.yml of an OEM partition"
            );
            Problem::new(Severity::Warning, &layer.source.to_string(), at, &key, message)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_state_disk_have_an_effect_only_where_the_boot_reads_them() {
        let file = |path: &str, text: &str| Layer::parse(Source::File(path.to_owned()), text);
        let text = "rancher:\n  state:\n    dev: LABEL=A\n    wait: true\n";
        let layers = [
            corral_config::defaults(),
            file(oem::CONFIG, "rancher: {state: {wait: true}}"),
            file("user.yml", text),
            Layer::from_command_line("rancher.state.autoformat=[/dev/vdb]"),
        ];
        let shown: Vec<String> = problems(&layers).iter().map(ToString::to_string).collect();
        let [one] = shown.as_slice() else { panic!("{shown:?}") };
        assert!(
            one.starts_with("user.yml:3:10: rancher.state.dev: warning: no effect here"),
            "{one}"
        );
    }
}
