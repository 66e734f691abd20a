//! `ros console-init`, first process of the console: homes, keys and files of the owner; then it becomes `respawn`,
//! which runs sshd and the terminals. The owner's own commands run beside that: one that hangs locks nobody out.

use super::load_config;
use super::user_docker::CONSOLE_DONE;
use crate::resolve::CONF;
use anyhow::{Context, Result, bail};
use corral_config::Config;
use corral_config::cmdline;
use corral_config::model::{self, WriteFile};
use corral_machine::files::write_atomic;
use rustix::fs::{Gid, Uid, chown};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const USERS: [(&str, u32); 2] = [("rancher", 1100), ("docker", 1101)];
const RESPAWN_CONF: &str = "/etc/respawn.conf";
/// Generated if they are not there. RSA is used when given, but making one takes old machines many seconds.
const HOST_KEYS: [&str; 2] = ["ed25519", "ecdsa"];

/// Sets the console up and becomes `respawn`.
pub(crate) fn run() -> Result<()> {
    let config = load_config()?;
    let _ = fs::remove_file(CONSOLE_DONE);
    // One step that fails must not keep the owner out: each says what is wrong, and the next one follows.
    tell("homes", make_homes());
    tell("/etc/issue", link_issue());
    tell("ssh_authorized_keys", authorize(&config.ssh_authorized_keys));
    tell("rancher.password", set_password(&config.rancher.password));
    tell("write_files", write_files(&config.write_files));
    let host_keys =
        make_host_keys(&config).inspect_err(|error| println!("ssh: {error:#}")).unwrap_or_default();
    let programs = programs(&config, &host_keys, &corral_machine::cmdline::load().unwrap_or_default());
    fs::write(RESPAWN_CONF, programs).context("writing /etc/respawn.conf")?;
    Command::new("/usr/bin/ros")
        .arg("console-run")
        .stdin(Stdio::null())
        .spawn()
        .context("starting the owner's commands")?;
    let error = Command::new("/usr/bin/ros").arg0("respawn").args(["-f", RESPAWN_CONF]).exec();
    Err(error).context("starting respawn")
}

/// `ros console-run`: the owner's commands, in their order; Docker starts when they are done.
pub(crate) fn run_commands() -> Result<()> {
    let config = load_config()?;
    tell("runcmd", run_all(&config.runcmd));
    for script in [Path::new(CONF).join("cloud-config-script"), PathBuf::from("/opt/rancher/bin/start.sh")] {
        tell(&script.display().to_string(), run_script(&script));
    }
    fs::write(CONSOLE_DONE, "default\n").context("writing /run/console-done")?;
    tell("/etc/rc.local", run_script(Path::new("/etc/rc.local")));
    Ok(())
}

/// `cloud-init-execute`, by hand: applies keys and files again.
pub(crate) fn execute() -> Result<()> {
    let config = load_config()?;
    authorize(&config.ssh_authorized_keys)?;
    write_files(&config.write_files)
}

fn tell(what: &str, result: Result<()>) {
    if let Err(error) = result {
        println!("{what}: {error:#}");
    }
}

fn own(path: &Path, id: u32) -> Result<()> {
    chown(path, Some(Uid::from_raw(id)), Some(Gid::from_raw(id)))
        .with_context(|| format!("chown {}", path.display()))
}

fn make_homes() -> Result<()> {
    // /run is the host's: sshd's empty folder is not there yet.
    fs::create_dir_all("/run/sshd")?;
    for (name, id) in USERS {
        let home = Path::new("/home").join(name);
        if !home.exists() {
            fs::create_dir_all(&home)?;
            fs::set_permissions(&home, fs::Permissions::from_mode(0o755))?;
            own(&home, id)?;
        }
    }
    Ok(())
}

/// The banner before a login shows the addresses; the network container writes it when it has some.
fn link_issue() -> Result<()> {
    let issue = Path::new("/run/corral/issue");
    if !issue.exists() {
        fs::write(issue, format!("Corral v{} on \\n (\\l)\n\n", env!("CARGO_PKG_VERSION")))?;
    }
    let _ = fs::remove_file("/etc/issue");
    std::os::unix::fs::symlink(issue, "/etc/issue").context("linking it to /run/corral/issue")
}

/// Adds the keys that are not there yet; what the user added by hand stays.
fn authorize(keys: &[String]) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    for (name, id) in USERS {
        let folder = Path::new("/home").join(name).join(".ssh");
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        own(&folder, id)?;
        let file = folder.join("authorized_keys");
        let mut text = fs::read_to_string(&file).unwrap_or_default();
        for key in keys.iter().map(|key| key.trim()).filter(|key| !key.is_empty()) {
            if !text.contains(key) {
                if !text.is_empty() && !text.ends_with('\n') {
                    text.push('\n');
                }
                text.push_str(key);
                text.push('\n');
            }
        }
        write_atomic(&file, text.as_bytes(), 0o600)?;
        own(&file, id)?;
    }
    Ok(())
}

/// The password goes to chpasswd's input, never to a command line.
fn set_password(password: &str) -> Result<()> {
    if password.is_empty() {
        return Ok(());
    }
    let mut child = Command::new("/usr/sbin/chpasswd")
        .args(["-c", "sha512"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    if let Some(input) = &mut child.stdin {
        input.write_all(format!("rancher:{password}\n").as_bytes())?;
    }
    let status = child.wait()?;
    if status.success() { Ok(()) } else { bail!("chpasswd: {status}") }
}

/// Writes the files for the console; one that fails does not keep the others from being written.
fn write_files(files: &[WriteFile]) -> Result<()> {
    let mut failures = Vec::new();
    for file in files.iter().filter(|file| file.container == "console") {
        if let Err(error) = write_file(file) {
            failures.push(format!("{}: {error:#}", file.path));
        }
    }
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("; ")) }
}

fn write_file(file: &WriteFile) -> Result<()> {
    let path = Path::new(&file.path);
    if !path.is_absolute() {
        bail!("the path must be absolute");
    }
    let mode = u32::from_str_radix(&file.permissions, 8).context("permissions must be octal")?;
    write_atomic(path, file.content.as_bytes(), mode)?;
    if file.owner.is_empty() {
        return Ok(());
    }
    let status = Command::new("chown").arg(&file.owner).arg(path).status()?;
    if status.success() { Ok(()) } else { bail!("chown {}: {status}", file.owner) }
}

/// Host keys: those of the configuration, those of the last boot, or new ones.
fn make_host_keys(config: &Config) -> Result<Vec<PathBuf>> {
    let folder = Path::new(CONF).join("ssh");
    fs::create_dir_all(&folder)?;
    let mut found = Vec::new();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let file = folder.join(format!("ssh_host_{kind}_key"));
        if let Some(key) = config.rancher.ssh.keys.get(kind) {
            write_atomic(&file, format!("{}\n", key.trim_end()).as_bytes(), 0o600)?;
        } else if HOST_KEYS.contains(&kind) && fs::metadata(&file).map_or(0, |data| data.size()) == 0 {
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

/// What `respawn` runs: a getty on each terminal, and sshd.
fn programs(config: &Config, host_keys: &[PathBuf], command_line: &str) -> String {
    let words = cmdline::words(command_line);
    let mut terminals: Vec<String> = (1..=6).map(|number| format!("tty{number}")).collect();
    for console in cmdline::values(&words, "console") {
        let name = console.split(',').next().unwrap_or_default().to_owned();
        if name.starts_with("tty") && name != "tty0" && !terminals.contains(&name) {
            terminals.push(name);
        }
    }
    let mut text = String::new();
    for name in terminals.iter().filter(|name| Path::new("/dev").join(name).exists()) {
        let auto = if config.rancher.autologin.contains(name) { "-n -l /usr/bin/autologin " } else { "" };
        let kind = if name.starts_with("ttyS") { "vt100" } else { "linux" };
        text.push_str(&format!("/usr/sbin/getty {auto}-L 115200 {name} {kind}\n"));
    }
    let ssh = &config.rancher.ssh;
    if ssh.daemon && !host_keys.is_empty() {
        let keys: Vec<String> = host_keys.iter().map(|key| format!("-h {}", key.display())).collect();
        let port = if ssh.port == 0 { String::new() } else { format!(" -p {}", ssh.port) };
        text.push_str(&format!("/usr/sbin/sshd -D -e {}{port}\n", keys.join(" ")));
    }
    text
}

/// Runs commands one after the other; the first failure ends the sequence.
fn run_all(commands: &[model::Command]) -> Result<()> {
    for item in commands {
        let mut command = match item {
            model::Command::Shell(text) if text.trim().is_empty() => continue,
            model::Command::Shell(text) => {
                let mut command = Command::new("/bin/sh");
                command.arg("-c").arg(text);
                command
            }
            model::Command::Words(words) => {
                let Some((program, rest)) = words.split_first() else { continue };
                let mut command = Command::new(program);
                command.args(rest);
                command
            }
        };
        let status = command.stdin(Stdio::null()).status().with_context(|| format!("starting {item:?}"))?;
        if !status.success() {
            bail!("{item:?}: {status}; what comes after it is not run");
        }
    }
    Ok(())
}

/// Runs a script if it is there and may be executed: by itself if it begins with `#!`, else by the shell.
fn run_script(script: &Path) -> Result<()> {
    let Ok(data) = fs::metadata(script) else { return Ok(()) };
    if data.permissions().mode() & 0o111 == 0 {
        bail!("it is not executable, so it is not run");
    }
    let direct = fs::read(script)?.starts_with(b"#!");
    let mut command = if direct { Command::new(script) } else { Command::new("/bin/sh") };
    if !direct {
        command.arg(script);
    }
    let status = command.stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { bail!("{status}") }
}
