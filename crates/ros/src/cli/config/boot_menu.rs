//! `ros config syslinux`: the kernel parameters of the boot menu on the installed disk, in an editor.

use anyhow::{Context, Result, bail};
use corral_machine::block;
use corral_machine::mounts::{self, Mount};
use rustix::mount::MountFlags;
use std::path::Path;
use std::process::Command;

/// Volumes that may hold the menu, the likelier first.
const LABELS: [&str; 2] = ["RANCHER_BOOT", "RANCHER_STATE"];
const MOUNT_POINT: &str = "/run/corral/boot";

/// Opens the file in the user's editor.
pub(super) fn edit() -> Result<()> {
    for label in LABELS {
        let Some(volume) = block::load_volumes().into_iter().find(|volume| volume.system.label == label)
        else {
            continue;
        };
        mounts::mount(&Mount {
            source: &volume.device.to_string_lossy(),
            target: MOUNT_POINT,
            kind: volume.system.kind,
            flags: MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC,
            data: "",
        })?;
        let result = edit_below(Path::new(MOUNT_POINT));
        mounts::unmount(Path::new(MOUNT_POINT), false)?;
        if let Some(done) = result? {
            return Ok(done);
        }
    }
    bail!(
        "there is no boot/global.cfg on a volume labelled {}: this machine was not installed to a disk",
        LABELS.join(" or ")
    )
}

fn edit_below(root: &Path) -> Result<Option<()>> {
    let file = root.join("boot/global.cfg");
    if !file.exists() {
        return Ok(None);
    }
    let editor = std::env::var("EDITOR").unwrap_or_else(|_| "vi".to_owned());
    let status = Command::new(&editor).arg(&file).status().with_context(|| format!("starting {editor}"))?;
    if status.success() { Ok(Some(())) } else { bail!("{editor}: {status}") }
}
