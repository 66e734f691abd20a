//! A key file on a drive: `LABEL=KEYS:/state.key`. The drive is needed only while the state is
//! opened, and can be removed then.

use super::secret::{LONGEST, Secret};
use anyhow::{Context, Result, bail};
use corral_machine::mounts::{self, Mount};
use corral_machine::uevent::Uevents;
use corral_machine::{block, modules};
use rustix::mount::MountFlags;
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(10);
const MOUNT_POINT: &str = "/run/corral/key-drive";

/// Which drive, and which file on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    drive: String,
    path: String,
}

impl std::str::FromStr for KeyFile {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<KeyFile> {
        match text.split_once(":/") {
            Some((drive, path))
                if !drive.is_empty() && !path.is_empty() && !path.contains("..") =>
            {
                Ok(KeyFile { drive: drive.to_owned(), path: path.to_owned() })
            }
            _ => bail!("key file {text:?}: expected DRIVE:/PATH, as in LABEL=KEYS:/state.key"),
        }
    }
}

impl fmt::Display for KeyFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:/{}", self.drive, self.path)
    }
}

impl KeyFile {
    /// Reads the key, all of its bytes.
    pub(crate) fn read(&self) -> Result<Secret> {
        let device = match self.wait_for_drive()?.as_slice() {
            [] => {
                bail!("key file {self}: the drive does not exist; attach it, or name another one")
            }
            [device] => device.clone(),
            several => bail!(
                "key file {self}: there are several such drives: {several:?}; detach all but \
                 one, or name it by UUID="
            ),
        };
        let system = block::load_file_system(&device)?;
        let kind =
            system.with_context(|| format!("key file {self}: no file system on the drive"))?.kind;
        // Many drivers are loaded already, or are built in.
        let _ = modules::load(&[kind]);
        fs::create_dir_all(MOUNT_POINT)?;
        mounts::mount(&Mount {
            source: &device.to_string_lossy(),
            target: MOUNT_POINT,
            kind,
            flags: MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC,
            data: "",
        })?;
        let key = self.read_from(Path::new(MOUNT_POINT));
        let closed = mounts::unmount(Path::new(MOUNT_POINT), false);
        let key = key?;
        closed.map(|()| key)
    }

    /// A USB drive appears some seconds after the machine has started.
    fn wait_for_drive(&self) -> Result<Vec<PathBuf>> {
        let events = Uevents::open()?;
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let found = block::resolve(&self.drive);
            if !found.is_empty() || Instant::now() > deadline {
                return Ok(found);
            }
            events.wait(deadline)?;
        }
    }

    fn read_from(&self, drive: &Path) -> Result<Secret> {
        let mut bytes = Vec::new();
        File::open(drive.join(&self.path))
            .and_then(|file| file.take(LONGEST).read_to_end(&mut bytes))
            .with_context(|| format!("key file {self}"))?;
        if bytes.is_empty() {
            bail!("key file {self} is empty");
        }
        Secret::new(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_a_drive_and_a_path() -> Result<()> {
        let file: KeyFile = "LABEL=KEYS:/a/state.key".parse()?;
        assert_eq!(
            file,
            KeyFile { drive: "LABEL=KEYS".to_owned(), path: "a/state.key".to_owned() }
        );
        assert_eq!(file.to_string(), "LABEL=KEYS:/a/state.key");
        for bad in [
            "",
            "/state.key",
            "LABEL=KEYS",
            "LABEL=KEYS:state.key",
            ":/state.key",
            "/dev/sdb:/../x",
        ] {
            assert!(bad.parse::<KeyFile>().is_err(), "{bad}");
        }
        Ok(())
    }
}
