//! `ros install` without arguments, on a terminal: the values of the flags are chosen from lists,
//! or typed. What the document sets is not asked for.

use super::access::{Access, hostname};
use super::disk::{self, Candidate};
use super::document::Document;
use super::kind::Kind;
use super::network::Cidr;
use super::options::Options;
use super::user_config::Draft;
use super::{keys, password};
use anyhow::{Result, bail};
use clap::ValueEnum;
use dialoguer::{Input, Select};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Asks for type, disks, document, and what the document does not set.
pub(super) fn fill_in(options: &Options) -> Result<(Options, Option<Document>)> {
    let mut disks = disk::candidates();
    if disks.is_empty() {
        bail!("there is no disk to install to; attach one and run ros install again");
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
    let cloud_config = match &options.cloud_config {
        Some(config) => Some(config.clone()),
        None => input("cloud-config (file or URL), empty for none", is_there)?,
    };
    let document = cloud_config.as_deref().map(Document::load).transpose()?;
    let access = fill_in_access(&options.access, &Draft::new(document.as_ref(), &options.append))?;
    Ok((Options { device, install_type, cloud_config, access, ..options.clone() }, document))
}

fn fill_in_access(access: &Access, draft: &Draft<'_>) -> Result<Access> {
    let missing = draft.missing(access)?;
    let mut access = access.clone();
    if missing.key {
        let is_key =
            |answer: &str| keys::named(answer).map(drop).map_err(|error| format!("{error:#}"));
        access
            .ssh_key
            .extend(input("ssh key (its line, a file, gh:NAME), empty for none", is_key)?);
    }
    if missing.password && !access.password_stdin {
        access.password_hash =
            password::prompt("Password of rancher for the console, empty for none: ")?;
    }
    if missing.hostname {
        access.hostname =
            input("Host name, empty for that of DHCP", |answer| parses(answer, hostname))?;
    }
    if missing.address {
        let address = "Static address (192.168.1.5/24), empty for DHCP";
        access.address = input(address, |answer| parses(answer, Cidr::from_str))?.and_then(parsed);
    }
    if missing.address && access.address.is_some() {
        let is_ip = |answer: &str| parses(answer, IpAddr::from_str);
        access.gateway = input("Router, empty for none", is_ip)?.and_then(parsed);
        access.dns.extend(input("Name server, empty for none", is_ip)?.and_then(parsed::<IpAddr>));
    }
    Ok(access)
}

/// Chooses one of the disks, and removes it from the list.
fn take(what: &str, disks: &mut Vec<Candidate>) -> Result<PathBuf> {
    if disks.is_empty() {
        bail!("there is no second disk for the mirror; choose a type with one disk");
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
    format!(
        "{:<16} {}",
        value.get_name(),
        value.get_help().map(ToString::to_string).unwrap_or_default()
    )
}

/// One line; None if it is empty. A typing error is reported at once, so that it can be corrected.
fn input(prompt: &str, check: impl Fn(&str) -> Result<(), String>) -> Result<Option<String>> {
    let answer = Input::<String>::new()
        .with_prompt(prompt)
        .allow_empty(true)
        .validate_with(|answer: &String| if answer.is_empty() { Ok(()) } else { check(answer) })
        .interact_text()?;
    Ok(Some(answer).filter(|answer| !answer.is_empty()))
}

fn parses<T, E: ToString>(
    answer: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<(), String> {
    parse(answer).map(drop).map_err(|error| error.to_string())
}

/// Parses what was already checked while it was typed.
fn parsed<T: FromStr>(answer: String) -> Option<T> {
    answer.parse().ok()
}

fn is_there(answer: &str) -> Result<(), String> {
    if answer.contains("://") || Path::new(answer).exists() {
        return Ok(());
    }
    Err(format!("{answer} does not exist"))
}
