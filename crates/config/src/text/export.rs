//! Configuration → text: what `ros config export` and `get` print. Secrets stay out unless they are
//! requested.

use crate::text::schema;
use crate::text::yaml::{self, YamlError};
use serde_json::Value;

/// A tree as YAML, without secret keys unless `private`.
pub fn to_yaml(tree: &Value, private: bool) -> Result<String, YamlError> {
    let mut tree = tree.clone();
    if !private {
        remove_secrets(&mut tree);
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

/// Takes every secret out of a tree.
pub fn remove_secrets(tree: &mut Value) {
    remove_below(tree, &mut Vec::new());
}

fn remove_below(tree: &mut Value, path: &mut Vec<String>) {
    if let Value::Array(items) = tree {
        path.push("[]".to_owned());
        items.iter_mut().for_each(|item| remove_below(item, path));
        path.pop();
    }
    let Value::Object(map) = tree else { return };
    map.retain(|key, _| {
        path.push(key.clone());
        let keep = !schema::is_secret(path);
        path.pop();
        keep
    });
    for (key, value) in map.iter_mut() {
        path.push(key.clone());
        remove_below(value, path);
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_stay_out_unless_asked_for() {
        let tree = json!({
            "users": [{"name": "a", "passwd": "$6$x"}],
            "rancher": {"password": "p", "ssh": {"keys": {"rsa": "k"}, "daemon": true}},
        });
        let text = to_yaml(&tree, false).unwrap();
        assert_eq!(
            yaml::parse(&text).unwrap().to_value(),
            json!({"users": [{"name": "a"}], "rancher": {"ssh": {"keys": {}, "daemon": true}}})
        );
        assert!(to_yaml(&tree, true).unwrap().contains("$6$x"));
    }
}
