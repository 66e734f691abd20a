//! `rancher.os_release_id`: the `ID` in `/etc/os-release` of the built-in console. Docker Machine
//! chooses by it how it configures a machine.

use anyhow::{Context, Result};
use corral_machine::files::write_atomic;
use corral_machine::{os_release, program};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

const FILE: &str = "/etc/os-release";
const KEY: &str = "ID=";
/// Lines that differ between the versions of Corral.
const OF_A_VERSION: [&str; 6] =
    ["VERSION=", "VERSION_ID=", "BUILD_ID=", "IMAGE_VERSION=", "PRETTY_NAME=", "CORRAL_COMMIT="];

/// Sets the id; an empty one is the image's. The file of a console of another image is its own.
pub(super) fn apply(id: &str) -> Result<()> {
    if program::is_elsewhere() {
        return Ok(());
    }
    set(Path::new(os_release::FILE), Path::new(FILE), id)
}

fn set(of_image: &Path, file: &Path, id: &str) -> Result<()> {
    let text =
        fs::read_to_string(of_image).with_context(|| format!("reading {}", of_image.display()))?;
    if !id.is_empty() {
        return write_atomic(file, with_id(&text, id).as_bytes(), 0o644);
    }
    // What was written before is replaced, also by another version; a file of the owner's is not.
    let now = fs::read_to_string(file).unwrap_or_default();
    if file.is_symlink() || of_all_versions(&now) != of_all_versions(&text) {
        return Ok(());
    }
    let fresh = file.with_extension("new");
    let _ = fs::remove_file(&fresh);
    symlink(of_image, &fresh)
        .and_then(|()| fs::rename(&fresh, file))
        .with_context(|| format!("linking {}", file.display()))
}

fn with_id(text: &str, id: &str) -> String {
    let line = |line: &str| match line.starts_with(KEY) {
        true => format!("{KEY}{id}\n"),
        false => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// The lines that neither the id nor the version changes.
fn of_all_versions(text: &str) -> Vec<&str> {
    let differs = |line: &&str| OF_A_VERSION.iter().any(|key| line.starts_with(key));
    text.lines().filter(|line| !line.starts_with(KEY) && !differs(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_comes_and_goes_and_a_file_of_the_owner_stays() {
        let folder = std::env::temp_dir().join(format!("corral-os-release-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let (of_image, file) = (folder.join("of-image"), folder.join("os-release"));
        fs::write(&of_image, "NAME=\"Corral\"\nID=corral\nID_LIKE=rancheros\n").unwrap();
        symlink(&of_image, &file).unwrap();
        let text = || fs::read_to_string(&file).unwrap();
        set(&of_image, &file, "rancheros").unwrap();
        assert_eq!(text(), "NAME=\"Corral\"\nID=rancheros\nID_LIKE=rancheros\n");
        assert!(fs::read_to_string(&of_image).unwrap().contains("\nID=corral\n"));
        set(&of_image, &file, "").unwrap();
        assert!(file.is_symlink() && text().contains("\nID=corral\n"));
        fs::remove_file(&file).unwrap();
        fs::write(&file, "NAME=\"Corral\"\nID=rancheros\nID_LIKE=rancheros\nVERSION=old\n")
            .unwrap();
        set(&of_image, &file, "").unwrap();
        assert!(file.is_symlink(), "an older version wrote it");
        fs::remove_file(&file).unwrap();
        fs::write(&file, "ID=own\n").unwrap();
        set(&of_image, &file, "").unwrap();
        assert_eq!(text(), "ID=own\n");
        fs::remove_dir_all(&folder).unwrap();
    }
}
