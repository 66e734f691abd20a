//! What a story used: `cargo xtask test` says at its end which stories ran on which kind of machine.

use crate::options::Kind;
use std::fs::File;
use std::io::Write;

/// Names the file that each machine adds its kind to, a line each.
pub const REPORT_VARIABLE: &str = "CORRAL_STORY_REPORT";
/// The line of a story that did nothing.
pub const SKIPPED: &str = "skipped";

/// Notes that a machine of this kind was started.
pub(crate) fn started(kind: Kind) {
    add(kind.name());
}

/// Notes that this story does nothing here, and says why.
pub fn skipped(why: &str) {
    println!("skipped: {why}");
    add(SKIPPED);
}

fn add(line: &str) {
    let Some(path) = std::env::var_os(REPORT_VARIABLE) else { return };
    if let Ok(mut file) = File::options().append(true).create(true).open(path) {
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}
