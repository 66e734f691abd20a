//! Files of the owner's configuration that a repair of the state disk removed: their last good
//! copies are restored. This module decides what to write; `apply` writes it.

use super::file_change::FileChange;
use super::layers::{LAST_GOOD, cloud_config_files, stored_file};
use super::root::Root;
use super::way_in;
use corral_config::Position;
use corral_config::error::{Problem, Severity};
use corral_init::boot::state::{CONF, REPAIRED};
use corral_machine::boot_partition::booted;
use serde_json::json;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A line for each file that was restored in this boot.
pub(super) const PUT_BACK: &str = "/run/corral/put-back";
/// Who may log in, if nothing else is left of the configuration.
const WAY_IN: &str = "cloud-config.d/way-in.yml";
const LARGEST: u64 = 16 << 20;

/// Missing files that have a copy, and what to do about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LostFiles {
    /// Without a repair in this boot their owner removed them. Their copies are deleted as well: a
    /// later repair must not restore them.
    Removed(Vec<FileChange>),
    /// The repair of this boot removed them.
    TakenAway {
        put_back: Vec<FileChange>,
        /// Who may log in, if no other file is left or can be restored.
        last_resort: Option<FileChange>,
        /// Why a copy cannot be read; the others are restored all the same.
        unreadable: Option<String>,
    },
}

/// Decides it from the files of the machine.
pub(super) fn decide(root: &Root) -> LostFiles {
    let missing = missing(root);
    if !root.exists(REPAIRED) {
        return LostFiles::Removed(
            missing.into_iter().map(|(copy, _)| FileChange::remove(copy)).collect(),
        );
    }
    let (mut put_back, mut unreadable) = (Vec::new(), None);
    for (copy, file) in missing {
        match root.read_at_most(&copy, LARGEST) {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => put_back.push(FileChange::write(file, bytes, 0o600)),
            Err(error) => unreadable = unreadable.or(Some(format!("{error:#}"))),
        }
    }
    let nothing_is_left = cloud_config_files(root).is_empty() && !root.exists(stored_file());
    let last_resort = if nothing_is_left { last_resort(root) } else { None };
    LostFiles::TakenAway { put_back, last_resort, unreadable }
}

fn last_resort(root: &Root) -> Option<FileChange> {
    let known = Some(way_in::text(root)).filter(|text| !text.is_empty());
    let text = known.unwrap_or_else(keys_of_boot_partition);
    (!text.is_empty()).then(|| FileChange::write(Path::new(CONF).join(WAY_IN), text, 0o600))
}

/// Warnings for the files that were restored in this boot.
pub(super) fn problems(root: &Root) -> Vec<Problem> {
    const MESSAGE: &str =
        "the repair of the state disk had removed it; its last good copy was restored";
    let text = root.text(PUT_BACK);
    let problem =
        |file| Problem::new(Severity::Warning, file, Position::default(), "", MESSAGE.to_owned());
    text.lines().map(problem).collect()
}

/// A document with the owner's ssh keys from the boot partition; empty if it has none.
fn keys_of_boot_partition() -> Vec<u8> {
    let keys = booted::partition().map(|partition| partition.load_keys()).unwrap_or_default();
    if keys.is_empty() {
        Vec::new()
    } else {
        json!({ "ssh_authorized_keys": keys }).to_string().into_bytes()
    }
}

/// Copies of missing files: (copy, file).
fn missing(root: &Root) -> Vec<(PathBuf, PathBuf)> {
    let copies = root.list(Path::new(CONF).join(LAST_GOOD)).into_iter();
    let pairs = copies.filter_map(|copy| {
        let file = file_of(copy.file_name()?.to_str()?)?;
        Some((copy, file))
    });
    // A folder that cannot be read does not prove that its files are gone.
    let is_gone = |file: &Path| {
        root.metadata_error(file).is_some_and(|error| error.kind() == ErrorKind::NotFound)
    };
    pairs.filter(|(_, file)| is_gone(file)).collect()
}

/// The file to which a copy of this name belongs; none if it is no copy of an owner's file.
fn file_of(name: &str) -> Option<PathBuf> {
    let conf = Path::new(CONF);
    match name {
        "cloud-config.yml" => Some(stored_file()),
        "oem-config.yml" | "way-in.json" => None,
        hidden if hidden.starts_with('.') => None,
        name => Some(conf.join("cloud-config.d").join(name)),
    }
}
