//! Disks with the system on them, as `ros install` writes them. One machine writes them one after
//! the other, from a release in a file.
//!
//! The machine's own login goes by a key of another user than `rancher`. The installer would copy
//! the keys of `rancher` onto the disks.

use crate::{Machine, Options, drive, shell};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// Who installs.
const USER: &str = "installer";
const DOCUMENT: &str = "/tmp/document.yml";

/// A disk to be made.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The file; it is replaced.
    pub path: PathBuf,
    pub mebibytes: u64,
    /// Arguments of `ros install`, besides the disk and the document.
    pub arguments: String,
    /// The cloud-config of the new machine.
    pub document: Option<String>,
}

/// Makes the disks. `archive` is a release as one file.
pub fn install(folder: &Path, archive: &Path, disks: &[Disk]) -> Result<()> {
    for disk in disks {
        drive::blank(&disk.path, disk.mebibytes)?;
    }
    let key = shell::make_key(folder)?;
    let user = format!(
        "#cloud-config\nusers:\n  - name: {USER}\n    groups: [docker]\n    \
         sudo: ALL=(ALL) NOPASSWD:ALL\n    ssh_authorized_keys: [{key}]\n"
    );
    let mut machine = Machine::start(
        folder,
        Options {
            disks: disks.iter().map(|disk| disk.path.clone()).collect(),
            sticks: vec![archive.to_path_buf()],
            config_drive: Some(drive::make(folder, drive::Kind::ConfigDriveIso, user.as_bytes())?),
            ..Options::default()
        },
    )?;
    USER.clone_into(&mut machine.login.user);
    machine.expect_login()?;
    let release = device(disks.len())?;
    for (number, disk) in disks.iter().enumerate() {
        let device = device(number)?;
        let installed = install_to(&machine, disk, &device, &release)
            .and_then(|()| has_no_key_of_ours(&machine, &device, &key));
        installed.with_context(|| format!("installing to {}", disk.path.display()))?;
    }
    machine.power_off()
}

fn install_to(machine: &Machine, disk: &Disk, device: &str, release: &str) -> Result<()> {
    let mut arguments = disk.arguments.clone();
    if let Some(document) = &disk.document {
        machine.run(&format!("cat > {DOCUMENT} <<'END'\n{document}END"))?;
        arguments.push_str(&format!(" -c {DOCUMENT}"));
    }
    let said = machine.run(&format!(
        "sudo ros install -d {device} -i {release} --drivers never --no-login --no-reboot -f \
         {arguments} 2>&1"
    ))?;
    ensure!(said.contains("is installed on"), "ros install reported:\n{said}");
    Ok(())
}

/// Any user of these disks could be logged in to by a key that the installer copied. It may have
/// written other options or another comment with the key.
fn has_no_key_of_ours(machine: &Machine, device: &str, key: &str) -> Result<()> {
    let bare = key.split_whitespace().nth(1).context("a key without a second field")?;
    let mount = "/run/installed";
    // The state and the boot partition.
    for number in [1, 2] {
        let found = machine.run(&format!(
            "sudo mkdir -p {mount} && sudo mount -r {device}{number} {mount} && \
             {{ sudo grep -rlF '{bare}' {mount} || true; }}; sudo umount {mount}"
        ))?;
        ensure!(found.is_empty(), "the key of this machine is on the new disk: {found}");
    }
    Ok(())
}

/// The name of a disk in the machine; the first one is the system image.
pub fn device(number: usize) -> Result<String> {
    let letter = ('b'..='p').nth(number).context("more disks than a machine has")?;
    Ok(format!("/dev/vd{letter}"))
}

#[cfg(test)]
mod tests {
    use super::device;

    #[test]
    fn disks_follow_the_system_image() {
        assert_eq!(device(0).unwrap(), "/dev/vdb");
        assert_eq!(device(14).unwrap(), "/dev/vdp");
        assert!(device(15).is_err());
    }
}
