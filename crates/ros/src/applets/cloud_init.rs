//! `ros cloud-init-save`, in the cloud-init container: reads the config drive and keeps what it holds. Whatever the
//! drive holds, the worst is that this container ends with an error and the machine goes on with what it has.

use crate::resolve::{CONF, DRIVES};
use anyhow::{Context, Result, bail};
use corral_config::error::Problem;
use corral_config::layer::{Layer, Source};
use corral_config::user_data::{self, UserData};
use corral_config::yaml;
use corral_machine::block::{self, Volume};
use corral_machine::files::write_atomic;
use corral_machine::modules::Index;
use corral_machine::mounts::{self, Mount};
use rustix::mount::MountFlags;
use serde_json::{Map, Value};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

const MOUNT_POINT: &str = "/media/config-2";

/// What a drive holds: user-data and metadata, where it has them.
struct Drive {
    user_data: Option<PathBuf>,
    metadata: Option<PathBuf>,
}

/// Reads the first config drive that is there.
pub(crate) fn run() -> Result<()> {
    let volumes = block::load_volumes();
    let Some(volume) = volumes.iter().find(|volume| DRIVES.contains(&volume.system.label.as_str())) else {
        return Ok(());
    };
    mount(volume)?;
    let drive = look();
    let metadata = drive.metadata.as_deref().map_or(Ok(()), save_metadata);
    let user_data = drive.user_data.as_deref().map_or(Ok(()), save_user_data);
    mounts::unmount(Path::new(MOUNT_POINT), true)?;
    metadata.and(user_data)
}

fn mount(volume: &Volume) -> Result<()> {
    let kind = volume.system.kind;
    let mut modules = Index::open(Path::new("/lib/modules"))?;
    match kind {
        "iso9660" => modules.load("isofs")?,
        "vfat" => ["vfat", "nls_cp437", "nls_ascii"].iter().try_for_each(|name| modules.load(name))?,
        other => modules.load(other)?,
    }
    mounts::mount(&Mount {
        source: &volume.device.to_string_lossy(),
        target: MOUNT_POINT,
        kind,
        flags: MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC,
        data: "",
    })
}

/// OpenStack's layout (`config-2`), or NoCloud's (`cidata`).
fn look() -> Drive {
    let base = Path::new(MOUNT_POINT);
    let first = |names: &[&str]| names.iter().map(|name| base.join(name)).find(|path| path.is_file());
    Drive {
        user_data: first(&["openstack/latest/user_data", "user-data", "user_data"]),
        metadata: first(&["openstack/latest/meta_data.json", "meta-data", "meta_data.json"]),
    }
}

/// At most as much as a configuration may have, and one byte more, so that too much is seen as such.
fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = yaml::MAX_BYTES as u64 + 1;
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    file.take(limit).read_to_end(&mut bytes).with_context(|| format!("reading {}", path.display()))?;
    Ok(bytes)
}

/// Keeps user-data: as `boot.yml`, as the script, or, if it is neither, set aside with its reason.
fn save_user_data(path: &Path) -> Result<()> {
    let bytes = read(path)?;
    let conf = Path::new(CONF);
    let (boot, script) = (conf.join("cloud-config.d/boot.yml"), conf.join("cloud-config-script"));
    let rejected = conf.join("rejected/user-data");
    let _ = fs::remove_file(&rejected);
    match user_data::classify(&bytes) {
        UserData::Empty => Ok(()),
        UserData::Script(text) => {
            let _ = fs::remove_file(&boot);
            write_atomic(&script, text, 0o700)
        }
        UserData::CloudConfig(text) => {
            let layer = Layer::parse_bytes(Source::File("user-data".to_owned()), text);
            layer.problems.iter().for_each(|problem| println!("{problem}"));
            if is_unreadable(&layer) {
                write_atomic(&rejected, text, 0o600)?;
                bail!("{}", set_aside(&layer.problems));
            }
            let _ = fs::remove_file(&script);
            write_atomic(&boot, text, 0o600)
        }
        UserData::Unknown(start) => {
            write_atomic(&rejected, &bytes, 0o600)?;
            let start = String::from_utf8_lossy(start).into_owned();
            bail!("user-data begins with {start:?}: #cloud-config or #! is wanted; it was set aside")
        }
    }
}

/// The document as a whole was not understood: its one problem is about no key.
fn is_unreadable(layer: &Layer) -> bool {
    layer.problems.iter().any(|problem| problem.key.is_empty()) && layer.value == Value::Object(Map::new())
}

fn set_aside(problems: &[Problem]) -> String {
    let first = problems.first().map(ToString::to_string).unwrap_or_default();
    format!("{first}; it was set aside, and the last good configuration counts")
}

/// The host name and keys that a provider gives, in the form of a layer.
fn save_metadata(path: &Path) -> Result<()> {
    let bytes = read(path)?;
    let text = std::str::from_utf8(&bytes).context("metadata is not UTF-8 text")?;
    let value = yaml::parse(text).map_err(|error| anyhow::anyhow!("metadata:{error}"))?.to_value();
    let name = ["hostname", "local-hostname", "name"].iter().find_map(|key| value.get(*key)?.as_str());
    let keys: Vec<Value> = match value.get("public_keys").or_else(|| value.get("public-keys")) {
        Some(Value::Object(map)) => map.values().cloned().collect(),
        Some(Value::Array(list)) => list.clone(),
        _ => Vec::new(),
    };
    let mut layer = Map::new();
    layer.extend(name.map(|name| ("hostname".to_owned(), Value::from(name))));
    if !keys.is_empty() {
        layer.insert("ssh_authorized_keys".to_owned(), Value::Array(keys));
    }
    let text =
        yaml::to_string(&Value::Object(layer)).map_err(|error| anyhow::anyhow!("metadata: {error}"))?;
    write_atomic(&Path::new(CONF).join("metadata"), text.as_bytes(), 0o600)
}
