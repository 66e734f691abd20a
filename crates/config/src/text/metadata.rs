//! The metadata of a machine, as its provider gives it. It is kept in
//! `/var/lib/rancher/conf/metadata`, in the form of RancherOS.

use crate::text::yaml::{self, Kind, Node};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Host name, keys, addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    pub hostname: Option<String>,
    /// By the provider's name for each; they are added to the owner's in the order of these names.
    pub ssh_public_keys: BTreeMap<String, String>,
    pub public_ipv4: String,
    pub public_ipv6: String,
    pub private_ipv4: String,
    pub private_ipv6: String,
}

impl Metadata {
    /// Reads the file. The names of the keys are taken in either case.
    pub fn parse(text: &str) -> Result<Metadata, yaml::YamlError> {
        let tree = yaml::parse(text)?;
        let get = |name: &str| -> Option<&Node> {
            let Kind::Mapping(items) = &tree.kind else { return None };
            let matches = |key: &str| key.replace(['_', '-'], "").eq_ignore_ascii_case(name);
            items.iter().find(|(key, _)| matches(key)).map(|(_, node)| node)
        };
        let text = |name: &str| match get(name).map(|node| &node.kind) {
            Some(Kind::String(text)) => text.clone(),
            _ => String::new(),
        };
        let keys = get("sshpublickeys").map(Node::to_value).unwrap_or_default();
        Ok(Metadata {
            hostname: Some(text("hostname")).filter(|name| !name.is_empty()),
            ssh_public_keys: keys_from(&keys),
            public_ipv4: text("publicipv4"),
            public_ipv6: text("publicipv6"),
            private_ipv4: text("privateipv4"),
            private_ipv6: text("privateipv6"),
        })
    }

    /// The file's text.
    pub fn to_yaml(&self) -> Result<String, yaml::YamlError> {
        yaml::to_string(&json!({
            "Hostname": self.hostname.clone().unwrap_or_default(),
            "SSHPublicKeys": self.ssh_public_keys,
            "PublicIPv4": self.public_ipv4, "PublicIPv6": self.public_ipv6,
            "PrivateIPv4": self.private_ipv4, "PrivateIPv6": self.private_ipv6,
        }))
    }

    /// Nothing in it?
    pub fn is_empty(&self) -> bool {
        *self == Metadata::default()
    }

    /// As a layer on top of all others: the host name only if no layer set one, the keys after the
    /// owner's own.
    pub fn to_layer(&self, hostname_is_given: bool, keys: &[String]) -> Value {
        let mut map = Map::new();
        if let Some(hostname) = self.hostname.as_ref().filter(|_| !hostname_is_given) {
            map.insert("hostname".to_owned(), Value::from(hostname.as_str()));
        }
        let mut all: Vec<&str> = Vec::new();
        let theirs = self.ssh_public_keys.values();
        for key in keys.iter().chain(theirs).map(|key| key.trim()).filter(|key| !key.is_empty()) {
            if !all.contains(&key) {
                all.push(key);
            }
        }
        if !self.ssh_public_keys.is_empty() {
            map.insert("ssh_authorized_keys".to_owned(), all.into());
        }
        Value::Object(map)
    }

    /// Replaces `$public_ipv4` and its relatives in a document. A backslash before one keeps it as
    /// it is.
    pub fn substitute(&self, text: &str) -> String {
        let values = [
            ("$public_ipv4", &self.public_ipv4),
            ("$private_ipv4", &self.private_ipv4),
            ("$public_ipv6", &self.public_ipv6),
            ("$private_ipv6", &self.private_ipv6),
        ];
        let mut result = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, after) = rest.split_at(at);
            let hit = values.iter().find(|(name, _)| after.starts_with(name));
            let escaped = before.ends_with('\\');
            match hit {
                Some((name, _)) if escaped => {
                    result.push_str(&before[..before.len() - 1]);
                    result.push_str(name);
                    rest = &after[name.len()..];
                }
                Some((name, value)) => {
                    result.push_str(before);
                    result.push_str(value);
                    rest = &after[name.len()..];
                }
                None => {
                    result.push_str(before);
                    result.push('$');
                    rest = &after[1..];
                }
            }
        }
        result + rest
    }
}

/// Keys as providers give them: a mapping of names, or a list of texts. Each may also be
/// `{openssh-key: …}`.
pub fn keys_from(value: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| -> Option<String> {
        let inner = value.get("openssh-key").or_else(|| value.get("key")).unwrap_or(value);
        inner.as_str().map(|key| key.trim().to_owned()).filter(|key| !key.is_empty())
    };
    match value {
        Value::Object(map) => {
            map.iter().filter_map(|(name, key)| Some((name.clone(), text(key)?))).collect()
        }
        Value::Array(list) => list
            .iter()
            .enumerate()
            .filter_map(|(number, key)| Some((format!("{number:03}"), text(key)?)))
            .collect(),
        _ => BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Metadata {
        let keys = [("2", "two"), ("0", "zero"), ("1", "one")];
        Metadata {
            hostname: Some("host".to_owned()),
            ssh_public_keys: keys
                .iter()
                .map(|(name, key)| ((*name).to_owned(), (*key).to_owned()))
                .collect(),
            public_ipv4: "1.2.3.4".to_owned(),
            ..Metadata::default()
        }
    }

    #[test]
    fn the_file_is_read_back_and_in_lower_case_too() {
        let text = sample().to_yaml().unwrap();
        assert_eq!(Metadata::parse(&text).unwrap(), sample());
        assert_eq!(
            Metadata::parse("hostname: a\nsshpublickeys: {x: k}\n").unwrap().hostname.as_deref(),
            Some("a")
        );
    }

    #[test]
    fn keys_are_added_in_order_and_never_twice() {
        let layer = sample().to_layer(true, &["own".to_owned(), "zero".to_owned()]);
        assert_eq!(layer, json!({"ssh_authorized_keys": ["own", "zero", "one", "two"]}));
    }

    #[test]
    fn addresses_are_put_in() {
        let text = sample().substitute("a $public_ipv4:80 \\$public_ipv4 [$private_ipv4] $other $");
        assert_eq!(text, "a 1.2.3.4:80 $public_ipv4 [] $other $");
    }
}
