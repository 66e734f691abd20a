//! The image `busybox` of tests, as an archive for `docker import`: nothing is pulled.

use crate::image::Image;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// `$1` is the folder for it, `$2` the static program.
const SCRIPT: &str = r"set -e
mkdir -p $1/root/bin $1/root/etc $1/root/tmp $1/root/srv
cd $1/root
cp $2 bin/busybox
for name in $(bin/busybox --list); do
  [ -e bin/$name ] || ln -s busybox bin/$name
done
printf 'root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n' > etc/passwd
printf 'root:x:0:\nann:x:1000:\n' > etc/group
tar --owner=0 --group=0 -cf ../busybox.tar .
";

/// Packs a root file system of one static program and its links. Returns the archive.
pub fn pack(image: &Image, folder: &Path) -> Result<PathBuf> {
    let mut sh = Command::new("sh");
    sh.args(["-c", SCRIPT, "sh"]).arg(folder).arg(image.tools.join("busybox"));
    let output = sh.output().context("starting sh")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "packing busybox: {errors}");
    Ok(folder.join("busybox.tar"))
}
