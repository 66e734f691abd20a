//! Changes of an image's configuration, in the words of a Dockerfile: `import` and `commit`.

use corral_engine::error::EngineError;
use serde_json::{Value, json};

/// `CMD ["sh"]`, `ENV A=1` and the like, as the configuration of an image.
pub fn parse_changes(text: &str) -> Result<Value, EngineError> {
    apply_changes(json!({}), text)
}

/// The same over a configuration that is there.
pub(super) fn apply_changes(mut config: Value, text: &str) -> Result<Value, EngineError> {
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let list = || {
            serde_json::from_str::<Value>(rest)
                .ok()
                .filter(Value::is_array)
                .unwrap_or_else(|| json!(["/bin/sh", "-c", rest]))
        };
        match word.to_uppercase().as_str() {
            "CMD" => config["Cmd"] = list(),
            "ENTRYPOINT" => config["Entrypoint"] = list(),
            "WORKDIR" => config["WorkingDir"] = json!(rest),
            "USER" => config["User"] = json!(rest),
            "ENV" => {
                let item =
                    if rest.contains('=') { rest.to_owned() } else { rest.replacen(' ', "=", 1) };
                let mut all = config["Env"].as_array().cloned().unwrap_or_default();
                all.retain(|known| variable(known) != variable(&json!(item)));
                all.push(json!(item));
                config["Env"] = Value::Array(all);
            }
            "EXPOSE" => {
                let port = if rest.contains('/') { rest.to_owned() } else { format!("{rest}/tcp") };
                insert(&mut config, "ExposedPorts", port, json!({}));
            }
            "VOLUME" => insert(&mut config, "Volumes", rest.to_owned(), json!({})),
            "LABEL" => {
                let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
                let value = json!(value.trim_matches('"'));
                insert(&mut config, "Labels", key.to_owned(), value);
            }
            other => {
                return Err(EngineError::BadRequest(format!(
                    "{other} is not a valid change command"
                )));
            }
        }
    }
    Ok(config)
}

/// `A=1` → `A`.
pub(super) fn variable(item: &Value) -> Option<&str> {
    item.as_str()?.split('=').next()
}

/// What an image has there need not be an object.
fn insert(config: &mut Value, field: &str, key: String, value: Value) {
    if !config[field].is_object() {
        config[field] = json!({});
    }
    config[field][key] = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_over_what_is_there() {
        let config = json!({"Env": ["A=1"], "Labels": "no object", "ExposedPorts": {"1/tcp": {}}});
        let text = "ENV A=1\nENV B=2\nLABEL x=\"y\"\nEXPOSE 80\nCMD [\"sh\"]\nUSER ann";
        let expected = json!({
            "Env": ["A=1", "B=2"], "Labels": {"x": "y"},
            "ExposedPorts": {"1/tcp": {}, "80/tcp": {}},
            "Cmd": ["sh"], "User": "ann",
        });
        assert_eq!(apply_changes(config, text).unwrap(), expected);
        assert!(apply_changes(json!({}), "FROM x").is_err());
    }
}
