//! Does KVM really work here? On some hosts guests hang although there is a /dev/kvm. So it is
//! tried once, with a tiny guest and a timeout, and the answer is cached. `--accel` overrides it.

use crate::{paths, sh, tools};
use anyhow::Result;
use std::fs;
use std::path::Path;
use std::process::Command;
use vmtest::{Accelerator, Image};

/// Seconds in which a guest must print its first messages and exit.
const DEADLINE: &str = "15";

/// The accelerator to use. Also prepares QEMU.
pub(crate) fn choose(wanted: Option<&str>, image: &Image) -> Result<Accelerator> {
    tools::prepare_emulators()?;
    match wanted {
        Some("kvm") => Ok(Accelerator::Kvm),
        Some("tcg") => Ok(Accelerator::Tcg),
        Some(other) => anyhow::bail!("--accel {other}: it is kvm or tcg"),
        None => proven(image),
    }
}

fn proven(image: &Image) -> Result<Accelerator> {
    if !Path::new("/dev/kvm").exists() {
        return Ok(Accelerator::Tcg);
    }
    let kept = paths::cache("accelerator");
    let answer = fs::read_to_string(&kept).unwrap_or_else(|_| {
        eprintln!("trying whether KVM works here (at most {DEADLINE} s, once) ...");
        if try_kvm(image) { "kvm" } else { "tcg" }.to_owned()
    });
    if let Some(folder) = kept.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&kept, &answer)?;
    Ok(if answer == "kvm" { Accelerator::Kvm } else { Accelerator::Tcg })
}

/// A kernel without a root: it says its version, fails to find an init, panics, and restarts as its
/// command line asks, which ends QEMU.
fn try_kvm(image: &Image) -> bool {
    let mut guest = Command::new("timeout");
    guest
        .args(["-k", "1", DEADLINE])
        .arg(image.tools.join("qemu-system-x86_64"))
        .args(["-accel", "kvm", "-cpu", "host", "-m", "256"])
        .args(["-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot", "-kernel"])
        .arg(&image.kernel)
        .args(["-append", "console=ttyS0 panic=-1"]);
    sh::output(&mut guest).is_ok_and(|output| output.contains("Kernel panic"))
}
