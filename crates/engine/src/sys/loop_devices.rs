//! Loop devices: disks whose content is a file. See loop(4).

use rustix::ioctl::{NoArg, Opcode, ioctl};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The request LOOP_CLR_FD.
const CLEAR: Opcode = 0x4C01;

/// The devices that have a file.
pub fn attached() -> Vec<PathBuf> {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let attached = devices.filter(|device| device.path().join("loop/backing_file").exists());
    attached.map(|device| Path::new("/dev").join(device.file_name())).collect()
}

/// Takes its file from a device. One that is still in use keeps it until it is not.
#[expect(unsafe_code, reason = "rustix has no function for this request")]
pub fn detach(device: &OwnedFd) -> rustix::io::Result<()> {
    // SAFETY: the request has no argument, so the kernel reads and writes no memory of this
    // process. On anything but a loop device it is an error.
    unsafe { ioctl(device, NoArg::<CLEAR>::new()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_device_without_its_file_is_not_attached() {
        let file = std::env::temp_dir().join(format!("corral-loop-{}", std::process::id()));
        fs::write(&file, vec![0_u8; 1 << 20]).unwrap();
        // Without autoclear: it keeps its file when no process has it open.
        let made = Command::new("losetup").args(["--find", "--show"]).arg(&file).output().unwrap();
        let device = PathBuf::from(String::from_utf8(made.stdout).unwrap().trim());
        fs::remove_file(file).unwrap();
        assert!(attached().contains(&device), "{}", device.display());
        let opened = fs::File::open(&device).unwrap().into();
        detach(&opened).unwrap();
        drop(opened);
        assert!(!attached().contains(&device));
        assert!(detach(&fs::File::open("/dev/null").unwrap().into()).is_err());
    }
}
