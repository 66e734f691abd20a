//! `cargo xtask fuzz NAME`: runs a fuzz target for so many minutes. libFuzzer needs the compiler's
//! coverage counters. A stable compiler has them too, so no nightly one is needed.

use crate::{paths, setup, sh};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What makes a program one for libFuzzer: counters at every edge, and comparisons reported.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares \
                     -Ccodegen-units=1 -Cdebug-assertions";
const HOST: &str = "x86_64-unknown-linux-gnu";
const PROGRAM: &str = "corral-libfuzzer";
/// Bytes of the longest input: the start of a disk in which every superblock lies.
const LONGEST: usize = 68 * 1024;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// One of those that --list names; all of them if none is given
    target: Option<String>,
    /// How long each of them runs
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// The same in minutes
    #[arg(long, hide = true, conflicts_with = "seconds")]
    minutes: Option<u64>,
    /// Name the targets, and run none
    #[arg(long)]
    list: bool,
}

/// Builds and runs; an error that names the targets which found something.
pub(crate) fn run(options: &Options) -> Result<()> {
    let known = names()?;
    if options.list {
        known.iter().for_each(|name| println!("{name}"));
        return Ok(());
    }
    let targets = match &options.target {
        Some(name) if known.contains(name) => vec![name.clone()],
        Some(name) => bail!("{name} is no fuzz target: there are {}", known.join(", ")),
        None => known,
    };
    let program = build()?;
    let seconds = options.minutes.map_or(options.seconds, |minutes| minutes * 60);
    let mut failed = Vec::new();
    for target in targets {
        eprintln!("== {target}: {seconds} seconds");
        if let Err(error) = run_target(&program, &target, seconds) {
            eprintln!("{error:#}");
            failed.push(target);
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!(
        "{} found something: the inputs are in {}",
        failed.join(", "),
        paths::cache("fuzz").display()
    )
}

/// Each target has a folder of seeds; a test of the crate `fuzz` checks that.
fn names() -> Result<Vec<String>> {
    let folder = paths::root().join("fuzz/seeds");
    let items = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut names: Vec<String> =
        items.flatten().map(|item| item.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// The program with all targets.
fn build() -> Result<PathBuf> {
    setup::need_fuzzing()?;
    let target = paths::target().join("fuzz");
    let mut cargo = sh::cargo();
    cargo
        .current_dir(paths::root().join("fuzz/libfuzzer"))
        .env("RUSTFLAGS", FLAGS)
        .env(paths::TARGET_VARIABLE, &target);
    sh::run(cargo.args(["build", "--release", "--locked", "--quiet", "--target", HOST]))?;
    Ok(target.join(HOST).join("release").join(PROGRAM))
}

fn run_target(program: &Path, target: &str, seconds: u64) -> Result<()> {
    let corpus = paths::cache("fuzz").join(target);
    fs::create_dir_all(&corpus).with_context(|| format!("making {}", corpus.display()))?;
    let mut command = Command::new(program);
    command.env("CORRAL_FUZZ_TARGET", target).arg(&corpus);
    command.arg(paths::root().join("fuzz/seeds").join(target));
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={LONGEST}"));
    command.args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]);
    command.arg(format!("-artifact_prefix={}/{target}-", paths::cache("fuzz").display()));
    sh::run(&mut command)
}
