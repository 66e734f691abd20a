//! The keys that one source sets.

use crate::error::{Problem, Severity, capped};
use crate::position::Position;
use crate::text::source::Source;
use crate::text::yaml::{self, Node};
use crate::text::{cmdline, schema};
use serde_json::Value;

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
        let (value, mut problems) = schema::check(tree, &source, text);
        if matches!(source, Source::Vendor(_)) {
            problems.retain(|problem| problem.severity == Severity::Error);
        }
        let problems = capped(&source.to_string(), problems);
        Layer { source, value, tree: tree.clone(), problems }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::yaml::MAX_BYTES;

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
