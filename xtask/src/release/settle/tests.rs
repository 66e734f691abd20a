//! Two disks that were made at different times, with different identifiers, become the same.

use super::*;
use crate::release::identity::{CRC32, crc};
use crate::sh;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

const MIB: u64 = 1 << 20;
const BOOT_AT: u64 = MIB;
const BOOT_BYTES: u64 = 40 * MIB;
const DISK: u64 = 48 * MIB;

/// A table with a boot partition (the second entry), and one for the state behind it.
fn write_table(disk: &File, id: u8) {
    let sectors = DISK / 512;
    let mut entries = vec![0; 128 * 128];
    let parts = [(1, BOOT_AT, BOOT_BYTES), (0, BOOT_AT + BOOT_BYTES, MIB)];
    for (number, start, bytes) in parts {
        let entry = &mut entries[number * 128..][..128];
        entry[..16].fill(7);
        entry[16..32].fill(id);
        entry[32..40].copy_from_slice(&(start / 512).to_le_bytes());
        entry[40..48].copy_from_slice(&((start + bytes) / 512 - 1).to_le_bytes());
    }
    for (at, other, of_entries) in [(1, sectors - 1, 2), (sectors - 1, 1, sectors - 33)] {
        let mut header = [0; 512];
        header[..8].copy_from_slice(b"EFI PART");
        header[12] = 92;
        header[24..32].copy_from_slice(&at.to_le_bytes());
        header[32..40].copy_from_slice(&other.to_le_bytes());
        header[56..72].fill(id);
        header[72..80].copy_from_slice(&of_entries.to_le_bytes());
        header[80..84].copy_from_slice(&128_u32.to_le_bytes());
        header[84..88].copy_from_slice(&128_u32.to_le_bytes());
        disk.write_all_at(&header, at * 512).unwrap();
        disk.write_all_at(&entries, of_entries * 512).unwrap();
    }
    disk.write_all_at(&[id; 4], 440).unwrap();
}

/// A disk whose boot partition names itself and the state, also in a file that was deleted.
fn make(folder: &Path, serial: u32, state: [u8; 16], time: u64) -> PathBuf {
    let files = folder.join(format!("files-{serial}"));
    fs::create_dir_all(files.join("boot/deep")).unwrap();
    let names = format!("corral.boot=UUID={} dev=UUID={}\n", fat::id(serial), text(state));
    let lower = fat::id(serial).to_lowercase();
    let deleted = format!("deleted-{time}");
    for name in ["boot/current.cfg", "boot/deep/a-long-name.conf", &deleted] {
        fs::write(files.join(name), format!("{names}{lower}\n")).unwrap();
    }
    let mut touch = Command::new("find");
    let date = format!("@{time}");
    sh::output(touch.arg(&files).args(["-exec", "touch", "-d", &date, "{}", "+"])).unwrap();
    let boot = folder.join(format!("boot-{serial}"));
    File::create(&boot).unwrap().set_len(BOOT_BYTES).unwrap();
    let mut mkfs = Command::new("/sbin/mkfs.vfat");
    mkfs.args(["-F", "32", "-s", "1", "-n", "CORRAL_BOOT", "-i", &format!("{serial:08x}")]);
    sh::output(mkfs.arg(&boot)).unwrap();
    for name in [deleted.as_str(), "boot"] {
        let mut copy = Command::new("mcopy");
        copy.args(["-s", "-m", "-i"]).arg(&boot).arg(files.join(name)).arg("::");
        sh::output(&mut copy).unwrap();
    }
    let mut delete = Command::new("mdel");
    sh::output(delete.arg("-i").arg(&boot).arg(format!("::{deleted}"))).unwrap();
    let path = folder.join(format!("disk-{serial}"));
    let disk = File::create(&path).unwrap();
    disk.set_len(DISK).unwrap();
    disk.write_all_at(&fs::read(&boot).unwrap(), BOOT_AT).unwrap();
    write_table(&disk, serial.to_le_bytes()[0]);
    path
}

/// All of `disk` but the state, for which a package is needed.
fn settle(path: &Path, old_state: [u8; 16], identity: &Identity) -> Result<Vec<u8>> {
    let disk = open(path).unwrap();
    let partitions = gpt::settle(&disk, identity).unwrap();
    let boot = partitions[BOOT].unwrap();
    assert_eq!((boot.start, boot.bytes), (BOOT_AT, BOOT_BYTES));
    let changes = fat::Changes {
        serial: identity.word("boot"),
        epoch: 1_760_000_000,
        state: (text(old_state), text(identity.uuid("state"))),
    };
    fat::settle(path, boot.start, &changes)?;
    Ok(fs::read(path).unwrap())
}

#[test]
fn two_disks_with_the_same_content_become_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::new("disk", "1.2.3", 1);
    let settled = |serial: u32, time: u64| {
        let state = [serial.to_le_bytes()[0]; 16];
        let path = make(folder.path(), serial, state, time);
        (settle(&path, state, &identity).unwrap(), path)
    };
    let (one, _) = settled(0x1234_abcd, 1_600_000_000);
    let (other, path) = settled(0xfedc_0001, 1_700_000_000);
    let differs = one.iter().zip(&other).position(|(one, other)| one != other);
    assert_eq!(differs, None, "the first byte that differs");
    // It is still what its readers expect.
    let image = format!("{}@@{BOOT_AT}", path.display());
    let mut read = Command::new("mtype");
    let text = sh::output(read.args(["-i", &image]).arg("::boot/deep/a-long-name.conf")).unwrap();
    let serial = fat::id(identity.word("boot"));
    let state = super::text(identity.uuid("state"));
    let lower = serial.to_lowercase();
    assert_eq!(text, format!("corral.boot=UUID={serial} dev=UUID={state}\n{lower}\n"));
    let list = sh::output(Command::new("mdir").args(["-i", &image]).arg("::boot")).unwrap();
    assert!(list.contains(&serial) && list.contains("2025-10-09"), "{list}");
    for at in [512, DISK as usize - 512] {
        let mut header = other[at..at + 92].to_vec();
        let written = header[16..20].to_vec();
        header[16..20].fill(0);
        assert_eq!(crc(CRC32, &header).to_le_bytes(), written[..]);
    }
    assert_eq!(other[440..444], [0; 4]);
}

#[test]
fn a_disk_whose_files_name_another_state_or_boot_partition_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::new("disk", "1.2.3", 1);
    let refusal = |path: &Path, state| settle(path, state, &identity).unwrap_err().to_string();
    let path = make(folder.path(), 0x1234_abcd, [1; 16], 1_600_000_000);
    let error = refusal(&path, [2; 16]);
    assert!(error.contains("none of its files names the state, 02020202-"), "{error}");
    // Another serial number than its files have.
    let disk = open(&path).unwrap();
    disk.write_all_at(&0x8765_4321_u32.to_le_bytes(), BOOT_AT + 67).unwrap();
    let error = refusal(&path, [1; 16]);
    assert!(error.contains("none has its serial number, 8765-4321"), "{error}");
}
