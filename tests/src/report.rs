//! What a story used: `cargo xtask test` says at its end which stories ran on which kind of machine.

use crate::options::Kind;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Names the file that each machine adds its kind to, and each story its folder, a line each.
pub const REPORT_VARIABLE: &str = "CORRAL_STORY_REPORT";
/// The line of a story that did nothing.
pub const SKIPPED: &str = "skipped";
/// What stands before the path of a story's folder.
pub const FOLDER: &str = "folder ";

/// Notes that a machine of this kind was started.
pub(crate) fn started(kind: Kind) {
    add(kind.name());
}

/// Notes where the files of a story are, also in its output: whichever step fails, they can be
/// looked at.
pub(crate) fn uses(folder: &Path) {
    println!("files are in {}", folder.display());
    add(&format!("{FOLDER}{}", folder.display()));
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
