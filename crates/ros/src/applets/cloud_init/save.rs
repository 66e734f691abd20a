//! What a data source gave → files of the owner's configuration: `boot.yml`, scripts, metadata, the
//! provider's network.

use anyhow::Result;
use corral_cloud::InstanceData;
use corral_config::metadata::Metadata;
use corral_config::user_data::{self, Part};
use corral_config::{Layer, Source};
use corral_config::{merge, yaml};
use corral_init::boot::state::CONF;
use corral_machine::files::{remove_durably, write_atomic};
use corral_resolve::layers::VENDOR_DATA;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// The part of cloud-init that runs. It decides which file user data goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Local,
    /// The network, because no local source had anything.
    Network,
    /// The network, because local user data named a URL. What it gives overrides that user data.
    NetworkAfterLocal,
}

/// What the caller has to report, and to fetch.
#[derive(Debug, Default)]
pub(super) struct Saved {
    pub(super) problems: Vec<String>,
    pub(super) includes: Vec<String>,
    /// Does this user data replace what was there, with nothing of it still to be fetched?
    pub(super) is_complete: bool,
}

/// The parts of user data.
#[derive(Debug, Default)]
struct Sorted {
    documents: Vec<Vec<u8>>,
    scripts: Vec<Vec<u8>>,
    includes: Vec<String>,
    /// The beginnings of parts of an unknown kind.
    unknown: Vec<String>,
}

impl Sorted {
    fn new(parts: Vec<Part>) -> Sorted {
        let mut sorted = Sorted::default();
        for part in parts {
            match part {
                Part::CloudConfig(text) => sorted.documents.push(text),
                Part::Compose(text) => sorted.documents.push(from_compose(&text)),
                Part::Script(text) => sorted.scripts.push(text),
                Part::Include(urls) => sorted.includes.extend(urls),
                Part::Unknown(start) => sorted.unknown.push(start),
            }
        }
        sorted
    }

    fn is_complete(&self) -> bool {
        let is_something = !self.documents.is_empty() || !self.scripts.is_empty();
        is_something && self.includes.is_empty() && self.unknown.is_empty()
    }
}

fn conf(name: &str) -> PathBuf {
    Path::new(CONF).join(name)
}

impl Stage {
    fn file(self) -> PathBuf {
        match self {
            Stage::Local | Stage::Network => conf("cloud-config.d/boot.yml"),
            Stage::NetworkAfterLocal => conf("cloud-config.d/boot_network.yml"),
        }
    }
}

/// Saves everything. What cannot be parsed goes to `rejected/` with its reason, and the previous
/// configuration stays active.
pub(super) fn save(stage: Stage, found: &InstanceData) -> Result<Saved> {
    let mut saved = Saved::default();
    if stage != Stage::NetworkAfterLocal {
        remove_durably(&conf("rejected/user-data"))?;
    }
    save_metadata(found)?;
    save_network(stage, found)?;
    if stage != Stage::NetworkAfterLocal && !found.unread.vendor_data {
        save_vendor_data(found.vendor_data.as_deref())?;
    }
    let Some(bytes) = &found.user_data else { return Ok(saved) };
    let (parts, problems) = user_data::split(bytes);
    saved.problems.extend(problems);
    let sorted = Sorted::new(parts);
    for start in &sorted.unknown {
        let start_of_it = &bytes[..bytes.len().min(yaml::MAX_BYTES)];
        write_atomic(&conf("rejected/user-data"), start_of_it, 0o600)?;
        saved.problems.push(format!(
            "user data begins with {start:?}; expected #cloud-config, #compose, #include or #!; \
             it was set aside"
        ));
    }
    save_documents(stage, &sorted.documents, &mut saved)?;
    save_scripts(stage, &sorted.scripts, sorted.documents.is_empty())?;
    saved.is_complete = sorted.is_complete() && saved.problems.is_empty();
    if stage == Stage::NetworkAfterLocal && saved.is_complete && sorted.documents.is_empty() {
        remove_fetched()?;
    }
    saved.includes = sorted.includes;
    Ok(saved)
}

/// Removes what was fetched in this boot or an earlier one because user data named it.
pub(super) fn remove_fetched() -> Result<()> {
    remove_durably(&Stage::NetworkAfterLocal.file())
}

fn save_metadata(found: &InstanceData) -> Result<()> {
    if found.metadata.is_empty() {
        return Ok(());
    }
    let mut metadata = found.metadata.clone();
    if found.unread.keys {
        let stored = fs::read_to_string(conf("metadata")).unwrap_or_default();
        metadata = with_keys_of(metadata, Metadata::parse(&stored).unwrap_or_default());
    }
    let text = metadata.to_yaml().map_err(|error| anyhow::anyhow!("metadata: {error}"))?;
    write_atomic(&conf("metadata"), text.as_bytes(), 0o600)
}

/// Metadata with the keys that are stored, for those that could not be read now.
fn with_keys_of(mut now: Metadata, stored: Metadata) -> Metadata {
    let read = std::mem::replace(&mut now.ssh_public_keys, stored.ssh_public_keys);
    now.ssh_public_keys.extend(read);
    now
}

fn save_network(stage: Stage, found: &InstanceData) -> Result<()> {
    let file = conf("cloud-config.d/network.yml");
    match &found.network {
        Some(network) => {
            let layer = json!({"rancher": {"network": network}});
            let text =
                yaml::to_string(&layer).map_err(|error| anyhow::anyhow!("network: {error}"))?;
            write_atomic(&file, text.as_bytes(), 0o600)
        }
        None if stage == Stage::NetworkAfterLocal || found.unread.network => Ok(()),
        None => remove_durably(&file),
    }
}

/// The cloud-configs of the provider's vendor data, below the owner's files. Scripts do not run.
/// Keys that only the owner may set are saved too: each boot warns of them.
fn save_vendor_data(bytes: Option<&[u8]>) -> Result<()> {
    let file = conf(VENDOR_DATA);
    let (parts, _) = bytes.map(user_data::split).unwrap_or_default();
    let configs = parts.into_iter().filter_map(|part| match part {
        Part::CloudConfig(text) => {
            Some(Layer::parse_bytes(Source::File(VENDOR_DATA.to_owned()), &text).value)
        }
        _ => None,
    });
    let configs: Vec<Value> = configs.collect();
    if configs.is_empty() {
        return remove_durably(&file);
    }
    let text = yaml::to_string(&merge::merge(configs.iter()))
        .map_err(|error| anyhow::anyhow!("vendor data: {error}"))?;
    write_atomic(&file, format!("#cloud-config\n{text}").as_bytes(), 0o600)
}

/// `#compose` is short for a cloud-config with services.
fn from_compose(text: &[u8]) -> Vec<u8> {
    let mut document = b"#cloud-config\nrancher:\n  services:\n".to_vec();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        document.extend_from_slice(b"    ");
        document.extend_from_slice(line);
    }
    document
}

/// A single document is saved as it was written, so that problems are reported with its own line
/// numbers. Several are merged in order.
fn save_documents(stage: Stage, documents: &[Vec<u8>], saved: &mut Saved) -> Result<()> {
    let parse = |text: &Vec<u8>| Layer::parse_bytes(Source::File("user-data".to_owned()), text);
    let layers: Vec<Layer> = documents.iter().map(parse).collect();
    for (layer, text) in layers.iter().zip(documents).filter(|(layer, _)| layer.is_unreadable()) {
        write_atomic(
            &conf("rejected/user-data"),
            &text[..text.len().min(yaml::MAX_BYTES + 1)],
            0o600,
        )?;
        let reason = layer.problems.first().map(ToString::to_string).unwrap_or_default();
        saved
            .problems
            .push(format!("{reason}; it was set aside, the last good configuration stays active"));
    }
    let good: Vec<&Layer> = layers.iter().filter(|layer| !layer.is_unreadable()).collect();
    let text = match good.as_slice() {
        [] => return Ok(()),
        [_] if documents.len() == 1 => documents.first().cloned().unwrap_or_default(),
        several => {
            let merged = merge::merge(several.iter().map(|layer| &layer.value));
            let text =
                yaml::to_string(&merged).map_err(|error| anyhow::anyhow!("user-data: {error}"))?;
            format!("#cloud-config\n# merged from the parts of user-data\n{text}").into_bytes()
        }
    };
    write_atomic(&stage.file(), &text, 0o600)
}

/// The first script has the file name that RancherOS uses; more scripts go to a folder beside it.
/// New user data replaces old scripts.
fn save_scripts(stage: Stage, scripts: &[Vec<u8>], nothing_else: bool) -> Result<()> {
    if stage != Stage::NetworkAfterLocal {
        remove_durably(&conf("cloud-config-script"))?;
        if conf("cloud-config-script.d").exists() {
            fs::remove_dir_all(conf("cloud-config-script.d"))?;
        }
        if nothing_else && !scripts.is_empty() {
            remove_durably(&stage.file())?;
        }
    }
    let is_taken = conf("cloud-config-script").exists();
    for (number, script) in scripts.iter().enumerate() {
        let name = if number == 0 && !is_taken {
            "cloud-config-script".to_owned()
        } else {
            format!(
                "cloud-config-script.d/{:03}",
                number + usize::from(stage == Stage::NetworkAfterLocal) * 100
            )
        };
        write_atomic(&conf(&name), script, 0o700)?;
    }
    Ok(())
}

/// Several documents as one MIME message.
pub(super) fn join(documents: &[Vec<u8>]) -> Vec<u8> {
    const BOUNDARY: &str = "==corral-include==";
    let mut message =
        format!("Content-Type: multipart/mixed; boundary=\"{BOUNDARY}\"\n\n").into_bytes();
    for document in documents {
        message.extend_from_slice(
            format!(
                "--{BOUNDARY}\nContent-Type: text/plain\nContent-Transfer-Encoding: binary\n\n"
            )
            .as_bytes(),
        );
        message.extend_from_slice(document);
        message.push(b'\n');
    }
    message.extend_from_slice(format!("--{BOUNDARY}--\n").as_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_with_more_to_fetch_does_not_replace_what_was_fetched() {
        let mixed = join(&[b"#cloud-config\n".to_vec(), b"#include\nhttps://a/b\n".to_vec()]);
        let cases: [(&[u8], bool); 6] = [
            (b"#cloud-config\nhostname: a\n", true),
            (b"#!/bin/sh\n", true),
            (b"#include\nhttps://a/b\n", false),
            (&mixed, false),
            (b"<html>", false),
            (b"", false),
        ];
        for (bytes, expected) in cases {
            let sorted = Sorted::new(user_data::split(bytes).0);
            assert_eq!(sorted.is_complete(), expected, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn keys_that_could_not_be_read_stay() {
        let metadata = |keys: &[(&str, &str)], hostname: &str| Metadata {
            hostname: Some(hostname.to_owned()),
            ssh_public_keys: keys
                .iter()
                .map(|(name, key)| ((*name).to_owned(), (*key).to_owned()))
                .collect(),
            ..Metadata::default()
        };
        let now = metadata(&[("a", "new")], "now");
        let stored = metadata(&[("a", "old"), ("b", "kept")], "before");
        let expected = metadata(&[("a", "new"), ("b", "kept")], "now");
        assert_eq!(with_keys_of(now, stored), expected);
    }
}
