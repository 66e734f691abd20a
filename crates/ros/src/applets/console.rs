//! `ros console-init`, the first process of the console: home folders, keys and files of the owner.
//! Then it becomes `respawn`, which runs sshd and the terminals. The owner's own commands run
//! beside it: one that hangs locks no user out.

pub(crate) mod accounts;
mod boot_work;
mod certificates;
pub(crate) mod commands;
mod headers;
pub(crate) mod host_keys;
mod keyboard;
pub(crate) mod keys;
pub(crate) mod mounts;
mod os_release;
pub(crate) mod other_image;
mod own_accounts;
mod power_state;
mod proxies;
pub(crate) mod sshd;
mod swap;
pub(crate) mod trial;
mod zone;

use super::banner;
use super::failures;
use super::import_keys;
use super::owners_commands;
use super::user_docker::CONSOLE_DONE;
use crate::boots;
use anyhow::{Context, Result, bail};
use commands::{run_all, run_script, user_data_scripts};
use corral_config::Config;
use corral_config::cmdline;
use corral_config::model::WriteFile;
use corral_engine::client::call;
use corral_engine::protocol::Request;
use corral_init::boot::state::{self, CONF};
use corral_install::release::boot_partitions::BootPartitions;
use corral_machine::boot_partition::booted;
use corral_machine::console::log;
use corral_machine::files::{lock_until, write_atomic, write_in};
use corral_machine::{inotify, program, trusted};
use corral_resolve::cloud_init::{CloudInitMark, MARK};
use corral_resolve::effective::load_config;
use corral_resolve::replacement::{LOGIN_WORKED, REBUILDS, REFUSED};
use corral_resolve::root::Root;
use corral_resolve::store;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RESPAWN_CONF: &str = "/etc/respawn.conf";
/// The console was already recreated in this boot. Once is enough, even if the kernel's command
/// line requests it.
const REBUILT: &str = "/run/corral/console-rebuilt";
/// The digest of the configuration that the console was set up with. Private to root: a
/// configuration has secrets.
const SET_UP: &str = "/run/corral/console/set-up";
/// Locked by the process that applies a configuration in the console.
const TURN: &str = "/run/corral/console/turn";
/// How long it is waited for.
const LONGEST_TURN: Duration = Duration::from_secs(30);

/// Sets the console up and becomes `respawn`.
pub(crate) fn run() -> Result<()> {
    let config = load_config()?;
    for note in [CONSOLE_DONE, commands::RUNNING, LOGIN_WORKED, SET_UP] {
        let _ = fs::remove_file(note);
    }
    let rebuilt = rebuild_if_requested(&config);
    let is_replaced = matches!(rebuilt, Ok(true));
    report("persistent console", rebuilt.map(drop));
    report("programs", link_programs());
    report("/usr/src", headers::link());
    report("/etc/issue", link_issue());
    if program::is_elsewhere() {
        report("accounts", other_image::prepare());
    } else {
        other_image::leave();
    }
    let_in(&config);
    report("/etc/os-release", os_release::apply(&config.rancher.os_release_id));
    report("write_files", write_files(&config.write_files));
    for result in [host_keys::make_host_keys(&config), sshd::prepare(&config)] {
        if let Err(error) = result {
            log(&format!("console: ssh: {error:#}"));
        }
    }
    report("note for console-run", note_set_up(&config));
    let programs = programs(&config, &corral_machine::cmdline::load().unwrap_or_default());
    fs::write(RESPAWN_CONF, programs).context("writing /etc/respawn.conf")?;
    // Not in a file system that a new one replaces now.
    if program::is_elsewhere() && !is_replaced {
        report("trial of a login", note_trial(&config));
    }
    Command::new("/usr/bin/ros")
        .arg("console-run")
        .stdin(Stdio::null())
        .spawn()
        .context("starting the owner's commands")?;
    let error = Command::new("/usr/bin/ros").arg0("respawn").args(["-f", RESPAWN_CONF]).exec();
    Err(error).context("starting respawn")
}

/// A console of another image in which no login works gives way to the built-in one.
fn note_trial(config: &Config) -> Result<()> {
    let Err(error) = trial::log_in(config) else {
        return write_atomic(Path::new(LOGIN_WORKED), b"", 0o644);
    };
    log(&format!("console {}: {error:#}", config.rancher.console));
    let text = format!("{}\n{error:#}\n", config.rancher.console);
    write_atomic(Path::new(REFUSED), text.as_bytes(), 0o644)?;
    call(Request::Reload).context("starting the built-in console").map(drop)
}

/// `ros console-run`: mounts and the owner's commands, in their order. Docker starts when they are
/// done, or when the first of them calls it.
pub(crate) fn run_commands() -> Result<()> {
    report("record of boots", boots::record());
    report("fingerprints", banner::write_fingerprints());
    report("banner", banner::write());
    // Waits until configuration from the network has arrived, or its timeout is over.
    call(Request::AwaitConfig)?;
    let turn = take_turn();
    let config = load_config()?;
    // It may have arrived while the console was set up.
    if !is_set_up(&config) {
        let_in(&config);
        report("write_files", write_files(&config.write_files));
        report("sshd", sshd::apply(&config));
    }
    // The network stage may have fetched keys, which are not part of the configuration.
    report("ssh_authorized_keys", accounts::authorize(&config));
    drop(turn);
    let late_keys = std::thread::spawn(let_late_keys_in);
    report("mounts", mounts::make_all(&config.mounts, mounts::When::AtBoot));
    report("swap", swap::make(&config.swap));
    let path = owners_commands::path().unwrap_or_else(|error| {
        log(&format!("console: {error:#}; commands cannot use docker before they are done"));
        std::env::var_os("PATH").unwrap_or_default()
    });
    report("runcmd", run_all(&config.runcmd, &path));
    let mut scripts = user_data_scripts(Path::new(CONF));
    scripts.push(PathBuf::from("/opt/rancher/bin/start.sh"));
    for script in scripts {
        report(&script.display().to_string(), run_script(&script, &path));
    }
    report("keys on the boot partition", reserve_keys());
    fs::write(CONSOLE_DONE, name(&config)).context("writing /run/console-done")?;
    let _ = fs::remove_file(commands::RUNNING);
    report("/etc/rc.local", run_script(Path::new("/etc/rc.local"), &path));
    report("banner", banner::refresh());
    report("power_state", power_state::apply(&config.power_state, &path));
    report("ssh_import_id", late_keys.join().unwrap_or(Ok(())));
    Ok(())
}

fn note_set_up(config: &Config) -> Result<()> {
    write_atomic(Path::new(SET_UP), digest(config).as_bytes(), 0o600)
}

/// Was the console set up with this configuration?
fn is_set_up(config: &Config) -> bool {
    fs::read_to_string(SET_UP).is_ok_and(|noted| noted == digest(config))
}

fn digest(config: &Config) -> String {
    hex::encode(Sha256::digest(serde_json::to_vec(config).unwrap_or_default()))
}

/// The console that runs: that of the configuration may have been refused.
fn name(config: &Config) -> String {
    let is_ours = !program::is_elsewhere();
    format!("{}\n", if is_ours { "default" } else { config.rancher.console.as_str() })
}

/// Keys of `ssh_import_id` for which the clock had to be set first. The owner's commands, which may
/// take long, do not delay them.
fn let_late_keys_in() -> Result<()> {
    let are_late = || CloudInitMark::load(&Root::machine()).keys_are_late;
    if !are_late() {
        return Ok(());
    }
    let mark = Path::new(MARK);
    let end = Instant::now() + import_keys::TIMEOUT + Duration::from_secs(60);
    inotify::wait_for(mark.parent().unwrap_or(mark), end, || !are_late())?;
    let _turn = take_turn();
    accounts::authorize(&load_config()?)?;
    reserve_keys()
}

/// `cloud-init-execute`: applies users, keys, files and mounts again.
pub(crate) fn execute() -> Result<()> {
    let turn = take_turn();
    let mut config = load_config()?;
    let mut results = in_turn(&config);
    // One that did not wait for this turn has applied a newer one, which must be the last.
    while let Some(newer) = load_config().ok().filter(|newer| *newer != config) {
        config = newer;
        results = in_turn(&config);
    }
    // A mount that hangs must not keep a newer configuration from being applied.
    drop(turn);
    results.extend([
        ("mounts", mounts::make_all(&config.mounts, mounts::When::Later)),
        ("swap", swap::make(&config.swap)),
        // The last: it waits for an upgrade that writes the boot partition.
        ("keys on the boot partition", reserve_keys()),
    ]);
    let failures: Vec<String> = results
        .into_iter()
        .filter_map(|(what, result)| Some(format!("{what}: {:#}", result.err()?)))
        .collect();
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("\n")) }
}

/// What two configurations must not do at the same time.
fn in_turn(config: &Config) -> Vec<(&'static str, Result<()>)> {
    vec![
        ("users", accounts::make_users(config)),
        ("ssh_authorized_keys", accounts::authorize(config)),
        ("passwords", accounts::set_passwords(config)),
        ("timezone", zone::apply(&config.timezone)),
        ("keyboard", keyboard::load(&config.keyboard)),
        ("ca_certs", certificates::apply()),
        ("proxies of logins", proxies::write(&config.rancher.network)),
        ("/etc/os-release", os_release::apply(&config.rancher.os_release_id)),
        ("write_files", write_files(&config.write_files)),
        ("sshd", sshd::apply(config)),
    ]
}

/// Two may apply a configuration at the same time. One waits for the other, and only then reads the
/// configuration: so the last one to write has the newest. If the other one hangs, on a path of
/// `write_files` for example, this one goes on: it may have the key that lets the owner in.
fn take_turn() -> Option<File> {
    let taken = lock_until(Path::new(TURN), Instant::now() + LONGEST_TURN);
    taken.inspect_err(|error| println!("{error:#}; going on without it")).ok()
}

/// `ros config-applied`, run by PID 1 in the console when the configuration changed. An error is
/// reported with the boot problems.
pub(crate) fn config_applied() -> Result<()> {
    if let Err(error) = execute() {
        log(&format!("configuration: {error:#}"));
    }
    report("banner", banner::refresh());
    Ok(())
}

/// `rancher.force_console_rebuild`: increments the number, which gives the console a new file
/// system. Then the key is reset, the configuration is read again, and PID 1 recreates the console.
/// True if it does.
fn rebuild_if_requested(config: &Config) -> Result<bool> {
    if !config.rancher.force_console_rebuild || Path::new(REBUILT).exists() {
        return Ok(false);
    }
    fs::write(REBUILT, "")?;
    let number: u64 = fs::read_to_string(REBUILDS)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or_default();
    write_atomic(Path::new(REBUILDS), format!("{}\n", number + 1).as_bytes(), 0o600)?;
    store::note(&json!({"rancher": {"force_console_rebuild": false}}))?;
    call(Request::Reload).context("applying it")?;
    Ok(true)
}

/// The image of a replacement console need not know the names under which this program is called.
fn link_programs() -> Result<()> {
    const NAMES: [&str; 10] = [
        "/usr/bin/rancherctl",
        "/usr/bin/system-docker",
        "/usr/bin/wait-for-docker",
        "/usr/bin/cloud-init-execute",
        "/usr/bin/respawn",
        "/usr/bin/autologin",
        "/usr/sbin/reboot",
        "/usr/sbin/poweroff",
        "/usr/sbin/halt",
        "/usr/sbin/shutdown",
    ];
    /// Docker's client, and the folder of compose and buildx.
    const OF_ENGINE: [&str; 2] = ["/usr/bin/docker", "/usr/libexec/docker/cli-plugins"];
    let is_missing = |name: &&&str| fs::symlink_metadata(name).is_err();
    fs::create_dir_all("/usr/sbin").context("making /usr/sbin")?;
    NAMES.iter().filter(is_missing).try_for_each(|name| symlink("/usr/bin/ros", name))?;
    let engine = Path::new("/var/lib/rancher/engine");
    let mut missing =
        OF_ENGINE.iter().map(Path::new).filter(|link| fs::symlink_metadata(link).is_err());
    missing.try_for_each(|link| {
        fs::create_dir_all(link.parent().unwrap_or(link))?;
        let target = engine.join(link.strip_prefix("/").unwrap_or(link));
        symlink(target, link).with_context(|| format!("linking {}", link.display()))
    })
}

/// Sets up who may log in. A failed step must not keep the owner out: it reports what is wrong, and
/// the next step follows.
fn let_in(config: &Config) {
    // /run belongs to the host: sshd's empty folder is not there yet.
    report("/run/sshd", fs::create_dir_all("/run/sshd").map_err(anyhow::Error::from));
    report("homes", accounts::make_homes());
    report("group docker", accounts::admit_ours());
    report("ssh_authorized_keys", accounts::authorize(config));
    report("users", accounts::make_users(config));
    report("passwords", accounts::set_passwords(config));
    report("timezone", zone::apply(&config.timezone));
    report("keyboard", keyboard::load(&config.keyboard));
    report("ca_certs", certificates::apply());
    report("proxies of logins", proxies::write(&config.rancher.network));
}

fn report(what: &str, result: Result<()>) {
    if let Err(error) = result {
        println!("{what}: {error:#}");
    }
}

/// Copies the keys to the boot partitions, where they survive a broken state disk. While it is
/// broken, nothing is copied.
fn reserve_keys() -> Result<()> {
    let is_rescue = Path::new(state::PROBLEM_FILE).exists();
    let wanted = || Ok::<_, anyhow::Error>(keys::of_rescue(&load_config()?));
    match booted::partition() {
        Some(partition) if !is_rescue && partition.load_keys() != wanted()? => {
            let boot = BootPartitions::lock()?;
            // Loaded again: a newer configuration may have been written while this waited.
            let keys = wanted()?;
            boot.iter().try_for_each(|partition| partition.keep_keys(&keys))
        }
        _ => Ok(()),
    }
}

/// The banner before a login. The network container writes it as well, when it has addresses.
fn link_issue() -> Result<()> {
    banner::write()?;
    let _ = fs::remove_file("/etc/issue");
    symlink(banner::ISSUE, "/etc/issue").with_context(|| format!("linking it to {}", banner::ISSUE))
}

/// Writes the files for the console. If one fails, the others are still written.
fn write_files(files: &[WriteFile]) -> Result<()> {
    let mut failures = Vec::new();
    for file in files.iter().filter(|file| file.container == "console") {
        if let Err(error) = write_file(file) {
            failures.push(format!("{}: {error:#}", file.path));
        }
    }
    failures::as_error(&failures)
}

/// The path may be in the home of a user, who must not lead root elsewhere by a link.
fn write_file(file: &WriteFile) -> Result<()> {
    let content = file.bytes().map_err(anyhow::Error::msg)?;
    let mode = file.mode().map_err(anyhow::Error::msg)?;
    let owner = accounts::owner(&file.owner);
    let path = Path::new(&file.path);
    let folder = trusted::make_folder(path.parent().context("a path without a folder")?)?;
    // Without its owner it is root's, and not lost.
    write_in(&folder, path, &content, mode, *owner.as_ref().unwrap_or(&None))?;
    owner.context("it belongs to root").map(drop)
}

/// What `respawn` runs: a getty on each terminal, and sshd.
fn programs(config: &Config, command_line: &str) -> String {
    let words = cmdline::words(command_line);
    let mut terminals: Vec<String> = (1..=6).map(|number| format!("tty{number}")).collect();
    for console in cmdline::values(&words, "console") {
        let name = console.split(',').next().unwrap_or_default().to_owned();
        if name.starts_with("tty") && name != "tty0" && !terminals.contains(&name) {
            terminals.push(name);
        }
    }
    let mut text = String::new();
    let getty = program::path("/usr/sbin/getty").display().to_string();
    for name in terminals.iter().filter(|name| Path::new("/dev").join(name).exists()) {
        let login = match config.rancher.autologin.contains(name) {
            true => "-n -l /usr/bin/autologin ".to_owned(),
            false if program::is_elsewhere() => {
                format!("-l {} ", program::path("/usr/bin/login").display())
            }
            false => String::new(),
        };
        let kind = if name.starts_with("ttyS") { "vt100" } else { "linux" };
        text.push_str(&format!("{getty} {login}-L 115200 {name} {kind}\n"));
    }
    let ssh = &config.rancher.ssh;
    if ssh.daemon && !host_keys::find().is_empty() {
        let port = if ssh.port == 0 { String::new() } else { format!(" -p {}", ssh.port) };
        let address = match ssh.listen_address.as_str() {
            "" => String::new(),
            address => format!(" -o ListenAddress={address}"),
        };
        let program = program::path(sshd::PROGRAM);
        let (program, file) = (program.display(), sshd::CONFIG);
        text.push_str(&format!("{program} -D -e -f {file}{port}{address}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_known_by_its_digest() {
        let config = |ssh_pwauth| Config { ssh_pwauth, ..Config::default() };
        assert_eq!(digest(&config(true)), digest(&config(true)));
        assert_ne!(digest(&config(true)), digest(&config(false)));
    }
}
