//! Keys of the state disk in a source that is read only after the state disk was looked for. They
//! have no effect there, and a warning says so.

use corral_config::error::{Problem, Severity};
use corral_config::{Layer, Source, merge, path};
use corral_init::boot::oem;
use serde_json::Value;

const KEY: &str = "rancher.state";
/// They say where the OEM partition is, so they are read before its file.
const OF_OEM: [&str; 2] = ["rancher.state.oem_dev", "rancher.state.oem_fstype"];

/// The keys that say something else than the boot has read. One with a problem of its own has no
/// effect anywhere. The owner cannot edit vendor data: no warning.
pub(super) fn problems(layers: &[Layer]) -> Vec<Problem> {
    let files = layers.iter().filter(|layer| matches!(layer.source, Source::File(_)));
    let read = |with_oem| {
        let is_read = |layer: &&Layer| is_early(layer) || with_oem && is_of_oem(layer);
        merge::merge(layers.iter().filter(is_read).map(|layer| &layer.value))
    };
    let (before_oem, with_oem) = (read(false), read(true));
    let mut problems = Vec::new();
    for layer in files {
        for (key, value) in settings(layer) {
            let finds_oem = OF_OEM.contains(&key.as_str());
            // Its file is read in time for all others. The command line may override them.
            if is_of_oem(layer) && !finds_oem {
                continue;
            }
            let read = if finds_oem { &before_oem } else { &with_oem };
            let has_problem = layer.problems.iter().any(|problem| problem.key == key);
            if !has_problem && path::get(read, &key) != Some(value) {
                problems.push(problem(layer, &key));
            }
        }
    }
    problems
}

fn is_early(layer: &Layer) -> bool {
    matches!(layer.source, Source::Defaults | Source::CommandLine)
}

fn is_of_oem(layer: &Layer) -> bool {
    matches!(&layer.source, Source::File(path) if path == oem::CONFIG)
}

/// The keys below that of the state disk, with their values.
fn settings(layer: &Layer) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    let mut rest: Vec<(String, &Value)> =
        path::get(&layer.value, KEY).map(|value| (KEY.to_owned(), value)).into_iter().collect();
    while let Some((key, value)) = rest.pop() {
        match value {
            Value::Object(map) => {
                rest.extend(map.iter().map(|(name, value)| (format!("{key}.{name}"), value)));
            }
            _ => found.push((key, value)),
        }
    }
    found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    found
}

fn problem(layer: &Layer, key: &str) -> Problem {
    let node = path::parse(key).iter().try_fold(&layer.tree, |node, part| node.get(part));
    let at = node.map(|node| node.at).unwrap_or_default();
    let or = match OF_OEM.contains(&key) {
        true => "",
        false => ", or into oem-config.yml of an OEM partition",
    };
    let message = format!(
        "no effect here: the state disk is looked for before this is read; put it on the kernel \
         command line ({key}=...){or}"
    );
    Problem::new(Severity::Warning, &layer.source.to_string(), at, key, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_state_disk_have_an_effect_only_where_the_boot_reads_them() {
        let file = |path: &str, text: &str| Layer::parse(Source::File(path.to_owned()), text);
        let text = "rancher:\n  state:\n    dev: LABEL=A\n    wait: true\n    lvm_scan: true\n    \
                    encryption: {device: UUID=1}\n";
        let of_oem = "rancher: {state: {wait: true, oem_dev: LABEL=B, \
                      encryption: {device: UUID=2}}}";
        let layers = [
            corral_config::defaults(),
            file(oem::CONFIG, of_oem),
            file("user.yml", text),
            Layer::from_command_line(
                "rancher.state.encryption.device=UUID=1 rancher.state.encryption.key_file=a:/b",
            ),
        ];
        let shown: Vec<String> = problems(&layers).iter().map(ToString::to_string).collect();
        let [of_oem, of_user] = shown.as_slice() else { panic!("{shown:?}") };
        assert!(of_oem.contains("rancher.state.oem_dev: warning: no effect here"), "{of_oem}");
        assert!(of_oem.ends_with("(rancher.state.oem_dev=...)"), "{of_oem}");
        let start = "user.yml:3:10: rancher.state.dev: warning: no effect here";
        assert!(of_user.starts_with(start), "{of_user}");
    }
}
