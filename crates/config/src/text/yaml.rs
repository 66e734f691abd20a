//! The only module that uses the YAML crate: text → a tree that remembers where each value stood;
//! and values → text.
//!
//! Text is read as YAML 1.1 with old octal numbers, as RancherOS read it. Alias bombs, duplicate
//! keys and NUL bytes are errors with a line and a column.

use crate::error::clip;
use crate::position::Position;
use serde::de::{DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::NonFiniteFloatPolicy;
use serde_saphyr::{Error, Options, Spanned};
use std::fmt;

/// The largest document that is read, in bytes. Real ones have a few kilobytes.
pub const MAX_BYTES: usize = 1 << 20;
/// The most text that it may hold once its aliases (`*name`) are replaced by what they stand for,
/// in bytes.
const MAX_EXPANDED: usize = 8 << 20;

/// What is wrong with a text, and where: `line:column: message`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct YamlError {
    /// Counted from 1; 0 where the complete text is meant.
    pub line: u64,
    /// Counted from 1.
    pub column: u64,
    /// What is wrong, in one line.
    pub message: String,
}

/// A value with its position.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub at: Position,
    /// Where the key of a mapping stood whose value it is; for any other value the same as `at`.
    pub key_at: Position,
    pub kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    String(String),
    Sequence(Vec<Node>),
    /// In the order of the text.
    Mapping(Vec<(String, Node)>),
}

impl Kind {
    /// The word for it in a message.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Null => "nothing",
            Kind::Bool(_) => "true or false",
            Kind::Number(_) => "a number",
            Kind::String(_) => "a string",
            Kind::Sequence(_) => "a list",
            Kind::Mapping(_) => "a mapping",
        }
    }
}

impl Node {
    /// Where the value of a key is, by the names from the top down.
    pub(crate) fn position(&self, parts: &[String]) -> Option<Position> {
        let Some((first, rest)) = parts.split_first() else { return Some(self.at) };
        match &self.kind {
            Kind::Mapping(_) => self.get(first)?.position(rest),
            _ => None,
        }
    }

    /// A value at a place.
    pub fn new(at: Position, kind: Kind) -> Node {
        Node { at, key_at: at, kind }
    }

    /// Nothing.
    pub fn null() -> Node {
        Node::new(Position::default(), Kind::Null)
    }

    /// A value that was not written anywhere.
    pub fn from_value(value: &Value) -> Node {
        let kind = match value {
            Value::Null => Kind::Null,
            Value::Bool(value) => Kind::Bool(*value),
            Value::Number(value) => Kind::Number(value.clone()),
            Value::String(value) => Kind::String(value.clone()),
            Value::Array(items) => Kind::Sequence(items.iter().map(Node::from_value).collect()),
            Value::Object(map) => Kind::Mapping(
                map.iter().map(|(key, item)| (key.clone(), Node::from_value(item))).collect(),
            ),
        };
        Node::new(Position::default(), kind)
    }

    /// The value without positions.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(value) => Value::Number(value.clone()),
            Kind::String(value) => Value::String(value.clone()),
            Kind::Sequence(items) => Value::Array(items.iter().map(Node::to_value).collect()),
            Kind::Mapping(items) => Value::Object(
                items.iter().map(|(key, node)| (key.clone(), node.to_value())).collect(),
            ),
        }
    }

    /// The value of a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Mapping(items) => {
                items.iter().find(|(name, _)| name == key).map(|(_, node)| node)
            }
            _ => None,
        }
    }
}

/// Parses a document into a tree with positions. An empty document is `Null`.
pub fn parse(text: &str) -> Result<Node, YamlError> {
    let spanned: Option<Spanned<Tree>> = from_str(text)?;
    Ok(spanned.map_or(Node::new(Position { line: 1, column: 1 }, Kind::Null), node))
}

/// Parses a document into a typed value.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    check_bytes(text)?;
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| to_error(&error))
}

/// Writes a value as YAML.
pub fn to_string(value: &impl Serialize) -> Result<String, YamlError> {
    // One line stays one line, however long: keys are copied from what we print.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: MAX_BYTES };
    serde_saphyr::to_string_with_options(value, options).map_err(|error| YamlError {
        line: 0,
        column: 0,
        message: error.to_string(),
    })
}

fn options() -> Options {
    // Real files use a handful of aliases; what repeats itself twenty thousand times is an attack.
    serde_saphyr::options! {
        legacy_octal_numbers: true,
        // JSON has no `.nan`: it is a text here, so that it is wrong at its own key and nowhere
        // else.
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 20_000 },
        budget: serde_saphyr::budget! { max_total_scalar_bytes: MAX_EXPANDED },
    }
}

fn check_bytes(text: &str) -> Result<(), YamlError> {
    let error = |line: usize, column: usize, message: String| {
        Err(YamlError { line: line as u64, column: column as u64, message })
    };
    if text.len() > MAX_BYTES {
        return error(
            0,
            0,
            format!("the document has {} bytes; at most {MAX_BYTES} are read", text.len()),
        );
    }
    match text.find('\0') {
        None => Ok(()),
        Some(at) => {
            let before = &text[..at];
            let column = at - before.rfind('\n').map_or(0, |newline| newline + 1) + 1;
            error(
                before.matches('\n').count() + 1,
                column,
                "a NUL byte: this is not a text file".to_owned(),
            )
        }
    }
}

fn to_error(error: &Error) -> YamlError {
    let error = error.without_snippet();
    let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
    if is_too_much_text(error) {
        let message = format!(
            "with every alias (*name) expanded this has more than {MAX_EXPANDED} bytes; use fewer \
             aliases"
        );
        return YamlError { line, column, message };
    }
    let message = error.to_string();
    let first = message.lines().next().unwrap_or_default();
    let message = first.split(" at line ").next().unwrap_or(first).trim_end_matches([',', ' ']);
    YamlError { line, column, message: clip(message.strip_prefix("error: ").unwrap_or(message)) }
}

fn is_too_much_text(error: &Error) -> bool {
    match error {
        Error::AliasError { error, .. } => is_too_much_text(error),
        Error::Budget { breach, .. } => matches!(breach, BudgetBreach::ScalarBytes { .. }),
        _ => false,
    }
}

fn node(spanned: Spanned<Tree>) -> Node {
    let at = Position { line: spanned.referenced.line(), column: spanned.referenced.column() };
    Node::new(at, spanned.value.0)
}

/// A value while it is read; the `Spanned` around it has its position.
struct Tree(Kind);

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor).map(Tree)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Kind;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }
    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }
    fn visit_none<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        deserializer.deserialize_any(self)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Number(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Number(value.into()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Kind, E> {
        Ok(serde_json::Number::from_f64(value).map_or(Kind::Null, Kind::Number))
    }
    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::String(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Kind, E> {
        Ok(Kind::String(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Kind, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Tree>>()? {
            list.push(node(item));
        }
        Ok(Kind::Sequence(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Kind, A::Error> {
        let mut list = Vec::new();
        while let Some(key) = items.next_key::<Spanned<String>>()? {
            let mut value = node(items.next_value::<Spanned<Tree>>()?);
            value.key_at =
                Position { line: key.referenced.line(), column: key.referenced.column() };
            list.push((key.value, value));
        }
        Ok(Kind::Mapping(list))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_remember_where_they_stood() {
        let tree = parse("a: 1\nb:\n  - x\n  - {c: yes}\n").unwrap();
        let Some(Kind::Sequence(list)) = tree.get("b").map(|node| &node.kind) else {
            panic!("{tree:?}")
        };
        assert_eq!(list[0].at, Position { line: 3, column: 5 });
        assert_eq!(list[1].get("c").unwrap().kind, Kind::Bool(true));
        assert_eq!(tree.get("b").unwrap().key_at, Position { line: 2, column: 1 });
        assert_eq!(tree.to_value(), serde_json::json!({"a": 1, "b": ["x", {"c": true}]}));
    }

    #[test]
    fn bad_documents_say_where() {
        let bomb = format!(
            "a: &a [x,x,x,x,x,x,x,x,x]\n{}",
            (0..9)
                .map(|i| {
                    let (this, last) = ((b'b' + i) as char, (b'a' + i) as char);
                    format!("{this}: &{this} [{}]\n", vec![format!("*{last}"); 9].join(","))
                })
                .collect::<String>()
        );
        let cases = [
            ("bad indent", "a: 1\n b: 2\n", 2),
            ("open bracket", "a: [1, 2\nb: 3\n", 2),
            ("duplicate key", "a: 1\na: 2\n", 2),
            ("NUL byte", "a: 1\nb: x\0y\n", 2),
            ("too large", &"x".repeat(MAX_BYTES + 1), 0),
            ("too large once it is expanded", &copies(10), 10),
        ];
        for (name, text, line) in cases {
            let error = parse(text).unwrap_err();
            assert_eq!(error.line, line, "{name}: {error}");
        }
        assert!(parse(&bomb).is_err(), "alias bomb");
        assert!(parse(&copies(8)).is_ok(), "large, but not too large");
    }

    /// 900 kB of text, and so many lines that stand for the same.
    fn copies(number: usize) -> String {
        let lines = (0..number).map(|number| format!("k{number}: *x\n")).collect::<String>();
        format!("a: &x \"{}\"\n{lines}", "x".repeat(900_000))
    }

    #[test]
    fn what_is_no_finite_number_is_a_text() {
        let tree = parse("a: .nan\nb: -.inf\nc: .Inf\n").unwrap().to_value();
        assert_eq!(tree, serde_json::json!({"a": ".nan", "b": "-.inf", "c": ".inf"}));
    }

    #[test]
    fn numbers_are_read_as_the_original_did() {
        let tree = parse("mode: 0755\nmtu: \"1500\"\non: off\n").unwrap().to_value();
        assert_eq!(tree, serde_json::json!({"mode": 493, "mtu": "1500", "on": false}));
    }
}
