//! The footer of a VHD of fixed size, as Azure requires it. qemu-img writes the file; this checks
//! what it wrote, and replaces time and identifier by those of the release. Microsoft: Virtual Hard
//! Disk Image Format Specification, version 1.0.

use super::identity::Identity;
use anyhow::{Context, Result, ensure};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

const FOOTER: usize = 512;
const COOKIE: &[u8; 8] = b"conectix";
const VERSION: u32 = 0x0001_0000;
const FIXED: u32 = 2;
const TIME: usize = 24;
const CHECKSUM: usize = 64;
const IDENTIFIER: usize = 68;
/// 2000-01-01, from which the format counts seconds.
const EPOCH: u64 = 946_684_800;
const MIB: u64 = 1 << 20;

/// Settles and checks the footer of a file.
pub(super) fn settle(path: &Path, identity: &Identity, epoch: u64) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.with_context(|| format!("opening {}", path.display()))?;
    let size = file.metadata()?.len();
    let at = size.checked_sub(FOOTER as u64).context("it has no footer")?;
    let mut footer = [0; FOOTER];
    file.read_exact_at(&mut footer, at)?;
    let of_file = || format!("the footer of {}", path.display());
    check(&footer, size).with_context(of_file)?;
    let footer = settled(footer, identity.uuid("disk"), epoch);
    check(&footer, size).with_context(of_file)?;
    file.write_all_at(&footer, at)?;
    file.sync_all().with_context(|| format!("writing {}", path.display()))
}

fn settled(mut footer: [u8; FOOTER], identifier: [u8; 16], epoch: u64) -> [u8; FOOTER] {
    let time = u32::try_from(epoch.saturating_sub(EPOCH)).unwrap_or(u32::MAX);
    footer[TIME..TIME + 4].copy_from_slice(&time.to_be_bytes());
    footer[IDENTIFIER..IDENTIFIER + 16].copy_from_slice(&identifier);
    let checksum = checksum(&footer);
    footer[CHECKSUM..CHECKSUM + 4].copy_from_slice(&checksum.to_be_bytes());
    footer
}

/// Checks the footer of a file of this size.
fn check(footer: &[u8; FOOTER], file: u64) -> Result<()> {
    ensure!(&footer[..8] == COOKIE, "it does not begin with conectix");
    ensure!(word(footer, 8) & 2 == 2, "the reserved feature is missing");
    ensure!(word(footer, 12) == VERSION, "version {:#x}", word(footer, 12));
    ensure!(long(footer, 16) == u64::MAX, "a fixed disk has no other header");
    let (original, current) = (long(footer, 40), long(footer, 48));
    ensure!(original == current, "its sizes differ: {original} and {current}");
    ensure!(current.is_multiple_of(MIB), "{current} bytes are not full MiB");
    ensure!(file == current + FOOTER as u64, "{file} bytes of file for a disk of {current} bytes");
    ensure!(word(footer, 60) == FIXED, "type {}, which is not fixed", word(footer, 60));
    ensure!(word(footer, CHECKSUM) == checksum(footer), "its checksum is wrong");
    Ok(())
}

/// The complement of the sum of all bytes but those of the checksum.
fn checksum(footer: &[u8; FOOTER]) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    !(sum(&footer[..CHECKSUM]) + sum(&footer[CHECKSUM + 4..]))
}

fn word(footer: &[u8; FOOTER], at: usize) -> u32 {
    footer[at..at + 4].iter().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

fn long(footer: &[u8; FOOTER], at: usize) -> u64 {
    u64::from(word(footer, at)) << 32 | u64::from(word(footer, at + 4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sh;
    use std::fs;
    use std::process::Command;

    /// A footer for a disk of `size` bytes, byte for byte from the specification.
    fn footer(size: u64) -> [u8; FOOTER] {
        let mut footer = [0; FOOTER];
        footer[..8].copy_from_slice(COOKIE);
        footer[11] = 2;
        footer[13] = 1;
        footer[16..24].fill(0xff);
        footer[28..32].copy_from_slice(b"qem2");
        footer[36..40].copy_from_slice(b"Wi2k");
        footer[40..48].copy_from_slice(&size.to_be_bytes());
        footer[48..56].copy_from_slice(&size.to_be_bytes());
        footer[63] = 2;
        let checksum = checksum(&footer);
        footer[64..68].copy_from_slice(&checksum.to_be_bytes());
        footer
    }

    #[test]
    fn a_footer_by_the_specification_is_accepted_and_each_change_of_it_is_not() {
        let size = 2048 * MIB;
        assert!(check(&footer(size), size + 512).is_ok());
        assert!(check(&footer(size), size).is_err());
        assert!(check(&footer(size + 512), size + 1024).is_err());
        for at in (0..68).chain([511]) {
            let mut changed = footer(size);
            changed[at] ^= 0x40;
            assert!(check(&changed, size + 512).is_err(), "byte {at}");
        }
    }

    #[test]
    fn time_and_identifier_are_those_of_the_release() {
        let size = 2048 * MIB;
        let [mut one, mut other] = [footer(size), footer(size)];
        one[TIME] = 7;
        other[IDENTIFIER + 15] = 9;
        let settled = settled(one, [1; 16], EPOCH + 5);
        assert_eq!(settled, super::settled(other, [1; 16], EPOCH + 5));
        assert!(check(&settled, size + 512).is_ok());
        assert_eq!((word(&settled, TIME), settled[IDENTIFIER + 15]), (5, 1));
    }

    #[test]
    fn the_checksum_is_that_of_the_specification() {
        // All bytes zero but one: the complement of that byte.
        let mut footer = [0; FOOTER];
        footer[0] = 0x63;
        assert_eq!(checksum(&footer), !0x63);
        footer[CHECKSUM] = 9;
        assert_eq!(checksum(&footer), !0x63);
    }

    /// `setup` installs it before the tests.
    fn qemu_img(arguments: &[&str], files: &[&Path]) -> String {
        let mut qemu_img = Command::new("qemu-img");
        sh::output(qemu_img.args(arguments).args(files))
            .expect("qemu-img is in the package qemu-utils, which `cargo xtask setup` installs")
    }

    #[test]
    fn qemu_img_reads_what_it_wrote_and_this_settled() {
        let folder = tempfile::tempdir().unwrap();
        let [raw, vhd] = ["raw", "vhd"].map(|name| folder.path().join(name));
        let size = 4 * MIB;
        fs::write(&raw, vec![7; size as usize]).unwrap();
        let convert = "convert -f raw -O vpc -o subformat=fixed,force_size=on";
        qemu_img(&convert.split(' ').collect::<Vec<_>>(), &[&raw, &vhd]);
        let identity = Identity::new("a.vhd", "1.2.3", 1);
        settle(&vhd, &identity, EPOCH + 5).unwrap();

        let mut bytes = fs::read(&vhd).unwrap();
        let footer = bytes.split_off(size as usize);
        assert_eq!(footer.len(), FOOTER);
        assert_eq!((&footer[..8], &footer[24..28]), (&COOKIE[..], &[0, 0, 0, 5][..]));
        assert_eq!(footer[68..84], identity.uuid("disk"));
        // The specification has a loop over all bytes but those of the checksum.
        let mut sum = 0_u32;
        for (at, byte) in footer.iter().enumerate() {
            sum += if (64..68).contains(&at) { 0 } else { u32::from(*byte) };
        }
        assert_eq!(footer[64..68], (!sum).to_be_bytes());

        let info = qemu_img(&["info", "--output=json", "-f", "vpc"], &[&vhd]);
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["format"], "vpc");
        assert_eq!(info["virtual-size"], size);
        qemu_img(&["compare", "-q", "-f", "raw", "-F", "vpc"], &[&raw, &vhd]);
        fs::write(&vhd, [bytes, footer[..511].to_vec(), vec![1]].concat()).unwrap();
        assert!(settle(&vhd, &identity, EPOCH).is_err(), "a changed footer");
    }
}
