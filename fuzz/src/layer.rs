//! Tar archives that are unpacked: layers of images, and what `docker cp` brings. Nothing outside
//! their folder changes.

use crate::checksums::{LARGEST_SPARSE, is_slow, repair};
use crate::fence::Fence;
use corral_engine::archive::pack::{Packed, pack};
use corral_engine::archive::root::open_root;
use corral_engine::archive::unpack::{Whiteouts, unpack};
use std::path::Path;

pub(crate) fn check(bytes: &[u8]) {
    if is_slow(bytes) {
        return;
    }
    let repaired = repair(bytes);
    for whiteouts in [Whiteouts::Convert, Whiteouts::Keep] {
        let fence = Fence::new();
        let root = open_root(&fence.root).unwrap();
        // Twice: what the first left there is in the way of the second.
        for archive in [repaired.as_slice(), repaired.as_slice(), bytes] {
            if let Ok(done) = unpack(archive, &root, whiteouts) {
                // A sparse file has more bytes than the archive, all others have not.
                assert!(done.size <= LARGEST_SPARSE * (1 + archive.len() as u64 / 512), "{done:?}");
            }
        }
        fence.check();
    }
    check_packing(&repaired);
}

/// What is unpacked is packed, and that is unpacked and packed again as the same.
fn check_packing(archive: &[u8]) {
    let (first, second) = (Fence::new(), Fence::new());
    let packed = |archive: &[u8], fence: &Fence| -> Option<Vec<u8>> {
        let root = open_root(&fence.root).ok()?;
        unpack(archive, &root, Whiteouts::Keep).ok()?;
        let mut bytes = Vec::new();
        pack(&root, Path::new(""), Packed::Inside, &mut bytes).ok()?;
        Some(bytes)
    };
    if let Some(once) = packed(archive, &first)
        && let Some(twice) = packed(&once, &second)
    {
        assert!(once == twice, "what is packed again is another archive");
    }
    first.check();
    second.check();
}
