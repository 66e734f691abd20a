//! A line for each long step: a spinner with seconds on a terminal, plain lines in a log. Also the
//! output of tests.

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Runs `work` under the title `what`, and prints how long it took.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let terminal = std::io::stderr().is_terminal();
    let bar = ProgressBar::with_draw_target(
        None,
        if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() },
    );
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    if terminal {
        bar.enable_steady_tick(Duration::from_millis(120));
    } else {
        eprintln!("{what} ...");
    }
    let result = work();
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f32();
    if result.is_ok() && (terminal || seconds > 0.5) {
        eprintln!("{what}: {seconds:.1} s");
    }
    result
}

/// Prints lines. A closed pipe (`cargo xtask test | head`) is an error, and not a panic as with
/// `println!`.
pub(crate) fn say(lines: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{lines}").context("printing")
}
