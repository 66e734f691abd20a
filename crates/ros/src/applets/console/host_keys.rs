//! The host keys of sshd: those of the configuration, those of the last boot, or new ones.

use crate::resolve::CONF;
use anyhow::{Context, Result, bail};
use corral_config::Config;
use corral_machine::files::write_atomic;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const KINDS: [&str; 3] = ["ed25519", "ecdsa", "rsa"];
/// A key that ssh-keygen is asked about, in memory.
const DRAFT: &str = "/run/corral/ssh/host_key.draft";
/// Generated if they are not there. RSA is used when given, but making one takes old machines many seconds.
const GENERATED: [&str; 2] = ["ed25519", "ecdsa"];

/// Makes sure that there are some. A key of the configuration that ssh cannot read is no reason to have none.
pub(super) fn make_host_keys(config: &Config) -> Result<()> {
    let mut failures = Vec::new();
    fs::create_dir_all(Path::new(CONF).join("ssh"))?;
    for kind in KINDS {
        let file = file(kind);
        let given = config.rancher.ssh.keys.get(kind).map(|key| put(kind, &file, key));
        let is_given = matches!(given, Some(Ok(())));
        failures.extend(given.and_then(Result::err));
        if !is_given && GENERATED.contains(&kind) && fs::metadata(&file).map_or(0, |data| data.size()) == 0 {
            failures.extend(make_host_key(kind, &file).err());
        }
    }
    let failures: Vec<String> = failures.iter().map(|error| format!("{error:#}")).collect();
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("; ")) }
}

/// Puts a key of the configuration in its place, if it is one and not there yet.
fn put(kind: &str, file: &Path, key: &str) -> Result<()> {
    let text = format!("{}\n", key.trim_end());
    if fs::read(file).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(());
    }
    let draft = Path::new(DRAFT);
    write_atomic(draft, text.as_bytes(), 0o600)?;
    let output = Command::new("/usr/bin/ssh-keygen").args(["-y", "-P", "", "-f", DRAFT]).output();
    let _ = fs::remove_file(draft);
    if !output.context("starting ssh-keygen")?.status.success() {
        bail!("rancher.ssh.keys.{kind} is no private key that ssh can read: another one is used");
    }
    write_atomic(file, text.as_bytes(), 0o600)
}

/// Those that there are.
pub(super) fn find() -> Vec<PathBuf> {
    KINDS.iter().map(|kind| file(kind)).filter(|file| file.exists()).collect()
}

fn file(kind: &str) -> PathBuf {
    Path::new(CONF).join("ssh").join(format!("ssh_host_{kind}_key"))
}

fn make_host_key(kind: &str, file: &Path) -> Result<()> {
    let fresh = file.with_extension("new");
    let _ = fs::remove_file(&fresh);
    let output =
        Command::new("/usr/bin/ssh-keygen").args(["-q", "-t", kind, "-N", "", "-f"]).arg(&fresh).output()?;
    if !output.status.success() {
        bail!("ssh-keygen: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    write_atomic(file, &fs::read(&fresh)?, 0o600)?;
    fs::remove_file(&fresh)?;
    let _ = fs::rename(fresh.with_extension("new.pub"), file.with_extension("pub"));
    Ok(())
}
