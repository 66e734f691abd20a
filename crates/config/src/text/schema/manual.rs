//! The table of all keys as the manual shows it. `docs/configuration.md` holds this very text; tidy
//! compares.

use super::{Key, ROOT, Support, Type};
use serde_json::Value;

/// A Markdown table: key, type, default, meaning.
pub fn table() -> String {
    let mut text = String::from("| key | type | default | meaning |\n|---|---|---|---|\n");
    let defaults = crate::text::defaults().value;
    if let Type::Keys(keys) = &ROOT {
        rows(keys, "", Some(&defaults), &mut text);
    }
    text
}

fn rows(keys: &[Key], above: &str, defaults: Option<&Value>, text: &mut String) {
    for key in keys {
        let path =
            if above.is_empty() { key.name.to_owned() } else { format!("{above}.{}", key.name) };
        let default = defaults.and_then(|map| map.get(key.name));
        let (inner, suffix) = nested(&key.kind);
        let support = match key.support {
            Support::Supported => String::new(),
            Support::Accepted => "*accepted:* ".to_owned(),
            Support::Obsolete => "*kept for old files:* ".to_owned(),
            Support::Planned => "*no effect in this version:* ".to_owned(),
        };
        let shown = default
            .filter(|_| inner.is_none())
            .map_or_else(String::new, |value| format!("`{value}`"));
        text.push_str(&format!(
            "| `{path}` | {} | {shown} | {support}{} |\n",
            type_name(&key.kind),
            key.about
        ));
        // A block of old keys is one row.
        if let Some(inner) = inner
            && key.support == Support::Supported
        {
            rows(inner, &format!("{path}{suffix}"), default, text);
        }
    }
}

/// The keys below, and how they are reached.
fn nested(kind: &Type) -> (Option<&'static [Key]>, &'static str) {
    match kind {
        Type::Keys(keys) => (Some(keys), ""),
        Type::Map(Type::Keys(keys)) => (Some(keys), ".NAME"),
        // A user is described at `users`.
        Type::List(Type::Keys(keys) | Type::Named(keys)) => (Some(keys), "[]"),
        _ => (None, ""),
    }
}

fn type_name(kind: &Type) -> String {
    match kind {
        Type::Bool => "bool".to_owned(),
        Type::Integer(range) => format!("integer, {range}"),
        Type::Seconds(range) => format!("time, {range} s"),
        Type::String | Type::Text(_) => "string".to_owned(),
        Type::Secret(_) => "secret".to_owned(),
        Type::List(inner) => format!("list of {}", type_name(inner)),
        Type::Map(inner) => format!("map of {}", type_name(inner)),
        Type::Keys(_) | Type::Named(_) => "mapping".to_owned(),
        Type::Command => "command".to_owned(),
        Type::Mount => "mount".to_owned(),
        Type::BoolOr(inner) => format!("bool or {}", type_name(inner)),
        Type::Any => "any".to_owned(),
    }
}
