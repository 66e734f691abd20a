//! What a story used: `cargo xtask test` says at its end which stories ran on which kind of machine.

use crate::options::Kind;
use std::fs::File;
use std::io::Write;

/// Names the file that each machine adds its kind to, a line each.
pub const REPORT_VARIABLE: &str = "CORRAL_STORY_REPORT";

/// Notes that a machine of this kind was started.
pub(crate) fn started(kind: Kind) {
    let Some(path) = std::env::var_os(REPORT_VARIABLE) else { return };
    if let Ok(mut file) = File::options().append(true).create(true).open(path) {
        let _ = file.write_all(format!("{}\n", kind.name()).as_bytes());
    }
}
