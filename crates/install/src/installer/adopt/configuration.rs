//! A copy of the configuration as the old system had it, beside it. Corral changes the original.

use super::inside;
use super::survey::CONF;
use anyhow::{Context, Result, bail, ensure};
use corral_machine::files::{read_complete, rename_durably, write_atomic};
use std::fs::{self, DirEntry};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Where the copy is.
pub(super) const BEFORE: &str = "var/lib/rancher/conf.before-adoption";
/// Beside it, while it is incomplete.
const INCOMPLETE: &str = "conf.before-adoption.new";
/// What a configuration may have in all, in bytes: it is copied onto the partition that may just
/// have been shrunk.
const LARGEST: u64 = 64 << 20;
/// How many folders may be in each other.
const DEEPEST: usize = 16;

/// Can it be copied? Returns its size.
pub(super) fn measure(base: &Path) -> Result<u64> {
    match inside::find(base, CONF) {
        Ok(conf) if conf.is_dir() => measure_tree(&conf, DEEPEST)
            .and_then(|size| {
                ensure!(size <= LARGEST, "larger than the limit of {LARGEST} bytes");
                Ok(size)
            })
            .with_context(|| format!("/{CONF}, which is copied")),
        _ => Ok(0),
    }
}

fn measure_tree(folder: &Path, depth: usize) -> Result<u64> {
    let mut size = 0_u64;
    for item in items(folder, depth)? {
        let kind = item.file_type()?;
        let more = if kind.is_dir() {
            measure_tree(&item.path(), depth - 1)?
        } else if kind.is_file() {
            item.metadata()?.len()
        } else {
            0
        };
        size = size.saturating_add(more);
    }
    Ok(size)
}

/// Copies the configuration. A copy of an earlier attempt stays: it is older than any change by
/// Corral.
pub(super) fn keep(base: &Path) -> Result<()> {
    let Ok(conf) = inside::find(base, CONF) else { return Ok(()) };
    let before = Path::new(BEFORE);
    let folder = inside::find(base, before.parent().unwrap_or(Path::new("")))?;
    let copy = folder.join(before.file_name().unwrap_or_default());
    let fresh = folder.join(INCOMPLETE);
    if copy.is_dir() {
        return Ok(());
    }
    if fresh.symlink_metadata().is_ok() {
        fs::remove_dir_all(&fresh).with_context(|| format!("removing {}", fresh.display()))?;
    }
    copy_tree(&conf, &fresh, DEEPEST)?;
    rename_durably(&fresh, &copy)
}

/// Regular files and folders, readable only by root: they hold keys.
fn copy_tree(from: &Path, to: &Path, depth: usize) -> Result<()> {
    let copying = || format!("copying {}", from.display());
    fs::DirBuilder::new().mode(0o700).create(to).with_context(copying)?;
    for item in items(from, depth)? {
        let (path, target) = (item.path(), to.join(item.file_name()));
        let kind = item.file_type().with_context(copying)?;
        if kind.is_dir() {
            copy_tree(&path, &target, depth - 1)?;
        } else if kind.is_file() {
            write_atomic(&target, &read_complete(&path, LARGEST)?, 0o600)?;
        }
    }
    Ok(())
}

fn items(folder: &Path, depth: usize) -> Result<Vec<DirEntry>> {
    let reading = || format!("reading {}", folder.display());
    if depth == 0 {
        bail!("{}: there are too many folders in each other", folder.display());
    }
    fs::read_dir(folder)
        .and_then(|items| items.collect::<std::io::Result<Vec<DirEntry>>>())
        .with_context(reading)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    fn base(name: &str) -> PathBuf {
        let base = std::env::temp_dir().join(format!("corral-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        fs::create_dir_all(base.join(CONF).join("cloud-config.d")).unwrap();
        base
    }

    #[test]
    fn the_configuration_is_copied_once() {
        let base = base("before");
        let file = base.join(CONF).join("cloud-config.d/user_config.yml");
        // What an attempt left that was cut off, and what is its owner's.
        let folder = base.join(CONF).parent().unwrap().to_owned();
        fs::create_dir_all(folder.join(INCOMPLETE).join("rest")).unwrap();
        fs::create_dir_all(folder.join("conf.new")).unwrap();
        for text in ["old", "changed by Corral"] {
            fs::write(&file, text).unwrap();
            keep(&base).unwrap();
            let copy = base.join(BEFORE).join("cloud-config.d/user_config.yml");
            assert_eq!(fs::read_to_string(&copy).unwrap(), "old");
            assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
            assert!(!base.join(BEFORE).join("rest").exists());
            assert!(!folder.join(INCOMPLETE).exists() && folder.join("conf.new").is_dir());
        }
        fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn links_lead_to_no_file_of_the_running_system() {
        let (base, outside) = (base("before-links"), base("before-outside"));
        let rancher = base.join(CONF).parent().unwrap().to_owned();
        fs::write(outside.join("secret"), "secret").unwrap();
        symlink(outside.join("secret"), base.join(CONF).join("secret")).unwrap();
        symlink(&outside, rancher.join(INCOMPLETE)).unwrap();
        keep(&base).unwrap();
        assert!(!base.join(BEFORE).join("secret").exists());
        assert!(outside.join("secret").exists());
        // A link to a folder outside: it is none in the old system.
        fs::remove_dir_all(&rancher).unwrap();
        symlink(&outside, &rancher).unwrap();
        keep(&base).unwrap();
        assert!(!outside.join("conf.before-adoption").exists());
        fs::remove_dir_all(base).unwrap();
        fs::remove_dir_all(outside).unwrap();
    }

    #[test]
    fn what_is_too_large_or_too_deep_is_refused_before() {
        let base = base("before-large");
        fs::write(base.join(CONF).join("small"), "12345").unwrap();
        assert_eq!(measure(&base).unwrap(), 5);
        // Sparse: no byte of it is on the disk.
        let large = base.join(CONF).join("large");
        File::create(&large).unwrap().set_len(LARGEST).unwrap();
        let why = format!("{:#}", measure(&base).unwrap_err());
        assert!(why.contains("larger than the limit"), "{why}");
        fs::remove_file(large).unwrap();
        fs::create_dir_all(base.join(CONF).join("a/".repeat(DEEPEST))).unwrap();
        let why = format!("{:#}", measure(&base).unwrap_err());
        assert!(why.contains("too many folders"), "{why}");
        fs::remove_dir_all(base).unwrap();
    }
}
