//! `ros kernel-headers`, in the container of the catalogue's service of that name: copies the
//! headers of its image to the state disk, where containers of both engines mount them. Each folder
//! gets its name when it is complete. Folders of other kernels are removed.

use anyhow::{Context, Result, bail, ensure};
use corral_machine::files::rename_durably;
use std::ffi::OsString;
use std::fs::{self, DirEntry};
use std::os::unix::fs::symlink;
use std::path::Path;

/// In the image, and the mount of the folder on the state disk.
const SOURCE: &str = "/usr/src";
const TARGET: &str = "/headers";
/// Folders in each other; a link back up would go on for ever.
const DEEPEST: usize = 32;

pub(crate) fn run() -> Result<()> {
    update(Path::new(SOURCE), Path::new(TARGET))
}

/// Makes `target` have the folders of `source`, and no others.
fn update(source: &Path, target: &Path) -> Result<()> {
    let names: Vec<OsString> = items(source)?.iter().map(DirEntry::file_name).collect();
    ensure!(!names.is_empty(), "the image has no headers in {}", source.display());
    for item in items(target)? {
        if !names.contains(&item.file_name()) {
            let removed = fs::remove_dir_all(item.path());
            removed.with_context(|| format!("removing {}", item.path().display()))?;
        }
    }
    for name in names {
        let (complete, draft) = (target.join(&name), target.join(".draft"));
        if complete.is_dir() {
            continue;
        }
        copy(&source.join(&name), &draft, DEEPEST)?;
        rename_durably(&draft, &complete)?;
        println!("{} is here", name.display());
    }
    Ok(())
}

/// Folders, files with their permissions, and links as they are.
fn copy(from: &Path, to: &Path, depth: usize) -> Result<()> {
    let copying = || format!("copying {}", from.display());
    if depth == 0 {
        bail!("{}: there are too many folders in each other", from.display());
    }
    fs::create_dir(to).with_context(copying)?;
    for item in items(from)? {
        let (path, target) = (item.path(), to.join(item.file_name()));
        let kind = item.file_type().with_context(copying)?;
        if kind.is_dir() {
            copy(&path, &target, depth - 1)?;
        } else if kind.is_symlink() {
            fs::read_link(&path).and_then(|goal| symlink(goal, &target)).with_context(copying)?;
        } else {
            fs::copy(&path, &target).with_context(|| format!("copying {}", path.display()))?;
        }
    }
    Ok(())
}

fn items(folder: &Path) -> Result<Vec<DirEntry>> {
    fs::read_dir(folder)
        .and_then(|items| items.collect::<std::io::Result<Vec<DirEntry>>>())
        .with_context(|| format!("reading {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_headers_are_those_of_the_image_and_of_no_other_kernel() {
        let base = std::env::temp_dir().join(format!("corral-headers-{}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        let (source, target) = (base.join("source"), base.join("target"));
        fs::create_dir_all(source.join("linux-2/scripts")).unwrap();
        fs::write(source.join("linux-2/scripts/run"), "#!/bin/sh\n").unwrap();
        let program = fs::Permissions::from_mode(0o755);
        fs::set_permissions(source.join("linux-2/scripts/run"), program).unwrap();
        symlink("../kbuild/tools", source.join("linux-2/tools")).unwrap();
        // What an older kernel and a power cut have left.
        fs::create_dir_all(target.join("linux-1")).unwrap();
        fs::create_dir_all(target.join(".draft/half")).unwrap();
        update(&source, &target).unwrap();
        let names: Vec<OsString> =
            items(&target).unwrap().iter().map(DirEntry::file_name).collect();
        assert_eq!(names, ["linux-2"]);
        let run = fs::metadata(target.join("linux-2/scripts/run")).unwrap();
        assert_eq!(run.permissions().mode() & 0o777, 0o755);
        let link = fs::read_link(target.join("linux-2/tools")).unwrap();
        assert_eq!(link, Path::new("../kbuild/tools"));
        // A folder that is there is complete.
        fs::write(target.join("linux-2/kept"), "").unwrap();
        update(&source, &target).unwrap();
        assert!(target.join("linux-2/kept").exists());
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn an_image_without_headers_removes_none() {
        let base = std::env::temp_dir().join(format!("corral-no-headers-{}", std::process::id()));
        fs::create_dir_all(base.join("source")).unwrap();
        fs::create_dir_all(base.join("target/linux-1")).unwrap();
        assert!(update(&base.join("source"), &base.join("target")).is_err());
        assert!(base.join("target/linux-1").exists());
        fs::remove_dir_all(&base).unwrap();
    }
}
