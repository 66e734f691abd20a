//! The manual: the book, and from the definition of `ros`' command line its manual pages and what
//! shells complete.

use super::gzip;
use crate::docs::book;
use crate::tree::Tree;
use crate::{binaries, paths, sh};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// (shell, path of what it completes)
const SHELLS: [(&str, &str); 3] = [
    ("bash", "completions/bash/ros"),
    ("zsh", "completions/zsh/_ros"),
    ("fish", "completions/fish/ros.fish"),
];

/// Writes the archive: `book/`, `man1/ros*.1` and `completions/SHELL/`.
pub(super) fn write(output: &Path, epoch: u64) -> Result<()> {
    let folder = output.with_extension("folder");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    sh::run(&mut binaries::manual(&folder)).context("writing the manual pages")?;
    let mut tree = Tree::default();
    let pages = crate::tree::read_own_folder(&folder)?;
    for (name, entry) in pages.into_iter().filter(|(name, _)| name.ends_with(".1")) {
        tree.insert(&format!("man1/{name}"), entry);
    }
    ensure!(tree.contains("man1/ros.1"), "there is no page ros.1");
    for (shell, path) in SHELLS {
        let mut ros = Command::new(paths::cache("ros"));
        let text = sh::output(ros.arg0("ros").args(["completion", shell]))
            .with_context(|| format!("asking ros what {shell} completes"))?;
        tree.write(path, text);
    }
    let book = folder.join("book");
    book::write(&book)?;
    for (name, entry) in crate::tree::read_own_folder(&book)? {
        tree.insert(&format!("book/{name}"), entry);
    }
    gzip::write_tree(&tree, output, epoch)?;
    fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))
}
