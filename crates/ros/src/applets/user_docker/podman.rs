//! Podman as the user's Docker: `podman system service` on Docker's socket, in the file system of
//! the console. Its configuration is in the folder of the engine; of `rancher.docker` only
//! `environment` and the proxies mean something to it.

use crate::applets::account_table;
use anyhow::{Context, Result};
use corral_config::model::Docker;
use corral_machine::files::write_atomic;
use corral_machine::program;
use rustix::fs::{Gid, Mode, chmod, chown};
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

pub(crate) const PROGRAM: &str = "podman";
const SOCKET: &str = "/var/run/docker.sock";
const POLICY: &str = "/etc/containers/policy.json";
const GROUPS: &str = "/etc/group";
/// The group whose members may use Docker.
const GROUP: &str = "docker";
const SHELL: &str = "/bin/sh";
/// Podman takes a socket as systemd passes one: descriptor 3, and variables. The shell gets it as
/// its standard input. `exec` keeps the process id.
const PASS_SOCKET: &str = "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\" 3<&0 </dev/null";
/// How long containers may take that are started again.
const START: Duration = Duration::from_secs(300);

/// Is it the engine in that folder?
pub(super) fn is_in(folder: &str) -> bool {
    Path::new(folder).join(PROGRAM).exists()
}

/// Becomes Podman.
pub(super) fn run(
    folder: &str,
    docker: &Docker,
    mut environment: BTreeMap<String, String>,
) -> Result<()> {
    let file = |name: &str| format!("{folder}/etc/{name}");
    if !docker.extra_args.is_empty() || docker.tls || docker.host.len() > 1 {
        println!("podman has only {SOCKET}, and no options of rancher.docker");
    }
    environment.insert("HOME".to_owned(), "/root".to_owned());
    for (variable, name) in [
        ("CONTAINERS_CONF", "containers.conf"),
        ("CONTAINERS_STORAGE_CONF", "storage.conf"),
        ("CONTAINERS_REGISTRIES_CONF", "registries.conf"),
    ] {
        environment.insert(variable.to_owned(), file(name));
    }
    if !Path::new(POLICY).exists() {
        let policy = fs::read(file("policy.json")).context("reading podman's policy")?;
        write_atomic(Path::new(POLICY), &policy, 0o644)?;
    }
    let program = format!("{folder}/{PROGRAM}");
    if let Err(error) = start_containers(&program, &environment) {
        println!("containers are not started again: {error:#}");
    }
    let socket = listen().with_context(|| format!("listening on {SOCKET}"))?;
    let error = Command::new(SHELL)
        .args(["-c", PASS_SOCKET, SHELL, &program, "system", "service", "--time=0"])
        .env_clear()
        .envs(environment)
        .stdin(OwnedFd::from(socket))
        .exec();
    Err(error).context("starting podman")
}

/// Podman does not do this itself.
fn start_containers(program: &str, environment: &BTreeMap<String, String>) -> Result<()> {
    let mut command = Command::new(program);
    command.args(["start", "--all", "--filter", "restart-policy=always"]);
    command.env_clear().envs(environment);
    program::output(&mut command, &[], Instant::now() + START)?.success().map(drop)
}

/// A socket for the members of the group, as Docker has it.
fn listen() -> Result<UnixListener> {
    let _ = fs::remove_file(SOCKET);
    let listener = UnixListener::bind(SOCKET)?;
    let groups = fs::read_to_string(GROUPS).with_context(|| format!("reading {GROUPS}"))?;
    chown(SOCKET, None, Some(Gid::from_raw(account_table::group_id(&groups, GROUP)?)))?;
    chmod(SOCKET, Mode::from_raw_mode(0o660))?;
    Ok(listener)
}
