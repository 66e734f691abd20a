//! One wrong value costs its own key and no other: for every key of the table, with every value
//! that an owner might write by mistake, in a document and on the kernel's command line.
//! Deterministic: the table is walked.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by a panic")]

use corral_config::schema::{ROOT, Support, Type};
use corral_config::{Config, Layer, Severity, Source, defaults, path, resolve_with_problems};
use serde_json::{Map, Value};

/// The longest message and key that an owner has to read, with a margin.
const LONGEST: usize = 320;

/// A step down to a value.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    Key(String),
    /// The only element of a list.
    Element,
}

/// A value of the table, and how it is reached.
type KeyPath = (Vec<Step>, &'static Type);

/// A document that says something right for every key that has an effect.
fn sample(kind: &'static Type) -> Value {
    match kind {
        Type::Bool => Value::Bool(true),
        Type::Integer(range) | Type::Seconds(range) => range.max.into(),
        Type::String | Type::Any | Type::Command => "text".into(),
        Type::Text(form) | Type::Secret(form) => {
            let samples = [
                "text",
                "0755",
                "10.0.0.1",
                "fd00::1/64",
                "/text",
                "b64",
                "url:http://h",
                "100",
                "gh:me",
                "reboot",
            ];
            let good =
                samples.into_iter().chain(["$6$salt$hash"]).find(|text| (form.check)(text).is_ok());
            good.unwrap_or_else(|| panic!("no sample of {}", form.name)).into()
        }
        Type::List(inner) => Value::Array(vec![sample(inner)]),
        Type::BoolOr(inner) => sample(inner),
        Type::Map(inner) => {
            Value::Object([("sample".to_owned(), sample(inner))].into_iter().collect())
        }
        Type::Keys(keys) | Type::Named(keys) => {
            let effective = keys.iter().filter(|key| key.support == Support::Supported);
            effective
                .map(|key| (key.name.to_owned(), sample(&key.kind)))
                .collect::<Map<_, _>>()
                .into()
        }
        Type::Mount => Value::from(vec!["/dev/a", "/b"]),
    }
}

/// Every place of the table below one: mappings and lists themselves, and all that is in them.
fn key_paths(kind: &'static Type, path: &mut Vec<Step>, found: &mut Vec<KeyPath>) {
    if !path.is_empty() {
        found.push((path.clone(), kind));
    }
    let mut below = |step: Step, kind: &'static Type| {
        path.push(step);
        key_paths(kind, path, found);
        path.pop();
    };
    match kind {
        Type::Keys(keys) | Type::Named(keys) => {
            let effective = keys.iter().filter(|key| key.support == Support::Supported);
            effective.for_each(|key| below(Step::Key(key.name.to_owned()), &key.kind));
        }
        Type::Map(inner) => below(Step::Key("sample".to_owned()), inner),
        Type::List(inner) => below(Step::Element, inner),
        _ => {}
    }
}

fn all_key_paths() -> Vec<KeyPath> {
    let mut found = Vec::new();
    key_paths(&ROOT, &mut Vec::new(), &mut found);
    found
}

/// As problems name it: `users[0].uid`.
fn dotted(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.extend([".", key]),
            Step::Element => text.push_str("[0]"),
        }
    }
    text
}

fn at<'a>(tree: &'a mut Value, path: &[Step]) -> Option<&'a mut Value> {
    path.iter().try_fold(tree, |tree, step| match step {
        Step::Key(key) => tree.get_mut(key),
        Step::Element => tree.get_mut(0),
    })
}

/// Takes a place out. A list that loses its only element goes with it: there is nothing left in it.
fn without(mut tree: Value, path: &[Step]) -> Value {
    let length = path.iter().rposition(|step| *step != Step::Element).unwrap_or_default();
    let (above, last) = path.split_at(length);
    if let (Some(Value::Object(map)), Some(Step::Key(key))) = (at(&mut tree, above), last.first()) {
        map.remove(key);
    }
    tree
}

/// What an owner might write by mistake, as YAML.
fn mistakes(kind: &Type) -> Vec<String> {
    let texts =
        ["", "null", "''", "true", "-1", "1e30", "{a: b}", "[[a]]", "[null]", "'a:b'", "\"a\\nb\""];
    let mut texts: Vec<String> = texts.map(str::to_owned).into();
    texts.push("x".repeat(100_000));
    if let Type::Integer(range) | Type::Seconds(range) = kind {
        let [below, above] = [i128::from(range.min) - 1, i128::from(range.max) + 1];
        texts.extend([below.to_string(), above.to_string(), format!("'{above}'")]);
        let numbers =
            ["5.5", "0x100000000", ".nan", "18446744073709551615", "99999999999999999999"];
        texts.extend(numbers.map(str::to_owned));
    }
    texts
}

/// Nothing was said: the key keeps what it has, without a word.
fn says_nothing(text: &str) -> bool {
    ["", "null", "[null]"].contains(&text)
}

fn errors(layer: &Layer) -> Vec<String> {
    let errors = layer.problems.iter().filter(|problem| problem.severity == Severity::Error);
    errors.map(ToString::to_string).collect()
}

fn as_value(config: &Config) -> Value {
    serde_json::to_value(config).unwrap()
}

/// The layer has the place, and the machine takes it; or the layer has an error there. The
/// configuration, then.
fn check(layer: &Layer, (path, _): &KeyPath, text: &str, line: Option<u64>) -> Config {
    let key = dotted(path);
    let shown: String = text.chars().take(40).collect();
    let what = format!("{key}: {shown}");
    for problem in &layer.problems {
        assert!(problem.key.chars().count() <= LONGEST, "{what}: a key of {}", problem.key.len());
        assert!(problem.message.chars().count() <= LONGEST, "{what}: {}", problem.message.len());
    }
    let resolution = resolve_with_problems(&[defaults(), layer.clone()]);
    assert_eq!(resolution.problems, Vec::new(), "{what}");
    assert!(resolution.config.rancher.ssh.daemon, "{what}: no sshd");
    let got_through = at(&mut layer.value.clone(), path).is_some();
    let is_about_it = |found: &str| {
        found == key
            || found.starts_with(&format!("{key}."))
            || found.starts_with(&format!("{key}["))
    };
    let mut errors = layer.problems.iter().filter(|problem| problem.severity == Severity::Error);
    let reported = errors.find(|problem| is_about_it(&problem.key) && problem.line > 0);
    if !got_through && !says_nothing(text) {
        let error =
            reported.unwrap_or_else(|| panic!("{what}: lost without a word: {:?}", layer.problems));
        assert!(line.is_none_or(|line| error.line == line), "{what}: {error} is not line {line:?}");
    }
    resolution.config
}

/// What a wrong value may cost: its own key, or the complete file that it is of.
fn cost(path: &[Step]) -> &[Step] {
    match path {
        [file @ Step::Key(name), ..] if name == "write_files" => std::slice::from_ref(file),
        _ => path,
    }
}

#[test]
fn a_wrong_value_in_a_document_costs_its_own_key_only() {
    let clean = sample(&ROOT);
    let good = Layer::from_value(Source::File("good.yml".to_owned()), &clean);
    assert_eq!(good.value, clean);
    let good_config = as_value(&resolve_with_problems(&[defaults(), good.clone()]).config);
    for place in all_key_paths() {
        let what = dotted(&place.0);
        let rest = |tree: &Value| without(tree.clone(), cost(&place.0));
        let (clean_rest, config_rest) = (rest(&clean), rest(&good_config));
        let mut tree = clean.clone();
        *at(&mut tree, &place.0).unwrap() = "@".into();
        let template = serde_json::to_string_pretty(&tree).unwrap();
        let line = template.lines().position(|line| line.contains("\"@\"")).unwrap() as u64 + 1;
        for text in mistakes(place.1).into_iter().filter(|text| !text.is_empty()) {
            let document = template.replace("\"@\"", &text);
            let layer = Layer::parse(Source::File("bad.yml".to_owned()), &document);
            let config = check(&layer, &place, &text, Some(line));
            assert_eq!(rest(&layer.value), clean_rest, "{what}: other keys");
            assert_eq!(
                rest(&as_value(&config)),
                config_rest,
                "{what}: the rest of the configuration"
            );
        }
    }
}

#[test]
fn a_wrong_value_leaves_the_one_of_the_layer_below() {
    let clean = sample(&ROOT);
    let good = Layer::from_value(Source::File("good.yml".to_owned()), &clean);
    let good_config = as_value(&resolve_with_problems(&[defaults(), good.clone()]).config);
    // Lists replace lists: what is inside of one has nothing below it.
    for (path, kind) in
        all_key_paths().into_iter().filter(|place| !place.0.contains(&Step::Element))
    {
        for text in mistakes(kind) {
            let nested = path.iter().rev().fold(text.clone(), |inner, step| match step {
                Step::Key(key) => format!("{{\"{key}\": {inner}}}"),
                Step::Element => format!("[{inner}]"),
            });
            let layer = Layer::parse(Source::File("bad.yml".to_owned()), &nested);
            if at(&mut layer.value.clone(), &path).is_none() {
                let config = resolve_with_problems(&[defaults(), good.clone(), layer]).config;
                assert_eq!(as_value(&config), good_config, "{}", dotted(&path));
            }
        }
    }
}

/// Parameters that are right, where each stands in the tree, and its value there.
const RIGHT: [(&str, &str); 4] = [
    ("rancher.state.dev", "LABEL=X"),
    ("rancher.ssh.port", "2222"),
    ("rancher.network.dns.search", "[a]"),
    ("rancher.docker.bip", "b"),
];

#[test]
fn a_wrong_value_on_the_command_line_costs_its_own_key_only() {
    let right: Vec<String> = RIGHT.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let right = right.join(" ");
    let good = Layer::from_command_line(&right);
    assert_eq!(good.problems, Vec::new());
    for place in all_key_paths().into_iter().filter(|place| !place.0.contains(&Step::Element)) {
        let key = dotted(&place.0);
        let name = if key.starts_with("rancher.") { key.clone() } else { format!("cc.{key}") };
        for text in mistakes(place.1).iter().filter(|text| !text.contains('"')) {
            let word = format!("\"{name}={text}\"");
            check(&Layer::from_command_line(&word), &place, text, None);
            for line in [format!("{right} {word}"), format!("{word} {right}")] {
                let layer = Layer::from_command_line(&line);
                for (other, _) in RIGHT.iter().filter(|(other, _)| *other != key) {
                    let said = |layer: &Layer| path::get(&layer.value, other).cloned();
                    let shown: String = text.chars().take(40).collect();
                    assert_eq!(said(&layer), said(&good), "{other} beside {key}={shown}");
                }
            }
        }
    }
}

#[test]
fn what_a_range_admits_the_machine_takes() {
    for (path, kind) in all_key_paths() {
        let (Type::Integer(range) | Type::Seconds(range)) = kind else { continue };
        for number in [range.min, range.max] {
            let mut tree = sample(&ROOT);
            *at(&mut tree, &path).unwrap() = number.into();
            let layer = Layer::from_value(Source::Metadata, &tree);
            assert_eq!(errors(&layer), [""; 0], "{}: {number}", dotted(&path));
            let resolution = resolve_with_problems(&[layer]);
            assert_eq!(resolution.problems, Vec::new(), "{}: {number}", dotted(&path));
        }
    }
}
