//! The state disk: which device it is, and how much room it has.

use corral_init::boot::state::{self, PROBLEM_FILE, STATE_VIEW};
use corral_machine::mount_table::{self, Mounted};
use serde::Serialize;
use std::fs;
use std::path::Path;

/// Where the state is.
#[derive(Debug, Default, Serialize)]
pub(super) struct StateDisk {
    /// False: the machine runs from memory, and nothing survives a restart.
    pub(super) is_kept: bool,
    pub(super) device: Option<String>,
    /// Bytes, as the next two.
    pub(super) size: u64,
    pub(super) used: u64,
    pub(super) free: u64,
    /// Why a state disk is not used.
    pub(super) problem: Option<String>,
}

impl StateDisk {
    pub(super) fn load() -> StateDisk {
        let problem = fs::read_to_string(PROBLEM_FILE).ok().map(|text| text.trim().to_owned());
        if !state::is_on_disk() {
            return StateDisk { problem, ..StateDisk::default() };
        }
        let device = device_of(mount_table::load(), STATE_VIEW);
        let Ok(data) = rustix::fs::statvfs(STATE_VIEW) else {
            return StateDisk { is_kept: true, device, problem, ..StateDisk::default() };
        };
        StateDisk {
            is_kept: true,
            device,
            size: data.f_blocks * data.f_frsize,
            used: (data.f_blocks - data.f_bfree) * data.f_frsize,
            free: data.f_bavail * data.f_frsize,
            problem,
        }
    }
}

/// The device that is mounted there. Later mounts hide earlier ones.
fn device_of(mounts: Vec<Mounted>, target: &str) -> Option<String> {
    let at_target = |mount: &Mounted| mount.target == Path::new(target);
    mounts.into_iter().rev().find(at_target).map(|mount| mount.source)
}

#[cfg(test)]
mod tests {
    use super::device_of;
    use corral_machine::mount_table::parse;

    #[test]
    fn the_device_is_that_of_the_last_mount() {
        let text = "22 1 0:5 / /var rw - tmpfs var rw\n\
            30 22 254:0 /rancher /var/lib/rancher rw,relatime shared:3 - ext4 /dev/vda rw\n\
            31 22 0:9 / /var/lib/docker rw - tmpfs none rw\n";
        assert_eq!(device_of(parse(text), "/var/lib/rancher").as_deref(), Some("/dev/vda"));
        assert_eq!(device_of(parse(text), "/var/lib/docker").as_deref(), Some("none"));
        assert_eq!(device_of(parse(text), "/home"), None);
    }
}
