//! A tree against the table of keys: what is right stays, what is wrong is reported with its
//! position.

use super::key::{Caution, Form, Key, Support, Type, describe};
use super::keys::ROOT;
use super::range::Range;
use crate::error::{MOST, Problem, Severity, clip};
use crate::position::Position;
use crate::text::duration;
use crate::text::source::Source;
use crate::text::yaml::{Kind, Node};
use serde_json::{Map, Value};

/// Checks a tree against the table. The result holds only what is right; the rest is in the
/// problems.
pub fn check(tree: &Node, source: &Source, text: &str) -> (Value, Vec<Problem>) {
    let name = source.to_string();
    let mut checker = Checker { source, name, lines: text.lines().collect(), problems: Vec::new() };
    let value = if tree.kind == Kind::Null { None } else { checker.check(tree, &ROOT, "") };
    (value.unwrap_or_else(|| Value::Object(Map::new())), checker.problems)
}

struct Checker<'a> {
    source: &'a Source,
    name: String,
    lines: Vec<&'a str>,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn problem(&mut self, severity: Severity, at: Position, key: &str, message: String) {
        self.problems.push(Problem::new(severity, &self.name, at, key, message));
    }

    fn check(&mut self, node: &Node, kind: &Type, key: &str) -> Option<Value> {
        match (kind, &node.kind) {
            (Type::Any, _) => Some(node.to_value()),
            (Type::Named(keys), Kind::String(_)) => {
                self.check_keys(&[("name".to_owned(), node.clone())], keys, key)
            }
            (Type::Keys(keys) | Type::Named(keys), Kind::Mapping(items)) => {
                self.check_keys(items, keys, key)
            }
            (Type::Map(inner), Kind::Mapping(items)) => Some(self.check_map(items, inner, key)),
            (Type::List(inner), Kind::Sequence(items)) => self.check_list(items, inner, key),
            (Type::Keys(_) | Type::Map(_) | Type::List(_), Kind::Null) => None,
            (Type::List(inner), Kind::String(_) | Kind::Number(_) | Kind::Bool(_))
                if is_scalar(inner) || is_name(inner, node) =>
            {
                Some(Value::Array(vec![self.check(node, inner, key)?]))
            }
            (Type::Command, Kind::Sequence(items)) => {
                self.check_words(items, key).map(Value::Array)
            }
            (Type::Command | Type::String, _) => {
                self.check_string(node, kind, key).map(Value::String)
            }
            (Type::Text(form) | Type::Secret(form), _) => self.check_form(node, kind, form, key),
            (Type::Mount, Kind::Sequence(items)) => self.check_mount(node, items, key),
            (Type::BoolOr(_), Kind::Bool(value)) => Some(Value::Bool(*value)),
            (Type::BoolOr(inner), _) => self.check(node, inner, key),
            (Type::Bool, _) => self.check_bool(node, key),
            (Type::Integer(range) | Type::Seconds(range), _) => {
                self.check_integer(node, kind, *range, key)
            }
            _ => self.refuse(node, kind, key),
        }
    }

    fn refuse(&mut self, node: &Node, kind: &Type, key: &str) -> Option<Value> {
        let message = format!("expected {}, not {}", describe(kind), self.shown(node, kind));
        self.problem(Severity::Error, node.at, key, message);
        None
    }

    /// A number in the place of another is shown; of anything else only what it is, for it may be a
    /// secret.
    fn shown(&self, node: &Node, wanted: &Type) -> String {
        match (&node.kind, wanted) {
            (Kind::Number(number), Type::Integer(_) | Type::Seconds(_)) => {
                self.raw(node.at).unwrap_or_else(|| number.to_string())
            }
            (Kind::String(text), Type::Integer(_)) if text.trim().parse::<f64>().is_ok() => {
                clip(text.trim())
            }
            (Kind::String(text), Type::Seconds(_)) if duration::parse(text).is_some() => {
                clip(text.trim())
            }
            (kind, _) => kind.name().to_owned(),
        }
    }

    /// None where a vital value is wrong.
    fn check_keys(&mut self, items: &[(String, Node)], keys: &[Key], above: &str) -> Option<Value> {
        let mut result = Map::new();
        let mut is_complete = true;
        for (name, node) in items {
            let path = join(above, name);
            let Some(known) = find(keys, name) else {
                // What is not going to be shown needs no search for the nearest key.
                let near = if self.problems.len() < MOST { keys } else { &[] };
                self.problem(Severity::Warning, node.at, &path, unknown(name, near));
                continue;
            };
            self.warn_of_support(known, node.at, &path);
            if let Some(value) = self.check(node, &known.kind, &path) {
                self.warn_of_caution(known, &value, node, &path);
                result.insert(known.name.to_owned(), value);
            } else if known.vital && node.kind != Kind::Null {
                is_complete = false;
            }
        }
        is_complete.then_some(Value::Object(result))
    }

    fn warn_of_caution(&mut self, known: &Key, value: &Value, node: &Node, path: &str) {
        let Some(caution) = known.caution else { return };
        if let Some(message) = caution(value, self.source) {
            let at = self.cause(caution, value, node);
            self.problem(Severity::Warning, at, path, message.to_owned());
        }
    }

    /// The position that a caution is about: in a list, that of the first item which has it alone.
    /// That is not known if items were left out, because they are wrong.
    fn cause(&self, caution: Caution, value: &Value, node: &Node) -> Position {
        let (Value::Array(values), Kind::Sequence(items)) = (value, &node.kind) else {
            return node.at;
        };
        let is_it = |value: &Value| {
            values.len() == items.len()
                && caution(&Value::Array(vec![value.clone()]), self.source).is_some()
        };
        let found = items.iter().zip(values).find(|(_, value)| is_it(value));
        found.map_or(node.at, |(item, _)| item.at)
    }

    fn warn_of_support(&mut self, known: &Key, at: Position, path: &str) {
        let message = match known.support {
            _ if *self.source == Source::Defaults => return,
            Support::Supported | Support::Accepted => return,
            Support::Obsolete => format!("has no effect: {}", known.about),
            Support::Planned => "accepted, but has no effect in this version".to_owned(),
        };
        self.problem(Severity::Warning, at, path, message);
    }

    /// `[device, target, type, options]`, the last two optional. The last two fields of fstab are
    /// accepted and have no effect.
    fn check_mount(&mut self, node: &Node, items: &[Node], key: &str) -> Option<Value> {
        let fields = self.check_words(items, key)?;
        if !(2..=6).contains(&fields.len()) {
            let message =
                format!("expected [device, target, type, options], not {} fields", fields.len());
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

    /// Elements that are wrong or empty are left out. A list of which nothing is left replaces no
    /// other.
    fn check_list(&mut self, items: &[Node], inner: &Type, key: &str) -> Option<Value> {
        let set = items.iter().enumerate().filter(|(_, item)| item.kind != Kind::Null);
        let list: Vec<Value> =
            set.filter_map(|(n, item)| self.check(item, inner, &format!("{key}[{n}]"))).collect();
        (items.is_empty() || !list.is_empty()).then_some(Value::Array(list))
    }

    /// Texts that mean something together only: without one of them the others are not taken
    /// either.
    fn check_words(&mut self, items: &[Node], key: &str) -> Option<Vec<Value>> {
        let numbered = items.iter().enumerate();
        let word = |(n, item)| self.check_string(item, &Type::String, &format!("{key}[{n}]"));
        Some(
            numbered
                .map(word)
                .collect::<Option<Vec<String>>>()?
                .into_iter()
                .map(Value::from)
                .collect(),
        )
    }

    fn check_string(&mut self, node: &Node, kind: &Type, key: &str) -> Option<String> {
        match &node.kind {
            Kind::String(text) => Some(text.clone()),
            Kind::Number(number) => Some(self.raw(node.at).unwrap_or_else(|| number.to_string())),
            Kind::Bool(value) => Some(self.raw(node.at).unwrap_or_else(|| value.to_string())),
            Kind::Null => Some(String::new()),
            _ => {
                self.refuse(node, kind, key);
                None
            }
        }
    }

    /// A key without a value is the empty text, if the form takes that; else it is not set.
    fn check_form(&mut self, node: &Node, kind: &Type, form: &Form, key: &str) -> Option<Value> {
        let text = self.check_string(node, kind, key)?;
        match (form.check)(&text) {
            Ok(()) => Some(Value::String(text)),
            Err(_) if node.kind == Kind::Null => None,
            Err(message) => {
                self.problem(Severity::Error, node.at, key, message);
                None
            }
        }
    }

    fn check_bool(&mut self, node: &Node, key: &str) -> Option<Value> {
        match &node.kind {
            Kind::Bool(value) => Some(Value::Bool(*value)),
            Kind::String(text) if ["true", "yes", "on"].contains(&text.to_lowercase().as_str()) => {
                Some(Value::Bool(true))
            }
            Kind::String(text)
                if ["false", "no", "off"].contains(&text.to_lowercase().as_str()) =>
            {
                Some(Value::Bool(false))
            }
            Kind::Number(number) if number.as_i64() == Some(1) => Some(Value::Bool(true)),
            Kind::Number(number) if number.as_i64() == Some(0) => Some(Value::Bool(false)),
            // `ssh_pwauth: unchanged` of cloud-init sets nothing.
            Kind::String(text) if text == "unchanged" => None,
            Kind::Null => None,
            _ => self.refuse(node, &Type::Bool, key),
        }
    }

    fn check_integer(
        &mut self,
        node: &Node,
        kind: &Type,
        range: Range,
        key: &str,
    ) -> Option<Value> {
        let number = match (&node.kind, kind) {
            (Kind::Null, _) => return None,
            (Kind::Number(number), _) => number.as_i64(),
            (Kind::String(text), Type::Seconds(_)) => {
                let with_units = || i64::try_from(duration::parse_seconds(text)?).ok();
                text.trim().parse().ok().or_else(with_units)
            }
            (Kind::String(text), _) => text.trim().parse().ok(),
            _ => None,
        };
        match number.filter(|number| range.contains(*number)) {
            Some(number) => Some(number.into()),
            None => self.refuse(node, kind, key),
        }
    }

    /// A scalar as it was written: `0644` for what YAML takes as the number 420.
    fn raw(&self, at: Position) -> Option<String> {
        let line = self.lines.get(usize::try_from(at.line).ok()?.checked_sub(1)?)?;
        let rest = line.get(usize::try_from(at.column).ok()?.checked_sub(1)?..)?;
        let token = rest.split([' ', ',', ']', '}', '#', '\t']).next()?;
        (!token.is_empty() && !token.starts_with(['*', '&', '!', '"', '\'']))
            .then(|| token.to_owned())
    }
}

/// Old names of cloud-init have hyphens: `ca-certs`, `ssh-authorized-keys`.
fn find<'a>(keys: &'a [Key], name: &str) -> Option<&'a Key> {
    let exact = keys.iter().find(|known| known.name == name);
    exact.or_else(|| keys.iter().find(|known| known.name == name.replace('-', "_")))
}

/// May one value stand for a list of one?
fn is_scalar(kind: &Type) -> bool {
    use Type::{Bool, Command, Integer, Seconds, Secret, String, Text};
    matches!(kind, Bool | Integer(_) | Seconds(_) | String | Secret(_) | Text(_) | Command)
}

/// `users: default`
fn is_name(kind: &Type, node: &Node) -> bool {
    matches!(kind, Type::Named(_)) && matches!(node.kind, Kind::String(_))
}

/// Clipped, for what is below a long key would be long as often.
fn join(above: &str, name: &str) -> String {
    if above.is_empty() { clip(name) } else { clip(&format!("{above}.{}", clip(name))) }
}

fn unknown(name: &str, keys: &[Key]) -> String {
    format!("unknown key{}", did_you_mean(name, keys.iter().map(|key| key.name)))
}

/// What to add to the message about an unknown name: `; did you mean X?`. Empty if none is near.
pub fn did_you_mean<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    nearest(name, names).map_or_else(String::new, |near| format!("; did you mean {near}?"))
}

/// The one of these names that was probably meant.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // What is much longer than any name is near to none, and would take long to compare.
    let likely = names.filter(|_| name.len() < 100);
    let (distance, near) = likely.map(|known| (distance(name, known), known)).min()?;
    (distance <= 2.max(name.len() / 3)).then_some(near)
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

    /// What is written, and the beginning of its only message.
    const WRONG: [(&str, &str); 16] = [
        ("hostname: [a]\n", "f.yml:1:11: hostname: expected a host name, not a list"),
        (
            "rancher:\n  debug: perhaps\n",
            "f.yml:2:10: rancher.debug: expected true or false, not a string",
        ),
        (
            "rancher:\n  shutdown_timeout: soon\n",
            "f.yml:2:21: rancher.shutdown_timeout: expected a time such as 90s or 10m (0 to \
             86400 s), not a string",
        ),
        (
            "write_files:\n- {path: /a, permissions: rw}\n",
            "f.yml:2:27: write_files[0].permissions: \"rw\" is not an octal mode such as \
             \"0644\"",
        ),
        (
            "users: [Bad]\n",
            "f.yml:1:9: users[0].name: \"Bad\" is not a user name: lower-case letters, digits, \
             _ and -, at most 32 characters, a letter first",
        ),
        (
            "rancher:\n  ssh: {port: 70000}\n",
            "f.yml:2:15: rancher.ssh.port: expected an integer from 1 to 65535 (or 0), \
             not 70000",
        ),
        (
            "users: [{name: a, uid: -1}]\n",
            "f.yml:1:24: users[0].uid: expected an integer from 1 to 4294967294, not -1",
        ),
        (
            "users:\n- {name: a, passwd: hush}\n",
            "f.yml:2:21: users[0].passwd: expected a hash as in /etc/shadow, not the password; \
             use: openssl passwd -6",
        ),
        (
            "rancher: {password: \"hu\\nsh\"}\n",
            "f.yml:1:21: rancher.password: a password must not contain line breaks or \
             control characters",
        ),
        (
            "mounts: [[/dev/vdb, [a], ext4]]\n",
            "f.yml:1:21: mounts[0][1]: expected a string, not a list",
        ),
        (
            "rancher: {password: 'hu:sh'}\n",
            "f.yml:1:21: rancher.password: warning: this password is clear text",
        ),
        (
            "ssh_pwauth: true\n",
            "f.yml:1:13: ssh_pwauth: warning: passwords can be guessed over the network; keys \
             (ssh_authorized_keys) are safer",
        ),
        (
            "rancher: {password: hush}\n",
            "f.yml:1:21: rancher.password: warning: this password is clear text; its hash is \
             safer: openssl passwd -6",
        ),
        (
            "fqdn: vm-1.a-long-name-of-a-machine.of-a-department.of-a-company.cloud.example.com\n",
            "f.yml:1:7: fqdn: warning: this name is longer than the 64 bytes",
        ),
        ("hostnam: a\n", "f.yml:1:10: hostnam: warning: unknown key; did you mean hostname?"),
        ("a: [\n", "f.yml:1:4: "),
    ];

    #[test]
    fn what_is_wrong_is_left_out_and_reported_with_its_position() {
        for (text, expected) in WRONG {
            let found: Vec<String> = layer(text).problems.iter().map(ToString::to_string).collect();
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].starts_with(expected), "{text}: {}", found[0]);
        }
    }

    #[test]
    fn a_key_that_was_cut_off_is_warned_about() {
        let found = layer("ssh_authorized_keys: [ssh-ed25519 AAAAC3NzaC1l]\n").problems;
        let shown = found.iter().map(ToString::to_string).collect::<String>();
        let expected =
            "f.yml:1:23: ssh_authorized_keys: warning: not every line is an ssh public key";
        assert!(shown.starts_with(expected), "{shown}");
    }

    #[test]
    fn a_warning_about_an_item_of_a_list_has_its_line() {
        let unread = "- path: /etc/ntp.conf\n  container: ntp\n";
        for (text, line) in [
            (format!("write_files:\n- {{path: /a}}\n{unread}- {{path: /b}}\n"), 3),
            (format!("write_files:\n- path: /a\n  container: ntp\n{unread}{unread}"), 4),
            ("write_files:\n- {path: /a}\n- {path: /etc/ntp.conf, container: ntp}\n".to_owned(), 3),
            (
                "write_files: [{path: relative},\n  {path: /etc/ntp.conf, container: ntp}]\n"
                    .to_owned(),
                1,
            ),
        ] {
            let mut found = layer(&text).problems;
            found.retain(|problem| problem.key == "write_files");
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert_eq!(found[0].line, line, "{text}: {found:?}");
            let said = "/etc/ntp.conf of the container ntp is not read";
            assert!(found[0].message.starts_with(said), "{text}: {found:?}");
        }
    }

    #[test]
    fn loosely_written_values_are_taken_as_meant() {
        let value = layer(
            "ssh_authorized_keys: ssh-ed25519 \
             AAAAC3NzaC1lZDI1NTE5AAAAIBFEMcvpCmwCo8TmHT0Y3uVtbCTgPWHG0XaLCiSwGvc4\n\
             write_files:\n- {path: /a, permissions: 0600, content: 5}\n\
             - {path: /b, permissions: \"755\"}\n\
             rancher:\n  debug: \"yes\"\n  shutdown_timeout: \"5\"\n  sysctl: {a.b: 1}\n",
        );
        assert_eq!(value.problems, Vec::new());
        assert_eq!(
            value.value,
            json!({
                "ssh_authorized_keys": ["ssh-ed25519 \
                    AAAAC3NzaC1lZDI1NTE5AAAAIBFEMcvpCmwCo8TmHT0Y3uVtbCTgPWHG0XaLCiSwGvc4"],
                "write_files": [
                    {"path": "/a", "permissions": "0600", "content": "5"},
                    {"path": "/b", "permissions": "755"},
                ],
                "rancher": {"debug": true, "shutdown_timeout": 5, "sysctl": {"a.b": "1"}},
            })
        );
    }

    #[test]
    fn a_time_may_have_units_and_is_a_number_of_seconds() {
        for (text, seconds) in
            [("90", 90), ("\"90\"", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400)]
        {
            let layer = layer(&format!("rancher: {{shutdown_timeout: {text}}}\n"));
            assert_eq!(layer.problems, Vec::new(), "{text}");
            assert_eq!(layer.value, json!({"rancher": {"shutdown_timeout": seconds}}), "{text}");
        }
        let found = layer("rancher: {shutdown_timeout: 25h}\n").problems;
        let expected = "f.yml:1:29: rancher.shutdown_timeout: expected a time such as 90s or 10m \
                        (0 to 86400 s), not 25h";
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
    }

    #[test]
    fn a_password_on_the_command_line_is_no_secret() {
        let found = |text: &str| -> Vec<String> {
            Layer::from_command_line(text).problems.iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            found("rancher.password=hush"),
            ["kernel command line:1:1: rancher.password: warning: every container can read this \
                 password in /proc/cmdline; use its hash: openssl passwd -6"]
        );
        assert_eq!(found("rancher.password=$6$salt$hash"), [""; 0]);
    }

    #[test]
    fn a_list_of_which_nothing_is_left_replaces_no_other() {
        let layer =
            layer("ssh_authorized_keys: [[a]]\nruncmd: [[a, {b: c}], d, null]\nbootcmd: []\n");
        assert_eq!(layer.value, json!({"runcmd": ["d"], "bootcmd": []}));
    }

    #[test]
    fn a_file_with_a_wrong_value_is_not_written_at_all() {
        let layer = layer(
            "write_files:\n- {path: /secret, permissions: rw-------}\n\
             - {path: /b, encoding: rot13}\n- {path: /c, owner: [a]}\n\
             - {path: /d, permissions: null, contents: a}\n",
        );
        assert_eq!(layer.value, json!({"write_files": [{"path": "/d"}]}));
        assert_eq!(layer.problems.len(), 4);
    }

    #[test]
    fn of_the_default_network_only_name_servers_are_read() {
        let text = "rancher: {defaults: {network: {dns: {search: [a]}, http_proxy: x}}}\n";
        let found: Vec<String> = layer(text).problems.iter().map(ToString::to_string).collect();
        let expected = "f.yml:1:64: rancher.defaults.network.http_proxy: warning: has no effect: \
                        only `dns` is read here: see `rancher.network`";
        assert_eq!(found, [expected]);
    }

    #[test]
    fn the_defaults_are_right() {
        assert_eq!(crate::defaults().problems, Vec::new());
    }
}
