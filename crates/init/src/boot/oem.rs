//! The OEM partition: a volume labelled RANCHER_OEM with `oem-config.yml`, a layer just above the
//! defaults.

use super::resolver;
use corral_machine::console::log;
use corral_machine::mounts::{self, Mount};
use corral_machine::{block, modules};
use corral_plan::resolved::Resolved;
use rustix::mount::MountFlags;
use std::path::Path;

const MOUNT_POINT: &str = "/usr/share/ros/oem";
/// Its layer of the configuration.
pub const CONFIG: &str = "/usr/share/ros/oem/oem-config.yml";

/// Mounts the partition if there is one, and resolves again with its layer.
pub(super) fn enter(rough: Resolved) -> Resolved {
    let state = &rough.config.rancher.state;
    let Some(device) = block::resolve(&state.oem_dev).into_iter().next() else { return rough };
    match mount(&device, &state.oem_fstype) {
        Ok(()) => {
            log(&format!("oem: {} is on {MOUNT_POINT}", device.display()));
            resolver::run().unwrap_or(rough)
        }
        Err(error) => {
            log(&format!("oem: {error:#}; continuing without it"));
            rough
        }
    }
}

fn mount(device: &Path, kind: &str) -> anyhow::Result<()> {
    let found = block::load_file_system(device)?.map(|system| system.kind);
    let kind = if ["", "auto"].contains(&kind) { found.unwrap_or("ext4") } else { kind };
    modules::load(&[kind])?;
    mounts::mount(&Mount {
        source: &device.to_string_lossy(),
        target: MOUNT_POINT,
        kind,
        flags: MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID,
        data: "",
    })
}
