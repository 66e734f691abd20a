//! Layers → the configuration. If the model refuses a value, only that value is left out. The table
//! of keys should have refused it before (`tests/every_key.rs`): this is the second check.

use crate::error::{Problem, Severity, capped};
use crate::model::Config;
use crate::text::layer::Layer;
use crate::text::merge::merged;
use crate::text::{path, schema};
use serde_json::Value;

/// The configuration, and what had to be left out of it. What layers left out themselves is in
/// their problems.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resolution {
    pub config: Config,
    pub problems: Vec<Problem>,
}

/// The configuration of all layers, and the values that the model refuses.
pub fn resolve_with_problems(layers: &[Layer]) -> Resolution {
    let tree = merged(layers);
    if let Ok(config) = serde_json::from_value(tree.clone()) {
        return Resolution { config, problems: Vec::new() };
    }
    let mut refused = Vec::new();
    let kept = keep(tree, &|value| value, &mut Vec::new(), &mut refused);
    let config = kept.and_then(|tree| serde_json::from_value(tree).ok()).unwrap_or_default();
    let problems = refused.iter().map(|refused| refused.to_problem(layers)).collect();
    Resolution { config, problems: capped("configuration", problems) }
}

/// A value that the model refuses.
struct Refused {
    /// `[0]` for an element of a list.
    path: Vec<String>,
    why: String,
}

/// Puts a value where it belongs in an otherwise empty tree.
type Wrap<'a> = &'a dyn Fn(Value) -> Value;

/// What of a value the model takes; None if it takes nothing.
fn keep(
    value: Value,
    wrap: Wrap<'_>,
    path: &mut Vec<String>,
    refused: &mut Vec<Refused>,
) -> Option<Value> {
    let fits = |value: &Value| serde_json::from_value::<Config>(wrap(value.clone())).map(drop);
    if fits(&value).is_ok() {
        return Some(value);
    }
    let before = refused.len();
    let kept = match value {
        Value::Object(map) => {
            let pairs = map.into_iter().filter_map(|(key, inner)| {
                let alone =
                    |value| wrap(Value::Object([(key.clone(), value)].into_iter().collect()));
                path.push(key.clone());
                let kept = keep(inner, &alone, path, refused);
                path.pop();
                Some((key, kept?))
            });
            Value::Object(pairs.collect())
        }
        Value::Array(items) => {
            let items = items.into_iter().enumerate().filter_map(|(number, item)| {
                path.push(format!("[{number}]"));
                let kept = keep(item, &|value| wrap(Value::Array(vec![value])), path, refused);
                path.pop();
                kept
            });
            Value::Array(items.collect())
        }
        leaf => leaf,
    };
    let Err(error) = fits(&kept) else { return Some(kept) };
    refused.truncate(before);
    refused.push(Refused { path: path.clone(), why: error.to_string() });
    None
}

impl Refused {
    /// It is where the last layer that has it said it.
    fn to_problem(&self, layers: &[Layer]) -> Problem {
        let is_element = |part: &String| part.starts_with('[');
        let length = self.path.iter().position(is_element).unwrap_or(self.path.len());
        let (named, _) = self.path.split_at(length);
        let layer = layers.iter().rfind(|layer| path::get_parts(&layer.value, named).is_some());
        let at = layer.and_then(|layer| layer.tree.position(named)).unwrap_or_default();
        let source =
            layer.map_or_else(|| "configuration".to_owned(), |layer| layer.source.to_string());
        let key = path::join(&self.path).replace(".[", "[");
        // The model's error may quote the value.
        let why =
            if schema::is_secret(&self.path) { String::new() } else { format!(": {}", self.why) };
        Problem::new(
            Severity::Error,
            &source,
            at,
            &key,
            format!("this value is invalid and is ignored{why}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Source, defaults};
    use serde_json::json;

    #[test]
    fn what_the_model_refuses_costs_its_own_leaf() {
        let text = "hostname: a\nusers:\n- {name: ann, uid: 7}\n\
                    rancher:\n  ssh: {port: 5}\n  password: p\n";
        let mut layer = Layer::parse(Source::File("f.yml".to_owned()), text);
        // As if the table of keys had let it through.
        layer.value["users"] = json!([{"name": "ann", "uid": -1}, {"name": "joe"}]);
        layer.value["rancher"]["ssh"]["port"] = json!(70_000);
        layer.value["rancher"]["password"] = json!(["hush"]);
        let resolution = resolve_with_problems(&[defaults(), layer]);
        let config = resolution.config;
        assert_eq!(config.hostname.as_deref(), Some("a"));
        assert!(config.rancher.ssh.daemon && config.rancher.ssh.port == 0);
        let users: Vec<&str> = config.users.iter().map(|user| user.name.as_str()).collect();
        assert_eq!(users, ["ann", "joe"]);
        let shown: Vec<String> = resolution.problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "f.yml:6:13: rancher.password: this value is invalid and is ignored",
                "f.yml:5:15: rancher.ssh.port: this value is invalid and is ignored: \
                 invalid value: integer `70000`, expected u16",
                "f.yml:3:3: users[0].uid: this value is invalid and is ignored: \
                 invalid value: integer `-1`, expected u32",
            ]
        );
    }
}
