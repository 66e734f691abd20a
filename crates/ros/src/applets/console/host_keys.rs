//! The host keys of sshd: those of the configuration, those of the last boot, or new ones.

use crate::applets::failures;
use anyhow::{Context, Result, bail};
use corral_config::Config;
use corral_init::boot::state::CONF;
use corral_machine::files::write_atomic;
use corral_machine::program;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const KINDS: [&str; 3] = ["ed25519", "ecdsa", "rsa"];
/// In memory: a key that ssh-keygen checks, and keys for which the state disk has no room.
const MEMORY: &str = "/run/corral/ssh";
/// Generated if they are missing. An RSA key is used if it is given, but generating one takes many
/// seconds on old machines.
const GENERATED: [&str; 2] = ["ed25519", "ecdsa"];

/// Makes sure that there are host keys, even if a key of the configuration is invalid or the disk
/// is full.
pub(crate) fn make_host_keys(config: &Config) -> Result<()> {
    let mut failures = Vec::new();
    for kind in KINDS {
        let given = config.host_key(kind).map(|key| put(kind, &kept(kind), key));
        failures.extend(given.and_then(Result::err));
        failures.extend(set_aside(&kept(kind)).and_then(|()| protect(&kept(kind))).err());
        if GENERATED.contains(&kind) && find_one(kind).is_none() {
            failures.extend(make_host_key(kind).err());
        }
    }
    let failures: Vec<String> = failures.iter().map(|error| format!("{error:#}")).collect();
    failures::as_error(&failures)
}

/// Stores a key of the configuration, if it is valid and not stored yet.
fn put(kind: &str, file: &Path, key: &str) -> Result<()> {
    let text = format!("{}\n", key.trim_end());
    if fs::read(file).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(());
    }
    let draft = Path::new(MEMORY).join("host_key.draft");
    write_atomic(&draft, text.as_bytes(), 0o600)?;
    let mut keygen = program::of_system("/usr/bin/ssh-keygen");
    let ended = program::output(keygen.args(["-y", "-P", "", "-f"]).arg(&draft), &[], None);
    let _ = fs::remove_file(&draft);
    if !ended?.status.success() {
        bail!(
            "the {kind} host key of the configuration is not a private key that ssh can read; \
             another is used"
        );
    }
    write_atomic(file, text.as_bytes(), 0o600).or_else(|error| {
        write_atomic(&in_memory(kind), text.as_bytes(), 0o600)?;
        Err(error)
    })
}

/// Those that sshd can read.
pub(crate) fn find() -> Vec<PathBuf> {
    KINDS.iter().filter_map(|kind| find_one(kind)).collect()
}

fn find_one(kind: &str) -> Option<PathBuf> {
    [kept(kind), in_memory(kind)]
        .into_iter()
        .find(|file| fs::read(file).is_ok_and(|text| is_key(&text)))
}

fn kept(kind: &str) -> PathBuf {
    Path::new(CONF).join("ssh").join(format!("ssh_host_{kind}_key"))
}

fn in_memory(kind: &str) -> PathBuf {
    Path::new(MEMORY).join(format!("ssh_host_{kind}_key"))
}

/// True if the text has the first and the last line of a private key. A power cut leaves an empty
/// file, NULs, or a part.
fn is_key(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    text.starts_with(b"-----BEGIN ") && text.ends_with(b" PRIVATE KEY-----") && !text.contains(&0)
}

/// Renames a file that is no key, so that the owner can look at it. sshd would exit because of it.
fn set_aside(file: &Path) -> Result<()> {
    if fs::symlink_metadata(file).is_err() || fs::read(file).is_ok_and(|text| is_key(&text)) {
        return Ok(());
    }
    let aside = file.with_extension("damaged");
    let _ = fs::remove_file(&aside);
    let moved = match fs::rename(file, &aside) {
        Ok(()) => format!("it is now {}", aside.display()),
        Err(error) => format!("moving it to {}: {error}", aside.display()),
    };
    bail!(
        "{} is not a private key: {moved}; another is used, and ssh clients warn of that",
        file.display()
    )
}

/// sshd refuses a key that other users may read.
fn protect(file: &Path) -> Result<()> {
    match fs::metadata(file) {
        Ok(data) if data.permissions().mode() & 0o077 != 0 => {
            fs::set_permissions(file, fs::Permissions::from_mode(0o600))
                .with_context(|| format!("setting the mode of {} to 600", file.display()))
        }
        _ => Ok(()),
    }
}

fn make_host_key(kind: &str) -> Result<()> {
    let fresh = Path::new(MEMORY).join(format!("host_key.{kind}"));
    fs::create_dir_all(MEMORY).with_context(|| format!("making {MEMORY}"))?;
    let _ = fs::remove_file(&fresh);
    let mut keygen = program::of_system("/usr/bin/ssh-keygen");
    program::run(keygen.args(["-q", "-t", kind, "-N", "", "-f"]).arg(&fresh))?;
    let public_file = fresh.with_extension(format!("{kind}.pub"));
    let (key, public) = (fs::read(&fresh)?, fs::read(&public_file)?);
    for file in [&fresh, &public_file] {
        fs::remove_file(file)?;
    }
    let kept = write_atomic(&kept(kind), &key, 0o600)
        .and_then(|()| write_atomic(&kept(kind).with_extension("pub"), &public, 0o644));
    if find_one(kind).is_none() {
        write_atomic(&in_memory(kind), &key, 0o600)?;
    }
    kept.context("the next boot has another host key")
}

#[cfg(test)]
mod tests {
    use super::is_key;

    #[test]
    fn what_a_power_cut_leaves_is_no_key() {
        let key =
            b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz\n-----END OPENSSH PRIVATE KEY-----\n";
        assert!(
            is_key(key)
                && is_key(b"-----BEGIN PRIVATE KEY-----\r\nx\r\n-----END PRIVATE KEY-----\r\n")
        );
        let (half, nuls) = (&key[..key.len() / 2], vec![0; key.len()]);
        let mut hole = key.to_vec();
        hole[40] = 0;
        for text in [b"".as_slice(), half, nuls.as_slice(), hole.as_slice()] {
            assert!(!is_key(text), "{text:?}");
        }
    }
}
