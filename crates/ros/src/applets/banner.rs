//! `ros banner`: writes what getty shows before a login (`/etc/issue` is a link to it), and what a
//! login shows: addresses, fingerprints of the host keys, whether anything is kept, how much is
//! wrong, and what to do about it.
//!
//! The console writes both at its start, when the owner's commands are done, when the configuration
//! has changed, and when an administrator logs in. The network container writes both when an
//! address comes or goes; it reads what the console found out last.

use super::console::host_keys;
use super::netconf::addresses;
use crate::why;
use anyhow::{Context, Result, bail};
use corral_engine::image::lookup::is_embedded;
use corral_init::boot::resolver::NOTICE;
use corral_init::boot::state;
use corral_machine::console::log;
use corral_machine::files::{lock, write_atomic};
use corral_machine::os_release::running_version;
use corral_machine::program;
use corral_resolve::effective::EffectiveConfig;
use corral_resolve::enabled::Enabled;
use corral_resolve::root::Root;
use corral_resolve::switchable::CONSOLE;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What getty shows.
pub(crate) const ISSUE: &str = "/run/corral/issue";
/// What `/etc/profile` shows.
const LOGIN_MESSAGE: &str = "/run/corral/login-message";
/// A line for each host key, as the console found them.
const FINGERPRINTS: &str = "/run/corral/ssh/fingerprints";
/// The number of problems, and the console that is configured if the built-in one runs instead.
const PROBLEMS: &str = "/run/corral/problems";

/// Where the state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Survival {
    OnDisk,
    InMemory,
    /// In memory, because the state disk does not work.
    DiskBroken,
}

/// What both texts are made of.
#[derive(Debug, Clone)]
struct Facts {
    addresses: BTreeMap<String, Vec<String>>,
    fingerprints: Vec<String>,
    kept: Survival,
    problems: usize,
    /// Not the one that runs.
    configured_console: Option<String>,
    notice: String,
}

/// `ros banner [--addresses]`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    match arguments {
        [] => refresh(),
        [flag] if flag == "--addresses" => write(),
        _ => bail!("banner [--addresses]: {arguments:?} is neither"),
    }
}

/// Finds out what is wrong, and writes both texts.
pub(crate) fn refresh() -> Result<()> {
    // What is not known is not shown; `ros why` reports why PID 1 does not answer.
    let problems = why::problems().map_or(0, |problems| problems.len());
    let console = console_that_does_not_run().unwrap_or_default();
    write_atomic(Path::new(PROBLEMS), format!("{problems}\n{console}\n").as_bytes(), 0o644)?;
    write()
}

/// The console that is configured, if the built-in one runs instead.
fn console_that_does_not_run() -> Option<String> {
    let config = EffectiveConfig::applied().config;
    let configured = (CONSOLE.configured)(&config);
    let waits = Enabled::until_next_boot(&Root::machine(), CONSOLE.service, configured);
    let wanted = waits.unwrap_or_else(|| configured.to_owned());
    // PID 1 answers also while the engine daemon does not: no login waits for that.
    let all = why::snapshots().ok()?;
    let runs = all.into_iter().find(|snapshot| snapshot.spec.name == CONSOLE.service)?;
    let is_other = !(CONSOLE.is_built_in)(&wanted) && is_embedded(&runs.spec.image);
    is_other.then_some(wanted)
}

/// The fingerprints of the host keys; each is also shown on the console, so that the first
/// connection can be checked.
pub(super) fn write_fingerprints() -> Result<()> {
    let mut lines = Vec::new();
    for key in host_keys::find() {
        let output = program::run(program::of_system("/usr/bin/ssh-keygen").arg("-lf").arg(&key))?;
        lines.extend(shorten(&output));
    }
    lines.iter().for_each(|line| log(&format!("ssh host key: {line}")));
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    write_atomic(Path::new(FINGERPRINTS), text.as_bytes(), 0o644)
}

/// `256 SHA256:abc root@host (ED25519)` → `SHA256:abc (ED25519)`.
fn shorten(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    Some(format!("{} {}", words.get(1)?, words.last()?))
}

/// Writes both texts from what is known.
pub(crate) fn write() -> Result<()> {
    // Of two writers the later one has what both know.
    let _lock = lock(Path::new(ISSUE))?;
    let facts = Facts::load();
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // getty replaces these by the host name and the terminal.
    let mut issue = format!("{}\n\n", headline("\\n (\\l)"));
    issue.push_str(&escape(&format!("{}{}\n", overview(&facts), message(&facts))));
    write_atomic(Path::new(ISSUE), issue.as_bytes(), 0o644).context("the banner of logins")?;
    let mut login = message(&facts);
    if !login.is_empty() {
        login = format!("{}\n{login}", headline(&name));
    }
    write_atomic(Path::new(LOGIN_MESSAGE), login.as_bytes(), 0o644).context("the login message")
}

/// What `autologin` shows in place of getty.
pub(super) fn shown_without_getty() -> String {
    overview(&Facts::load())
}

impl Facts {
    fn load() -> Facts {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let kept = if Path::new(state::PROBLEM_FILE).exists() {
            Survival::DiskBroken
        } else if state::is_on_disk() {
            Survival::OnDisk
        } else {
            Survival::InMemory
        };
        let found = read(PROBLEMS);
        let mut found = found.lines();
        Facts {
            addresses: addresses::all(),
            fingerprints: read(FINGERPRINTS).lines().map(str::to_owned).collect(),
            kept,
            problems: found.next().and_then(|line| line.parse().ok()).unwrap_or(0),
            configured_console: found.next().filter(|name| !name.is_empty()).map(str::to_owned),
            notice: read(NOTICE),
        }
    }
}

fn headline(machine: &str) -> String {
    format!("Corral v{} on {machine}", running_version())
}

/// Where the machine is reached, and how it is recognized.
fn overview(facts: &Facts) -> String {
    let mut text = String::new();
    for (name, addresses) in &facts.addresses {
        text.push_str(&format!("{name}: {}\n", addresses.join(" ")));
    }
    for line in &facts.fingerprints {
        text.push_str(&format!("ssh host key: {line}\n"));
    }
    let first = facts.addresses.values().flatten().next();
    if let Some(address) = first.and_then(|address| address.split('/').next()) {
        text.push_str(&format!("log in: ssh rancher@{address}\n"));
    }
    text
}

/// What the owner should know; nothing, if all is well and kept.
fn message(facts: &Facts) -> String {
    let mut text = facts.notice.clone();
    text.push_str(match facts.kept {
        Survival::OnDisk => "",
        Survival::InMemory => {
            "It runs from memory: nothing is kept. `sudo ros install` puts it on a disk.\n"
        }
        Survival::DiskBroken => {
            "The state disk does not work: the machine runs from memory, nothing is kept.\n"
        }
    });
    if let Some(name) = &facts.configured_console {
        text.push_str(&format!("The console {name} is not used: the built-in one runs.\n"));
    }
    match facts.problems {
        0 => {}
        1 => text.push_str("1 problem; `sudo ros why` shows it.\n"),
        number => text.push_str(&format!("{number} problems; `sudo ros why` shows them.\n")),
    }
    text
}

/// getty reads a backslash and a percent sign as the beginning of an escape.
fn escape(text: &str) -> String {
    text.replace(['\\', '%'], "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let addresses = ["10.0.2.15/24".to_owned(), "2001:db8::15/64".to_owned()];
        Facts {
            addresses: [("eth0".to_owned(), addresses.to_vec())].into(),
            fingerprints: vec!["SHA256:abc (ED25519)".to_owned()],
            kept: Survival::OnDisk,
            problems: 0,
            configured_console: None,
            notice: String::new(),
        }
    }

    #[test]
    fn the_banner_shows_how_the_machine_is_reached_and_recognized() {
        let expected = "eth0: 10.0.2.15/24 2001:db8::15/64\nssh host key: SHA256:abc (ED25519)\n\
                        log in: ssh rancher@10.0.2.15\n";
        assert_eq!(overview(&facts()), expected);
    }

    #[test]
    fn a_login_shows_what_is_wrong_and_nothing_else() {
        assert_eq!(message(&facts()), "");
        let cases = [
            (Facts { kept: Survival::InMemory, ..facts() }, "nothing is kept. `sudo ros install`"),
            (Facts { kept: Survival::DiskBroken, ..facts() }, "The state disk does not work"),
            (Facts { problems: 1, ..facts() }, "1 problem; `sudo ros why` shows it."),
            (Facts { problems: 2, ..facts() }, "2 problems; `sudo ros why` shows them."),
            (
                Facts { configured_console: Some("alpine".to_owned()), ..facts() },
                "The console alpine is not used: the built-in one runs.",
            ),
            (Facts { notice: "1 error(s)\n".to_owned(), ..facts() }, "1 error(s)"),
        ];
        for (facts, expected) in cases {
            assert!(message(&facts).contains(expected), "{facts:?}: {}", message(&facts));
        }
    }

    #[test]
    fn getty_finds_no_escapes_in_what_others_wrote() {
        assert_eq!(escape("100 % of C:\\n"), "100 / of C:/n");
    }

    #[test]
    fn of_a_key_its_fingerprint_and_kind_are_shown() {
        let output = "256 SHA256:abc root@some host (ED25519)\n";
        assert_eq!(shorten(output).as_deref(), Some("SHA256:abc (ED25519)"));
        assert_eq!(shorten(""), None);
    }
}
