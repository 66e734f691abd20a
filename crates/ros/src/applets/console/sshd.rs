//! sshd's configuration: keys only, no root, members of the group docker only. Corral writes it and names it on sshd's
//! command line, so it holds in every console, whatever file the image has. What the owner's `write_files` put at
//! /etc/ssh/sshd_config (or below /etc/ssh/sshd_config.d) is read after it: sshd keeps the first value of each setting.

use super::host_keys;
use anyhow::{Context, Result, bail};
use corral_config::Config;
use corral_machine::files::write_atomic;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The file that sshd is started with.
pub(super) const CONFIG: &str = "/etc/ssh/corral_sshd_config";
/// Who may log in; `cargo xtask tidy` holds it against the manual.
const POLICY: &str = include_str!("sshd_policy.conf");
const WITH_PASSWORDS: &str = "PasswordAuthentication yes\nAuthenticationMethods any\n";
const PID: &str = "/run/sshd/pid";
const PROGRAM: &str = "/usr/sbin/sshd";
/// Where files of the owner's are read.
const OF_OWNER: [&str; 2] = ["/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d/"];
/// What every version of OpenSSH in a console knows, and what makes a session pleasant where sshd knows it.
const COMFORT: &str = "UsePAM no
UseDNS no
ClientAliveInterval 180
PrintMotd no
SetEnv PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
AcceptEnv LANG LC_*
";

const SFTP: &str = "Subsystem sftp internal-sftp\n";

/// Writes the file. Of the owner's settings those are left out that sshd cannot read, or that would open the machine.
pub(super) fn write(config: &Config) -> Result<()> {
    let host_keys = host_keys::find();
    if host_keys.is_empty() {
        bail!("there is no host key");
    }
    let policy: String = [policy(config), lines("HostKey", &host_keys)].concat();
    let full = [policy.as_str(), COMFORT].concat();
    let files = files_of_owner(config);
    let mut candidates = Vec::new();
    if !files.is_empty() {
        candidates.push([&full, subsystem(&files), &lines("Include", &files)].concat());
    }
    let of_image = fs::symlink_metadata("/etc/ssh/sshd_config").is_ok();
    candidates.push([full.as_str(), SFTP].concat());
    candidates.push(policy);
    let needs_check = of_image || !files.is_empty();
    let mut refused = None;
    for text in &candidates {
        write_atomic(Path::new(CONFIG), text.as_bytes(), 0o600)?;
        // What we ship with our own sshd is checked when it is built.
        match if needs_check { check(config) } else { Ok(()) } {
            Ok(()) => break,
            Err(error) => drop(refused.get_or_insert(error)),
        }
    }
    match refused {
        Some(error) => Err(error.context("sshd starts without some of its settings")),
        None => Ok(()),
    }
}

/// Has a running sshd read the file again; sessions go on.
pub(super) fn reload() -> Result<()> {
    let Ok(text) = fs::read_to_string(PID) else { return Ok(()) };
    let pid: i32 = text.trim().parse().with_context(|| format!("reading {PID}"))?;
    // The number may be another program's by now.
    if fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sshd") {
        corral_engine::sys::signals::send(pid, 1).context("having sshd read its configuration again")?;
    }
    Ok(())
}

/// Who may log in, and how. What stands first takes effect.
fn policy(config: &Config) -> String {
    let passwords = if config.ssh_pwauth { WITH_PASSWORDS } else { "" };
    [passwords, POLICY].concat()
}

/// Those that the configuration writes and that are there.
fn files_of_owner(config: &Config) -> Vec<PathBuf> {
    let is_read = |path: &str| path == OF_OWNER[0] || path.starts_with(OF_OWNER[1]);
    let files = config.write_files.iter().filter(|file| file.container == "console" && is_read(&file.path));
    let mut paths: Vec<PathBuf> =
        files.map(|file| PathBuf::from(&file.path)).filter(|path| path.exists()).collect();
    paths.sort();
    paths.dedup();
    paths
}

fn lines(setting: &str, files: &[PathBuf]) -> String {
    files.iter().map(|file| format!("{setting} {}\n", file.display())).collect()
}

/// sshd takes each subsystem once.
fn subsystem(files: &[PathBuf]) -> &'static str {
    let names_one = |file: &PathBuf| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().any(|line| line.trim_start().to_lowercase().starts_with("subsystem"))
    };
    if files.iter().any(names_one) { "" } else { SFTP }
}

/// Asks sshd what it makes of the file.
fn check(config: &Config) -> Result<()> {
    let output = Command::new(PROGRAM)
        .args(["-T", "-f", CONFIG, "-C", "user=rancher,host=localhost,addr=127.0.0.1"])
        .stdin(Stdio::null())
        .output()
        .context("starting sshd -T")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim().replace(['\r', '\n'], " "));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    match missing(&said, config.ssh_pwauth) {
        Some(line) => bail!("a file of /etc/ssh would undo {line:?}"),
        None => Ok(()),
    }
}

/// The line of the policy that is not in what sshd says of itself.
fn missing(said: &str, passwords: bool) -> Option<&'static str> {
    let always = ["permitrootlogin no", "permitemptypasswords no", "kbdinteractiveauthentication no"];
    let keys_only = ["passwordauthentication no", "authenticationmethods publickey"];
    let mut wanted = always.to_vec();
    if !passwords {
        wanted.extend(keys_only);
    }
    let lines: Vec<&str> = said.lines().map(str::trim).collect();
    let groups: Vec<&&str> = lines.iter().filter(|line| line.starts_with("allowgroups ")).collect();
    if groups != [&"allowgroups docker"] {
        return Some("AllowGroups docker");
    }
    wanted.into_iter().find(|wanted| !lines.contains(wanted))
}

#[cfg(test)]
mod tests {
    use super::super::keys;
    use super::*;

    #[test]
    fn what_sshd_says_is_held_against_the_policy() {
        let good = "permitrootlogin no\npermitemptypasswords no\nkbdinteractiveauthentication no\npasswordauthentication no\nauthenticationmethods publickey\nallowgroups docker\n";
        assert_eq!(missing(good, false), None);
        let cases = [
            ("passwordauthentication no", "passwordauthentication yes", Some("passwordauthentication no")),
            ("permitrootlogin no", "permitrootlogin yes", Some("permitrootlogin no")),
            ("allowgroups docker", "allowgroups docker\nallowgroups users", Some("AllowGroups docker")),
            ("allowgroups docker", "", Some("AllowGroups docker")),
            (
                "authenticationmethods publickey",
                "authenticationmethods any",
                Some("authenticationmethods publickey"),
            ),
        ];
        for (line, other, expected) in cases {
            assert_eq!(missing(&good.replace(line, other), false), expected, "{other}");
        }
        assert_eq!(
            missing(&good.replace("passwordauthentication no", "passwordauthentication yes"), true),
            None
        );
    }

    #[test]
    fn passwords_are_taken_only_where_the_owner_says_so() {
        let first = |ssh_pwauth, setting: &str| {
            let text = policy(&Config { ssh_pwauth, ..Config::default() });
            text.lines().find_map(|line| line.strip_prefix(setting)).unwrap().trim().to_owned()
        };
        for (passwords, methods, ssh_pwauth) in [("no", "publickey", false), ("yes", "any", true)] {
            assert_eq!(first(ssh_pwauth, "PasswordAuthentication"), passwords);
            assert_eq!(first(ssh_pwauth, "AuthenticationMethods"), methods);
            assert_eq!(first(ssh_pwauth, "KbdInteractiveAuthentication"), "no");
        }
        assert!(
            POLICY.contains(&format!(" {}/%u\n", keys::FOLDER))
                && POLICY.contains(&format!("PidFile {PID}\n"))
        );
    }
}
