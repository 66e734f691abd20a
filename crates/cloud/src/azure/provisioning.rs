//! The CD that Azure attaches while it provisions a machine: `ovf-env.xml` with the name, the keys
//! and the custom data of `az vm create --custom-data`.
//! <https://cloudinit.readthedocs.io/en/latest/reference/datasources/azure.html>

use crate::instance_data::InstanceData;
use anyhow::{Context, Result};
use corral_config::encoding;
use corral_config::metadata::{Metadata, keys_from};
use roxmltree::{Document, Node};
use serde_json::Value;

/// The file on the CD.
pub const FILE: &str = "ovf-env.xml";
const AZURE: &str = "http://schemas.microsoft.com/windowsazure";

/// What the file says; None if it is not Azure's.
pub fn parse(text: &str) -> Result<Option<InstanceData>> {
    let document = Document::parse(text).with_context(|| format!("{FILE} is not XML"))?;
    let Some(set) = elements(document.root(), "LinuxProvisioningConfigurationSet").next() else {
        return Ok(None);
    };
    let said = |name: &'static str| {
        let text = elements(set, name).next().and_then(|node| node.text()).map(str::trim);
        text.filter(|text| !text.is_empty())
    };
    let mut found = InstanceData::default();
    match said("CustomData").map(|text| encoding::base64(text.as_bytes())) {
        Some(Ok(bytes)) => found.user_data = Some(bytes),
        Some(Err(error)) => found.problems.push(format!("CustomData: {error}")),
        None => {}
    }
    let keys: Value = elements(set, "PublicKey").filter_map(key).map(Value::from).collect();
    found.metadata = Metadata {
        hostname: said("HostName").map(str::to_owned),
        ssh_public_keys: keys_from(&keys),
        ..Metadata::default()
    };
    if said("UserPassword").is_some() && found.metadata.ssh_public_keys.is_empty() {
        let message = "the password of the machine's creation has no effect, because ssh accepts \
                       keys; create it with --ssh-key-values, or set rancher.password and \
                       ssh_pwauth in its custom data";
        found.problems.push(message.to_owned());
    }
    Ok(Some(found))
}

/// Elements of Azure's below a node, in their order.
fn elements<'a>(node: Node<'a, 'a>, name: &'static str) -> impl Iterator<Item = Node<'a, 'a>> {
    node.descendants().filter(move |node| node.has_tag_name((AZURE, name)))
}

/// The key itself. One that is only named by its fingerprint is a certificate of the old portal.
fn key<'a>(node: Node<'a, 'a>) -> Option<String> {
    let text = elements(node, "Value").next()?.text()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// What the metadata service said, completed by the CD. Custom data wins over user data, as with
/// cloud-init. A key of either lets its owner in: each is known to list some in a form of its own.
pub fn complete(mut found: InstanceData, cd: InstanceData) -> InstanceData {
    found.user_data = cd.user_data.or(found.user_data);
    found.metadata.hostname = found.metadata.hostname.or(cd.metadata.hostname);
    let keys = &mut found.metadata.ssh_public_keys;
    for (name, key) in cd.metadata.ssh_public_keys {
        if !keys.values().any(|known| *known == key) {
            keys.insert(format!("cd-{name}"), key);
        }
    }
    found.problems.extend(cd.problems);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CD: &str = include_str!("../fixtures/azure/ovf-env.xml");

    #[test]
    fn the_cd_has_custom_data_name_and_keys() {
        let found = parse(CD).unwrap().unwrap();
        assert_eq!(found.user_data.unwrap(), b"#cloud-config\nhostname: custom\n");
        assert_eq!(found.metadata.hostname.as_deref(), Some("web-1"));
        let keys: Vec<&str> = found.metadata.ssh_public_keys.values().map(String::as_str).collect();
        assert_eq!(keys, ["ssh-rsa AAAAB3 cd"]);
        assert_eq!(found.problems, Vec::<String>::new());
    }

    #[test]
    fn other_environments_are_not_azures() {
        let environment = r#"<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1"/>"#;
        assert_eq!(parse(environment).unwrap(), None);
        assert!(parse("{}").is_err());
    }

    #[test]
    fn a_password_without_a_key_is_reported_and_bad_custom_data_too() {
        let text = CD
            .replace("ssh-rsa AAAAB3 cd", "")
            .replace("<UserName>", "<UserPassword>x</UserPassword><UserName>")
            .replace("I2Ns", "***");
        let found = parse(&text).unwrap().unwrap();
        assert_eq!(found.user_data, None);
        assert!(found.problems[0].starts_with("CustomData: "), "{:?}", found.problems);
        assert!(found.problems[1].contains("--ssh-key-values"), "{:?}", found.problems);
    }

    #[test]
    fn custom_data_wins_and_the_keys_of_both_let_in() {
        let cd = parse(CD).unwrap().unwrap();
        let metadata = Metadata {
            hostname: Some("service".to_owned()),
            ssh_public_keys: keys_from(&Value::from(vec!["ssh-rsa B service"])),
            ..Metadata::default()
        };
        let service = InstanceData {
            user_data: Some(b"service".to_vec()),
            metadata: metadata.clone(),
            ..InstanceData::default()
        };
        let found = complete(service.clone(), cd.clone());
        assert_eq!(
            (&found.metadata.hostname, &found.user_data),
            (&metadata.hostname, &cd.user_data)
        );
        let keys: Vec<&str> = found.metadata.ssh_public_keys.values().map(String::as_str).collect();
        assert_eq!(keys, ["ssh-rsa B service", "ssh-rsa AAAAB3 cd"]);
        assert_eq!(complete(found.clone(), cd.clone()).metadata, found.metadata, "each key once");
        let found = complete(service, InstanceData::default());
        assert_eq!(found.user_data.unwrap(), b"service");
        let found = complete(InstanceData::default(), cd.clone());
        assert_eq!(
            (found.user_data, found.metadata.hostname),
            (cd.user_data, cd.metadata.hostname)
        );
    }
}
