//! Checks of what we depend on, by external tools: cargo-deny (licenses, bans, sources, advisories)
//! and cargo-machete (dependencies that no code names).

use crate::cargo_tools::Tool;
use crate::{paths, sh};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2", features: &[] };
const MACHETE: Tool = Tool { name: "cargo-machete", version: "0.9.2", features: &[] };
/// In seconds. A network that drops packets gives no error for minutes.
const TIMEOUT: &str = "120";

/// cargo-deny, which reads `deny.toml`.
#[derive(Debug)]
pub(crate) struct Deny {
    program: PathBuf,
}

impl Deny {
    pub(crate) fn prepare() -> Result<Deny> {
        Ok(Deny { program: DENY.install()? })
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
    let mut machete = Command::new(MACHETE.install()?);
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
