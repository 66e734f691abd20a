//! The host keys of sshd: those of the configuration, those of the last boot, or new ones.

use crate::resolve::CONF;
use anyhow::{Result, bail};
use corral_config::Config;
use corral_machine::files::write_atomic;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Generated if they are not there. RSA is used when given, but making one takes old machines many seconds.
const GENERATED: [&str; 2] = ["ed25519", "ecdsa"];

/// Host keys: those of the configuration, those of the last boot, or new ones.
pub(super) fn make_host_keys(config: &Config) -> Result<Vec<PathBuf>> {
    let folder = Path::new(CONF).join("ssh");
    fs::create_dir_all(&folder)?;
    let mut found = Vec::new();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let file = folder.join(format!("ssh_host_{kind}_key"));
        if let Some(key) = config.rancher.ssh.keys.get(kind) {
            write_atomic(&file, format!("{}\n", key.trim_end()).as_bytes(), 0o600)?;
        } else if GENERATED.contains(&kind) && fs::metadata(&file).map_or(0, |data| data.size()) == 0 {
            make_host_key(kind, &file)?;
        }
        if file.exists() {
            found.push(file);
        }
    }
    Ok(found)
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
