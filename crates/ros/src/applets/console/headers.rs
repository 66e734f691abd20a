//! Links in `/usr/src` of the console to the headers that the service `kernel-headers` has copied
//! to the state disk: a build looks for them there. The folder and other names are the owner's.

use crate::applets::kernel_headers::are_headers;
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

const HEADERS: &str = "/var/lib/rancher/kernel-headers";
const SOURCES: &str = "/usr/src";

/// Makes them, and removes those whose headers are gone.
pub(super) fn link() -> Result<()> {
    update(Path::new(HEADERS), Path::new(SOURCES))
}

fn update(headers: &Path, sources: &Path) -> Result<()> {
    for item in fs::read_dir(sources).into_iter().flatten().flatten() {
        let link = item.path();
        let is_lost = fs::read_link(&link)
            .is_ok_and(|target| target.parent() == Some(headers) && !target.exists());
        if is_lost {
            fs::remove_file(&link).with_context(|| format!("removing {}", link.display()))?;
        }
    }
    for item in fs::read_dir(headers).into_iter().flatten().flatten() {
        let link = sources.join(item.file_name());
        let is_folder = item.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && are_headers(&item.file_name()) && fs::symlink_metadata(&link).is_err() {
            let linking = || format!("linking {}", link.display());
            fs::create_dir_all(sources).with_context(linking)?;
            symlink(item.path(), &link).with_context(linking)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_linked_and_what_is_the_owners_stays() {
        let base = std::env::temp_dir().join(format!("corral-src-{}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        let (headers, sources) = (base.join("headers"), base.join("src"));
        // The service was never enabled.
        update(&headers, &sources).unwrap();
        assert!(!sources.exists());
        for folder in ["linux-headers-2", "linux-kbuild-2", ".draft", "mine-2.0"] {
            fs::create_dir_all(headers.join(folder)).unwrap();
        }
        fs::create_dir_all(sources.join("mine-1.0")).unwrap();
        fs::create_dir_all(sources.join("linux-kbuild-2")).unwrap();
        symlink("/nowhere/linux-headers-1", sources.join("linux-headers-own")).unwrap();
        symlink(headers.join("linux-headers-1"), sources.join("linux-headers-1")).unwrap();
        for _ in 0..2 {
            update(&headers, &sources).unwrap();
            let items = fs::read_dir(&sources).unwrap();
            let mut names: Vec<_> = items.map(|item| item.unwrap().file_name()).collect();
            names.sort();
            let expected = ["linux-headers-2", "linux-headers-own", "linux-kbuild-2", "mine-1.0"];
            assert_eq!(names, expected);
        }
        let target = fs::read_link(sources.join("linux-headers-2")).unwrap();
        assert_eq!(target, headers.join("linux-headers-2"));
        assert!(!sources.join("linux-kbuild-2").is_symlink());
        fs::remove_dir_all(base).unwrap();
    }
}
