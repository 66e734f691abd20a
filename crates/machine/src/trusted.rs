//! Folders in which root writes what an owner requests, also in the homes of users. A user must not
//! decide where root writes: a link on the way is followed only if root made it, or if it is where
//! only root can make one, such as `/var/run`. Each part of a path is opened below the one before
//! it, so that no user can replace one meanwhile.

use anyhow::{Context, Result, bail};
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, mkdirat, open, openat, readlinkat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The kernel's own limit: path_resolution(7).
const MOST_LINKS: u32 = 40;

/// Opens the folder at an absolute path, and makes what is missing of it.
pub fn make_folder(path: &Path) -> Result<OwnedFd> {
    let opening = || format!("opening {}", path.display());
    let mut walk = Walk::new(path).with_context(opening)?;
    while let Some(part) = walk.parts.pop() {
        walk.step(&part).with_context(opening)?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(&walk.here, ".", flags, Mode::empty()).with_context(opening)
}

/// On the way to a folder.
struct Walk {
    here: OwnedFd,
    path: PathBuf,
    /// The folders above it, the root first.
    above: Vec<(OwnedFd, PathBuf)>,
    /// What comes next, the last part first.
    parts: Vec<OsString>,
    links: u32,
}

impl Walk {
    fn new(path: &Path) -> Result<Walk> {
        if !path.is_absolute() {
            bail!("it is not an absolute path");
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let here = open("/", flags, Mode::empty())?;
        let path_here = PathBuf::from("/");
        let mut walk =
            Walk { here, path: path_here, above: Vec::new(), parts: Vec::new(), links: 0 };
        walk.add(path);
        Ok(walk)
    }

    fn add(&mut self, path: &Path) {
        let parts = path.components().rev().filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        });
        self.parts.extend(parts);
    }

    fn step(&mut self, name: &OsStr) -> Result<()> {
        if name == ".." {
            if let Some((folder, path)) = self.above.pop() {
                (self.here, self.path) = (folder, path);
            }
            return Ok(());
        }
        let path = self.path.join(name);
        let next = self.open_or_make(name).with_context(|| path.display().to_string())?;
        let data = fstat(&next)?;
        match FileType::from_raw_mode(data.st_mode) {
            FileType::Directory => {
                let folder = std::mem::replace(&mut self.here, next);
                self.above.push((folder, std::mem::replace(&mut self.path, path)));
                Ok(())
            }
            FileType::Symlink => self.follow(&next, &data, &path),
            _ => bail!("{} is not a folder", path.display()),
        }
    }

    fn open_or_make(&self, name: &OsStr) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&self.here, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => {}
            opened => return Ok(opened?),
        }
        match mkdirat(&self.here, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).context("making it"),
        }
        Ok(openat(&self.here, name, flags, Mode::empty())?)
    }

    fn follow(&mut self, link: &OwnedFd, data: &Stat, path: &Path) -> Result<()> {
        if !is_trusted(data, &fstat(&self.here)?) {
            bail!(
                "{} is a link that the user {} made, and root does not follow it; remove it, or \
                 name the folder that it leads to",
                path.display(),
                data.st_uid
            );
        }
        self.links += 1;
        if self.links > MOST_LINKS {
            bail!("{}: too many links", path.display());
        }
        let target = readlinkat(link, "", Vec::new())?;
        let target = Path::new(OsStr::from_bytes(target.as_bytes()));
        if target.is_absolute() {
            let root = (!self.above.is_empty()).then(|| self.above.remove(0));
            if let Some((folder, path)) = root {
                (self.here, self.path) = (folder, path);
            }
            self.above.clear();
        }
        self.add(target);
        Ok(())
    }
}

/// Did root make the link, or is it in a folder in which no other user can make one?
fn is_trusted(link: &Stat, folder: &Stat) -> bool {
    link.st_uid == 0 || (folder.st_uid == 0 && folder.st_mode & 0o022 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};

    const USER: u32 = 1234;

    fn opened(path: &Path) -> Result<(u64, u64)> {
        let data = fstat(make_folder(path)?)?;
        Ok((data.st_dev, data.st_ino))
    }

    fn identity(path: &Path) -> (u64, u64) {
        let data = fs::metadata(path).unwrap();
        (data.dev(), data.ino())
    }

    /// Of the folders: `ours` is root's, `home` is a user's, `target` is to be written by neither
    /// link of the user.
    fn folders(name: &str) -> PathBuf {
        let base = std::env::temp_dir().join(format!("corral-{name}-{}", std::process::id()));
        let base = fs::create_dir_all(&base).and_then(|()| base.canonicalize()).unwrap();
        for folder in ["ours", "ours/real", "home", "home/own", "target"] {
            fs::create_dir(base.join(folder)).unwrap();
            fs::set_permissions(base.join(folder), fs::Permissions::from_mode(0o755)).unwrap();
        }
        base
    }

    #[test]
    fn missing_folders_are_made_and_what_is_no_folder_is_an_error() {
        let base = folders("trusted");
        let new = base.join("ours/./new/below/../other");
        assert_eq!(opened(&new).unwrap(), identity(&base.join("ours/new/other")));
        assert!(base.join("ours/new/below").is_dir());
        assert_eq!(opened(Path::new("/..")).unwrap(), identity(Path::new("/")));
        fs::write(base.join("ours/file"), "").unwrap();
        let error = format!("{:#}", opened(&base.join("ours/file/below")).unwrap_err());
        assert!(error.ends_with("ours/file is not a folder"), "{error}");
        assert!(opened(Path::new("relative")).is_err());
        fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn a_link_is_followed_where_root_made_it_and_not_where_a_user_did() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root can make links of other users");
            return;
        }
        let base = folders("trusted-links");
        let link = |target: &Path, name: &str, owner: u32| {
            symlink(target, base.join(name)).unwrap();
            lchown(base.join(name), Some(owner), None).unwrap();
        };
        chown(base.join("home"), Some(USER), None).unwrap();
        link(Path::new("../ours/real"), "home/of-root", 0);
        link(&base.join("target"), "home/of-user", USER);
        link(&base.join("home/of-root"), "ours/run", 0);
        link(Path::new("real"), "ours/closed", USER);
        link(Path::new("loop"), "ours/loop", 0);
        for name in ["ours/run", "home/of-root", "ours/closed"] {
            assert_eq!(opened(&base.join(name)).unwrap(), identity(&base.join("ours/real")));
        }
        assert_eq!(opened(&base.join("home/own")).unwrap(), identity(&base.join("home/own")));
        let error = format!("{:#}", opened(&base.join("home/of-user/new")).unwrap_err());
        assert!(error.contains("of-user is a link that the user 1234 made"), "{error}");
        assert!(!base.join("target/new").exists());
        let error = format!("{:#}", opened(&base.join("ours/loop")).unwrap_err());
        assert!(error.ends_with("too many links"), "{error}");
        fs::remove_dir_all(base).unwrap();
    }
}
