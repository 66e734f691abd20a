//! `ros install` without arguments, on a terminal: what the flags would say is chosen from lists, or typed.

use super::disk::{self, Candidate};
use super::{Kind, Options};
use anyhow::{Result, bail};
use clap::ValueEnum;
use dialoguer::{Input, Select};
use std::path::{Path, PathBuf};

/// Asks for type, disks and cloud-config.
pub(super) fn fill_in(options: &Options) -> Result<Options> {
    let mut disks = disk::candidates();
    if disks.is_empty() {
        bail!("there is no disk to install to");
    }
    println!("Arrow keys and Enter choose; Esc leaves and changes nothing.");
    let kinds: Vec<Kind> =
        Kind::value_variants().iter().copied().filter(|kind| kind.supported().is_ok()).collect();
    let shown: Vec<String> = kinds.iter().map(describe).collect();
    let usual = kinds.iter().position(|kind| *kind == Kind::Hybrid).unwrap_or_default();
    let install_type = kinds.get(choose("Type", &shown, usual)?).copied().unwrap_or(Kind::Hybrid);
    let device = match install_type {
        Kind::Noformat => Vec::new(),
        Kind::Raid => vec![take("First disk", &mut disks)?, take("Second disk", &mut disks)?],
        _ => vec![take("Disk", &mut disks)?],
    };
    let config = Input::<String>::new()
        .with_prompt("cloud-config (file or URL), empty to take the ssh keys of this system along")
        .allow_empty(true)
        .validate_with(|answer: &String| is_there(answer))
        .interact_text()?;
    let cloud_config = Some(config).filter(|config| !config.is_empty());
    Ok(Options { device, install_type, cloud_config, ..options.clone() })
}

/// One of the disks, which is no choice any more afterwards.
fn take(what: &str, disks: &mut Vec<Candidate>) -> Result<PathBuf> {
    if disks.is_empty() {
        bail!("there is no other disk");
    }
    let shown: Vec<String> = disks.iter().map(ToString::to_string).collect();
    Ok(disks.remove(choose(what, &shown, 0)?).path)
}

fn choose(what: &str, items: &[String], at_first: usize) -> Result<usize> {
    match Select::new().with_prompt(what).items(items).default(at_first).interact_opt()? {
        Some(number) => Ok(number),
        None => bail!("nothing was changed"),
    }
}

fn describe(kind: &Kind) -> String {
    let Some(value) = kind.to_possible_value() else { return String::new() };
    format!("{:<16} {}", value.get_name(), value.get_help().map(ToString::to_string).unwrap_or_default())
}

/// A typing error is told while there is time to mend it.
fn is_there(answer: &str) -> Result<(), String> {
    if answer.is_empty() || answer.contains("://") || Path::new(answer).exists() {
        return Ok(());
    }
    Err(format!("{answer} is not there"))
}
