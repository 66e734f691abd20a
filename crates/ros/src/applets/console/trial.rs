//! A real login before anything depends on it: ssh, with a key made for this, to an sshd of its own
//! that runs on the other end of a pipe. It needs no network and no port.

use super::sshd;
use anyhow::{Context, Result, bail};
use corral_config::Config;
use corral_machine::files::write_atomic;
use corral_machine::program;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const FOLDER: &str = "/run/corral/ssh/trial";
const USER: &str = "rancher";
/// How long a login may take on a slow machine.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The shell of the image runs it, and sudo a program of ours.
const TEST: &str = "echo corral-shell && sudo -n /usr/lib/corral/bin/busybox id -u";

/// Fails if a user cannot log in here, or cannot become root.
pub(crate) fn log_in(config: &Config) -> Result<()> {
    let folder = Path::new(FOLDER);
    let _ = fs::remove_dir_all(folder);
    let result = try_login(folder, config);
    let _ = fs::remove_dir_all(folder);
    result
}

fn try_login(folder: &Path, config: &Config) -> Result<()> {
    let keys = folder.join("keys");
    fs::create_dir_all(&keys).with_context(|| format!("making {}", keys.display()))?;
    for path in [folder, &keys] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    let key = make_key(folder)?;
    let public = fs::read(key.with_extension("pub"))?;
    write_atomic(&keys.join(USER), &public, 0o644)?;
    let text = format!("AuthorizedKeysFile {}/%u\n{}", keys.display(), sshd::of_trial(config));
    let file = folder.join("sshd_config");
    write_atomic(&file, text.as_bytes(), 0o600)?;
    let server =
        format!("ProxyCommand={} -i -f {}", program::path(sshd::PROGRAM).display(), file.display());
    let mut ssh = program::of_system("/usr/bin/ssh");
    ssh.args(["-F", "none", "-T", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]);
    ssh.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
    ssh.args(["-o", "GlobalKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]);
    ssh.args(["-o", &server, "-l", USER, "-i"]).arg(&key).args(["console", TEST]);
    // ssh starts the server by this shell.
    ssh.env("SHELL", "/bin/sh");
    let ended = program::output(&mut ssh, &[], Instant::now() + TIMEOUT)?;
    verdict(&ended.stdout, &ended.complaint())
}

/// Ok if the output of the login is complete.
fn verdict(said: &str, complaint: &str) -> Result<()> {
    let has = |wanted: &str| said.lines().any(|line| line.trim() == wanted);
    if !has("corral-shell") {
        bail!("a login by ssh does not work: {complaint}");
    }
    if !has("0") {
        bail!("sudo does not work: {complaint}");
    }
    Ok(())
}

fn make_key(folder: &Path) -> Result<PathBuf> {
    let key = folder.join("key");
    let mut keygen = program::of_system("/usr/bin/ssh-keygen");
    program::run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::verdict;

    #[test]
    fn a_login_that_only_half_works_is_none() {
        assert!(verdict("welcome\ncorral-shell\n0\n", "").is_ok());
        let cases = [
            ("", "Permission denied", "a login by ssh does not work: Permission denied"),
            ("corral-shell\n", "no sudo", "sudo does not work: no sudo"),
            ("corral-shell\n1100\n", "", "sudo does not work: "),
        ];
        for (said, complaint, expected) in cases {
            assert_eq!(verdict(said, complaint).unwrap_err().to_string(), expected);
        }
    }
}
