//! `swap` of the configuration: a file on the state disk. It is made once; later boots use it as it
//! is. One that a power cut left unfinished is made again. In the home of a user it is opened by
//! its descriptor only: what the user puts in its place is never swapped to.

use anyhow::{Context, Result, bail};
use corral_config::model::Swap;
use corral_machine::console::log;
use corral_machine::files::{create_in, rename_in};
use corral_machine::{program, trusted};
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, fallocate, fstatvfs, openat, unlinkat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Folders of the state disk. A swap file anywhere else would be on an overlay, which cannot swap.
const ON_DISK: [&str; 5] =
    ["/home/", "/opt/", "/var/lib/docker/", "/var/lib/rancher/", "/var/log/"];
/// For a file that is to be elsewhere: its name is kept.
const FOLDER: &str = "/var/lib/rancher";
const DEFAULT_NAME: &str = "swap.img";
/// The first page of a swap file ends with its signature: mkswap(8).
const PAGE: usize = 4096;
const SIGNATURE: &[u8] = b"SWAPSPACE2";

/// Makes the file if it is missing, and swaps to it.
pub(super) fn make(swap: &Swap) -> Result<()> {
    if swap.size.is_empty() {
        return Ok(());
    }
    let path = place(&swap.filename);
    if is_active(&fs::read_to_string("/proc/swaps").unwrap_or_default(), &path) {
        return Ok(());
    }
    let folder = trusted::make_folder(path.parent().context("the file is in no folder")?)?;
    let name = path.file_name().context("the file has no name")?;
    let file = match usable(&folder, name).with_context(|| path.display().to_string())? {
        None => create(&folder, &path, name, swap)?,
        found => found,
    };
    let Some(file) = file else { return Ok(()) };
    program::run(program::of_system("/usr/sbin/swapon").arg(by_descriptor(&file))).map(drop)
}

/// The swap file that is there. None if there is none, or one that was never finished.
fn usable(folder: &OwnedFd, name: &OsStr) -> Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = match openat(folder, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => bail!("it is a link; remove it, or name the file that it leads to"),
        opened => File::from(opened?),
    };
    let data = file.metadata()?;
    if !data.is_file() || data.uid() != 0 {
        bail!("it is not a file of root; remove it, or choose another name");
    }
    let mut page = Vec::new();
    file.by_ref().take(PAGE as u64).read_to_end(&mut page)?;
    if page.len() == PAGE && page.ends_with(SIGNATURE) {
        // It holds what was in memory.
        file.set_permissions(Permissions::from_mode(0o600))?;
        return Ok(Some(file));
    }
    if page.iter().any(|byte| *byte != 0) || has_content(&mut file)? {
        bail!("it is not a swap file, and has other content; remove it, or choose another name");
    }
    Ok(None)
}

/// Is there anything but zeros in the rest of it? The images of some file systems begin with zeros.
fn has_content(file: &mut File) -> Result<bool> {
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(false),
            read if block.iter().take(read).any(|byte| *byte != 0) => return Ok(true),
            _ => {}
        }
    }
}

/// A path by which a program opens this very file.
fn by_descriptor(file: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

/// Makes the file under another name, so that it is complete when it has its own. None if the
/// machine needs none.
fn create(folder: &OwnedFd, path: &Path, name: &OsStr, swap: &Swap) -> Result<Option<File>> {
    let draft = draft(name);
    for unfinished in [draft.as_os_str(), name] {
        match unlinkat(folder, unfinished, AtFlags::empty()) {
            Ok(()) => log(&format!("swap: {} is made again", path.display())),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error).context("removing an unfinished swap file"),
        }
    }
    let disk = fstatvfs(folder).with_context(|| format!("reading {}", path.display()))?;
    let room = disk.f_bavail.saturating_mul(disk.f_frsize);
    let bytes = swap.bytes(rustix::system::sysinfo().totalram as u64, room);
    if bytes == 0 {
        return Ok(None);
    }
    if bytes > room {
        bail!(
            "{} takes {} MiB, and its disk has {} MiB: choose a smaller size",
            path.display(),
            bytes >> 20,
            room >> 20
        );
    }
    let file = fill(folder, &draft, bytes).and_then(|file| {
        rename_in(folder, &draft, name)?;
        Ok(file)
    });
    if file.is_err() {
        // It would take its room for good.
        let _ = unlinkat(folder, &draft, AtFlags::empty());
    }
    let file = file.with_context(|| format!("making {}", path.display()))?;
    log(&format!("swap: {} has {} MiB", path.display(), bytes >> 20));
    Ok(Some(file))
}

/// The name until it is complete; always the same, so that one that a power cut left is found.
fn draft(name: &OsStr) -> OsString {
    let mut draft = OsString::from(".");
    draft.push(name);
    draft.push(".new");
    draft
}

/// It is readable by root only: it holds what was in memory.
fn fill(folder: &OwnedFd, draft: &OsStr, bytes: u64) -> Result<File> {
    let file = create_in(folder, draft, 0o600)?;
    fallocate(&file, FallocateFlags::empty(), 0, bytes).context("is there a state disk?")?;
    program::run(program::of_system("/usr/sbin/mkswap").arg(by_descriptor(&file)))?;
    file.sync_all()?;
    Ok(file)
}

/// A file on the state disk; without a name, or elsewhere, one in Corral's folder.
fn place(name: &str) -> PathBuf {
    let wanted = Path::new(name);
    let is_plain = !name.split('/').any(|part| part == "..");
    if is_plain
        && ON_DISK.iter().any(|folder| name.len() > folder.len() && name.starts_with(folder))
    {
        return wanted.to_owned();
    }
    Path::new(FOLDER).join(wanted.file_name().unwrap_or(DEFAULT_NAME.as_ref()))
}

fn is_active(swaps: &str, file: &Path) -> bool {
    let active = swaps.lines().filter_map(|line| line.split_whitespace().next());
    // The kernel shows the path on the disk, which ends with that in the console.
    active.map(Path::new).any(|other| other.ends_with(file.strip_prefix("/").unwrap_or(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_file_is_on_the_state_disk() {
        for (name, expected) in [
            ("", "/var/lib/rancher/swap.img"),
            ("/swapfile", "/var/lib/rancher/swapfile"),
            ("/mnt/swapfile", "/var/lib/rancher/swapfile"),
            ("/opt/swap", "/opt/swap"),
            ("/opt/../swap", "/var/lib/rancher/swap"),
            ("/opt/", "/var/lib/rancher/opt"),
            ("/", "/var/lib/rancher/swap.img"),
        ] {
            assert_eq!(place(name), Path::new(expected), "{name}");
        }
    }

    #[test]
    fn a_swap_file_is_used_once() {
        let swaps = "Filename\tType\tSize\tUsed\tPriority\n\
                     /state/var/lib/rancher/swap.img file\t65532\t0\t-2\n";
        assert!(is_active(swaps, Path::new("/var/lib/rancher/swap.img")));
        assert!(!is_active(swaps, Path::new("/var/lib/rancher/other")));
    }

    #[test]
    fn a_file_that_a_power_cut_left_unfinished_is_made_again_and_no_other_is() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: a swap file is root's");
            return;
        }
        let base = std::env::temp_dir().join(format!("corral-swap-{}", std::process::id()));
        fs::create_dir_all(&base).unwrap();
        let folder = trusted::make_folder(&base).unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(base.join(name), bytes).unwrap();
        let mut page = vec![0; PAGE];
        write("empty", b"");
        write("allocated", &vec![0; 3 * PAGE]);
        write("other", b"x");
        page[PAGE - SIGNATURE.len()..].copy_from_slice(SIGNATURE);
        write("complete", &page);
        write("of-user", &page);
        std::os::unix::fs::chown(base.join("of-user"), Some(1234), None).unwrap();
        std::os::unix::fs::symlink("complete", base.join("link")).unwrap();
        for (name, expected) in [
            ("missing", "none"),
            ("empty", "none"),
            ("allocated", "none"),
            ("complete", "usable"),
            ("other", "it is not a swap file"),
            ("of-user", "it is not a file of root"),
            ("link", "it is a link"),
        ] {
            let found = match usable(&folder, name.as_ref()) {
                Ok(file) => if file.is_some() { "usable" } else { "none" }.to_owned(),
                Err(error) => error.to_string(),
            };
            assert!(found.starts_with(expected), "{name}: {found}");
        }
        let mode = fs::metadata(base.join("complete")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(draft("swap.img".as_ref()), ".swap.img.new");
        fs::remove_dir_all(base).unwrap();
    }
}
