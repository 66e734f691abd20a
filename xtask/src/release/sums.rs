//! `SHA256SUMS` as `sha256sum -c` reads it, its signature, and the check of both.

use super::sshsig;
use crate::signed_release::Key;
use crate::{durable, paths};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

pub(super) const NAME: &str = "SHA256SUMS";
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
    use std::process::Command;

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

    #[test]
    fn the_list_of_signers_names_no_unknown_key() {
        assert!(unknown_signer(&Key::stranger().unwrap()).unwrap().is_some());
    }
}
