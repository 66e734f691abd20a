//! What a key is, and what it takes.

use super::range::Range;
use crate::text::source::Source;
use serde_json::Value;

/// What a key takes.
#[derive(Debug, Clone, Copy)]
pub enum Type {
    Bool,
    /// An integer of a range.
    Integer(Range),
    /// A length of time with a unit, or an integer number of seconds. In the model it is a number
    /// of seconds.
    Seconds(Range),
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
pub enum Support {
    /// It has its effect.
    Supported,
    /// Accepted without a warning: it is so anyway, or there is nothing here that an owner would
    /// miss.
    Accepted,
    /// Accepted so that old files stay valid; there is nothing any more that it could do.
    Obsolete,
    /// Accepted, and will have its effect in a later version.
    Planned,
}

/// A key of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    pub kind: Type,
    pub about: &'static str,
    pub support: Support,
    pub caution: Option<Caution>,
    /// Where its value is wrong, the complete mapping that it stands in is left out. A default in
    /// its place could be worse than nothing, as for the mode of a file with a secret.
    pub vital: bool,
}

/// What the owner is to know of a value that is right: a warning, if there is one.
pub type Caution = fn(&Value, &Source) -> Option<&'static str>;

pub(super) const fn key(name: &'static str, kind: Type, about: &'static str) -> Key {
    Key { name, kind, about, support: Support::Supported, caution: None, vital: false }
}

pub(super) const fn later(name: &'static str, kind: Type, about: &'static str) -> Key {
    Key { support: Support::Planned, ..key(name, kind, about) }
}

pub(super) const fn old(name: &'static str, kind: Type, about: &'static str) -> Key {
    Key { support: Support::Obsolete, ..key(name, kind, about) }
}

pub(super) const fn taken(name: &'static str, kind: Type, about: &'static str) -> Key {
    Key { support: Support::Accepted, ..key(name, kind, about) }
}

pub(super) const fn vital(name: &'static str, kind: Type, about: &'static str) -> Key {
    Key { vital: true, ..key(name, kind, about) }
}

impl Key {
    pub(super) const fn warns(self, caution: Caution) -> Key {
        Key { caution: Some(caution), ..self }
    }
}

/// The word for a type in messages.
pub fn describe(kind: &Type) -> String {
    let word = match kind {
        Type::Integer(range) => return format!("an integer from {range}"),
        Type::Seconds(range) => return format!("a time such as 90s or 10m ({range} s)"),
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
