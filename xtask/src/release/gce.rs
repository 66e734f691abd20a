//! Google's format: a tar archive of GNU's old format, packed by gzip, with the one sparse member
//! `disk.raw` of full GiB.

use super::gzip;
use crate::sh;
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;
use vmtest::release::DISK_FOR_GCE;

const HEADER: usize = 512;
const GIB: u64 = 1 << 30;

/// Writes the archive of a raw disk.
pub(super) fn write(disk: &Path, output: &Path, epoch: u64) -> Result<()> {
    let folder = output.with_extension("folder");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    fs::hard_link(disk, folder.join(DISK_FOR_GCE)).context("linking the disk")?;
    gzip::write_archive(output, |archive| {
        pack(&folder, archive, epoch)?;
        let mut header = [0; HEADER];
        File::open(archive)?.read_exact(&mut header)?;
        check(&header, fs::metadata(disk)?.len()).context("the header of the archive")
    })?;
    fs::remove_dir_all(&folder)?;
    let listed = sh::output(Command::new("tar").args(["--list", "--gzip", "--file"]).arg(output))?;
    ensure!(listed.trim() == DISK_FOR_GCE, "tar lists {listed:?}");
    Ok(())
}

fn pack(folder: &Path, archive: &Path, epoch: u64) -> Result<()> {
    let mut tar = Command::new("tar");
    // By the content: not every file system reports the same holes.
    tar.args([
        "--format=oldgnu",
        "--sparse",
        "--hole-detection=raw",
        "--owner=root:0",
        "--group=root:0",
        "--mode=0644",
    ]);
    tar.arg(format!("--mtime=@{epoch}")).arg("-C").arg(folder).arg("-cf").arg(archive);
    sh::output(tar.arg(DISK_FOR_GCE)).context("packing the disk").map(drop)
}

/// Checks the header of the first member: GNU's old format, sparse, of this size.
fn check(header: &[u8; HEADER], size: u64) -> Result<()> {
    ensure!(text(&header[..100]) == DISK_FOR_GCE, "its name is {:?}", text(&header[..100]));
    ensure!(&header[257..265] == b"ustar  \0", "it is not of GNU's old format");
    ensure!(header[156] == b'S', "its type is {:?}: not sparse", char::from(header[156]));
    let real = octal(&header[483..495])?;
    ensure!(real == size, "its size is {real} bytes instead of {size}");
    ensure!(size.is_multiple_of(GIB), "{size} bytes are not full GiB");
    let written = octal(&header[148..156])?;
    ensure!(written == checksum(header), "its checksum is {written}");
    Ok(())
}

/// The sum of all bytes, those of the checksum as blanks.
fn checksum(header: &[u8; HEADER]) -> u64 {
    let byte = |(at, byte): (usize, &u8)| match at {
        148..156 => u64::from(b' '),
        _ => u64::from(*byte),
    };
    header.iter().enumerate().map(byte).sum()
}

fn text(field: &[u8]) -> String {
    let length = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..length]).into_owned()
}

fn octal(field: &[u8]) -> Result<u64> {
    if field.first().is_some_and(|byte| byte & 0x80 != 0) {
        bail!("a number in base 256");
    }
    let text = text(field);
    u64::from_str_radix(text.trim(), 8).with_context(|| format!("{text:?} is not octal"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    fn header() -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(DISK_FOR_GCE.as_bytes());
        header[124..135].copy_from_slice(b"00700000000");
        header[156] = b'S';
        header[257..265].copy_from_slice(b"ustar  \0");
        header[483..494].copy_from_slice(b"20000000000");
        let sum = checksum(&header);
        header[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
        header
    }

    #[test]
    fn a_sparse_member_of_the_old_format_is_accepted() {
        assert!(check(&header(), 2 * GIB).is_ok());
        assert!(check(&header(), GIB).is_err());
        // Name, type, magic number, size and checksum.
        for at in [0, 149, 156, 262, 483] {
            let mut changed = header();
            changed[at] ^= 1;
            assert!(check(&changed, 2 * GIB).is_err(), "byte {at}");
        }
    }

    /// The first header in the archive.
    fn start_of(archive: &Path) -> String {
        let mut sh = Command::new("sh");
        sh::output(sh.args(["-c", "gzip -dc \"$0\" | head -c 512"]).arg(archive)).unwrap()
    }

    #[test]
    fn gnu_tar_reads_name_size_and_content_of_a_disk_with_holes() {
        let folder = tempfile::tempdir().unwrap();
        let [disk, output, read] =
            ["disk", "gce.tar.gz", "read"].map(|name| folder.path().join(name));
        let file = File::create(&disk).unwrap();
        file.set_len(GIB).unwrap();
        let places = [0, GIB / 2, GIB - 4096];
        for at in places {
            file.write_all_at(b"corral", at).unwrap();
        }
        write(&disk, &output, 1_000_000_000).unwrap();
        let tar = |arguments: &[&str]| {
            let mut tar = Command::new("tar");
            tar.env("TZ", "UTC").arg("-C").arg(&read).args(arguments).arg("-zf").arg(&output);
            sh::output(&mut tar).unwrap()
        };
        fs::create_dir(&read).unwrap();
        let listed = tar(&["-tv"]);
        let words: Vec<&str> = listed.split_whitespace().collect();
        let size = GIB.to_string();
        assert_eq!(words, ["-rw-r--r--", "root/root", &size, "2001-09-09", "01:46", DISK_FOR_GCE]);
        let header = start_of(&output);
        assert_eq!((&header[156..157], &header[257..265]), ("S", "ustar  \0"));

        tar(&["-x"]);
        let disk = File::open(read.join(DISK_FOR_GCE)).unwrap();
        assert_eq!(disk.metadata().unwrap().len(), GIB);
        for at in places {
            let mut bytes = [0; 8];
            disk.read_exact_at(&mut bytes, at).unwrap();
            assert_eq!(&bytes, b"corral\0\0", "at {at}");
        }
    }

    #[test]
    fn a_disk_that_is_not_of_full_gib_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, output) = (folder.path().join("disk"), folder.path().join("gce.tar.gz"));
        let file = File::create(&disk).unwrap();
        file.set_len(1 << 20).unwrap();
        file.write_all_at(b"corral", 4096).unwrap();
        let error = write(&disk, &output, 1).unwrap_err();
        assert!(format!("{error:#}").contains("1048576 bytes are not full GiB"), "{error:#}");
        assert!(!output.exists());
    }
}
