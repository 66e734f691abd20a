//! A plain Debian to compare with: systemd, OpenSSH, the same kernel. mmdebstrap makes it from the
//! host's own mirror. QEMU starts its kernel, so that no boot loader menu adds to its time.

use crate::{packages, paths, progress, setup, sh};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGES: &str =
    "linux-image-amd64,openssh-server,systemd-sysv,udev,dbus,initramfs-tools,sudo";
/// A minimal network and login. `$1` is its root.
const SET_UP: &str = r#"set -e
printf '[Match]\nName=e*\n[Network]\nDHCP=yes\n' > "$1/etc/systemd/network/all.network"
chroot "$1" systemctl -q enable systemd-networkd ssh serial-getty@ttyS0
echo '/dev/vda / ext4 defaults 0 1' > "$1/etc/fstab"
echo debian > "$1/etc/hostname"
chroot "$1" useradd -m -s /bin/bash rancher
echo 'rancher ALL=(ALL) NOPASSWD: ALL' > "$1/etc/sudoers.d/rancher"
"#;

/// Its parts, on this machine.
#[derive(Debug)]
pub(crate) struct Debian {
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
    root: PathBuf,
}

impl Debian {
    /// Makes it, once.
    pub(crate) fn prepare() -> Result<Debian> {
        let root = paths::cache("debian");
        if !root.join("made").exists() {
            setup::need_mmdebstrap()?;
            let _ = fs::remove_dir_all(&root);
            progress::step("making a Debian to compare with", || make(&root))?;
            fs::write(root.join("made"), "")?;
        }
        let boot = |name: &str| -> Result<PathBuf> {
            let items = fs::read_dir(root.join("boot"))?.flatten().map(|item| item.path());
            let mut found = items.filter(|path| {
                path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name))
            });
            found.next().with_context(|| format!("Debian has no {name}"))
        };
        Ok(Debian { kernel: boot("vmlinuz-")?, initrd: boot("initrd.img-")?, root })
    }

    /// Writes a disk with it. This key logs in to it.
    pub(crate) fn write_disk(&self, key: &str, disk: &Path) -> Result<()> {
        let home = self.root.join("home/rancher/.ssh");
        fs::create_dir_all(&home)?;
        fs::write(home.join("authorized_keys"), format!("{key}\n"))?;
        fs::File::create(disk)?.set_len(4 << 30)?;
        sh::output(
            Command::new("/sbin/mkfs.ext4").args(["-q", "-F", "-d"]).arg(&self.root).arg(disk),
        )
        .context("writing Debian's disk")
        .map(drop)
    }
}

fn make(root: &Path) -> Result<()> {
    let sources = packages::sources(None)?;
    let hook = root.with_extension("hook");
    fs::write(&hook, SET_UP)?;
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(["--quiet", "--variant=apt", "--include", PACKAGES]);
    mmdebstrap.arg(format!("--customize-hook=sh {} \"$1\"", hook.display()));
    mmdebstrap.arg(packages::SUITE).arg(root).arg(sources);
    sh::output(&mut mmdebstrap).context("mmdebstrap")?;
    // sshd accepts keys only from a folder of the user that no other user can write to.
    sh::output(Command::new("chroot").arg(root).args([
        "sh",
        "-c",
        "install -d -m 700 -o rancher -g rancher /home/rancher/.ssh",
    ]))
    .map(drop)
}
