//! `cloud-init-execute -pre-console`, in its own system container if there is work: a disk to grow,
//! and services to restart once the boot has reached the console.

use crate::grow;
use anyhow::{Context, Result, bail};
use corral_engine::client::call;
use corral_engine::protocol::Request;
use corral_engine::spec::Grace;
use corral_init::boot::state;
use corral_machine::block;
use corral_machine::console::log;
use corral_machine::files::write_atomic;
use corral_machine::growth::{self, Partition};
use corral_resolve::effective::load_config;
use std::path::{Path, PathBuf};

/// Marks that the disk has grown; it is not tried again.
const STAMP: &str = "/var/lib/rancher/resizefs.done";

/// Does what the configuration requests.
pub(crate) fn run() -> Result<()> {
    let rancher = load_config()?.rancher;
    let resized =
        if rancher.resize_device.is_empty() { Ok(()) } else { resize(&rancher.resize_device) };
    let grown = grow_state();
    for name in &rancher.restart_services {
        if let Err(error) =
            call(Request::Restart { container: name.clone(), grace: Some(Grace::default()) })
        {
            println!("restart_services: {name}: {error:#}");
        }
    }
    resized.context("rancher.resize_device")?;
    grown.context("growing the state")
}

/// Grows the state's partition if its disk has grown, and its file system if that is smaller than
/// its device.
fn grow_state() -> Result<()> {
    let Some(device) = growth::device_of(Path::new(state::STATE_VIEW)) else { return Ok(()) };
    let behind = growth::room_behind(&device);
    if let Some(partition) = &behind {
        grow::partition(partition)?;
    }
    if behind.is_some() || growth::has_room_inside(&device) {
        log(&format!("state: {} has unused space; growing its file system", device.display()));
        grow::file_system(&device)?;
    }
    Ok(())
}

/// Grows the first partition of the disk to its end, and the file system in it: once.
fn resize(device: &str) -> Result<()> {
    if Path::new(STAMP).exists() {
        return Ok(());
    }
    let disk = match block::resolve(device).as_slice() {
        [one] => one.clone(),
        found => bail!("{device}: {} devices of this name", found.len()),
    };
    let device = first_partition(&disk)?;
    grow::partition(&Partition { device: device.clone(), disk, number: 1 })?;
    grow::file_system(&device)?;
    write_atomic(Path::new(STAMP), b"", 0o644)
}

/// `/dev/vda` → `/dev/vda1`, `/dev/nvme0n1` → `/dev/nvme0n1p1`.
fn first_partition(disk: &Path) -> Result<PathBuf> {
    let partition = block::numbered(disk, 1);
    if partition.exists() {
        Ok(partition)
    } else {
        bail!("{} has no first partition", disk.display())
    }
}
