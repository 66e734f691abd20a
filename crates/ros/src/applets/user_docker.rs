//! `ros user-docker`, in the docker container: waits until the console is ready, enters its file
//! system, and becomes dockerd there. `docker run -v` then accepts every path that the user sees.

mod daemon_json;
mod known_options;
pub(crate) mod podman;
pub(crate) mod stop;
mod unfinished;

use anyhow::{Context, Result, bail};
use corral_config::model::{Docker, old_docker};
use corral_engine::client::call;
use corral_engine::protocol::{Reply, Request};
use corral_machine::console::log;
use corral_machine::files::write_atomic;
use corral_machine::{inotify, modules, program};
use corral_resolve::effective::load_config;
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Written by the console when the owner's commands have run.
pub(crate) const CONSOLE_DONE: &str = "/run/console-done";
/// The engine that runs, for scripts of RancherOS's time.
const DOCKER_DONE: &str = "/run/docker-done";
const ENGINE: &str = "/var/lib/rancher/engine";
/// Where a replacement engine has dockerd: images of RancherOS, and Docker's own
/// (`docker:28-dind`).
const ENGINE_FOLDERS: [&str; 2] = ["/engine", "/usr/local/bin"];
/// The program of an engine: Podman with Docker's API, or Docker's.
const PROGRAMS: [&str; 2] = [podman::PROGRAM, "dockerd"];
const OTHER_ENGINE: &str = "/run/corral/engine";
/// A shell file of the owner's that is sourced before dockerd starts. Its DOCKER_OPTS are more
/// arguments.
const OPTIONS: &str = "/var/lib/rancher/conf/docker";
const SHELL: &str = "/bin/sh";
/// `$0` is that file. Its words are written for dockerd of its time, as Docker Machine's are.
const SOURCE_AND_START: &str = ". \"$0\"; exec \"$@\" $DOCKER_OPTS";
/// The applet that starts dockerd with them.
pub(crate) const STARTER: &str = "dockerd-with-options";
const ROS: &str = "/usr/bin/ros";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Kernel modules that Docker's networks need.
const MODULES: [&str; 12] = [
    "overlay",
    "bridge",
    "br_netfilter",
    "veth",
    "nf_tables",
    "nft_compat",
    "nft_chain_nat",
    "nf_nat",
    "xt_conntrack",
    "xt_MASQUERADE",
    "xt_addrtype",
    "xt_nat",
];

/// Becomes dockerd.
pub(crate) fn run() -> Result<()> {
    let rancher = load_config()?.rancher;
    let docker = &rancher.docker;
    if let Err(error) = modules::load(&MODULES) {
        println!("{error:#}");
    }
    let done = Path::new(CONSOLE_DONE);
    inotify::wait_for(done.parent().unwrap_or(done), None, || done.exists())?;
    let Reply::Container(console) =
        call(Request::Inspect { container: docker.storage_context.clone() })?
    else {
        bail!("unexpected answer from PID 1");
    };
    let other = open_other_engine()?;
    let not_running = || format!("{} does not run", docker.storage_context);
    let pid = console.status.pid.with_context(not_running)?;
    let namespace = File::open(format!("/proc/{pid}/ns/mnt")).with_context(not_running)?;
    rustix::thread::move_into_link_name_space(
        std::os::fd::AsFd::as_fd(&namespace),
        Some(rustix::thread::LinkNameSpaceType::Mount),
    )
    .with_context(|| format!("entering the file system of {}", docker.storage_context))?;
    rustix::process::chdir("/")?;
    fs::create_dir_all("/etc/docker")?;
    if let Err(error) = write_config(docker) {
        println!("{error:#}");
    }
    let is_other = other.is_some();
    other.iter().try_for_each(show_here)?;
    if let Err(error) =
        write_atomic(Path::new(DOCKER_DONE), name(docker, is_other).as_bytes(), 0o644)
    {
        println!("{error:#}");
    }
    let path = path(program::is_elsewhere());
    let path = if is_other { format!("{OTHER_ENGINE}:{path}") } else { path };
    let environment = [("PATH".to_owned(), path)]
        .into_iter()
        .chain(
            program::variables().iter().map(|(name, value)| (name.to_string(), value.to_string())),
        )
        .chain(rancher.network.proxy_environment())
        .chain(docker.environment.iter().filter_map(|item| {
            item.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
        }))
        .collect();
    if is_other && podman::is_in(OTHER_ENGINE) {
        return podman::run(OTHER_ENGINE, docker, environment);
    }
    run_dockerd(docker, is_other, environment)
}

/// The name of the engine, as the configuration has it. One that was not accepted does not run.
fn name(docker: &Docker, is_other: bool) -> String {
    if is_other { format!("{}\n", docker.engine) } else { "default\n".to_owned() }
}

/// Becomes dockerd, with the options that it knows.
fn run_dockerd(
    docker: &Docker,
    is_other: bool,
    environment: BTreeMap<String, String>,
) -> Result<()> {
    unfinished::remove(&daemon_json::data_root(docker));
    let program = match is_other {
        true => format!("{OTHER_ENGINE}/dockerd"),
        false => format!("{ENGINE}/usr/sbin/dockerd"),
    };
    let (mut arguments, of_file) =
        daemon_json::without_its_own(&docker.config_file, docker.arguments());
    if !of_file.is_empty() {
        println!("daemon.json wins over rancher.docker: {}", of_file.join(", "));
    }
    // The options of ours for the built-in one are known.
    if is_other || !docker.extra_args.is_empty() {
        let unknown;
        (arguments, unknown) = known_options::only(&program, arguments);
        if !unknown.is_empty() {
            log(&format!("docker: this engine has no {}; left out", unknown.join(", ")));
        }
    }
    let error = starting(&program, is_other).args(arguments).env_clear().envs(environment).exec();
    Err(error).context("starting dockerd")
}

/// The engine's programs first: containerd records the path of its shims, and looks for them there
/// in the next console. Then, in a console of another image, ours: dockerd works with our iptables.
fn path(is_elsewhere: bool) -> String {
    let of_console = if is_elsewhere { "/usr/lib/corral/bin:" } else { "" };
    format!("{ENGINE}/usr/bin:{ENGINE}/usr/sbin:{of_console}{PATH}")
}

/// The command that starts a program, without its arguments. A shell exits at a file that it cannot
/// parse. Such a file is reported and left out, so that Docker starts without it.
///
/// Words that today's Docker does not know are translated for the built-in one only.
fn starting(program: &str, is_other: bool) -> Command {
    if !Path::new(OPTIONS).exists() {
        return Command::new(program);
    }
    if let Err(error) = readable_by_the_shell() {
        println!("{OPTIONS} is not sourced; fix it and restart docker: {error:#}");
        return Command::new(program);
    }
    let mut shell = Command::new(SHELL);
    shell.args(["-c", SOURCE_AND_START, OPTIONS]);
    shell.args(if is_other { &[][..] } else { &[ROS, STARTER] }).arg(program);
    shell
}

/// `ros dockerd-with-options PROGRAM WORD…`: becomes dockerd, with the words as today's takes them.
pub(crate) fn start_with_old_words(words: &[String]) -> Result<()> {
    let Some((program, words)) = words.split_first() else {
        bail!("{STARTER}: no program is given")
    };
    Err(Command::new(program).args(old_docker::arguments(words)).exec())
        .with_context(|| format!("starting {program}"))
}

/// Checks the syntax by `sh -n`. An error has the shell's message with the line.
fn readable_by_the_shell() -> Result<()> {
    program::run(Command::new(SHELL).args(["-n", OPTIONS])).map(drop)
}

/// The programs of a replacement engine are in one folder of its image. The mount is carried into
/// the console.
fn open_other_engine() -> Result<Option<OwnedFd>> {
    let program = other_program();
    let Some(folder) = program.as_deref().and_then(Path::parent) else { return Ok(None) };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, folder, flags).with_context(|| format!("opening {}", folder.display())).map(Some)
}

/// The program of the replacement engine that this image is.
pub(crate) fn other_program() -> Option<PathBuf> {
    let in_folder = |folder| PROGRAMS.map(|name| Path::new(folder).join(name));
    ENGINE_FOLDERS.into_iter().flat_map(in_folder).find(|program| program.exists())
}

/// In a container of its image: they find their loader and their libraries at the place where they
/// will run.
pub(crate) fn link_other(program: &Path) -> Result<()> {
    let (Some(from), Some(parent)) = (program.parent(), Path::new(OTHER_ENGINE).parent()) else {
        return Ok(());
    };
    if !Path::new(OTHER_ENGINE).exists() {
        fs::create_dir_all(parent)
            .and_then(|()| symlink(from, OTHER_ENGINE))
            .with_context(|| format!("making {OTHER_ENGINE}"))?;
    }
    Ok(())
}

/// Mounts them in the file system of the console, where dockerd runs.
fn show_here(tree: &OwnedFd) -> Result<()> {
    fs::create_dir_all(OTHER_ENGINE)?;
    // Mounts left by an earlier start.
    while unmount(OTHER_ENGINE, UnmountFlags::DETACH).is_ok() {}
    move_mount(tree, "", CWD, OTHER_ENGINE, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .with_context(|| format!("mounting the engine at {OTHER_ENGINE}"))
}

/// daemon.json where one is named, and what TLS needs; private to root.
fn write_config(docker: &Docker) -> Result<()> {
    if !docker.config_file.is_empty() && !Path::new(&docker.config_file).exists() {
        write_atomic(Path::new(&docker.config_file), b"{}\n", 0o600)?;
    }
    if !docker.tls {
        return Ok(());
    }
    let files = [
        ("ca.pem", &docker.ca_cert),
        ("server-cert.pem", &docker.server_cert),
        ("server-key.pem", &docker.server_key),
    ];
    for (name, text) in files.iter().filter(|(_, text)| !text.is_empty()) {
        write_atomic(&Path::new("/etc/docker/tls").join(name), text.as_bytes(), 0o400)?;
    }
    Ok(())
}
