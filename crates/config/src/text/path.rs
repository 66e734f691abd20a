//! Dotted keys for `get` and `set`: `rancher.network.interfaces.eth0.dhcp`. A part with dots in it
//! is quoted.

use crate::text::schema;
use serde_json::{Map, Value};

/// Splits a dotted key. `a."b.c".d` has three parts.
pub fn parse(key: &str) -> Vec<String> {
    let (mut parts, mut part, mut quoted) = (Vec::new(), String::new(), false);
    for character in key.chars() {
        match character {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(std::mem::take(&mut part)),
            other => part.push(other),
        }
    }
    parts.push(part);
    parts
}

/// The value at a key. Keys of a map that have dots themselves (`fs.file-max`) are found without
/// quotes too.
pub fn get<'a>(tree: &'a Value, key: &str) -> Option<&'a Value> {
    get_parts(tree, &parse(key))
}

/// Puts a value at a key, making the maps above it. What stood in the way is replaced.
pub fn set(tree: &mut Value, key: &str, value: Value) {
    let mut place = tree;
    for part in schema::fit(parse(key)) {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(map) = place else { return };
        place = map.entry(part).or_insert(Value::Null);
    }
    *place = value;
}

/// Takes the value at a key out.
pub fn remove(tree: &mut Value, key: &str) -> Option<Value> {
    let mut parts = schema::fit(parse(key));
    let last = parts.pop()?;
    let mut place = tree;
    for part in parts {
        place = place.get_mut(part)?;
    }
    place.as_object_mut()?.remove(&last)
}

/// The parts as one key; a part with dots in it is quoted.
pub fn join(parts: &[String]) -> String {
    let quote =
        |part: &String| if part.contains('.') { format!("\"{part}\"") } else { part.clone() };
    parts.iter().map(quote).collect::<Vec<_>>().join(".")
}

/// The value at a key that was taken apart.
pub(crate) fn get_parts<'a>(tree: &'a Value, parts: &[String]) -> Option<&'a Value> {
    if parts.is_empty() {
        return Some(tree);
    }
    (1..=parts.len())
        .find_map(|length| get_parts(tree.get(parts[..length].join("."))?, &parts[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_with_dots_are_found_quoted_or_not() {
        let tree = json!({"rancher": {"sysctl": {"fs.file-max": 7}, "state": {"dev": "x"}}});
        for (key, expected) in [
            ("rancher.state.dev", Some(json!("x"))),
            ("rancher.sysctl.fs.file-max", Some(json!(7))),
            ("rancher.sysctl.\"fs.file-max\"", Some(json!(7))),
            ("rancher.nothing", None),
        ] {
            assert_eq!(get(&tree, key).cloned(), expected, "{key}");
        }
    }

    #[test]
    fn set_makes_the_maps_above() {
        let mut tree = json!({"a": 1});
        set(&mut tree, "a.b.c", json!([1]));
        assert_eq!(tree, json!({"a": {"b": {"c": [1]}}}));
        set(&mut tree, "rancher.sysctl.net.ipv4.ip_forward", json!(1));
        assert_eq!(tree["rancher"], json!({"sysctl": {"net.ipv4.ip_forward": 1}}));
        let mut tree = json!({});
        set(&mut tree, "rancher.network.interfaces.eth0.100.dhcp", json!(true));
        assert_eq!(
            tree,
            json!({"rancher": {"network": {"interfaces": {"eth0.100": {"dhcp": true}}}}})
        );
    }

    #[test]
    fn a_key_is_taken_out_and_what_is_not_there_is_no_error() {
        let mut tree = json!({"rancher": {"services_include": {"/a/b.yml": true, "web": true}}});
        assert_eq!(remove(&mut tree, "rancher.services_include.\"/a/b.yml\""), Some(json!(true)));
        assert_eq!(remove(&mut tree, "rancher.services_include.missing"), None);
        assert_eq!(remove(&mut tree, "rancher.nothing.here"), None);
        assert_eq!(tree, json!({"rancher": {"services_include": {"web": true}}}));
    }
}
