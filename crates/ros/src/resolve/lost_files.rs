//! Files of the owner's configuration that a repair of the state disk took away: their last good copies are put back.

use super::layers::{LAST_GOOD, cloud_config_files};
use super::way_in;
use anyhow::{Context, Result};
use corral_config::Position;
use corral_config::error::{Problem, Severity};
use corral_init::boot::state::{CONF, REPAIRED};
use corral_machine::boot_partition::booted;
use corral_machine::files::{read_at_most, remove_durably, write_atomic};
use serde_json::json;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A line for each file that was put back in this boot.
const PUT_BACK: &str = "/run/corral/put-back";
/// Who may log in, where nothing else is left of the configuration.
const WAY_IN: &str = "cloud-config.d/way-in.yml";
const LARGEST: u64 = 16 << 20;

/// Puts back what the repair of this boot took away. Without a repair, a file that is missing was removed by its owner, and
/// its copy goes as well: a later repair must not bring it back.
pub(super) fn restore() -> Result<()> {
    let is_repaired = Path::new(REPAIRED).exists();
    let mut put_back = String::new();
    let mut result = Ok(());
    for (copy, file) in missing() {
        // One that cannot be read keeps no other from being put back.
        result = result.and(if is_repaired {
            read_at_most(&copy, LARGEST).and_then(|bytes| put(&file, &bytes, &mut put_back))
        } else {
            remove_durably(&copy)
        });
    }
    if !is_repaired {
        return result;
    }
    let conf = Path::new(CONF);
    if cloud_config_files(conf).is_empty() && !conf.join("cloud-config.yml").exists() {
        let known = Some(way_in::text()).filter(|text| !text.is_empty());
        put(&conf.join(WAY_IN), &known.unwrap_or_else(keys_of_boot_partition), &mut put_back)?;
    }
    write_atomic(Path::new(PUT_BACK), put_back.as_bytes(), 0o644)?;
    // Once in a boot: what is removed from now on is meant.
    remove_durably(Path::new(REPAIRED)).and(result)
}

/// What was put back in this boot.
pub(super) fn problems() -> Vec<Problem> {
    const MESSAGE: &str = "the repair of the state disk had taken it away; its last good copy was put back";
    let text = fs::read_to_string(PUT_BACK).unwrap_or_default();
    let problem = |file| Problem::new(Severity::Warning, file, Position::default(), "", MESSAGE.to_owned());
    text.lines().map(problem).collect()
}

/// A document with the owner's ssh keys, as the boot partition has them; empty if it has none.
fn keys_of_boot_partition() -> Vec<u8> {
    let keys = booted::partition().map(|partition| partition.load_keys()).unwrap_or_default();
    if keys.is_empty() { Vec::new() } else { json!({ "ssh_authorized_keys": keys }).to_string().into_bytes() }
}

/// Copies whose files are not there: (copy, file).
fn missing() -> Vec<(PathBuf, PathBuf)> {
    let items = fs::read_dir(Path::new(CONF).join(LAST_GOOD)).into_iter().flatten().flatten();
    let pairs = items.filter_map(|item| Some((item.path(), file_of(item.file_name().to_str()?)?)));
    // A folder that cannot be read says nothing of what is in it.
    let is_gone =
        |file: &Path| fs::symlink_metadata(file).is_err_and(|error| error.kind() == ErrorKind::NotFound);
    pairs.filter(|(_, file)| is_gone(file)).collect()
}

/// The file that a copy of this name is of; none if it is no copy of an owner's file.
fn file_of(name: &str) -> Option<PathBuf> {
    let conf = Path::new(CONF);
    match name {
        "cloud-config.yml" => Some(conf.join(name)),
        "oem-config.yml" | "way-in.json" => None,
        hidden if hidden.starts_with('.') => None,
        name => Some(conf.join("cloud-config.d").join(name)),
    }
}

fn put(file: &Path, bytes: &[u8], put_back: &mut String) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let folder = file.parent().context("a file without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    write_atomic(file, bytes, 0o600)?;
    put_back.push_str(&format!("{}\n", file.display()));
    Ok(())
}
