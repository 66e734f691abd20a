//! The parameters of the running kernel, below /proc/sys: sysctl(8).

use crate::console::log;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// `rancher.sysctl`: `kernel.domainname: x` is written to /proc/sys/kernel/domainname.
pub fn apply(values: &BTreeMap<String, String>) {
    for (key, value) in values {
        let path = Path::new("/proc/sys").join(key.replace('.', "/"));
        if key.contains("..") {
            log(&format!("rancher.sysctl: {key} is not a sysctl key"));
        } else if let Err(error) = fs::write(&path, value) {
            log(&format!("rancher.sysctl: writing {value:?} to {}: {error}", path.display()));
        }
    }
}
