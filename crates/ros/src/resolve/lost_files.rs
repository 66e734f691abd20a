//! Files of the owner's configuration that a repair of the state disk took away: their last good
//! copies are put back. What is to be written is decided here; `apply` writes it.

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

/// A line for each file that was put back in this boot.
pub(super) const PUT_BACK: &str = "/run/corral/put-back";
/// Who may log in, where nothing else is left of the configuration.
const WAY_IN: &str = "cloud-config.d/way-in.yml";
const LARGEST: u64 = 16 << 20;

/// What becomes of files that are missing although there is a copy of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LostFiles {
    /// Without a repair in this boot, their owner removed them, and their copies go as well: a
    /// later repair must not bring them back.
    Removed(Vec<FileChange>),
    /// The repair of this boot took them away.
    TakenAway {
        put_back: Vec<FileChange>,
        /// Who may log in, for the case that no other file is left or can be put back.
        last_resort: Option<FileChange>,
        /// Why a copy cannot be read; that keeps no other from being put back.
        unreadable: Option<String>,
    },
}

/// Decides it from what is there.
pub(super) fn decide(root: &Root) -> LostFiles {
    let missing = missing(root);
    if !root.exists(REPAIRED) {
        return LostFiles::Removed(missing.into_iter().map(|(copy, _)| FileChange::remove(copy)).collect());
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

/// What was put back in this boot.
pub(super) fn problems(root: &Root) -> Vec<Problem> {
    const MESSAGE: &str = "the repair of the state disk had taken it away; its last good copy was put back";
    let text = root.text(PUT_BACK);
    let problem = |file| Problem::new(Severity::Warning, file, Position::default(), "", MESSAGE.to_owned());
    text.lines().map(problem).collect()
}

/// A document with the owner's ssh keys, as the boot partition has them; empty if it has none.
fn keys_of_boot_partition() -> Vec<u8> {
    let keys = booted::partition().map(|partition| partition.load_keys()).unwrap_or_default();
    if keys.is_empty() { Vec::new() } else { json!({ "ssh_authorized_keys": keys }).to_string().into_bytes() }
}

/// Copies whose files are not there: (copy, file).
fn missing(root: &Root) -> Vec<(PathBuf, PathBuf)> {
    let copies = root.list(Path::new(CONF).join(LAST_GOOD)).into_iter();
    let pairs = copies.filter_map(|copy| {
        let file = file_of(copy.file_name()?.to_str()?)?;
        Some((copy, file))
    });
    // A folder that cannot be read says nothing of what is in it.
    let is_gone =
        |file: &Path| root.metadata_error(file).is_some_and(|error| error.kind() == ErrorKind::NotFound);
    pairs.filter(|(_, file)| is_gone(file)).collect()
}

/// The file that a copy of this name is of; none if it is no copy of an owner's file.
fn file_of(name: &str) -> Option<PathBuf> {
    let conf = Path::new(CONF);
    match name {
        "cloud-config.yml" => Some(stored_file()),
        "oem-config.yml" | "way-in.json" => None,
        hidden if hidden.starts_with('.') => None,
        name => Some(conf.join("cloud-config.d").join(name)),
    }
}
