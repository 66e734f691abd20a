//! `cargo xtask fuzz NAME`: runs a fuzz target for so many minutes. libFuzzer needs the compiler's
//! coverage counters. A stable compiler has them too, so no nightly one is needed.

use crate::{paths, setup, sh};
use anyhow::{Result, bail};
use clap::Args;
use std::fs;
use std::process::Command;

/// The targets in `fuzz/targets`.
const TARGETS: [&str; 3] = ["command_line", "cloud_config", "compose"];
/// What libFuzzer needs in a program: counters at every edge, and traced comparisons.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions";

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// command_line, cloud_config or compose; all of them if none is given
    target: Option<String>,
    /// How long each of them runs
    #[arg(long, default_value_t = 10)]
    minutes: u64,
}

/// Builds and runs; an error if a target found something.
pub(crate) fn run(options: &Options) -> Result<()> {
    let targets: Vec<&str> = match &options.target {
        Some(name) => vec![name.as_str()],
        None => TARGETS.to_vec(),
    };
    setup::need_fuzzing()?;
    for target in targets {
        if !TARGETS.contains(&target) {
            bail!("{target} is no fuzz target: there are {}", TARGETS.join(", "));
        }
        let corpus = paths::cache("fuzz").join(target);
        fs::create_dir_all(&corpus)?;
        let folder = paths::root().join("fuzz");
        let host = "x86_64-unknown-linux-gnu";
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .current_dir(&folder)
            .env("RUSTFLAGS", FLAGS)
            .env("CARGO_TARGET_DIR", paths::target().join("fuzz"));
        cargo.args(["run", "--release", "--quiet", "--target", host, "--bin", target, "--"]);
        cargo.arg(&corpus).arg(folder.join("seeds").join(target));
        cargo.arg(format!("-max_total_time={}", options.minutes * 60));
        cargo.args(["-max_len=65536", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]);
        cargo.arg(format!("-artifact_prefix={}/", paths::cache("fuzz").display()));
        eprintln!("== {target}: {} minutes", options.minutes);
        sh::run(&mut cargo)?;
    }
    Ok(())
}
