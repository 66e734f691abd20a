//! Layers on top of each other: maps merge deeply, everything else is replaced by what came later.

use crate::text::layer::Layer;
use serde_json::{Map, Value};

/// The merged tree of all layers, as `ros config export --full` shows it.
pub fn merged(layers: &[Layer]) -> Value {
    merge(layers.iter().map(|layer| &layer.value))
}

/// Merges trees in order; the later one wins.
pub fn merge<'a>(layers: impl Iterator<Item = &'a Value>) -> Value {
    let mut result = Value::Object(Map::new());
    for layer in layers {
        merge_into(&mut result, layer);
    }
    result
}

/// Merges `upper` into `lower`.
pub fn merge_into(lower: &mut Value, upper: &Value) {
    match (lower, upper) {
        (Value::Object(lower), Value::Object(upper)) => {
            for (key, value) in upper {
                merge_into(lower.entry(key).or_insert(Value::Null), value);
            }
        }
        (lower, upper) => *lower = upper.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn maps_merge_deeply_and_lists_are_replaced() {
        let lower = json!({"a": {"x": 1, "y": [1, 2]}, "b": "low"});
        let upper = json!({"a": {"y": [3]}, "b": {"now": "a map"}});
        assert_eq!(
            merge([&lower, &upper].into_iter()),
            json!({"a": {"x": 1, "y": [3]}, "b": {"now": "a map"}})
        );
    }
}
