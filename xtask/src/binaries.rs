//! Our own programs, statically linked for the target: `ros` and `stage0`.

use crate::{paths, sh};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target triple. Given explicitly, so that build scripts and macros are not linked statically
/// too.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The two programs.
#[derive(Debug)]
pub(crate) struct Binaries {
    pub(crate) ros: PathBuf,
    pub(crate) stage0: PathBuf,
}

/// The packages that are not for the target: this workshop and the tests.
const WORKSHOP: [&str; 3] = ["xtask", "vmtest", "engine-tests"];

/// `cargo COMMAND` for the target's packages, in the profile that `run` and `test` boot. Lints,
/// unit tests and programs share what is built for them.
pub(crate) fn of_product(command: &str) -> Command {
    let mut cargo = cargo();
    cargo.args([command, "--locked", "--workspace", "--profile", "quick", "--target", TARGET]);
    cargo.args(WORKSHOP.iter().flat_map(|package| ["--exclude", package]));
    cargo
}

/// A check of PID 1's crate without the features that other crates enable: no other check proves
/// that it works without them.
pub(crate) fn of_pid_1() -> Command {
    let mut cargo = cargo();
    cargo.args([
        "clippy",
        "--locked",
        "--package",
        "corral-init",
        "--profile",
        "quick",
        "--target",
        TARGET,
    ]);
    cargo
}

/// `cargo COMMAND` over the other packages.
pub(crate) fn of_workshop(command: &str) -> Command {
    let mut cargo = sh::cargo();
    cargo.args([command, "--locked"]);
    cargo.args(WORKSHOP.iter().flat_map(|package| ["--package", package]));
    cargo
}

/// `ros manual FOLDER`, built if necessary: writes a manual page for each command. What ships does
/// not have this command.
pub(crate) fn manual(folder: &Path) -> Command {
    let mut cargo = cargo();
    cargo.args(["run", "--locked", "--quiet", "--package", "corral-ros", "--bin", "ros"]);
    cargo.args(["--profile", "quick", "--target", TARGET, "--features", "manual", "--", "manual"]);
    cargo.arg(folder);
    cargo
}

/// Builds the program that measures engines, static as well: it also runs in guests.
pub(crate) fn build_bench() -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.args(["build", "--locked", "--package", "vmtest", "--bin", "engine-bench"]);
    sh::run(cargo.args(["--profile", "quick", "--target", TARGET]))?;
    Ok(paths::target().join(TARGET).join("quick/engine-bench"))
}

/// How programs for the target are compiled.
const FLAGS: &str = "-C target-feature=+crt-static -C relocation-model=static";

/// If this variable is set, every build is as one of a release is: it does not depend on where it
/// is, or on what was built before.
pub(crate) const REPRODUCIBLE: &str = "CORRAL_REPRODUCIBLE";

fn cargo() -> Command {
    let mut cargo = sh::cargo();
    cargo.env("RUSTFLAGS", FLAGS);
    if std::env::var_os(REPRODUCIBLE).is_some() {
        without_paths(&mut cargo);
    }
    cargo
}

/// Without paths of this machine, and without what an earlier build has left.
fn without_paths(cargo: &mut Command) {
    let renamed = renamed_folders();
    let flags = flags_of_release(&renamed);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags).env("CARGO_INCREMENTAL", "0");
    let of_c = flags_of_c(&renamed);
    cargo.env(format!("CFLAGS_{}", TARGET.replace('-', "_")), of_c);
}

/// Folders of this machine, and what their names become in what ships: another machine builds the
/// same. Of several that fit a path, compilers take the last.
fn renamed_folders() -> Vec<(PathBuf, &'static str)> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let crates = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
    let folders = [crates, Some(paths::root().to_owned()), Some(paths::target())];
    let names = ["/cargo", "/corral", "/target"];
    folders.into_iter().zip(names).filter_map(|(folder, name)| Some((folder?, name))).collect()
}

/// The flags for what ships.
fn flags_of_release(renamed: &[(PathBuf, &str)]) -> String {
    let renamed = renamed
        .iter()
        .map(|(folder, name)| format!("--remap-path-prefix={}={name}", folder.display()));
    // The separator that cargo reads: a path may have spaces.
    FLAGS.split(' ').map(str::to_owned).chain(renamed).collect::<Vec<_>>().join("\x1f")
}

/// The same for the C code of crates. Its flags are separated by blanks: a folder with one in its
/// path keeps its name.
fn flags_of_c(renamed: &[(PathBuf, &str)]) -> String {
    let paths = renamed.iter().map(|(folder, name)| (folder.display().to_string(), name));
    let flags = paths
        .filter(|(folder, _)| !folder.contains(char::is_whitespace))
        .map(|(folder, name)| format!("-ffile-prefix-map={folder}={name}"));
    flags.collect::<Vec<_>>().join(" ")
}

/// Hooks let tests trigger a bug in what they boot. What ships has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hooks {
    None,
    ForStories,
}

/// Builds both with the given cargo profile (`quick` or `release`).
pub(crate) fn build(profile: &str, hooks: Hooks) -> Result<Binaries> {
    let mut cargo = cargo();
    if profile == "release" {
        without_paths(&mut cargo);
    }
    cargo
        .args([
            "build",
            "--locked",
            "--package",
            "corral-ros",
            "--package",
            "corral-stage0",
            "--profile",
            profile,
            "--target",
            TARGET,
        ])
        .args(if hooks == Hooks::ForStories {
            &["--features", "corral-ros/test-hooks"][..]
        } else {
            &[]
        });
    sh::run(&mut cargo)?;
    let folder = paths::target().join(TARGET).join(profile);
    Ok(Binaries { ros: folder.join("ros"), stage0: folder.join("stage0") })
}

#[cfg(test)]
mod tests {
    use super::{FLAGS, flags_of_c, flags_of_release, renamed_folders};
    use crate::paths;
    use std::path::PathBuf;

    #[test]
    fn what_ships_is_compiled_alike_but_without_paths_of_this_machine() {
        let flags = flags_of_release(&renamed_folders());
        let flags: Vec<&str> = flags.split('\x1f').collect();
        assert_eq!(flags[..4].join(" "), FLAGS);
        let checkout = format!("--remap-path-prefix={}=/corral", paths::root().display());
        assert!(flags.contains(&checkout.as_str()), "{flags:?}");
        assert_eq!(flags.len(), 7, "{flags:?}");
    }

    #[test]
    fn c_code_has_no_paths_of_this_machine_either() {
        let renamed = [(PathBuf::from("/my home/.cargo"), "/cargo"), ("/src".into(), "/corral")];
        assert_eq!(flags_of_c(&renamed), "-ffile-prefix-map=/src=/corral");
    }
}
