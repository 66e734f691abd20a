//! sshd's configuration: keys only, no root, members of the group docker only. Corral writes it and
//! names it on sshd's command line, so it applies in every console, even if the image has its own
//! file. The owner's `write_files` at /etc/ssh/sshd_config (or below /etc/ssh/sshd_config.d) are
//! read after it: sshd keeps the first value of each setting.

use super::host_keys;
use anyhow::{Context, Result, bail, ensure};
use corral_config::Config;
use corral_engine::signal::Signal;
use corral_machine::files::write_atomic;
use corral_machine::program;
use std::fs;
use std::path::{Path, PathBuf};

/// The file that sshd is started with. It is in memory: a full disk keeps no owner out.
pub(super) const CONFIG: &str = "/run/corral/ssh/sshd_config";
/// A draft that sshd checks.
const DRAFT: &str = "/run/corral/ssh/sshd_config.draft";
/// Who may log in. `cargo xtask tidy` compares it with the manual.
const POLICY: &str = include_str!("sshd_policy.conf");
const WITH_PASSWORDS: &str =
    "PasswordAuthentication yes\nAuthenticationMethods publickey password\n";
const PID: &str = "/run/corral/ssh/sshd.pid";
pub(super) const PROGRAM: &str = "/usr/sbin/sshd";
/// Where the owner's files are read.
const OF_OWNER: [&str; 2] = ["/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d/"];
/// What our own console has there: a note that refers to this file.
const NOTE: &str = "# sshd does not read this file.";
/// Comfort settings, for an sshd that knows them. It prints the owner's `/etc/motd` itself, without
/// PAM.
const COMFORT: &str = "UseDNS no
ClientAliveInterval 180
PrintMotd yes
SetEnv PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// In a console of another image: our programs after the image's own, and those that sshd starts.
const OF_ELSEWHERE: &str = ":/usr/lib/corral/bin";
const PARTS: &str = "SshdSessionPath /usr/lib/corral/bin/sshd-session
SshdAuthPath /usr/lib/corral/bin/sshd-auth
";
/// Our console has this one locale. With the client's own, every program would complain.
const OUR_LOCALE: &str = " LANG=C.UTF-8\n";
const LOCALE_OF_CLIENT: &str = "\nAcceptEnv LANG LC_*\n";
const SFTP: &str = "Subsystem sftp internal-sftp\n";

/// Writes the file, before sshd starts.
pub(crate) fn prepare(config: &Config) -> Result<()> {
    let left_out = write(config)?;
    report(&left_out)
}

/// Writes the file, and makes a running sshd read it. What is left out of it changes nothing of
/// that: the rest may take a right away.
pub(super) fn apply(config: &Config) -> Result<()> {
    let left_out = write(config)?;
    reload()?;
    report(&left_out)
}

fn report(left_out: &[String]) -> Result<()> {
    ensure!(left_out.is_empty(), "settings are left out: {}", left_out.join("; "));
    Ok(())
}

/// The owner's files are left out if sshd cannot read them, or if they would weaken the policy.
/// Returns why.
fn write(config: &Config) -> Result<Vec<String>> {
    let host_keys = host_keys::find();
    if host_keys.is_empty() {
        bail!("there is no host key");
    }
    let policy = with_host_keys(config, &host_keys);
    let mut left_out = Vec::new();
    let mut text = plain(&policy, config, &mut left_out);
    let files = readable(files_of_owner(config), &policy, config, &mut left_out);
    let asks = |file: &&PathBuf| asks_for_pam(&fs::read_to_string(file).unwrap_or_default());
    left_out.extend(files.iter().filter(asks).map(|file| {
        format!("{}: UsePAM has no effect, for PAM has no rules for sshd", file.display())
    }));
    if !files.is_empty() {
        let all = with_files(&policy, &files);
        match check(&all, config) {
            Ok(()) => text = all,
            Err(error) => {
                left_out.push(format!("the files below /etc/ssh contradict each other: {error:#}"))
            }
        }
    }
    write_atomic(Path::new(CONFIG), text.as_bytes(), 0o600)?;
    Ok(left_out)
}

/// For a trial login: without the owner's files, which take effect in every console.
pub(super) fn of_trial(config: &Config) -> String {
    [with_host_keys(config, &host_keys::find()).as_str(), &comfort(), SFTP].concat()
}

fn with_host_keys(config: &Config, host_keys: &[PathBuf]) -> String {
    [parts(), &policy(config), &lines("HostKey", host_keys)].concat()
}

fn parts() -> &'static str {
    if program::is_elsewhere() { PARTS } else { "" }
}

/// Without the owner's files: as many settings as this console's sshd accepts. Our tests check
/// ours; another image may have any sshd.
fn plain(policy: &str, config: &Config, left_out: &mut Vec<String>) -> String {
    let text = [policy, &comfort(), SFTP].concat();
    if is_our_console() {
        return text;
    }
    for text in [text, [policy, SFTP].concat()] {
        match check(&text, config) {
            Ok(()) => return text,
            Err(error) => left_out.push(format!("{error:#}")),
        }
    }
    policy.to_owned()
}

/// Checks each file by itself: a wrong one affects only itself.
fn readable(
    mut files: Vec<PathBuf>,
    policy: &str,
    config: &Config,
    left_out: &mut Vec<String>,
) -> Vec<PathBuf> {
    files.retain(|file| match check(&with_files(policy, std::slice::from_ref(file)), config) {
        Ok(()) => true,
        Err(error) => {
            left_out.push(format!("{}: {error:#}", file.display()));
            false
        }
    });
    files
}

/// The policy has `UsePAM no`, and sshd says nothing about the owner's value. It also takes `=`
/// between words, and quotes around them.
fn asks_for_pam(text: &str) -> bool {
    let is_between = |char: char| char.is_whitespace() || "=\"".contains(char);
    let text = text.to_ascii_lowercase();
    let mut lines = text.lines().map(|line| line.split(is_between).filter(|word| !word.is_empty()));
    lines.any(|words| words.take(2).eq(["usepam", "yes"]))
}

/// sshd keeps the first value of each setting, so the owner's come before the comfort settings.
fn with_files(policy: &str, files: &[PathBuf]) -> String {
    [policy, subsystem(files), &lines("Include", files), &comfort()].concat()
}

fn comfort() -> String {
    let programs = if program::is_elsewhere() { OF_ELSEWHERE } else { "" };
    let locale = if is_our_console() { OUR_LOCALE } else { LOCALE_OF_CLIENT };
    [COMFORT, programs, locale].concat()
}

fn is_our_console() -> bool {
    fs::read_to_string(OF_OWNER[0]).is_ok_and(|text| text.starts_with(NOTE))
}

/// Makes a running sshd read the file again; sessions continue.
fn reload() -> Result<()> {
    let Ok(text) = fs::read_to_string(PID) else { return Ok(()) };
    let pid: i32 = text.trim().parse().with_context(|| format!("reading {PID}"))?;
    // The pid may belong to another program by now.
    if fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sshd") {
        corral_engine::sys::signals::send(pid, Signal::HUP)
            .context("having sshd read its configuration again")?;
    }
    Ok(())
}

/// Who may log in, and how. The first line of a setting takes effect.
fn policy(config: &Config) -> String {
    let passwords = if config.ssh_pwauth { WITH_PASSWORDS } else { "" };
    [passwords, POLICY].concat()
}

/// The owner's files that the configuration writes and that exist.
fn files_of_owner(config: &Config) -> Vec<PathBuf> {
    let is_read = |path: &str| path == OF_OWNER[0] || path.starts_with(OF_OWNER[1]);
    let files =
        config.write_files.iter().filter(|file| file.container == "console" && is_read(&file.path));
    let mut paths: Vec<PathBuf> =
        files.map(|file| PathBuf::from(&file.path)).filter(|path| path.exists()).collect();
    paths.sort();
    paths.dedup();
    paths
}

fn lines(setting: &str, files: &[PathBuf]) -> String {
    files.iter().map(|file| format!("{setting} {}\n", file.display())).collect()
}

/// sshd accepts each subsystem only once.
fn subsystem(files: &[PathBuf]) -> &'static str {
    let names_one = |file: &PathBuf| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().any(|line| line.trim_start().to_lowercase().starts_with("subsystem"))
    };
    if files.iter().any(names_one) { "" } else { SFTP }
}

/// Has sshd check a configuration.
fn check(text: &str, config: &Config) -> Result<()> {
    write_atomic(Path::new(DRAFT), text.as_bytes(), 0o600)?;
    let accounts = config.accounts();
    let users = accounts.iter().map(|user| user.name.as_str());
    let users = ["rancher", "root"].into_iter().chain(users);
    users.into_iter().try_for_each(|user| check_for(user, config))
}

/// `Match` blocks may change settings for each user and each address.
fn check_for(user: &str, config: &Config) -> Result<()> {
    let connection = format!("user={user},host=elsewhere,addr=192.0.2.1");
    let said =
        program::run(program::of_system(PROGRAM).args(["-T", "-f", DRAFT, "-C", &connection]))?;
    match missing(&said, config.ssh_pwauth) {
        Some(line) => bail!("a file of /etc/ssh would override {line:?} for {user}"),
        None => Ok(()),
    }
}

/// The line of the policy that is missing in sshd's effective settings.
fn missing(said: &str, passwords: bool) -> Option<&'static str> {
    let always =
        ["permitrootlogin no", "permitemptypasswords no", "kbdinteractiveauthentication no"];
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
        let good = "permitrootlogin no\npermitemptypasswords no\n\
                    kbdinteractiveauthentication no\npasswordauthentication no\n\
                    authenticationmethods publickey\nallowgroups docker\n";
        assert_eq!(missing(good, false), None);
        let cases = [
            (
                "passwordauthentication no",
                "passwordauthentication yes",
                Some("passwordauthentication no"),
            ),
            ("permitrootlogin no", "permitrootlogin yes", Some("permitrootlogin no")),
            (
                "allowgroups docker",
                "allowgroups docker\nallowgroups users",
                Some("AllowGroups docker"),
            ),
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
    fn a_setting_without_effect_is_found_as_sshd_reads_it() {
        for text in ["UsePAM yes\n", "# a\n\tusepam = Yes # b\n", "UsePAM=yes", "UsePAM \"yes\""] {
            assert!(asks_for_pam(text), "{text}");
        }
        for text in ["", "UsePAM no", "#UsePAM yes", "Banner /etc/usepam\nyes"] {
            assert!(!asks_for_pam(text), "{text}");
        }
    }

    #[test]
    fn passwords_are_taken_only_where_the_owner_says_so() {
        let first = |ssh_pwauth, setting: &str| {
            let text = policy(&Config { ssh_pwauth, ..Config::default() });
            text.lines().find_map(|line| line.strip_prefix(setting)).unwrap().trim().to_owned()
        };
        for (passwords, methods, ssh_pwauth) in
            [("no", "publickey", false), ("yes", "publickey password", true)]
        {
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
