//! The table of keys as a JSON Schema (draft 2020-12), for editors:
//! `ros config schema > corral.schema.json`.

use super::key::{Key, Support, Type};
use super::keys::ROOT;
use super::range::Range;
use serde_json::{Map, Value, json};

/// The schema of a cloud-config.
pub fn schema() -> Value {
    let mut root = of(&ROOT);
    if let Value::Object(map) = &mut root {
        map.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        map.insert("title".to_owned(), json!("Corral cloud-config"));
    }
    root
}

fn of(kind: &Type) -> Value {
    match kind {
        Type::Bool => json!({"type": ["boolean", "string", "null"]}),
        Type::Integer(range) | Type::Seconds(range) => integer(*range),
        Type::String | Type::Secret(_) | Type::Text(_) => {
            json!({"type": ["string", "number", "boolean", "null"]})
        }
        Type::List(inner) => list(inner),
        Type::Map(inner) => json!({"type": ["object", "null"], "additionalProperties": of(inner)}),
        Type::Keys(keys) => {
            let properties: Map<String, Value> =
                keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
            json!({
                "type": ["object", "null"],
                "properties": properties,
                "additionalProperties": false,
            })
        }
        Type::Named(keys) => json!({"anyOf": [{"type": "string"}, of(&Type::Keys(keys))]}),
        Type::Command => {
            json!({"anyOf": [{"type": "string"}, {"type": "array", "items": of(&Type::String)}]})
        }
        Type::Mount => {
            json!({"type": "array", "items": of(&Type::String), "minItems": 2, "maxItems": 6})
        }
        Type::BoolOr(inner) => json!({"anyOf": [{"type": "boolean"}, of(inner)]}),
        Type::Any => json!({}),
    }
}

fn integer(range: Range) -> Value {
    let mut forms = vec![
        json!({"type": "integer", "minimum": range.min, "maximum": range.max}),
        json!({"type": ["string", "null"]}),
    ];
    if range.or_zero {
        forms.push(json!({"const": 0}));
    }
    json!({ "anyOf": forms })
}

/// One value may stand for a list of one, as the checker takes it.
fn list(inner: &Type) -> Value {
    let list = json!({"type": "array", "items": of(inner)});
    match inner {
        Type::Keys(_) | Type::Named(_) | Type::List(_) | Type::Mount => {
            json!({"anyOf": [list, {"type": "null"}]})
        }
        _ => json!({"anyOf": [list, of(inner), {"type": "null"}]}),
    }
}

fn property(key: &Key) -> Value {
    let mut schema = of(&key.kind);
    if let Value::Object(map) = &mut schema {
        map.insert("description".to_owned(), json!(key.about));
        if !matches!(key.support, Support::Supported | Support::Accepted) {
            map.insert("deprecated".to_owned(), json!(true));
        }
        if matches!(key.kind, Type::Secret(_)) {
            map.insert("writeOnly".to_owned(), json!(true));
        }
    }
    schema
}
