//! Config drives and disks for machines.

use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// How a config drive is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// ISO9660, label `config-2`, OpenStack's layout.
    ConfigDriveIso,
    /// vfat, label `config-2`, OpenStack's layout.
    ConfigDriveVfat,
    /// ISO9660, label `cidata`, NoCloud's layout.
    NoCloud,
}

/// Makes a drive with this user-data in `folder`.
pub fn make(folder: &Path, kind: Kind, user_data: &[u8]) -> Result<PathBuf> {
    let content = folder.join("drive");
    let _ = fs::remove_dir_all(&content);
    let (label, file) = match kind {
        Kind::NoCloud => ("cidata", "user-data"),
        _ => ("config-2", "openstack/latest/user_data"),
    };
    let target = content.join(file);
    fs::create_dir_all(target.parent().context("no parent")?)?;
    fs::write(&target, user_data)?;
    if kind == Kind::NoCloud {
        fs::write(content.join("meta-data"), "instance-id: one\nlocal-hostname: from-metadata\n")?;
    }
    let drive = folder.join("config.img");
    let _ = fs::remove_file(&drive);
    match kind {
        Kind::ConfigDriveVfat => {
            blank(&drive, 16)?;
            run(Command::new("/sbin/mkfs.vfat").args(["-n", label]).arg(&drive))?;
            run(Command::new("mcopy")
                .arg("-s")
                .arg("-i")
                .arg(&drive)
                .arg(content.join("openstack"))
                .arg("::"))?;
        }
        _ => run(Command::new("xorriso")
            .args(["-as", "mkisofs", "-quiet", "-J", "-R", "-V", label, "-o"])
            .arg(&drive)
            .arg(&content))?,
    }
    Ok(drive)
}

/// Makes an empty disk of so many MiB; it takes no space.
pub fn blank(path: &Path, mebibytes: u64) -> Result<()> {
    File::create(path)?.set_len(mebibytes << 20).with_context(|| format!("making {}", path.display()))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
