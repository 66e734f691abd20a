//! `SHA256SUMS` as `sha256sum -c` reads it, its signature, and the check of both.

use super::sshsig;
use crate::signed_release::Key;
use crate::{durable, paths};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

pub(crate) const NAME: &str = "SHA256SUMS";
/// Who may sign releases, in the checkout.
const SIGNERS: &str = "keys/allowed_signers";

/// A line for each file, in the order of their names.
fn lines(files: &[(String, String)]) -> String {
    let mut sorted: Vec<&(String, String)> = files.iter().collect();
    sorted.sort();
    sorted.iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect()
}

/// Writes the digests of these files (name, digest), and the signature.
pub(super) fn write(folder: &Path, files: &[(String, String)], key: &Key) -> Result<()> {
    let text = lines(files);
    durable::write(&folder.join(NAME), text.as_bytes())?;
    let signature = sshsig::sign(key, text.as_bytes())?;
    durable::write(&folder.join(format!("{NAME}.sig")), signature.as_bytes())
}

/// Which key signed, if it is none of the project's: its line for the list of signers.
pub(super) fn unknown_signer(key: &Key) -> Result<Option<String>> {
    let line = sshsig::allowed_signer(key);
    let file = paths::root().join(SIGNERS);
    let known = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let is_same = |other: &str| other.split_whitespace().take(4).eq(line.split_whitespace());
    Ok((!known.lines().any(is_same)).then_some(line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn sha256sum_accepts_the_lines() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["b.iso", "a/b.img", "a.raw"];
        fs::create_dir(folder.path().join("a")).unwrap();
        let files: Vec<(String, String)> = names
            .map(|name| {
                fs::write(folder.path().join(name), name).unwrap();
                let digest = crate::sum::digest(&folder.path().join(name)).unwrap();
                (name.to_owned(), digest)
            })
            .to_vec();
        write(folder.path(), &files, &Key::stranger().unwrap()).unwrap();
        let text = fs::read_to_string(folder.path().join(NAME)).unwrap();
        let found: Vec<&str> = text.lines().filter_map(|line| line.split("  ").nth(1)).collect();
        assert_eq!(found, ["a.raw", "a/b.img", "b.iso"]);
        let mut check = Command::new("sha256sum");
        check.current_dir(folder.path()).args(["--check", "--strict", "--quiet", NAME]);
        assert!(check.status().unwrap().success());
    }

    /// The first commands of docs/verifying.md.
    fn commands_of_the_manual() -> String {
        let blocks = vmtest::manual::read().unwrap();
        let mut blocks = blocks.into_iter().filter(|block| block.file == "docs/verifying.md");
        blocks.find(|block| block.language == "sh").unwrap().text
    }

    #[test]
    fn the_commands_of_the_manual_accept_a_release() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, key) = (folder.path(), Key::stranger().unwrap());
        let (commands, iso) = (commands_of_the_manual(), folder.join("corral.iso"));
        let accepts = || {
            let mut sh = Command::new("sh");
            sh.current_dir(folder).args(["-ec", &commands]).stdin(Stdio::null());
            sh.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
        };
        let files = || {
            let digest = crate::sum::digest(&iso).unwrap();
            [("corral.iso".to_owned(), digest), ("not-downloaded.raw".to_owned(), "0".repeat(64))]
        };
        fs::write(&iso, "as published").unwrap();
        fs::write(folder.join("allowed_signers"), sshsig::allowed_signer(&key) + "\n").unwrap();
        write(folder, &files(), &key).unwrap();
        assert!(accepts());
        fs::write(&iso, "As published").unwrap();
        assert!(!accepts(), "a changed file");
        fs::write(folder.join(NAME), lines(&files())).unwrap();
        assert!(!accepts(), "a changed file with its digest");
        write(folder, &files(), &Key::stranger().unwrap()).unwrap();
        assert!(!accepts(), "signed with another key");
        write(folder, &files(), &key).unwrap();
        assert!(accepts());
    }

    #[test]
    fn the_list_of_signers_names_no_unknown_key() {
        assert!(unknown_signer(&Key::stranger().unwrap()).unwrap().is_some());
    }
}
