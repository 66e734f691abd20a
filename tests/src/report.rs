//! What a story used: at its end, `cargo xtask test` reports which stories ran on which kind of
//! machine.

use crate::options::Kind;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Names the file to which each machine adds its kind, and each story its folder, a line each.
pub const REPORT_VARIABLE: &str = "CORRAL_STORY_REPORT";
/// Set if stories run that no person named, and not all: those that take long for what they show
/// are left out then.
pub const USUAL_VARIABLE: &str = "CORRAL_USUAL_STORIES";
/// The line of a story that did nothing.
pub const SKIPPED: &str = "skipped";
/// The prefix of the line with a story's folder.
pub const FOLDER: &str = "folder ";

/// Records that a machine of this kind was started.
pub(crate) fn started(kind: Kind) {
    add(kind.name());
}

/// Records where the files of a story are, also in its output. They can be inspected after any step
/// that fails.
pub(crate) fn uses(folder: &Path) {
    println!("files are in {}", folder.display());
    add(&format!("{FOLDER}{}", folder.display()));
}

/// Does this story, which takes long for what it shows, do nothing in this run? Then that is
/// recorded. `word` is a word of its name.
pub fn is_left_out(word: &str) -> bool {
    let is_usual = std::env::var_os(USUAL_VARIABLE).is_some();
    if is_usual {
        skipped(&format!("only `cargo xtask test --all` and `--story {word}` run it"));
    }
    is_usual
}

/// Records that this story does nothing here, and why.
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
