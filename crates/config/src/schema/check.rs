//! A tree against the table of keys: what is right stays, what is wrong is told with its place.

use super::{Key, ROOT, Standing, Type, describe};
use crate::error::{Problem, Severity};
use crate::yaml::{Kind, Node, Position};
use serde_json::{Map, Value};

/// Checks a tree against the table. The result holds only what is right; the rest is in the problems.
pub fn check(tree: &Node, source: &str, text: &str) -> (Value, Vec<Problem>) {
    let mut checker = Checker { source, lines: text.lines().collect(), problems: Vec::new() };
    let value = if tree.kind == Kind::Null { None } else { checker.check(tree, &ROOT, "") };
    (value.unwrap_or_else(|| Value::Object(Map::new())), checker.problems)
}

struct Checker<'a> {
    source: &'a str,
    lines: Vec<&'a str>,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn problem(&mut self, severity: Severity, at: Position, key: &str, message: String) {
        self.problems.push(Problem::new(severity, self.source, at, key, message));
    }

    fn check(&mut self, node: &Node, kind: &Type, key: &str) -> Option<Value> {
        match (kind, &node.kind) {
            (Type::Any, _) => Some(node.to_value()),
            (Type::Named(keys), Kind::String(_)) => {
                Some(self.check_keys(&[("name".to_owned(), node.clone())], keys, key))
            }
            (Type::Keys(keys) | Type::Named(keys), Kind::Mapping(items)) => {
                Some(self.check_keys(items, keys, key))
            }
            (Type::Map(inner), Kind::Mapping(items)) => Some(self.check_map(items, inner, key)),
            (Type::List(inner), Kind::Sequence(items)) => Some(self.check_list(items, inner, key)),
            (Type::Keys(_) | Type::Map(_) | Type::List(_), Kind::Null) => None,
            (Type::List(inner), Kind::String(_) | Kind::Number(_) | Kind::Bool(_)) if is_scalar(inner) => {
                Some(Value::Array(vec![self.check(node, inner, key)?]))
            }
            (Type::Command, Kind::Sequence(items)) => Some(self.check_list(items, &Type::String, key)),
            (Type::Command | Type::String | Type::Secret | Type::Text(_), _) => {
                self.check_string(node, kind, key)
            }
            (Type::Mount, Kind::Sequence(items)) => self.check_mount(node, items, key),
            (Type::BoolOr(_), Kind::Bool(value)) => Some(Value::Bool(*value)),
            (Type::BoolOr(inner), _) => self.check(node, inner, key),
            (Type::Bool, _) => self.check_bool(node, key),
            (Type::Integer, _) => self.check_integer(node, key),
            _ => self.refuse(node, kind, key),
        }
    }

    fn refuse(&mut self, node: &Node, kind: &Type, key: &str) -> Option<Value> {
        let message = format!("{} is wanted here, not {}", describe(kind), node.kind.name());
        self.problem(Severity::Error, node.at, key, message);
        None
    }

    fn check_keys(&mut self, items: &[(String, Node)], keys: &[Key], above: &str) -> Value {
        let mut result = Map::new();
        for (name, node) in items {
            let path = join(above, name);
            let Some(known) = keys.iter().find(|known| known.name == name) else {
                self.problem(Severity::Warning, node.at, &path, unknown(name, keys));
                continue;
            };
            self.note_standing(known, node.at, &path);
            if let Some(value) = self.check(node, &known.kind, &path) {
                result.insert(name.clone(), value);
            }
        }
        Value::Object(result)
    }

    fn note_standing(&mut self, known: &Key, at: Position, path: &str) {
        let message = match known.standing {
            _ if self.source == "defaults" => return,
            Standing::Effective => return,
            Standing::Old => format!("has no effect: {}", known.about),
            Standing::Later => "accepted, but has no effect in this version".to_owned(),
        };
        self.problem(Severity::Warning, at, path, message);
    }

    /// `[device, target, type, options]`, the last two optional; fstab's last two fields are taken and mean nothing.
    fn check_mount(&mut self, node: &Node, items: &[Node], key: &str) -> Option<Value> {
        let Value::Array(fields) = self.check_list(items, &Type::String, key) else { return None };
        if !(2..=6).contains(&fields.len()) {
            let message = format!("[device, target, type, options] is wanted, not {} fields", fields.len());
            self.problem(Severity::Error, node.at, key, message);
            return None;
        }
        Some(Value::Array(fields))
    }

    fn check_map(&mut self, items: &[(String, Node)], inner: &Type, above: &str) -> Value {
        let mut result = Map::new();
        for (name, node) in items {
            if let Some(value) = self.check(node, inner, &join(above, name)) {
                result.insert(name.clone(), value);
            }
        }
        Value::Object(result)
    }

    fn check_list(&mut self, items: &[Node], inner: &Type, key: &str) -> Value {
        let numbered = items.iter().enumerate();
        Value::Array(
            numbered.filter_map(|(n, item)| self.check(item, inner, &format!("{key}[{n}]"))).collect(),
        )
    }

    fn check_string(&mut self, node: &Node, kind: &Type, key: &str) -> Option<Value> {
        let text = match &node.kind {
            Kind::String(text) => text.clone(),
            Kind::Number(number) => self.raw(node.at).unwrap_or_else(|| number.to_string()),
            Kind::Bool(value) => self.raw(node.at).unwrap_or_else(|| value.to_string()),
            Kind::Null => String::new(),
            _ => return self.refuse(node, kind, key),
        };
        if let Type::Text(form) = kind
            && let Err(message) = (form.check)(&text)
        {
            self.problem(Severity::Error, node.at, key, message);
            return None;
        }
        Some(Value::String(text))
    }

    fn check_bool(&mut self, node: &Node, key: &str) -> Option<Value> {
        match &node.kind {
            Kind::Bool(value) => Some(Value::Bool(*value)),
            Kind::String(text) if ["true", "yes", "on"].contains(&text.to_lowercase().as_str()) => {
                Some(Value::Bool(true))
            }
            Kind::String(text) if ["false", "no", "off"].contains(&text.to_lowercase().as_str()) => {
                Some(Value::Bool(false))
            }
            Kind::Null => None,
            _ => self.refuse(node, &Type::Bool, key),
        }
    }

    fn check_integer(&mut self, node: &Node, key: &str) -> Option<Value> {
        match &node.kind {
            Kind::Number(number) if number.is_i64() || number.is_u64() => Some(Value::Number(number.clone())),
            Kind::String(text) => match text.trim().parse::<i64>() {
                Ok(number) => Some(Value::Number(number.into())),
                Err(_) => self.refuse(node, &Type::Integer, key),
            },
            Kind::Null => None,
            _ => self.refuse(node, &Type::Integer, key),
        }
    }

    /// A scalar as it was written: `0644` for what YAML takes as the number 420.
    fn raw(&self, at: Position) -> Option<String> {
        let line = self.lines.get(usize::try_from(at.line).ok()?.checked_sub(1)?)?;
        let rest = line.get(usize::try_from(at.column).ok()?.checked_sub(1)?..)?;
        let token = rest.split([' ', ',', ']', '}', '#', '\t']).next()?;
        (!token.is_empty() && !token.starts_with(['*', '&', '!', '"', '\''])).then(|| token.to_owned())
    }
}

/// May one value stand for a list of one?
fn is_scalar(kind: &Type) -> bool {
    matches!(kind, Type::Bool | Type::Integer | Type::String | Type::Secret | Type::Text(_) | Type::Command)
}

fn join(above: &str, name: &str) -> String {
    if above.is_empty() { name.to_owned() } else { format!("{above}.{name}") }
}

fn unknown(name: &str, keys: &[Key]) -> String {
    let nearest = keys.iter().map(|key| (distance(name, key.name), key.name)).min();
    match nearest {
        Some((distance, near)) if distance <= 2.max(name.len() / 3) => {
            format!("unknown key; did you mean {near}?")
        }
        _ => "unknown key".to_owned(),
    }
}

/// Edits between two words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != *y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use crate::{Layer, Source};
    use serde_json::json;

    fn layer(text: &str) -> Layer {
        Layer::parse(Source::File("f.yml".to_owned()), text)
    }

    #[test]
    fn what_is_wrong_is_left_out_and_told_with_its_place() {
        let cases = [
            ("hostname: [a]\n", "f.yml:1:11: hostname: a host name is wanted here, not a list"),
            (
                "rancher:\n  debug: perhaps\n",
                "f.yml:2:10: rancher.debug: true or false is wanted here, not a string",
            ),
            (
                "rancher:\n  shutdown_timeout: soon\n",
                "f.yml:2:21: rancher.shutdown_timeout: a whole number is wanted here, not a string",
            ),
            (
                "write_files:\n- {path: /a, permissions: rw}\n",
                "f.yml:2:27: write_files[0].permissions: \"rw\" is not an octal mode such as \"0644\"",
            ),
            (
                "users: [Bad]\n",
                "f.yml:1:9: users[0].name: \"Bad\" is not a user name: small letters, digits, _ and -, at most 32, a letter first",
            ),
            ("hostnam: a\n", "f.yml:1:10: hostnam: warning: unknown key; did you mean hostname?"),
            ("a: [\n", "f.yml:1:4: "),
        ];
        for (text, expected) in cases {
            let found: Vec<String> = layer(text).problems.iter().map(ToString::to_string).collect();
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].starts_with(expected), "{text}: {}", found[0]);
        }
    }

    #[test]
    fn loosely_written_values_are_taken_as_meant() {
        let value = layer(
            "ssh_authorized_keys: one\nwrite_files:\n- {path: /a, permissions: 0600, content: 5}\n- {path: /b, permissions: \"755\"}\nrancher:\n  debug: \"yes\"\n  shutdown_timeout: \"5\"\n  sysctl: {a.b: 1}\n",
        );
        assert_eq!(value.problems, Vec::new());
        assert_eq!(
            value.value,
            json!({
                "ssh_authorized_keys": ["one"],
                "write_files": [{"path": "/a", "permissions": "0600", "content": "5"}, {"path": "/b", "permissions": "755"}],
                "rancher": {"debug": true, "shutdown_timeout": 5, "sysctl": {"a.b": "1"}},
            })
        );
    }

    #[test]
    fn the_defaults_are_right() {
        assert_eq!(crate::defaults().problems, Vec::new());
    }
}
