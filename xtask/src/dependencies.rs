//! Checks of what we depend on, by external tools: cargo-deny (licenses, bans, sources, advisories)
//! and cargo-machete (dependencies that no code names). Each is built once for all checkouts of
//! this machine.

use crate::{paths, progress, sh};
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A program on crates.io.
struct Tool {
    name: &'static str,
    version: &'static str,
}

const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };
const MACHETE: Tool = Tool { name: "cargo-machete", version: "0.9.2" };
/// They run for seconds only, so they are built fast, without optimizations.
const PROFILE: [(&str, &str); 3] = [
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
];
/// In seconds. A network that drops packets gives no error for minutes.
const TIMEOUT: &str = "120";

/// cargo-deny, which reads `deny.toml`.
#[derive(Debug)]
pub(crate) struct Deny {
    program: PathBuf,
}

impl Deny {
    pub(crate) fn prepare() -> Result<Deny> {
        Ok(Deny { program: install(&DENY)? })
    }

    /// A check of licenses, banned crates and sources.
    pub(crate) fn policy(&self) -> Command {
        self.check(&[], &["bans", "licenses", "sources"])
    }

    /// Fetches the advisory database by git; an error if it is not reachable.
    pub(crate) fn fetch_advisories(&self) -> Result<()> {
        let mut fetch = Command::new("timeout");
        fetch.arg(TIMEOUT).arg(&self.program).args(["fetch", "db"]);
        // git must not prompt for a password.
        fetch.current_dir(paths::root()).env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
        sh::output(&mut fetch).map(drop).context("fetching the database of advisories")
    }

    /// A check against that database, as it was fetched.
    pub(crate) fn advisories(&self) -> Command {
        self.check(&["--offline"], &["advisories"])
    }

    fn check(&self, flags: &[&str], checks: &[&str]) -> Command {
        let mut deny = Command::new(&self.program);
        deny.current_dir(paths::root()).arg("--locked").args(flags);
        deny.args(["check", "--hide-inclusion-graph"]).args(checks);
        deny
    }
}

/// A search for dependencies that no code of their package names.
pub(crate) fn search_unused() -> Result<Command> {
    let mut machete = Command::new(install(&MACHETE)?);
    // With this variable, it takes its first argument for the name of a cargo subcommand.
    machete.env_remove("CARGO").current_dir(paths::root()).args(["--skip-target-dir", "."]);
    Ok(machete)
}

/// Reads the lock file of the programs for libFuzzer, a workspace of its own that no other check
/// builds; an error if it does not fit the manifests.
pub(crate) fn read_lock_of_fuzzers() -> Command {
    let mut metadata = sh::cargo();
    metadata.args(["metadata", "--locked", "--quiet", "--format-version", "1", "--manifest-path"]);
    metadata.arg(paths::root().join("fuzz/libfuzzer/Cargo.toml"));
    metadata.stdout(std::process::Stdio::null());
    metadata
}

/// The program, built if it is not there.
fn install(tool: &Tool) -> Result<PathBuf> {
    let Tool { name, version } = *tool;
    let folder = paths::shared_cache("cargo-tools");
    let kept = folder.join(format!("{name}-{version}"));
    if kept.exists() {
        return Ok(kept);
    }
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    // Another checkout may build the same at the same time: the second one replaces the first one
    // by the same.
    let work = folder.join(format!("{name}-{}", std::process::id()));
    let mut cargo = sh::cargo();
    cargo.env(paths::TARGET_VARIABLE, work.join("target")).envs(PROFILE);
    cargo.args(["install", "--locked", "--version", version, "--root"]).arg(&work).arg(name);
    let title = format!("building {name} {version} (some minutes, once)");
    progress::step(&title, || sh::output(&mut cargo))
        .with_context(|| format!("installing {name}"))?;
    fs::rename(work.join("bin").join(name), &kept).with_context(|| format!("keeping {name}"))?;
    fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))?;
    Ok(kept)
}
