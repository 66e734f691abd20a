//! `${NAME}` in a compose file: from the table of the environment, as the Compose Specification has
//! it.
//! <https://github.com/compose-spec/compose-spec/blob/main/12-interpolation.md>

use crate::resolved::Environment;
use corral_config::Position;
use corral_config::yaml::{Kind, Node};

/// The end of the warning about a variable without a value.
pub const UNSET: &str = "is not set; an empty string is used";

/// References within references that are followed.
const MAX_DEPTH: usize = 8;

/// Something that could not be put in.
#[derive(Debug)]
pub(super) struct Complaint {
    pub(super) at: Position,
    pub(super) message: String,
    /// The file requires a value.
    pub(super) is_fatal: bool,
}

/// A copy of `node` with every reference replaced. `service` is the one that the node belongs to.
pub(super) fn interpolate(
    node: &Node,
    service: &str,
    table: &Environment,
    complaints: &mut Vec<Complaint>,
) -> Node {
    let mut inner = |item: &Node| interpolate(item, service, table, complaints);
    let kind = match &node.kind {
        Kind::String(text) => {
            let mut scope = Scope { service, table, at: node.at, complaints };
            Kind::String(scope.replace(text, MAX_DEPTH))
        }
        Kind::Sequence(items) => Kind::Sequence(items.iter().map(inner).collect()),
        Kind::Mapping(items) => {
            Kind::Mapping(items.iter().map(|(key, item)| (key.clone(), inner(item))).collect())
        }
        other => other.clone(),
    };
    Node { at: node.at, key_at: node.key_at, kind }
}

/// Where a text stands, and what its references mean there.
struct Scope<'a> {
    service: &'a str,
    table: &'a Environment,
    at: Position,
    complaints: &'a mut Vec<Complaint>,
}

/// What follows the name in braces: `:-default`, `-default`, `:?message`, `?message`, `:+other`,
/// `+other`.
struct Reference<'t> {
    name: &'t str,
    /// An empty value is taken as none.
    or_empty: bool,
    operator: Option<char>,
    operand: &'t str,
}

impl Scope<'_> {
    /// Replaces `$NAME` and `${NAME…}`; `$$` is a dollar. Anything else after a dollar stays as it
    /// is.
    fn replace(&mut self, text: &str, depth: usize) -> String {
        let mut result = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            result.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            if let Some(tail) = after.strip_prefix('$') {
                result.push('$');
                rest = tail;
            } else if let Some((inner, tail)) = in_braces(after) {
                result.push_str(&self.value(&Reference::parse(inner), depth));
                rest = tail;
            } else {
                let name = leading_name(after);
                match name {
                    "" => result.push('$'),
                    name => result.push_str(&self.value(&Reference::plain(name), depth)),
                }
                rest = &after[name.len()..];
            }
        }
        result + rest
    }

    fn value(&mut self, reference: &Reference<'_>, depth: usize) -> String {
        let name = reference.name;
        let own =
            self.table.get(&format!("{}/{name}", self.service)).or_else(|| self.table.get(name));
        let value = own.cloned().filter(|value| !(value.is_empty() && reference.or_empty));
        match (value, reference.operator) {
            (Some(_), Some('+')) | (None, Some('-')) => match depth {
                0 => reference.operand.to_owned(),
                _ => self.replace(reference.operand, depth - 1),
            },
            (None, Some('+')) => String::new(),
            (Some(value), _) => value,
            (None, Some('?')) => {
                let why =
                    if reference.operand.is_empty() { "is not set" } else { reference.operand };
                self.complain(format!("${{{name}}}: {why}"), true);
                String::new()
            }
            (None, _) => {
                self.complain(format!("${{{name}}} {UNSET}"), false);
                String::new()
            }
        }
    }

    fn complain(&mut self, what: String, is_fatal: bool) {
        let message =
            if self.service.is_empty() { what } else { format!("{}: {what}", self.service) };
        self.complaints.push(Complaint { at: self.at, message, is_fatal });
    }
}

impl<'t> Reference<'t> {
    fn plain(name: &'t str) -> Reference<'t> {
        Reference { name, or_empty: false, operator: None, operand: "" }
    }

    fn parse(inner: &'t str) -> Reference<'t> {
        let Some(end) = inner.find([':', '-', '?', '+']) else { return Reference::plain(inner) };
        let (name, rest) = inner.split_at(end);
        let (or_empty, rest) = rest.strip_prefix(':').map_or((false, rest), |rest| (true, rest));
        match rest.chars().next() {
            Some(operator @ ('-' | '?' | '+')) => {
                Reference { name, or_empty, operator: Some(operator), operand: &rest[1..] }
            }
            _ => Reference::plain(inner),
        }
    }
}

/// What stands between the braces at the start of a text, and what comes after them. References may
/// be nested.
fn in_braces(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('{')?;
    let mut open = 1_usize;
    for (at, character) in inner.char_indices() {
        match character {
            '{' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some((&inner[..at], &inner[at + 1..]));
        }
    }
    None
}

fn leading_name(text: &str) -> &str {
    if !text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return "";
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(text: &str) -> (String, Vec<Complaint>) {
        let table: Environment = [("A", "1"), ("s/A", "own"), ("E", "")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        let node = Node::new(Position::default(), Kind::String(text.to_owned()));
        let mut complaints = Vec::new();
        match interpolate(&node, "s", &table, &mut complaints).kind {
            Kind::String(text) => (text, complaints),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn references_are_replaced() {
        for (text, expected) in [
            ("x ${A} $A", "x own own"),
            ("$$A $ $1 ${", "$A $ $1 ${"),
            ("${B:-b} ${E:-e} ${E-e}${B}", "b e "),
            ("${B:-${E:-${A}}}!", "own!"),
            ("${A:+yes} ${B:+yes} ${E+yes} ${E:+yes}", "yes  yes "),
            ("${A:?must be} a$A.b", "own aown.b"),
        ] {
            assert_eq!(replaced(text).0, expected, "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_reported() {
        let (_, complaints) = replaced("${B:?say which} ${C}");
        assert_eq!(complaints[0].message, "s: ${B}: say which");
        assert!(complaints[0].is_fatal);
        assert_eq!(complaints[1].message, "s: ${C} is not set; an empty string is used");
        assert!(!complaints[1].is_fatal);
    }
}
