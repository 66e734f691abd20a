//! Every key: its type, what it is for, and whether it does anything. It is one table ([`keys`]).
//! Validation, leniency (`"true"` for true), the list of secrets, the manual's table and the JSON
//! schema all come from it.

mod cautions;
mod check;
mod facts;
pub mod json;
mod key;
mod keys;
mod kinds;
mod logins;
pub mod manual;
mod of_cloud_init;
mod range;
mod secrets;

pub use check::{check, did_you_mean, nearest};
pub use key::{Caution, Form, Key, Support, Type, describe};
pub use keys::ROOT;
pub use range::Range;
pub(crate) use secrets::is_text;
pub use secrets::{hide_secrets, is_secret};

/// Joins the parts of a key where the table defines them as one name.
/// `rancher.sysctl.net.ipv4.ip_forward` has three parts, and in `interfaces.eth0.100.dhcp` the
/// interface is `eth0.100`.
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
            Type::Keys(keys) => {
                keys.iter().find(|key| key.name == name).map_or(&Type::Any, |key| &key.kind)
            }
            Type::Map(inner) => inner,
            _ => &Type::Any,
        };
        result.push(name);
        rest = &rest[taken..];
    }
    result
}
