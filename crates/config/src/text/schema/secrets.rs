//! Which values are secrets, and how they are hidden from what people see. Secrets in lists are
//! found too.

use super::key::Type;
use super::keys::ROOT;
use serde_json::Value;

/// What is shown in the place of a secret.
const HIDDEN: &str = "(secret)";

/// Is the value at this path a secret? Any part stands for an element of a list.
pub fn is_secret(path: &[String]) -> bool {
    matches!(type_at(path), Some(Type::Secret(_) | Type::List(Type::Secret(_))))
}

/// Is the value at this path a text, which is taken as it was written?
pub(crate) fn is_text(path: &[String]) -> bool {
    matches!(type_at(path), Some(Type::String | Type::Text(_) | Type::Secret(_)))
}

/// Hides every secret in the value at a path.
pub fn hide_secrets(path: &[String], value: &mut Value) {
    if let Some(kind) = type_at(path) {
        hide(kind, value);
    }
}

/// What the table has at a path. Any part stands for an element of a list.
pub(super) fn type_at(path: &[String]) -> Option<&'static Type> {
    path.iter().try_fold(&ROOT, |kind, part| match kind {
        Type::Keys(keys) | Type::Named(keys) => {
            keys.iter().find(|key| key.name == part).map(|key| &key.kind)
        }
        Type::Map(inner) | Type::List(inner) => Some(*inner),
        _ => None,
    })
}

fn hide(kind: &Type, value: &mut Value) {
    match (kind, value) {
        (Type::Secret(_), value) => *value = HIDDEN.into(),
        (Type::Keys(keys) | Type::Named(keys), Value::Object(map)) => {
            for key in *keys {
                map.get_mut(key.name).into_iter().for_each(|value| hide(&key.kind, value));
            }
        }
        (Type::Map(inner), Value::Object(map)) => {
            map.values_mut().for_each(|value| hide(inner, value))
        }
        (Type::List(inner), Value::Array(items)) => {
            items.iter_mut().for_each(|value| hide(inner, value))
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_hidden_wherever_they_are() {
        let mut tree = json!({
            "users": [{"name": "ann", "passwd": "$6$s$h"}, "joe"],
            "chpasswd": {"list": ["a:b"]},
            "rancher": {
                "password": "p",
                "ssh": {"keys": {"rsa": "k"}},
                "registry_auths": {"r": {"auth": "a"}},
            },
        });
        hide_secrets(&[], &mut tree);
        assert_eq!(
            tree,
            json!({
                "users": [{"name": "ann", "passwd": "(secret)"}, "joe"],
                "chpasswd": {"list": ["(secret)"]},
                "rancher": {
                    "password": "(secret)",
                    "ssh": {"keys": {"rsa": "(secret)"}},
                    "registry_auths": {"r": {"auth": "(secret)"}},
                },
            })
        );
    }
}
