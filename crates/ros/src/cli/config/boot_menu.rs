//! `ros config syslinux`: edits the kernel parameters of the installed boot menu. They are put into
//! every entry of both boot loaders, and kept over upgrades.

use anyhow::{Context, Result, bail};
use corral_install::release::boot_partitions::BootPartitions;
use corral_machine::boot_partition::{Arguments, BOOT_PARAMETER};
use std::fs;
use std::path::Path;
use std::process::Command;

const DRAFT: &str = "/run/corral/global.cfg";

/// Opens the file in the user's editor.
pub(super) fn edit() -> Result<()> {
    let boot = BootPartitions::lock()?;
    let before = boot.primary().load_arguments();
    fs::write(DRAFT, before.to_file()).with_context(|| format!("writing {DRAFT}"))?;
    let editor = std::env::var("EDITOR").unwrap_or_else(|_| "vi".to_owned());
    let mut words = editor.split_whitespace();
    let status = Command::new(words.next().unwrap_or("vi"))
        .args(words)
        .arg(DRAFT)
        .status()
        .with_context(|| format!("starting {editor}"))?;
    if !status.success() {
        bail!("{editor}: {status}; nothing was changed");
    }
    let text = fs::read_to_string(DRAFT).with_context(|| format!("reading {DRAFT}"))?;
    let _ = fs::remove_file(Path::new(DRAFT));
    let after = Arguments::parse(&text);
    if after.boot_reference() != before.boot_reference() {
        bail!("{BOOT_PARAMETER} names the disk of this system and must stay; nothing was changed");
    }
    boot.iter().try_for_each(|partition| partition.keep_arguments(&after))?;
    println!(
        "{}",
        if after == before { "nothing was changed" } else { "takes effect at the next start" }
    );
    Ok(())
}
