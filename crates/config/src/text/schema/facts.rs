//! The forms of text that keys take. Each check says what is wrong, not only that something is.

use super::key::Form;
use crate::model::{Power, Swap};
use crate::names::{DataSource, Hostname, KeyId, is_password_hash};
use core::net::IpAddr;

pub(super) const HOSTNAME: Form = Form {
    name: "a host name",
    check: |text| Hostname::try_from(text.to_owned()).map(drop).map_err(|error| error.to_string()),
};
pub(super) const MODE: Form = Form { name: "an octal mode such as \"0644\"", check: mode };
pub(super) const ADDRESS: Form = Form { name: "an IP address", check: address };
pub(super) const NETWORK: Form =
    Form { name: "an address with its prefix length such as 192.168.1.5/24", check: network };
pub(super) const PATH: Form = Form { name: "an absolute path", check: path };
pub(super) const ENCODING: Form = Form { name: "an encoding (b64, gzip, gz+b64)", check: encoding };
pub(super) const DATA_SOURCE: Form = Form { name: "a data source", check: data_source };
pub(super) const USER: Form = Form { name: "a user name", check: user };
pub(super) const VLANS: Form = Form { name: "a list of VLANs such as 100,200:name", check: vlans };
pub(super) const PASSWORD: Form = Form { name: "a password or its hash", check: password };
pub(super) const PASSWORD_HASH: Form =
    Form { name: "the hash of a password, as in /etc/shadow,", check: password_hash };
pub(super) const KEY_ID: Form =
    Form { name: "an account with public keys such as gh:NAME", check: key_id };
pub(super) const PASSWORD_TYPE: Form =
    Form { name: "a type of password (text, hash)", check: password_type };
pub(super) const ZONE: Form = Form { name: "a time zone such as Europe/Berlin", check: zone };
pub(super) const SERVER: Form = Form { name: "a name or address", check: server };
pub(super) const SIZE: Form = Form { name: "a size such as 512M or 2G", check: size };
pub(super) const POWER_MODE: Form =
    Form { name: "poweroff, halt or reboot", check: |text| one_of(text, &POWER_MODES) };
pub(super) const DELAY: Form = Form { name: "a delay (now, or minutes such as +5)", check: delay };
pub(super) const OS_ID: Form = Form { name: "an id such as rancheros", check: os_id };
pub(super) const ANYTHING: Form = Form { name: "a string", check: |_| Ok(()) };

/// It goes to chpasswd(8) as one line, `user:password`. That is split at its first colon: further
/// colons belong to the password.
fn password(text: &str) -> Result<(), String> {
    if text.contains(char::is_control) {
        return Err("a password must not contain line breaks or control characters".to_owned());
    }
    Ok(())
}

/// shadow(5): `*` and `!` stand for no password, `!` before a hash for a locked one.
fn password_hash(text: &str) -> Result<(), String> {
    let hash = text.trim_start_matches('!');
    if hash.is_empty() || hash == "*" || is_password_hash(hash) {
        return Ok(());
    }
    Err("expected a hash as in /etc/shadow, not the password; use: openssl passwd -6".to_owned())
}

fn mode(text: &str) -> Result<(), String> {
    if u32::from_str_radix(text, 8).is_ok() && text.len() <= 5 {
        return Ok(());
    }
    Err(format!("{text:?} is not an octal mode such as \"0644\""))
}

fn address(text: &str) -> Result<(), String> {
    text.parse::<IpAddr>().map(drop).map_err(|_| format!("{text:?} is not an IP address"))
}

fn network(text: &str) -> Result<(), String> {
    let Some((ip, length)) = text.split_once('/') else {
        return Err(format!("{text:?} has no prefix length; expected for example {text}/24"));
    };
    address(ip)?;
    let most = if ip.contains(':') { 128 } else { 32 };
    match length.parse::<u8>() {
        Ok(length) if length <= most => Ok(()),
        _ => Err(format!("{text:?}: the prefix length must be 0 to {most}")),
    }
}

fn path(text: &str) -> Result<(), String> {
    if text.starts_with('/') { Ok(()) } else { Err(format!("{text:?} is not an absolute path")) }
}

fn encoding(text: &str) -> Result<(), String> {
    match crate::encoding::Encoding::parse(text) {
        Some(_) => Ok(()),
        None => Err(format!("{text:?} is not an encoding; supported: b64, gzip, gz+b64")),
    }
}

fn data_source(text: &str) -> Result<(), String> {
    if text == "*" {
        return Ok(());
    }
    text.parse::<DataSource>().map(drop).map_err(|error| error.to_string())
}

fn user(text: &str) -> Result<(), String> {
    let good =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if first && text.bytes().all(good) && text.len() <= 32 {
        return Ok(());
    }
    Err(format!(
        "{text:?} is not a user name: lower-case letters, digits, _ and -, at most 32 characters, \
         a letter first"
    ))
}

fn vlans(text: &str) -> Result<(), String> {
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let number = item.split(':').next().unwrap_or_default();
        if !number.parse::<u16>().is_ok_and(|number| (1..=4094).contains(&number)) {
            return Err(format!("{number:?} is not the number of a VLAN (1 to 4094)"));
        }
    }
    Ok(())
}

const POWER_MODES: [&str; 3] = ["poweroff", "halt", "reboot"];

fn one_of(text: &str, words: &[&str]) -> Result<(), String> {
    if words.contains(&text) {
        return Ok(());
    }
    Err(format!("{text:?} is not one of {}", words.join(", ")))
}

fn password_type(text: &str) -> Result<(), String> {
    one_of(text, &["text", "hash", "RANDOM"])
}

fn key_id(text: &str) -> Result<(), String> {
    text.parse::<KeyId>().map(drop).map_err(|error| error.to_string())
}

/// A path below /usr/share/zoneinfo. Which zones there are is a matter of that folder.
fn zone(text: &str) -> Result<(), String> {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+-".contains(&byte))
    };
    if text.len() <= 64 && text.split('/').all(is_part) {
        return Ok(());
    }
    Err(format!("{text:?} is not a time zone such as Europe/Berlin"))
}

/// It becomes a word of chrony's configuration.
fn server(text: &str) -> Result<(), String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b".:_-/".contains(&byte);
    if !text.is_empty() && text.bytes().all(good) && !text.starts_with('-') {
        return Ok(());
    }
    Err(format!("{text:?} is not a name or address"))
}

/// os-release(5).
fn os_id(text: &str) -> Result<(), String> {
    let good =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    if text.len() <= 64 && text.bytes().all(good) {
        return Ok(());
    }
    Err(format!("{text:?} is not an id: lower-case letters, digits, `.`, `_` and `-`"))
}

fn size(text: &str) -> Result<(), String> {
    if text == "auto" || Swap::parse_size(text).is_some() {
        return Ok(());
    }
    Err(format!("{text:?} is not a size such as 512M, 2G or auto"))
}

fn delay(text: &str) -> Result<(), String> {
    if Power::parse_delay(text).is_some() {
        return Ok(());
    }
    Err(format!("{text:?} is not a delay; expected now, or minutes such as +5"))
}
