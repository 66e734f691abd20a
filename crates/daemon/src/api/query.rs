//! What comes with a request: parameters, filters, a body.

use axum::extract::{Path, Query};
use corral_engine::error::EngineError;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::HashMap;

/// The variable parts of a path.
pub(super) type Parts = Path<HashMap<String, String>>;
/// The parameters of a request.
pub type Parameters = Query<HashMap<String, String>>;

/// All parameters in their order, where one may come several times.
pub(super) type Pairs = Query<Vec<(String, String)>>;

/// Every value of a parameter.
pub(super) fn all<'a>(pairs: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
}

/// The id or name of the container, or other object, in a path.
pub(super) fn id_of(parts: &Parts) -> &str {
    parts.get("id").map(String::as_str).unwrap_or_default()
}

/// Go's clients write `1`, others `true` or `True`.
pub(super) fn is_true(parameters: &Parameters, name: &str) -> bool {
    parameters.get(name).is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true"))
}

pub(super) fn text<'a>(parameters: &'a Parameters, name: &str) -> &'a str {
    parameters.get(name).map(String::as_str).unwrap_or_default()
}

/// A body as JSON. An empty one is what an empty object would be.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, EngineError> {
    let body = if body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| EngineError::BadRequest(format!("invalid request body: {error}")))
}

/// What a list is filtered by.
#[derive(Debug, Default)]
pub struct Filters(HashMap<String, Vec<String>>);

impl Filters {
    /// `{"name": ["a"]}`, or the older `{"name": {"a": true}}`. A key that is not known is an
    /// error, as in Docker.
    pub fn parse(parameters: &Parameters, known: &[&str]) -> Result<Filters, EngineError> {
        let Some(text) = parameters.get("filters").filter(|text| !text.is_empty()) else {
            return Ok(Filters::default());
        };
        let value: HashMap<String, Value> = serde_json::from_str(text)
            .map_err(|error| EngineError::BadRequest(format!("invalid filters: {error}")))?;
        let list = |value: Value| match value {
            Value::Array(items) => {
                items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
            }
            Value::Object(items) => items
                .iter()
                .filter(|(_, wanted)| **wanted == true)
                .map(|(key, _)| key.clone())
                .collect(),
            _ => Vec::new(),
        };
        if let Some(key) = value.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(EngineError::BadRequest(format!(
                "invalid filter '{key}': use one of {}",
                known.join(", ")
            )));
        }
        Ok(Filters(value.into_iter().map(|(key, value)| (key, list(value))).collect()))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The first value of a key.
    pub(super) fn first(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.first().map(String::as_str)
    }

    /// Does any of the values wanted of a key fit? True if none is wanted.
    pub fn any(&self, key: &str, fits: impl Fn(&str) -> bool) -> bool {
        self.0.get(key).is_none_or(|wanted| wanted.iter().any(|value| fits(value)))
    }

    /// Do labels have all that is wanted of them, `key` or `key=value`?
    pub fn labels<'a>(&self, find: impl Fn(&str) -> Option<&'a str>) -> bool {
        let fits = |label: &String| match label.split_once('=') {
            Some((key, value)) => find(key) == Some(value),
            None => find(label).is_some(),
        };
        self.0.get("label").is_none_or(|wanted| wanted.iter().all(fits))
            && self.0.get("label!").is_none_or(|wanted| !wanted.iter().any(fits))
    }
}
