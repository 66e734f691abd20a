//! The state disk: which device it is, and how much room it has.

use corral_init::boot::state::{self, PROBLEM_FILE, STATE_VIEW};
use serde::Serialize;
use std::fs;

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
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let device = device_of(&mounts, STATE_VIEW);
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

/// The device that is mounted there, from the last line of mountinfo (proc(5)) for it: later mounts
/// hide earlier ones.
fn device_of(mountinfo: &str, target: &str) -> Option<String> {
    let source = |line: &str| {
        let (place, file_system) = line.split_once(" - ")?;
        let is_there = place.split(' ').nth(4) == Some(target);
        is_there.then(|| file_system.split(' ').nth(1))?.map(str::to_owned)
    };
    mountinfo.lines().rev().find_map(source)
}

#[cfg(test)]
mod tests {
    use super::device_of;

    #[test]
    fn the_device_is_that_of_the_last_mount() {
        let text = "22 1 0:5 / /var rw - tmpfs var rw\n\
            30 22 254:0 /rancher /var/lib/rancher rw,relatime shared:3 - ext4 /dev/vda rw\n\
            31 22 0:9 / /var/lib/docker rw - tmpfs none rw\n";
        assert_eq!(device_of(text, "/var/lib/rancher").as_deref(), Some("/dev/vda"));
        assert_eq!(device_of(text, "/var/lib/docker").as_deref(), Some("none"));
        assert_eq!(device_of(text, "/home"), None);
    }
}
