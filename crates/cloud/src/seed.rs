//! A folder with a machine's seed: OpenStack's layout of a config drive, or NoCloud's.

use super::instance_data::InstanceData;
use super::{network_data, openstack};
use anyhow::{Context, Result};
use corral_config::yaml;
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// At most this much is read of any file. One byte more is read so that too much is seen as such.
const MAX_BYTES: u64 = 16 << 20;

/// Reads the seed below `folder`. What is broken is reported, and the rest takes effect.
pub fn read(folder: &Path) -> InstanceData {
    let mut found = InstanceData::default();
    let first =
        |names: &[&str]| names.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    if let Some(path) = first(&["openstack/latest/user_data", "user-data", "user_data"]) {
        match read_file(&path) {
            Ok(bytes) => found.user_data = Some(bytes),
            Err(error) => found.problems.push(format!("{error:#}")),
        }
    }
    if let Some(path) = first(&["vendor-data"]) {
        found = found.with_vendor_data(read_file(&path).map(Some));
    }
    if let Some(path) = first(&["openstack/latest/vendor_data.json"]) {
        let tree = read_tree(&path);
        found = found.with_vendor_data(tree.map(|tree| openstack::vendor_data(&tree)));
    }
    if let Some(path) = first(&["openstack/latest/meta_data.json", "meta-data", "meta_data.json"]) {
        match read_tree(&path) {
            Ok(tree) => found.metadata = openstack::metadata(&tree),
            Err(error) => found.problems.push(format!("metadata: {error:#}")),
        }
    }
    type Reader = fn(&Value) -> Option<Value>;
    let networks: [(&str, Reader); 2] = [
        ("openstack/latest/network_data.json", network_data::from_openstack),
        ("network-config", network_data::from_nocloud),
    ];
    for (name, convert) in networks {
        let path = folder.join(name);
        if path.is_file() {
            match read_tree(&path) {
                Ok(tree) => found.network = found.network.or_else(|| convert(&tree)),
                Err(error) => {
                    found.unread.network = true;
                    found.problems.push(format!("network: {error:#}"));
                }
            }
        }
    }
    found
}

/// Reads a file with user data.
pub fn read_file(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("reading {}", path.display()))?;
    Ok(bytes)
}

/// JSON is YAML too.
fn read_tree(path: &Path) -> Result<Value> {
    let bytes = read_file(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    parse_tree(&name, &bytes)
}

/// The tree in a file of that name.
pub fn parse_tree(name: &str, bytes: &[u8]) -> Result<Value> {
    let text = std::str::from_utf8(bytes).with_context(|| format!("{name} is not UTF-8 text"))?;
    Ok(yaml::parse(text).map_err(|error| anyhow::anyhow!("{name}:{error}"))?.to_value())
}
