//! Borders between crates: which of our crates may use which, and which external crates a crate
//! never reaches, directly or indirectly.

use crate::{paths, sh};
use anyhow::Result;
use std::collections::BTreeSet;
use std::fs;

/// Each folder, its crate, and which others that may use: the arrows of ARCHITECTURE.md.
pub(crate) const ARROWS: [(&str, &str, &[&str]); 17] = [
    ("crates/config", "corral-config", &[]),
    ("crates/plan", "corral-plan", &["corral-config"]),
    ("crates/machine", "corral-machine", &[]),
    ("crates/engine", "corral-engine", &["corral-machine"]),
    ("crates/daemon", "corral-daemon", &["corral-engine", "corral-machine"]),
    ("crates/cloud", "corral-cloud", &["corral-config", "corral-machine"]),
    ("crates/stage0", "corral-stage0", &["corral-machine"]),
    (
        "crates/init",
        "corral-init",
        &["corral-config", "corral-engine", "corral-machine", "corral-plan"],
    ),
    ("crates/docker", "corral-docker", &["corral-engine", "corral-machine"]),
    ("crates/terminal", "corral-terminal", &["corral-config"]),
    (
        "crates/resolve",
        "corral-resolve",
        &[
            "corral-cloud",
            "corral-config",
            "corral-docker",
            "corral-engine",
            "corral-init",
            "corral-machine",
            "corral-plan",
        ],
    ),
    (
        "crates/install",
        "corral-install",
        &[
            "corral-cloud",
            "corral-config",
            "corral-daemon",
            "corral-docker",
            "corral-engine",
            "corral-machine",
            "corral-resolve",
            "corral-terminal",
        ],
    ),
    (
        "crates/ros",
        "corral-ros",
        &[
            "corral-cloud",
            "corral-config",
            "corral-daemon",
            "corral-docker",
            "corral-engine",
            "corral-init",
            "corral-install",
            "corral-machine",
            "corral-plan",
            "corral-resolve",
            "corral-terminal",
        ],
    ),
    (
        "fuzz",
        "corral-fuzz",
        &[
            "corral-cloud",
            "corral-config",
            "corral-daemon",
            "corral-engine",
            "corral-machine",
            "corral-install",
            "corral-plan",
        ],
    ),
    ("xtask", "xtask", &["corral-config", "corral-plan", "vmtest"]),
    ("tests", "vmtest", &[]),
    ("tests/engine", "engine-tests", &["vmtest"]),
];
/// Crates that run as PID 1 or stand below it.
const QUIET: [&str; 6] = [
    "corral-config",
    "corral-engine",
    "corral-init",
    "corral-machine",
    "corral-plan",
    "corral-stage0",
];
/// External crates that those never reach: HTTP, TLS, command lines, and parsers of text from an
/// owner or a network. Config and plan read YAML by a feature that is off for them.
const NOT_FOR_THEM: [&str; 17] = [
    "axum",
    "clap",
    "h2",
    "http",
    "httparse",
    "hyper",
    "mailparse",
    "oci-client",
    "rcgen",
    "reqwest",
    "ring",
    "roxmltree",
    "rustls",
    "serde-saphyr",
    "tungstenite",
    "ureq",
    "x509-parser",
];

/// Adds each violation to `found`.
pub(crate) fn check(found: &mut Vec<String>) -> Result<()> {
    check_ours(found)?;
    for package in QUIET {
        check_reach(package, found)?;
    }
    Ok(())
}

fn check_ours(found: &mut Vec<String>) -> Result<()> {
    let ours = ARROWS.map(|(_, package, _)| package);
    for (folder, _, allowed) in ARROWS {
        let text = fs::read_to_string(paths::root().join(folder).join("Cargo.toml"))?;
        let names = text.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
        for name in names.filter(|name| ours.contains(name) && !allowed.contains(name)) {
            found.push(format!("{folder}/Cargo.toml: {folder} must not use {name}"));
        }
    }
    Ok(())
}

/// Checks with cargo everything that a package is linked with.
fn check_reach(package: &str, found: &mut Vec<String>) -> Result<()> {
    let mut cargo = sh::cargo();
    cargo.args(["tree", "--locked", "--package", package, "--no-default-features"]);
    let tree =
        sh::output(cargo.args(["--edges", "normal", "--prefix", "none", "--format", "{p}"]))?;
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    for name in NOT_FOR_THEM.into_iter().filter(|name| names.contains(name)) {
        let how = format!("cargo tree -p {package} --no-default-features -e normal -i {name}");
        found.push(format!("{package} must not reach {name}: `{how}` shows how it does"));
    }
    Ok(())
}
