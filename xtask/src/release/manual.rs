//! Manual pages of `ros` and what shells complete, from the definition of its command line.

use super::gzip;
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

/// Writes the archive: `man1/ros*.1` and `completions/SHELL/`.
pub(super) fn write(output: &Path, epoch: u64) -> Result<()> {
    let folder = output.with_extension("folder");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    sh::run(&mut binaries::manual(&folder)).context("writing the manual pages")?;
    let mut tree = Tree::default();
    for (name, entry) in crate::tree::read_folder(&folder)? {
        tree.insert(&format!("man1/{name}"), entry);
    }
    ensure!(tree.contains("man1/ros.1"), "there is no page ros.1");
    for (shell, path) in SHELLS {
        let mut ros = Command::new(paths::cache("ros"));
        let text = sh::output(ros.arg0("ros").args(["completion", shell]))
            .with_context(|| format!("asking ros what {shell} completes"))?;
        tree.write(path, text);
    }
    gzip::write_tree(&tree, output, epoch)?;
    fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))
}
