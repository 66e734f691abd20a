//! Disks that Docker Machine marked: which of them may be formatted, and the ssh key that it put on
//! them.

use anyhow::{Context, Result, bail, ensure};
use corral_machine::{block, docker_machine, files};
use serde_json::json;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The archive is at most so long.
pub(super) const ARCHIVE: usize = 8192;
/// What is looked at of the rest of a disk: so much at its start and at its end. The request may
/// lie over a table of partitions. The first of them begins at 1 MiB, on some cards at 4, 8 or 16.
const LOOKED_AT: u64 = 64 << 20;
const FOLDER: &str = ".ssh";
const KEYS: [&str; 2] = [".ssh/authorized_keys", ".ssh/authorized_keys2"];
/// Of a block of tar.
const BLOCK: u64 = 512;

/// The only disk that has the mark and nothing else; None if there is none. The owner has not named
/// it. An error if another disk is the state already: it may be that of another machine.
pub(super) fn find() -> Result<Option<PathBuf>> {
    let mut found = Vec::new();
    for device in docker_machine::marked_disks() {
        match has_nothing_else(&device) {
            Ok(()) => found.push(device),
            Err(error) => println!("corral: {}: {error:#}; left unchanged", device.display()),
        }
    }
    choose(&found, &docker_machine::state_disks())
}

fn choose(new: &[PathBuf], formatted: &[PathBuf]) -> Result<Option<PathBuf>> {
    match (new, formatted) {
        ([], _) => Ok(None),
        ([device], []) => Ok(Some(device.clone())),
        _ => bail!(
            "{:?} are all of Docker Machine; leave one of them in the machine",
            [new, formatted].concat()
        ),
    }
}

/// An error if anything else is on the disk, or may be: if some of it cannot be read. An archive
/// without a key is rejected too, since no user could log in.
fn has_nothing_else(device: &Path) -> Result<()> {
    let archive = block::load_start(device, ARCHIVE)?;
    let end = end_of_archive(&archive)?;
    ensure!(!keys(&archive)?.is_empty(), "the archive of Docker Machine has no ssh key");
    let size = block::size(device)?;
    let start = end..size.min(LOOKED_AT);
    let last = size.saturating_sub(LOOKED_AT).max(start.end)..size;
    for part in [start, last] {
        ensure!(
            block::is_zero(device, part)?,
            "there is something else on this disk of Docker Machine"
        );
    }
    Ok(())
}

/// Where the members of the archive end. An error if others are in it than Docker Machine writes.
fn end_of_archive(archive: &[u8]) -> Result<u64> {
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
        let length = entry.size().checked_next_multiple_of(BLOCK);
        let behind = length.and_then(|length| length.checked_add(entry.raw_file_position()));
        end = behind.context("the archive of Docker Machine is too long")?;
    }
    ensure!(end <= archive.len() as u64, "the archive of Docker Machine is too long");
    Ok(end)
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

/// Writes what a new state begins with into a folder, the configuration of a machine of Docker
/// Machine: its key, both cards of VirtualBox, and the name by which Docker Machine chooses its
/// commands.
pub(super) fn prepare(root: &Path, keys: &[String]) -> Result<()> {
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
    files::write_atomic(&file, format!("#cloud-config\n{text}").as_bytes(), 0o600)
}

#[cfg(test)]
mod tests {
    use super::super::{format, format_marked};
    use super::*;
    use corral_machine::program;
    use std::fs;
    use std::os::unix::fs::FileExt;
    use std::process::Command;

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

    /// Checks a disk of this size that has these bytes at its start, and more at these offsets.
    fn check(size: u64, start: &[u8], more: &[(u64, u8)]) -> Result<()> {
        let file = std::env::temp_dir().join(format!("corral-marked-{}", std::process::id()));
        let disk = fs::File::create(&file)?;
        disk.set_len(size)?;
        disk.write_all_at(start, 0)?;
        for (offset, byte) in more {
            disk.write_all_at(&[*byte], *offset)?;
        }
        let checked = has_nothing_else(&file);
        fs::remove_file(&file)?;
        checked
    }

    #[test]
    fn a_disk_with_anything_else_is_not_formatted() {
        for size in [1 << 20, LOOKED_AT + 512, 3 * LOOKED_AT] {
            check(size, &archive(&ITS), &[]).unwrap();
            for offset in [5000, size / 2, size - 1] {
                // The middle of a large disk is not looked at.
                let expected = size == 3 * LOOKED_AT && offset == size / 2;
                let checked = check(size, &archive(&ITS), &[(offset, 1)]);
                assert_eq!(checked.is_ok(), expected, "{offset} of {size}: {checked:?}");
            }
        }
        let large = 3 * LOOKED_AT;
        for (start, more) in [
            // The superblock of ext4 in the first partition, and FAT in one of a card.
            (archive(&ITS), &[((1 << 20) + 1080, 0x53)][..]),
            (archive(&ITS), &[(4 << 20, 0xeb)]),
            (archive(&ITS), &[(16 << 20, 0xeb)]),
            (archive(&[("home/mine", "text")]), &[]),
            // The signature of a table of partitions.
            (archive(&ITS), &[(510, 0x55), (511, 0xaa)]),
            // No user could log in.
            (archive(&[]), &[]),
            (archive(&[(".ssh/authorized_keys", "\n")]), &[]),
            (claims(1 << 30), &[]),
            (claims(u64::MAX), &[]),
        ] {
            assert!(check(large, &start, more).is_err(), "{more:?}");
        }
    }

    /// An archive whose last member says that it is longer than the disk.
    fn claims(size: u64) -> Vec<u8> {
        let mut bytes = archive(&ITS[..1]);
        let mut header = tar::Header::new_ustar();
        header.set_path(KEYS[1]).unwrap();
        header.set_size(size);
        header.set_cksum();
        let end = bytes.len() - 1024;
        bytes.truncate(end);
        bytes.extend(header.as_bytes());
        bytes
    }

    #[test]
    fn a_disk_has_its_key_before_its_label() {
        let path = std::env::temp_dir().join(format!("corral-key-{}", std::process::id()));
        let disk = fs::File::create(&path).unwrap();
        disk.set_len(64 << 20).unwrap();
        disk.write_all_at(&archive(&ITS), 0).unwrap();
        format_marked(&path).unwrap();
        let system = block::load_file_system(&path).unwrap().unwrap();
        assert_eq!((system.kind, system.label.as_str()), ("ext4", docker_machine::LABEL));
        let mut debugfs = Command::new("/usr/sbin/debugfs");
        debugfs.args(["-R", "cat /var/lib/rancher/conf/cloud-config.d/machine.yml"]).arg(&path);
        let config = program::run(&mut debugfs).unwrap();
        assert!(
            config.starts_with("#cloud-config\n") && config.contains("ssh-rsa A a"),
            "{config}"
        );
        // Formatting alone, before a power cut, gives no disk of Docker Machine.
        format(&path, &[]).unwrap();
        assert_eq!(block::load_file_system(&path).unwrap().unwrap().label, "");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn beside_the_state_of_another_machine_none_is_formatted() {
        let [one, two] = ["/dev/sda", "/dev/sdb"].map(PathBuf::from);
        let only = std::slice::from_ref(&one);
        assert_eq!(choose(&[], only).unwrap(), None);
        assert_eq!(choose(only, &[]).unwrap(), Some(one.clone()));
        for (new, formatted) in
            [(only, std::slice::from_ref(&two)), (&[one.clone(), two.clone()], &[])]
        {
            let error = choose(new, formatted).unwrap_err().to_string();
            assert!(error.contains("sda") && error.contains("sdb"), "{error}");
        }
    }
}
