//! Every key: its type, what it is for, and whether it does anything. One table ([`keys`]); validation, leniency
//! (`"true"` for true), the list of secrets, the manual's table and the JSON schema all come from it.

mod cautions;
mod check;
mod facts;
pub mod json;
mod keys;
pub mod manual;
mod range;
mod secrets;

pub use check::check;
pub use keys::ROOT;
pub use range::Range;
pub(crate) use secrets::is_text;
pub use secrets::{hide_secrets, is_secret};

use crate::layer::Source;
use serde_json::Value;

/// What a key takes.
#[derive(Debug, Clone, Copy)]
pub enum Type {
    Bool,
    /// A whole number of a range.
    Integer(Range),
    String,
    /// A string of a form that is checked.
    Text(&'static Form),
    /// The same, but it never shows up in messages, logs or exports.
    Secret(&'static Form),
    /// A list of the given type; a single value is taken as a list of one.
    List(&'static Type),
    /// A mapping with free keys.
    Map(&'static Type),
    /// A mapping with these keys.
    Keys(&'static [Key]),
    /// A mapping with these keys, or a string that is its `name`.
    Named(&'static [Key]),
    /// A command: a string for the shell or a list of words.
    Command,
    /// `[device, target, type, options]`.
    Mount,
    /// `true`, or what the inner type takes.
    BoolOr(&'static Type),
    /// Not looked into here.
    Any,
}

/// A form of text, and who checks it.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// As in "… is not NAME".
    pub name: &'static str,
    pub check: fn(&str) -> Result<(), String>,
}

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has its effect.
    Effective,
    /// Accepted so that old files stay valid; there is nothing any more that it could do.
    Old,
    /// Accepted, and will have its effect in a later version.
    Later,
}

/// A key of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    pub kind: Type,
    pub about: &'static str,
    pub standing: Standing,
    pub caution: Option<Caution>,
    /// Where its value is wrong, the complete mapping that it stands in is left out: a default in its place could be
    /// worse than nothing, as for the mode of a file with a secret.
    pub vital: bool,
}

/// What the owner is to know of a value that is right: a warning, if there is one.
pub type Caution = fn(&Value, &Source) -> Option<&'static str>;

/// The word for a type in messages.
pub fn describe(kind: &Type) -> String {
    let word = match kind {
        Type::Integer(range) => return format!("a whole number from {range}"),
        Type::BoolOr(inner) => return describe(inner),
        Type::Bool => "true or false",
        Type::String => "a string",
        Type::Text(form) | Type::Secret(form) => form.name,
        Type::List(_) => "a list",
        Type::Map(_) | Type::Keys(_) | Type::Named(_) => "a mapping",
        Type::Mount => "a list [device, target, type, options]",
        Type::Command => "a command (a string or a list of words)",
        Type::Any => "anything",
    };
    word.to_owned()
}

/// Joins the parts of a key where the table says that they are one name: `rancher.sysctl.net.ipv4.ip_forward` has three
/// parts, and in `interfaces.eth0.100.dhcp` the interface is `eth0.100`.
pub fn fit(parts: Vec<String>) -> Vec<String> {
    let mut result = Vec::new();
    let mut kind = &ROOT;
    let mut rest = parts.as_slice();
    while !rest.is_empty() {
        let taken = match kind {
            Type::Map(Type::Keys(keys)) => {
                let is_key = |part: &String| keys.iter().any(|key| key.name == part);
                rest.iter().skip(1).position(is_key).map_or(rest.len(), |at| at + 1)
            }
            Type::Map(Type::Any) | Type::Keys(_) | Type::Any => 1,
            Type::Map(_) => rest.len(),
            _ => 1,
        };
        let name = rest[..taken].join(".");
        kind = match kind {
            Type::Keys(keys) => keys.iter().find(|key| key.name == name).map_or(&Type::Any, |key| &key.kind),
            Type::Map(inner) => inner,
            _ => &Type::Any,
        };
        result.push(name);
        rest = &rest[taken..];
    }
    result
}
