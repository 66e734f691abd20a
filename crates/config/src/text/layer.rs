//! The keys that one source sets.

use crate::error::{Problem, Severity, capped};
use crate::position::Position;
use crate::text::source::Source;
use crate::text::yaml::{self, Node};
use crate::text::{cmdline, schema};
use serde_json::Value;

/// What vendor data may not set: sshd's passwords, a shutdown, and the system itself.
const OF_OWNER: [&str; 3] = ["power_state", "rancher", "ssh_pwauth"];
const ONLY_THE_OWNER: &str = "only the owner may set it; vendor data has no effect on it";

/// The keys that one source sets: a tree in which every value has the type that its key takes.
/// Wrong keys are not in it; they are in `problems`, which has an upper limit.
#[derive(Debug, Clone)]
pub struct Layer {
    pub source: Source,
    pub value: Value,
    /// The document as it was written, with positions.
    pub tree: Node,
    pub problems: Vec<Problem>,
}

impl Layer {
    /// Parses a cloud-config. A document that is no YAML at all gives an empty layer with one
    /// problem.
    pub fn parse(source: Source, text: &str) -> Layer {
        let name = source.to_string();
        match yaml::parse(text) {
            Ok(tree) => Layer::from_tree(source, &tree, text),
            Err(error) => {
                let at = Position { line: error.line, column: error.column };
                let problem = Problem::new(Severity::Error, &name, at, "", error.message);
                Layer::unreadable(source, problem)
            }
        }
    }

    /// Parses a cloud-config from bytes, which may not even be text.
    pub fn parse_bytes(source: Source, bytes: &[u8]) -> Layer {
        match std::str::from_utf8(bytes) {
            Ok(text) => Layer::parse(source, text),
            Err(error) => {
                let line =
                    bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
                let at = Position { line: line as u64, column: 1 };
                let message = "this is not UTF-8 text".to_owned();
                let problem = Problem::new(Severity::Error, &source.to_string(), at, "", message);
                Layer::unreadable(source, problem)
            }
        }
    }

    /// The layer of a kernel command line.
    pub fn from_command_line(text: &str) -> Layer {
        Layer::from_tree(Source::CommandLine, &cmdline::parse(text), "")
    }

    /// Has it a key that has no effect, because it is wrong?
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// A layer that sets no key.
    pub fn empty(source: Source) -> Layer {
        Layer {
            source,
            value: Value::Object(serde_json::Map::new()),
            tree: Node::null(),
            problems: Vec::new(),
        }
    }

    /// Could no part of the document be understood? Its one problem is then about no key.
    pub fn is_unreadable(&self) -> bool {
        self.has_errors() && self.tree.kind == yaml::Kind::Null
    }

    fn unreadable(source: Source, problem: Problem) -> Layer {
        Layer { problems: vec![problem], ..Layer::empty(source) }
    }

    /// The layer of values that were made, not written.
    pub fn from_value(source: Source, value: &Value) -> Layer {
        Layer::from_tree(source, &Node::from_value(value), "")
    }

    /// The layer of one key and the YAML text of its value. A `yes` for a string stays `yes`.
    pub fn from_setting(key: &str, text: &str) -> Layer {
        let leaf = yaml::parse(text).unwrap_or_else(|_| {
            Node::new(Position::default(), yaml::Kind::String(text.to_owned()))
        });
        let parts = schema::fit(crate::text::path::parse(key));
        let tree = parts.into_iter().rev().fold(leaf, |inner, part| {
            Node::new(inner.at, yaml::Kind::Mapping(vec![(part, inner)]))
        });
        Layer::from_tree(Source::File(key.to_owned()), &tree, text)
    }

    fn from_tree(source: Source, tree: &Node, text: &str) -> Layer {
        let (mut value, mut problems) = schema::check(tree, &source, text);
        let mut tree = tree.clone();
        if matches!(source, Source::Vendor(_)) {
            problems.retain(|problem| problem.severity == Severity::Error);
            problems.extend(drop_owners_keys(&source, &mut tree, &mut value));
        }
        let problems = capped(&source.to_string(), problems);
        Layer { source, value, tree, problems }
    }
}

/// Removes what only the owner may set, with a warning for each key.
fn drop_owners_keys(source: &Source, tree: &mut Node, value: &mut Value) -> Vec<Problem> {
    let name = source.to_string();
    let mut problems = Vec::new();
    for key in OF_OWNER {
        let key = key.to_owned();
        let keys: Vec<Vec<String>> = match value.as_object_mut().and_then(|map| map.remove(&key)) {
            // It asks for nothing.
            None | Some(Value::Bool(false)) => continue,
            Some(Value::Object(below)) if key == "rancher" => {
                below.into_iter().map(|(inner, _)| vec![key.clone(), inner]).collect()
            }
            Some(_) => vec![vec![key]],
        };
        for parts in keys {
            let at = tree.position(&parts).unwrap_or_default();
            let message = ONLY_THE_OWNER.to_owned();
            problems.push(Problem::new(Severity::Warning, &name, at, &parts.join("."), message));
        }
    }
    if let yaml::Kind::Mapping(items) = &mut tree.kind {
        items.retain(|(key, _)| !OF_OWNER.contains(&key.replace('-', "_").as_str()));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::yaml::MAX_BYTES;

    #[test]
    fn vendor_data_does_not_set_what_only_the_owner_may_set() {
        let text = "timezone: UTC\nunknown: 1\nssh_pwauth: 1\npower-state: {mode: reboot}\n\
                    rancher:\n  debug: true\n  ssh: {port: 23}\n  nonsense: 1\n";
        let layer = Layer::parse(Source::Vendor("v".to_owned()), text);
        assert_eq!(layer.value, serde_json::json!({"timezone": "UTC"}));
        assert!(layer.tree.get("rancher").is_none() && layer.tree.get("power-state").is_none());
        let mut said: Vec<String> = layer.problems.iter().map(ToString::to_string).collect();
        said.sort();
        let line = |start: &str| format!("v:{start}: warning: {ONLY_THE_OWNER}");
        let expected = [
            line(" power_state"),
            line("3:13: ssh_pwauth"),
            line("6:10: rancher.debug"),
            line("7:8: rancher.ssh"),
        ];
        assert_eq!(said, expected);
        let nothing = Layer::parse(Source::Vendor("v".to_owned()), "ssh_pwauth: unchanged\n");
        assert_eq!(nothing.problems, []);
        let of_owner = Layer::parse(Source::File("f".to_owned()), text);
        assert_eq!(of_owner.value["ssh_pwauth"], true);
    }

    #[test]
    fn no_document_makes_a_long_report() {
        let many = (0..58_000).map(|number| format!("k{number}: 1\n")).collect::<String>();
        let deep = (0..9_000).map(|number| format!("      k{number}: 1\n")).collect::<String>();
        let name = "x".repeat(400_000);
        let below =
            format!("rancher:\n  registry_auths:\n    ? {name}\n    :\n{deep}hostname: [a]\n");
        let cases = [
            ("unknown keys, and an error", format!("{many}hostname: [a]\n")),
            ("unknown keys below a long one, and an error", below),
            ("a long key", format!("? {name}\n: 1\nhostname: [a]\n")),
            ("a long value", format!("write_files: [{{path: /a, permissions: {name}}}]\n")),
            ("a long key twice", format!("? {name}\n: 1\n? {name}\n: 1\n")),
        ];
        for (what, text) in cases {
            assert!(text.len() < MAX_BYTES, "{what}");
            let layer = Layer::parse(Source::File("f.yml".to_owned()), &text);
            let report: usize =
                layer.problems.iter().map(|problem| problem.to_string().len()).sum();
            assert!((1..40_000).contains(&report), "{what}: {report} bytes");
            assert!(layer.has_errors(), "{what}: {}", layer.problems[0]);
            assert!(
                layer.is_unreadable() == what.contains("twice"),
                "{what}: {}",
                layer.problems[0]
            );
        }
    }
}
