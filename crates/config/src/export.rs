//! Configuration → text: what `ros config export` and `get` print. Secrets stay out unless asked for.

use crate::schema;
use crate::yaml::{self, YamlError};
use serde_json::Value;

/// A tree as YAML, without secret keys unless `private`.
pub fn to_yaml(tree: &Value, private: bool) -> Result<String, YamlError> {
    let mut tree = tree.clone();
    if !private {
        remove_secrets(&mut tree, &mut Vec::new());
    }
    yaml::to_string(&tree)
}

/// A value as `get` prints it: scalars plain, everything else as YAML.
pub fn to_text(value: &Value) -> Result<String, YamlError> {
    match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Array(_) | Value::Object(_) => yaml::to_string(value),
    }
}

fn remove_secrets(tree: &mut Value, path: &mut Vec<String>) {
    let Value::Object(map) = tree else { return };
    map.retain(|key, _| {
        path.push(key.clone());
        let keep = !schema::is_secret(path);
        path.pop();
        keep
    });
    for (key, value) in map.iter_mut() {
        path.push(key.clone());
        remove_secrets(value, path);
        path.pop();
    }
}
