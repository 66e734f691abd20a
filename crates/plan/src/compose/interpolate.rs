//! `${NAME}` in a compose file: from the table of the environment, as the Compose Specification has it.

use corral_config::yaml::{Kind, Node, Position};
use std::collections::BTreeMap;

/// Values by name; `SERVICE/NAME` is for one service only.
pub type Environment = BTreeMap<String, String>;

/// Something that could not be put in.
pub(super) type Complaint = (Position, String);

/// A copy of `node` with every reference replaced. `service` is the one that the node belongs to.
pub(super) fn interpolate(
    node: &Node,
    service: &str,
    table: &Environment,
    complaints: &mut Vec<Complaint>,
) -> Node {
    let kind = match &node.kind {
        Kind::String(text) => Kind::String(replace(text, &mut |name, default| {
            let own = table.get(&format!("{service}/{name}")).or_else(|| table.get(name));
            let value = own.cloned().filter(|value| !(value.is_empty() && default.is_some()));
            value.or(default).unwrap_or_else(|| {
                complaints
                    .push((node.at, format!("{service}: ${{{name}}} is not set; it is taken as empty")));
                String::new()
            })
        })),
        Kind::Sequence(items) => {
            Kind::Sequence(items.iter().map(|item| interpolate(item, service, table, complaints)).collect())
        }
        Kind::Mapping(items) => Kind::Mapping(
            items
                .iter()
                .map(|(key, item)| (key.clone(), interpolate(item, service, table, complaints)))
                .collect(),
        ),
        other => other.clone(),
    };
    Node { at: node.at, kind }
}

/// Replaces `$NAME`, `${NAME}`, `${NAME:-default}` and `${NAME-default}`; `$$` is a dollar. Anything else after a
/// dollar stays as it is.
fn replace(text: &str, value_of: &mut dyn FnMut(&str, Option<String>) -> String) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            result.push('$');
            rest = tail;
        } else if let Some((inner, tail)) = after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            let (name, default) = split_default(inner);
            result.push_str(&value_of(name, default));
            rest = tail;
        } else {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            let is_name = after.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            let name = if is_name { &after[..end] } else { "" };
            if name.is_empty() {
                result.push('$');
            } else {
                result.push_str(&value_of(name, None));
            }
            rest = &after[name.len()..];
        }
    }
    result + rest
}

fn split_default(inner: &str) -> (&str, Option<String>) {
    match inner.split_once(":-").or_else(|| inner.split_once('-')) {
        Some((name, default)) => (name, Some(default.to_owned())),
        None => (inner, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced() {
        let table: Environment =
            [("A", "1"), ("s/A", "own"), ("E", "")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        for (text, expected) in [
            ("x ${A} $A", "x own own"),
            ("$$A $ $1 ${", "$A $ $1 ${"),
            ("${B:-b} ${E:-e} ${B}", "b e "),
            ("a$A.b", "aown.b"),
        ] {
            let node = Node { at: Position::default(), kind: Kind::String(text.to_owned()) };
            let result = interpolate(&node, "s", &table, &mut Vec::new());
            assert_eq!(result.kind, Kind::String(expected.to_owned()), "{text}");
        }
    }
}
