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

/// Is a key with these parts in the table? An element of a list has no key.
pub fn is_known(parts: &[String]) -> bool {
    let is_list = |length: usize| matches!(secrets::type_at(&parts[..length]), Some(Type::List(_)));
    secrets::type_at(parts).is_some() && !(0..parts.len()).any(is_list)
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::path;

    #[test]
    fn keys_of_the_table_are_known_and_what_is_in_a_list_has_none() {
        for (key, expected) in [
            ("hostname", true),
            ("rancher.ssh", true),
            ("rancher.sysctl.net.ipv4.ip_forward", true),
            ("rancher.network.interfaces.eth0.100.dhcp", true),
            ("users", true),
            ("users.ann.passwd", false),
            ("rancher.no.such.key", false),
            ("", false),
        ] {
            assert_eq!(is_known(&fit(path::parse(key))), expected, "{key}");
        }
    }
}
