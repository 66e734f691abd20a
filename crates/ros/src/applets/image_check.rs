//! `ros image-check`, in a container of an image that is to replace one of ours. In a console's, a
//! login is tried. An engine's must have its program, which runs for its version. Only an image
//! that passed becomes the console or the engine.

use super::console::{accounts, host_keys, other_image, sshd, trial};
use super::user_docker::{link_other, other_program};
use anyhow::{Context, Result, bail};
use corral_config::Config;
use corral_machine::console::log;
use corral_machine::files::write_atomic;
use corral_machine::program;
use corral_resolve::replacement::GOOD;
use corral_resolve::switchable::{CONSOLE, ENGINE, SWITCHABLE, Switchable};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a program may take to print its version.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The machine of an ELF header: EM_X86_64.
const AMD64: [u8; 2] = [62, 0];

/// Checks the image, prints what is wrong, and marks a good one.
pub(crate) fn run(service: &str, mark: &str) -> Result<()> {
    if mark.is_empty() {
        // The image was only just fetched. The configuration is read again, and then names the mark
        // of this very image.
        return Ok(());
    }
    let row = SWITCHABLE.iter().find(|switchable| switchable.service == service);
    let switchable =
        row.with_context(|| format!("{service} is not a service that can be replaced"))?;
    match check(switchable) {
        Ok(found) => write_atomic(&Path::new(GOOD).join(mark), found.as_bytes(), 0o600),
        Err(error) => {
            let text = format!("the replacement image of {service} is not used: {error:#}");
            log(&text);
            bail!("{text}")
        }
    }
}

/// What its mark records: of an engine the version and the name of its program, a line each.
fn check(switchable: &Switchable) -> Result<String> {
    has_files(switchable)?;
    if switchable.service == CONSOLE.service {
        try_console()?;
    }
    let program = if switchable.service == ENGINE.service { other_program() } else { None };
    let Some(program) = program else { return Ok(String::new()) };
    // A program that needs no loader there runs without it.
    let linked = link_other(&program);
    let version = version(&program).or_else(|error| linked.and(Err(error)))?;
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    Ok(format!("{version}\n{name}\n"))
}

fn has_files(switchable: &Switchable) -> Result<()> {
    let is_there = |places: &&&[&str]| places.iter().any(|place| Path::new(place).exists());
    let missing = switchable.required.iter().find(|places| !is_there(places));
    match missing {
        Some(places) => bail!("it has no {}", places.join(" or ")),
        None => Ok(()),
    }
}

/// Runs the program of an engine, for its version. A script is not run: it is one of the console's
/// shell.
fn version(program: &Path) -> Result<String> {
    let shown = program.display();
    let mut start = [0_u8; 20];
    let read = File::open(program).and_then(|mut file| file.read_exact(&mut start));
    if read.is_err() || !start.starts_with(b"\x7fELF") {
        return Ok(String::new());
    }
    if start[18..] != AMD64 {
        bail!("its {shown} is for another processor");
    }
    let deadline = Instant::now() + TIMEOUT;
    program::output(Command::new(program).arg("--version").env("HOME", "/tmp"), &[], deadline)
        .and_then(program::Ended::success)
        .map(|said| version_in(&said))
        .with_context(|| format!("its {shown} does not run"))
}

/// `Docker version 26.1.5+dfsg1, build a72d7cd` → `26.1.5`.
fn version_in(said: &str) -> String {
    let words = said.split_whitespace();
    let version = words.skip_while(|word| *word != "version").nth(1).unwrap_or_default();
    let bare = version.split(['+', ',', '-', '~']).next().unwrap_or_default();
    bare.chars().take(40).filter(|letter| !letter.is_control()).collect()
}

/// The steps of the console's own start that a login depends on, and a login.
fn try_console() -> Result<()> {
    let config = Config::default();
    other_image::check()?;
    other_image::prepare().context("making its accounts")?;
    accounts::make_homes()?;
    accounts::admit_ours()?;
    std::fs::create_dir_all("/run/sshd").context("making /run/sshd")?;
    host_keys::make_host_keys(&config)?;
    sshd::prepare(&config)?;
    trial::log_in(&config)
}

#[cfg(test)]
mod tests {
    use super::version_in;

    #[test]
    fn a_version_is_what_follows_the_word() {
        for (said, expected) in [
            ("Docker version 28.5.2+dfsg4, build 3ef3c07c\n", "28.5.2"),
            ("Docker version 20.10.24, build 5d6db84\n", "20.10.24"),
            ("podman version 5.4.2\n", "5.4.2"),
            ("hello", ""),
        ] {
            assert_eq!(version_in(said), expected, "{said}");
        }
    }
}
