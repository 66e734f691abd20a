//! What is exported and read again is what it was: for every key of the table, and for texts that
//! YAML likes to take for something else.

use corral_config::schema::{ROOT, Type};
use corral_config::{Layer, Source, export};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;
use serde_json::{Map, Value};

/// Texts that a writer of YAML gets wrong sooner or later.
const TRAPS: [&str; 22] = [
    "",
    " ",
    "~",
    "null",
    "yes",
    "off",
    "true",
    "0644",
    "1_000",
    "1e3",
    ".5",
    "0x1f",
    "12:30:45",
    "- a",
    "a: b",
    "#x",
    "a #b",
    "'",
    "\"",
    "two\nlines\n",
    "\ttab",
    "%x",
];

fn text() -> BoxedStrategy<Value> {
    let trap = prop::sample::select(TRAPS.to_vec()).prop_map(Value::from);
    prop_oneof![trap, "[ -~]{0,20}".prop_map(Value::from), "\\PC{0,12}".prop_map(Value::from)]
        .boxed()
}

/// A value that the form takes.
fn formed(check: fn(&str) -> Result<(), String>) -> BoxedStrategy<Value> {
    let samples = [
        "$6$salt$hash",
        "host-1",
        "0755",
        "10.0.0.1",
        "fd00::1/64",
        "/a b/c",
        "b64",
        "url:http://h/?a=b",
        "100,200:x",
        "gh:me",
        "hash",
        "reboot",
    ];
    let good: Vec<&str> = samples.into_iter().filter(|sample| check(sample).is_ok()).collect();
    assert!(!good.is_empty(), "no sample for a form");
    prop::sample::select(good).prop_map(Value::from).boxed()
}

fn value(kind: &'static Type) -> BoxedStrategy<Value> {
    match kind {
        Type::Bool => any::<bool>().prop_map(Value::from).boxed(),
        Type::Integer(range) | Type::Seconds(range) => {
            (range.min..=range.max).prop_map(Value::from).boxed()
        }
        Type::Secret(form) if (form.check)("a:b\n").is_ok() => text(),
        Type::String | Type::Any => text(),
        Type::Text(form) | Type::Secret(form) => formed(form.check),
        Type::List(inner) => {
            prop::collection::vec(value(inner), 0..3).prop_map(Value::from).boxed()
        }
        Type::Mount => prop::collection::vec(text(), 2..5).prop_map(Value::from).boxed(),
        Type::Command => {
            prop_oneof![text(), prop::collection::vec(text(), 0..3).prop_map(Value::from)].boxed()
        }
        Type::BoolOr(inner) => {
            prop_oneof![any::<bool>().prop_map(Value::from), value(inner)].boxed()
        }
        Type::Map(inner) => prop::collection::btree_map("[a-z0-9*./=:~-]{1,8}", value(inner), 0..3)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
            .boxed(),
        Type::Keys(keys) | Type::Named(keys) => {
            let members: Vec<BoxedStrategy<Option<(String, Value)>>> = keys
                .iter()
                .map(|key| {
                    let member = value(&key.kind).prop_map(|value| (key.name.to_owned(), value));
                    prop::option::weighted(0.3, member).boxed()
                })
                .collect();
            members
                .prop_map(|pairs| Value::Object(pairs.into_iter().flatten().collect::<Map<_, _>>()))
                .boxed()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(300)
    })]

    #[test]
    fn an_export_that_is_read_again_is_what_it_was(tree in value(&ROOT)) {
        let exported = export::to_yaml(&tree, true).unwrap();
        let layer = Layer::parse(Source::File("export.yml".to_owned()), &exported);
        prop_assert!(!layer.has_errors(), "{:?}\n{exported}", layer.problems);
        prop_assert_eq!(&layer.value, &tree, "\n{}", exported);
    }
}
