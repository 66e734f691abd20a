//! Why a value is what it is: which layers set it, where, and which one won. Also what differs
//! between two configurations.

use crate::text::layer::Layer;
use crate::text::merge::merged;
use crate::text::path;
use crate::text::schema;
use crate::text::source::Source;
use serde_json::Value;

/// The value that one layer has for a key.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// The source, with line and column where it has lines.
    pub place: String,
    pub value: Value,
}

/// A key that has one value, and each layer that set it; the last one won.
#[derive(Debug, Clone, PartialEq)]
pub struct Provenance {
    pub key: String,
    pub assignments: Vec<Assignment>,
}

/// A key that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub key: String,
    pub old: Option<Value>,
    pub new: Option<Value>,
}

/// Explains a key; of a mapping, every key below it.
pub fn explain(layers: &[Layer], key: &str) -> Vec<Provenance> {
    let merged = merged(layers);
    let Some(value) = path::get(&merged, key) else { return Vec::new() };
    let mut leaves = Vec::new();
    collect_leaves(value, &mut path::parse(key), &mut leaves);
    let explain = |parts: &Vec<String>| Provenance {
        key: path::join(parts),
        assignments: all_assignments(layers, parts),
    };
    leaves.iter().map(explain).collect()
}

/// Every key whose value differs. Secrets differ too, but their values are not shown.
pub fn diff(old: &Value, new: &Value) -> Vec<Change> {
    let mut keys = Vec::new();
    collect_leaves(old, &mut Vec::new(), &mut keys);
    collect_leaves(new, &mut Vec::new(), &mut keys);
    keys.sort();
    keys.dedup();
    let find = |tree: &Value, parts: &[String]| path::get_parts(tree, parts).cloned();
    keys.into_iter()
        .map(|parts| (find(old, &parts), find(new, &parts), parts))
        .filter(|(old, new, _)| old != new)
        .map(|(old, new, parts)| {
            let shown = |value: Option<Value>| value.map(|value| hide(&parts, value));
            Change { key: path::join(&parts), old: shown(old), new: shown(new) }
        })
        .collect()
}

fn hide(parts: &[String], mut value: Value) -> Value {
    schema::hide_secrets(parts, &mut value);
    value
}

fn collect_leaves(value: &Value, parts: &mut Vec<String>, leaves: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, inner) in map {
                parts.push(key.clone());
                collect_leaves(inner, parts, leaves);
                parts.pop();
            }
        }
        Value::Object(_) if parts.is_empty() => {}
        _ => leaves.push(parts.clone()),
    }
}

fn all_assignments(layers: &[Layer], parts: &[String]) -> Vec<Assignment> {
    let assignments = |layer: &Layer| {
        let value = path::get_parts(&layer.value, parts)?;
        let at = layer.tree.position(parts).unwrap_or_default();
        let place = if at.line == 0 || layer.source == Source::CommandLine {
            layer.source.to_string()
        } else {
            format!("{}:{}:{}", layer.source, at.line, at.column)
        };
        Some(Assignment { place, value: hide(parts, value.clone()) })
    };
    layers.iter().filter_map(assignments).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_layer_that_spoke_is_named_and_the_last_one_won() {
        let file = |name: &str, text: &str| Layer::parse(Source::File(name.to_owned()), text);
        let layers = [
            file("a.yml", "hostname: one\nrancher: {network: {dns: {nameservers: [1.1.1.1]}}}\n"),
            file("b.yml", "\nhostname: two\nrancher:\n  docker: {ca_key: hush}\n"),
            Layer::from_command_line("cc.hostname=three"),
        ];
        let places = |key: &str| -> Vec<String> {
            explain(&layers, key)
                .remove(0)
                .assignments
                .into_iter()
                .map(|assignments| format!("{} {}", assignments.place, assignments.value))
                .collect()
        };
        assert_eq!(
            places("hostname"),
            ["a.yml:1:11 \"one\"", "b.yml:2:11 \"two\"", "kernel command line \"three\""]
        );
        assert_eq!(places("rancher.docker"), ["b.yml:4:20 \"(secret)\""]);
        assert_eq!(explain(&layers, "rancher.network")[0].key, "rancher.network.dns.nameservers");
        assert!(explain(&layers, "nothing").is_empty());
    }

    #[test]
    fn the_secrets_in_a_list_are_hidden() {
        let text = "users: [{name: ann, passwd: $6$salt$one}]\n";
        let layers = [Layer::parse(Source::File("f.yml".to_owned()), text)];
        let assignments = &explain(&layers, "users")[0].assignments[0].value;
        assert_eq!(assignments, &json!([{"name": "ann", "passwd": "(secret)"}]));
        let new = json!({"users": [{"name": "ann", "passwd": "$6$salt$two"}]});
        let changes = format!("{:?}", diff(&layers[0].value, &new));
        assert!(changes.contains("ann") && !changes.contains("$6$"), "{changes}");
    }

    #[test]
    fn differences_are_reported_key_by_key() {
        let changes =
            diff(&json!({"a": {"b": 1, "c": 2}}), &json!({"a": {"b": 1, "c": 3, "d.e": 4}}));
        let shown: Vec<String> = changes
            .iter()
            .map(|change| format!("{} {:?} {:?}", change.key, change.old, change.new))
            .collect();
        assert_eq!(
            shown,
            ["a.c Some(Number(2)) Some(Number(3))", "a.\"d.e\" None Some(Number(4))"]
        );
    }
}
