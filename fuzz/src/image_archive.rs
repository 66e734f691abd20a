//! Archives of images, as `docker load` takes them: they are taken apart in their folder, and list
//! images.

use crate::checksums::{is_slow, repair};
use crate::fence::Fence;
use corral_daemon::image::spooled::Spooled;

pub(crate) fn check(bytes: &[u8]) {
    if is_slow(bytes) {
        return;
    }
    let fence = Fence::new();
    let folder = fence.root.join("archive");
    if let Ok(spooled) = Spooled::read(repair(bytes).as_slice(), folder.clone()) {
        for listed in spooled.images().unwrap_or_default() {
            for name in listed.layers.iter().chain([&listed.config]) {
                let Ok(file) = spooled.get(name) else { continue };
                assert_eq!(file.path.parent(), Some(folder.as_path()), "{name}");
                assert!(file.path.is_file() && file.size <= bytes.len() as u64, "{name}");
            }
            let _ = spooled.text(&listed.config);
        }
    }
    assert!(!folder.exists(), "what was taken apart stays");
    fence.check();
}
