//! The kernel's command line → a tree: `rancher.a.b=v` and `cc.a.b=v`. Values are read as YAML,
//! quotes as the kernel reads them.
//!
//! Words after ` -- ` are read too, and win. Everything else on the line is the kernel's own
//! business.

use crate::position::Position;
use crate::text::yaml::{self, Kind, Node};
use crate::text::{path, schema};

/// Splits a command line into words; double quotes hold blanks together, as the kernel does it.
pub fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for character in text.trim().chars() {
        match character {
            '"' => quoted = !quoted,
            blank if blank.is_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
            other => word.push(other),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// Every value of a parameter, in order: `console=tty1 console=ttyS0`.
pub fn values<'a>(words: &'a [String], name: &str) -> Vec<&'a str> {
    words.iter().filter_map(|word| word.strip_prefix(name)?.strip_prefix('=')).collect()
}

/// The words after ` -- `, which RancherOS hid from /proc/cmdline; None if there are none.
pub fn hidden_words(text: &str) -> Option<String> {
    let words = words(text);
    let at = words.iter().position(|word| word == "--")?;
    Some(words.get(at + 1..)?.join(" ")).filter(|words| !words.is_empty())
}

/// The tree that a command line describes. `rancher.environment.EXTRA_CMDLINE` is `/init` and what
/// stands after ` -- `.
pub fn parse(text: &str) -> Node {
    let mut root = Vec::new();
    if let Some(hidden) = hidden_words(text) {
        let value = Node::new(Position::default(), Kind::String(format!("/init {hidden}")));
        insert(&mut root, &["rancher", "environment", "EXTRA_CMDLINE"].map(str::to_owned), value);
    }
    for (number, word) in words(text).iter().enumerate() {
        let (key, value) = word.split_once('=').unwrap_or((word, "true"));
        let key = match key.strip_prefix("cc.") {
            Some(top) => top,
            None if key.starts_with("rancher.") => key,
            None => continue,
        };
        let path = schema::fit(path::parse(key));
        let at = Position { line: 1, column: number as u64 + 1 };
        let value = match parse_value(value, at) {
            // A text stays as it was written: the password 0123 is not the number 83.
            Node { kind: Kind::Number(_) | Kind::Bool(_), .. } if schema::is_text(&path) => {
                Node::new(at, Kind::String(value.to_owned()))
            }
            node => node,
        };
        insert(&mut root, &path, value);
    }
    Node::new(Position::default(), Kind::Mapping(root))
}

/// A value is YAML where it looks like a list, a map, a number or a truth value. Text with `:` or
/// `?` stays text.
fn parse_value(text: &str, at: Position) -> Node {
    let structured = (text.starts_with('[') && text.ends_with(']'))
        || (text.starts_with('{') && text.ends_with('}'));
    let protected = if structured { protect(text) } else { text.to_owned() };
    let plain = Node::new(at, Kind::String(text.to_owned()));
    if !structured
        && (text.starts_with(['[', '{'])
            || text.contains(": ")
            || text.ends_with(':')
            || text.contains('#'))
    {
        return plain;
    }
    match yaml::parse(&protected) {
        Ok(node) if !matches!(node.kind, Kind::Mapping(_)) || structured => relocate(node, at),
        _ => plain,
    }
}

/// In `[url:http://h/p?a=b]` the colons belong to the text: quote each such item.
fn protect(text: &str) -> String {
    if text.starts_with('{') || text.contains('"') || text.contains('\'') {
        return text.to_owned();
    }
    let inner = text.trim_start_matches('[').trim_end_matches(']');
    let items: Vec<String> = inner
        .split(',')
        .map(|item| {
            if item.contains([':', '?']) { format!("\"{}\"", item.trim()) } else { item.to_owned() }
        })
        .collect();
    format!("[{}]", items.join(","))
}

fn relocate(node: Node, at: Position) -> Node {
    let kind = match node.kind {
        Kind::Sequence(items) => {
            Kind::Sequence(items.into_iter().map(|item| relocate(item, at)).collect())
        }
        Kind::Mapping(items) => {
            Kind::Mapping(items.into_iter().map(|(key, item)| (key, relocate(item, at))).collect())
        }
        other => other,
    };
    Node::new(at, kind)
}

/// Puts a value at a path; the later one wins, and mappings are merged. What is no mapping where
/// there is one, or the other way round, stands beside it: one of both is wrong, and the check will
/// say which.
fn insert(items: &mut Vec<(String, Node)>, path: &[String], value: Node) {
    let Some((first, rest)) = path.split_first() else { return };
    if first == "autologin" && rest.is_empty() {
        collect(items, value);
        return;
    }
    let is_mapping = |node: &Node| matches!(node.kind, Kind::Mapping(_));
    let wants_mapping = !rest.is_empty() || is_mapping(&value);
    let found =
        items.iter().position(|(key, node)| key == first && is_mapping(node) == wants_mapping);
    let position = found.unwrap_or_else(|| {
        items.push((first.clone(), Node::new(value.at, Kind::Mapping(Vec::new()))));
        items.len() - 1
    });
    let place = &mut items[position].1;
    match (&mut place.kind, value.kind) {
        (Kind::Mapping(inner), kind) if !rest.is_empty() => {
            insert(inner, rest, Node::new(value.at, kind))
        }
        (Kind::Mapping(inner), Kind::Mapping(pairs)) => {
            pairs.into_iter().for_each(|(key, node)| insert(inner, &[key], node));
        }
        (_, kind) => *place = Node::new(value.at, kind),
    }
}

/// The parameter `rancher.autologin` may come several times.
fn collect(items: &mut Vec<(String, Node)>, value: Node) {
    let at = value.at;
    let terminals = match value.kind {
        Kind::Sequence(list) => list,
        kind => vec![Node::new(at, kind)],
    };
    match items.iter_mut().find(|(key, _)| key == "autologin") {
        Some((_, Node { kind: Kind::Sequence(list), .. })) => list.extend(terminals),
        _ => items.push(("autologin".to_owned(), Node::new(at, Kind::Sequence(terminals)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parameters_become_a_tree() {
        let cases = [
            ("a b=c quiet", json!({})),
            ("rancher.debug", json!({"rancher": {"debug": true}})),
            (
                "rancher.state.dev=LABEL=X rancher.state.wait",
                json!({"rancher": {"state": {"dev": "LABEL=X", "wait": true}}}),
            ),
            ("rancher.modules=[a,b]", json!({"rancher": {"modules": ["a", "b"]}})),
            ("rancher.x=[url:http://h/p?a=b]", json!({"rancher": {"x": ["url:http://h/p?a=b"]}})),
            ("rancher.x=http://h:80/p?a=b", json!({"rancher": {"x": "http://h:80/p?a=b"}})),
            (
                "cc.hostname=one -- cc.hostname=two",
                json!({
                    "hostname": "two",
                    "rancher": {"environment": {"EXTRA_CMDLINE": "/init cc.hostname=two"}},
                }),
            ),
            ("rancher.n=5 rancher.\"s\"=\"a b\"", json!({"rancher": {"n": 5, "s": "a b"}})),
            (
                "rancher.autologin=tty1 rancher.autologin=[ttyS0,ttyS1]",
                json!({"rancher": {"autologin": ["tty1", "ttyS0", "ttyS1"]}}),
            ),
            (
                "rancher.password=0123 rancher.console=yes rancher.n=0123",
                json!({"rancher": {"password": "0123", "console": "yes", "n": 83}}),
            ),
            (
                "rancher.ssh.port=5 \"rancher.ssh={daemon: no}\" \
                 rancher.ssh.listen_address=1.2.3.4",
                json!({
                    "rancher": {"ssh": {"port": 5, "daemon": false, "listen_address": "1.2.3.4"}},
                }),
            ),
            (
                "rancher.network.interfaces.eth0.100.dhcp=true",
                json!({"rancher": {"network": {"interfaces": {"eth0.100": {"dhcp": true}}}}}),
            ),
            ("rancher.bad=[a", json!({"rancher": {"bad": "[a"}})),
        ];
        for (line, expected) in cases {
            assert_eq!(parse(line).to_value(), expected, "{line}");
        }
    }
}
