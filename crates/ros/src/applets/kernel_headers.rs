//! `ros kernel-headers`, in the container of the catalogue's service of that name: copies the
//! headers of its image to the state disk, where containers of both engines mount them. Each folder
//! gets its name when it is complete. Headers of other kernels are removed; what is not ours stays.

use anyhow::{Context, Result, bail, ensure};
use corral_machine::files::rename_durably;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry};
use std::os::unix::fs::symlink;
use std::path::Path;

/// In the image, and the mount of the folder on the state disk.
const SOURCE: &str = "/usr/src";
const TARGET: &str = "/headers";
/// Folders in each other; a link back up would go on for ever.
const DEEPEST: usize = 32;
/// A folder that is not complete.
const DRAFT: &str = ".draft";
/// What the names of folders of headers begin with.
const NAMES: [&str; 2] = ["linux-headers-", "linux-kbuild-"];

pub(crate) fn run() -> Result<()> {
    update(Path::new(SOURCE), Path::new(TARGET))
}

/// Is it the name of a folder of headers? Others are the owner's.
pub(crate) fn are_headers(name: &OsStr) -> bool {
    NAMES.iter().any(|start| name.as_encoded_bytes().starts_with(start.as_bytes()))
}

/// Makes `target` have the headers of `source`, and no others.
fn update(source: &Path, target: &Path) -> Result<()> {
    let found = items(source)?;
    let names = found.iter().map(DirEntry::file_name).filter(|name| are_headers(name));
    let names: Vec<OsString> = names.collect();
    ensure!(!names.is_empty(), "the image has no headers in {}", source.display());
    for item in items(target)? {
        let name = item.file_name();
        let is_ours = name == DRAFT || (are_headers(&name) && !names.contains(&name));
        if is_ours && item.file_type().is_ok_and(|kind| kind.is_dir()) {
            let removed = fs::remove_dir_all(item.path());
            removed.with_context(|| format!("removing {}", item.path().display()))?;
        }
    }
    for name in names {
        let (complete, draft) = (target.join(&name), target.join(DRAFT));
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
        fs::create_dir_all(source.join("linux-headers-2/scripts")).unwrap();
        fs::write(source.join("linux-headers-2/scripts/run"), "#!/bin/sh\n").unwrap();
        let program = fs::Permissions::from_mode(0o755);
        fs::set_permissions(source.join("linux-headers-2/scripts/run"), program).unwrap();
        symlink("../kbuild/tools", source.join("linux-headers-2/tools")).unwrap();
        // What an older kernel and a power cut have left.
        fs::create_dir_all(target.join("linux-headers-1")).unwrap();
        fs::create_dir_all(target.join(".draft/half")).unwrap();
        update(&source, &target).unwrap();
        let names: Vec<OsString> =
            items(&target).unwrap().iter().map(DirEntry::file_name).collect();
        assert_eq!(names, ["linux-headers-2"]);
        let run = fs::metadata(target.join("linux-headers-2/scripts/run")).unwrap();
        assert_eq!(run.permissions().mode() & 0o777, 0o755);
        let link = fs::read_link(target.join("linux-headers-2/tools")).unwrap();
        assert_eq!(link, Path::new("../kbuild/tools"));
        // A folder that is there is complete.
        fs::write(target.join("linux-headers-2/kept"), "").unwrap();
        update(&source, &target).unwrap();
        assert!(target.join("linux-headers-2/kept").exists());
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn what_is_the_owners_stays() {
        let base = std::env::temp_dir().join(format!("corral-own-headers-{}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        let (source, target) = (base.join("source"), base.join("target"));
        for folder in ["linux-headers-2", "linux-kbuild-2", "not-ours"] {
            fs::create_dir_all(source.join(folder)).unwrap();
        }
        for folder in ["linux-kbuild-1", "mine-1.0"] {
            fs::create_dir_all(target.join(folder)).unwrap();
        }
        fs::write(target.join("note.txt"), "").unwrap();
        fs::write(target.join("linux-headers-note"), "").unwrap();
        symlink("mine-1.0", target.join("linux-headers-mine")).unwrap();
        update(&source, &target).unwrap();
        let mut names: Vec<OsString> =
            items(&target).unwrap().iter().map(DirEntry::file_name).collect();
        names.sort();
        let expected = [
            "linux-headers-2",
            "linux-headers-mine",
            "linux-headers-note",
            "linux-kbuild-2",
            "mine-1.0",
            "note.txt",
        ];
        assert_eq!(names, expected);
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn an_image_without_headers_removes_none() {
        let base = std::env::temp_dir().join(format!("corral-no-headers-{}", std::process::id()));
        fs::create_dir_all(base.join("source")).unwrap();
        fs::create_dir_all(base.join("target/linux-headers-1")).unwrap();
        assert!(update(&base.join("source"), &base.join("target")).is_err());
        assert!(base.join("target/linux-headers-1").exists());
        fs::remove_dir_all(&base).unwrap();
    }
}
