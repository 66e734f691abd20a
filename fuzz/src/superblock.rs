//! The first bytes of a disk, which PID 1 reads of each that is there.

use corral_machine::block::{LUKS, parse_file_system};

const KINDS: [&str; 9] = [LUKS, "ext4", "erofs", "iso9660", "udf", "xfs", "btrfs", "swap", "vfat"];

pub(crate) fn check(bytes: &[u8]) {
    let Some(found) = parse_file_system(bytes) else { return };
    assert!(KINDS.contains(&found.kind), "{found:?}");
    // The longest label is that of btrfs; what is not UTF-8 takes three bytes.
    assert!(found.label.len() <= 3 * 256, "{found:?}");
    assert!(!found.label.contains(char::is_control), "a label controls the terminal: {found:?}");
    let is_name = found.uuid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    assert!(is_name && found.uuid.len() <= 40, "a UUID is no name: {found:?}");
    assert!(found.size == 0 || found.kind == "ext4", "{found:?}");
}
