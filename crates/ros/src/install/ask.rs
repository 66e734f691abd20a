//! `ros install` without arguments, on a terminal: what the flags would say is asked for, with the disks to choose from.

use super::disk::{self, Candidate};
use super::{Kind, Options};
use anyhow::{Result, bail};
use clap::ValueEnum;
use std::io::Write;
use std::path::PathBuf;

/// Asks for disk, type and cloud-config.
pub(super) fn fill_in(options: &Options) -> Result<Options> {
    let disks = disk::candidates();
    if disks.is_empty() {
        bail!("there is no disk to install to");
    }
    println!("Disks:");
    for (number, disk) in disks.iter().enumerate() {
        println!("  {}  {disk}", number + 1);
    }
    let device = loop {
        match chosen(&ask("Which one (number), empty for none")?, &disks)? {
            Some(device) => break device,
            None => println!("a number from 1 to {}", disks.len()),
        }
    };
    println!("Types:");
    for kind in Kind::value_variants().iter().filter_map(ValueEnum::to_possible_value) {
        if !kind.is_hide_set() {
            println!(
                "  {:<16} {}",
                kind.get_name(),
                kind.get_help().map(ToString::to_string).unwrap_or_default()
            );
        }
    }
    let install_type = loop {
        let answer = ask("Type, empty for hybrid")?;
        match Kind::from_str(if answer.is_empty() { "hybrid" } else { &answer }, true) {
            Ok(kind) => break kind,
            Err(_) => println!("{answer:?} is no type"),
        }
    };
    let config = ask("cloud-config (file or URL), empty to take the ssh keys of this system along")?;
    let cloud_config = Some(config).filter(|config| !config.is_empty());
    Ok(Options { device: vec![device], install_type, cloud_config, ..options.clone() })
}

/// An empty answer ends it.
fn chosen(answer: &str, disks: &[Candidate]) -> Result<Option<PathBuf>> {
    if answer.is_empty() {
        bail!("nothing was changed");
    }
    let number = answer.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    Ok(number.and_then(|number| disks.get(number)).map(|disk| disk.path.clone()))
}

fn ask(question: &str) -> Result<String> {
    print!("{question}: ");
    std::io::stdout().flush()?;
    let mut line = String::new();
    if std::io::stdin().read_line(&mut line)? == 0 {
        bail!("nothing was changed");
    }
    Ok(line.trim().to_owned())
}
