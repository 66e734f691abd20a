//! Disks that Docker Machine marked: which of them may be formatted, and the ssh key that it put on
//! them.

use anyhow::{Context, Result, bail};
use corral_machine::mounts::{self, Mount};
use corral_machine::{block, docker_machine, files};
use rustix::mount::MountFlags;
use serde_json::json;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The archive is at most so long.
pub(super) const ARCHIVE: usize = 8192;
/// What is looked at of the rest of a disk: so much at its start and at its end.
const LOOKED_AT: usize = 1 << 20;
const FOLDER: &str = ".ssh";
const KEYS: [&str; 2] = [".ssh/authorized_keys", ".ssh/authorized_keys2"];
/// Of a block of tar.
const BLOCK: u64 = 512;

/// The only disk that has the mark and nothing else; None if there is none. The owner has not named
/// it.
pub(super) fn find() -> Result<Option<PathBuf>> {
    let mut found = Vec::new();
    for device in docker_machine::marked_disks() {
        match has_nothing_else(&device) {
            Ok(()) => found.push(device),
            Err(error) => println!("corral: {}: {error:#}; left unchanged", device.display()),
        }
    }
    match found.as_slice() {
        [] => Ok(None),
        [device] => Ok(Some(device.clone())),
        several => bail!("{several:?} are all of Docker Machine; leave one of them in the machine"),
    }
}

fn has_nothing_else(device: &Path) -> Result<()> {
    let start = block::load_start(device, LOOKED_AT)?;
    let end = end_of_archive(&start[..ARCHIVE.min(start.len())])?;
    let is_empty = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    // The end of a small disk is what was just read.
    let last = block::load_end(device, LOOKED_AT)?;
    let is_small = last.len() < LOOKED_AT || last == start;
    if !is_empty(start.get(end..).unwrap_or_default()) || !(is_small || is_empty(&last)) {
        bail!("there is something else on this disk of Docker Machine");
    }
    Ok(())
}

/// Where the members of the archive end. An error if others are in it than Docker Machine writes.
fn end_of_archive(archive: &[u8]) -> Result<usize> {
    let mut end = 0;
    for (number, entry) in tar::Archive::new(archive).entries()?.enumerate() {
        let entry = entry.context("reading the archive of Docker Machine")?;
        let path = entry.path()?;
        let is_known = match number {
            0 => path.as_os_str().as_encoded_bytes() == docker_machine::MARK,
            _ => path == Path::new(FOLDER) || KEYS.iter().any(|key| path == Path::new(key)),
        };
        if !is_known {
            bail!("{} is in the archive of Docker Machine", path.display());
        }
        end = entry.raw_file_position() + entry.size().next_multiple_of(BLOCK);
    }
    usize::try_from(end).context("the archive of Docker Machine is too long")
}

/// The keys in the archive. After it comes what was on the disk before.
pub(super) fn keys(archive: &[u8]) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    for entry in tar::Archive::new(archive).entries()? {
        let Ok(mut entry) = entry else { break };
        let path = entry.path()?;
        if KEYS.iter().any(|key| path.ends_with(key)) {
            let mut text = String::new();
            entry.read_to_string(&mut text).context("reading the ssh key of Docker Machine")?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            keys.extend(lines.map(str::to_owned));
        }
    }
    keys.sort();
    keys.dedup();
    Ok(keys)
}

/// Writes the configuration of a machine of Docker Machine: its key, both cards of VirtualBox, and
/// the name by which Docker Machine chooses its commands.
pub(super) fn configure(device: &Path, keys: &[String]) -> Result<()> {
    let root = Path::new("/tmp/state");
    mounts::mount(&Mount {
        source: &device.to_string_lossy(),
        target: &root.to_string_lossy(),
        kind: "ext4",
        flags: MountFlags::NODEV | MountFlags::NOSUID,
        data: "",
    })?;
    let config = json!({
        "ssh_authorized_keys": keys,
        "rancher": {
            "os_release_id": "rancheros",
            "network": {"interfaces": {"eth0": {"dhcp": true}, "eth1": {"dhcp": true}}},
        },
    });
    let text =
        corral_config::yaml::to_string(&config).map_err(|error| anyhow::anyhow!("{error}"))?;
    let file = root.join("var/lib/rancher/conf/cloud-config.d/machine.yml");
    let written = files::write_atomic(&file, format!("#cloud-config\n{text}").as_bytes(), 0o600);
    let closed = mounts::unmount(root, false);
    written.and(closed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// An archive of Docker Machine, with these members after the mark.
    fn archive(members: &[(&str, &str)]) -> Vec<u8> {
        let mark = String::from_utf8(docker_machine::MARK.to_vec()).unwrap();
        let mut builder = tar::Builder::new(Vec::new());
        for (name, text) in [(mark.as_str(), mark.as_str())].iter().chain(members) {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    const ITS: [(&str, &str); 2] =
        [(".ssh/authorized_keys", "ssh-rsa A a\n"), (".ssh/authorized_keys2", "ssh-rsa A a\n")];

    #[test]
    fn keys_are_read_until_the_archive_ends() {
        let mut bytes = archive(&ITS);
        assert_eq!(keys(&bytes).unwrap(), ["ssh-rsa A a"]);
        bytes.truncate(bytes.len() - 1024);
        bytes.extend([b'x'; 1024]);
        assert_eq!(keys(&bytes).unwrap(), ["ssh-rsa A a"]);
    }

    #[test]
    fn a_disk_with_anything_else_is_not_formatted() {
        let file = std::env::temp_dir().join(format!("corral-marked-{}", std::process::id()));
        let check = |bytes: &[u8], more: &[(usize, u8)]| {
            let mut disk = vec![0_u8; 4 << 20];
            disk[..bytes.len()].copy_from_slice(bytes);
            more.iter().for_each(|(at, byte)| disk[*at] = *byte);
            fs::write(&file, disk).unwrap();
            has_nothing_else(&file)
        };
        check(&archive(&ITS), &[]).unwrap();
        check(&archive(&[]), &[]).unwrap();
        let mine: &[(usize, u8)] = &[(5000, 1)];
        for (bytes, more) in [
            (archive(&ITS), &[(1 << 19, 1)][..]),
            (archive(&ITS), &[((4 << 20) - 1, 1)]),
            (archive(&[]), mine),
            (archive(&[("home/mine", "text")]), &[]),
            // The signature of a table of partitions.
            (archive(&ITS), &[(510, 0x55), (511, 0xaa)]),
        ] {
            assert!(check(&bytes, more).is_err(), "{more:?}");
        }
        fs::remove_file(&file).unwrap();
    }
}
