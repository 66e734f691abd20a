//! Paths on the partition of the old system. Others have written there: a link must not lead out of
//! it, to files of the running system.

use anyhow::{Context, Result};
use corral_engine::archive::root::{open_in, open_root};
use rustix::fs::OFlags;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Where something is whose path a system with this root would use: below the root, and without
/// links. Only this program has the partition mounted, so no other one can add a link meanwhile.
pub(super) fn find(root: &Path, path: impl AsRef<Path>) -> Result<PathBuf> {
    let path = path.as_ref();
    let finding = || format!("opening /{}", path.display());
    let found = open_in(open_root(root)?, path, OFlags::PATH).with_context(finding)?;
    fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd())).with_context(finding)
}

/// What is in a folder below a root; nothing if there is no such folder.
pub(super) fn names(root: &Path, folder: &Path) -> Vec<String> {
    let Ok(folder) = find(root, folder) else { return Vec::new() };
    let items = fs::read_dir(folder).into_iter().flatten().flatten();
    items.filter_map(|item| item.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_link_leads_out_of_the_partition() {
        let root = std::env::temp_dir().join(format!("corral-inside-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("etc")).unwrap();
        let root = root.canonicalize().unwrap();
        fs::write(root.join("etc/file"), "of the old system").unwrap();
        for (link, target) in [
            ("absolute", "/etc/file"),
            ("relative", "../../../../../../etc/file"),
            ("folder", "/etc"),
            ("outside", "/etc/passwd"),
            ("magic", "/proc/self/root/etc/passwd"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        for path in ["etc/file", "absolute", "relative", "folder/file", "../etc/file"] {
            assert_eq!(find(&root, path).unwrap(), root.join("etc/file"), "{path}");
        }
        assert_eq!(find(&root, "").unwrap(), root);
        for path in ["outside", "magic", "etc/absent"] {
            assert!(find(&root, path).is_err(), "{path}");
        }
        fs::remove_dir_all(root).unwrap();
    }
}
