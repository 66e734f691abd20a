//! What this binary is besides `ros`: a table of programs. A program is selected by name: that of
//! the executed file (a link to this binary), or the first word after `ros`, as in compose files.

pub(crate) mod account_table;
pub(crate) mod amazon_metadata;
pub(crate) mod autologin;
pub(crate) mod banner;
pub(crate) mod bootcmd;
pub(crate) mod bootstrap;
pub(crate) mod cloud_init;
pub(crate) mod console;
pub(crate) mod console_guard;
pub(crate) mod crontab;
mod docker_when_ready;
pub(crate) mod engine_trial;
pub(crate) mod execute;
pub(crate) mod failures;
pub(crate) mod image_check;
pub(crate) mod import_keys;
mod kernel_extras;
mod kernel_headers;
pub(crate) mod modprobe;
pub(crate) mod netconf;
pub(crate) mod ntp;
mod owners_commands;
pub(crate) mod preload;
pub(crate) mod recovery;
pub(crate) mod respawn;
pub(crate) mod service_files;
pub(crate) mod start_containers;
pub(crate) mod system_docker;
pub(crate) mod user_docker;
pub(crate) mod user_services;
pub(crate) mod wait_for_docker;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use corral_docker::Engine;
use corral_engine::sys::signals;
use corral_install::{registries, upgrade};
use corral_resolve::stopped::STARTER;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::process::{self, ExitCode};

/// Runs a program; it gets the arguments after its name.
pub(crate) type Program = fn(&[String]) -> Result<()>;

/// It has many clients: a client that hangs up must not end it for the rest.
pub(crate) const ENGINE_DAEMON: &str = "engine-daemon";

/// Every program and its name.
const PROGRAMS: [(&str, Program); 39] = [
    ("amazon-metadata", |_| amazon_metadata::run()),
    ("autologin", autologin::run),
    ("banner", banner::run),
    ("bootcmd", |_| bootcmd::run()),
    ("bootstrap", |_| bootstrap::run()),
    ("cloud-init-execute", execute_cloud_init),
    ("cloud-init-save", save_cloud_init),
    ("config-applied", |_| console::config_applied()),
    ("console-guard", guard_console),
    ("console-init", |_| console::run()),
    ("console-mount", mount_in_console),
    ("console-run", |_| console::run_commands()),
    ("crontab", |_| crontab::run()),
    ("docker", docker_when_ready::run),
    (user_docker::STARTER, user_docker::start_with_old_words),
    (ENGINE_DAEMON, |_| corral_daemon::serve::run(registries::load)),
    ("engine-trial", try_engine),
    ("entrypoint", entrypoint),
    ("image-check", check_image),
    ("import-keys", |_| import_keys::run()),
    ("kernel-extras", |_| kernel_extras::run()),
    ("kernel-headers", |_| kernel_headers::run()),
    ("modprobe", modprobe::run),
    ("netconf", |_| netconf::run()),
    ("netconf-after", |_| netconf::run_after()),
    ("ntp", |_| ntp::run()),
    ("ntp-sources", |_| ntp::follow()),
    ("os-trial", |_| upgrade::trial::run()),
    ("preload-images", preload_images),
    ("recovery", |_| recovery::run()),
    ("recovery-login", |_| recovery::log_in()),
    ("recovery-shell", |_| recovery::shell()),
    ("respawn", respawn::run),
    ("service-files", fetch_service_files),
    (STARTER, |_| start_containers::run()),
    ("stop-user-containers", |_| user_docker::stop::run()),
    ("user-docker", |_| user_docker::run()),
    ("user-services", |_| user_services::run()),
    ("wait-for-docker", |_| wait_for_docker::run()),
];

/// The program of that name.
pub(crate) fn find(name: &str) -> Option<Program> {
    PROGRAMS.iter().find(|(of_program, _)| *of_program == name).map(|(_, program)| *program)
}

/// Runs a program. As the first process of a container it can be stopped.
pub(crate) fn run(program: Program, arguments: &[String]) -> Result<()> {
    if let Err(error) = signals::end_as_first_process() {
        eprintln!("ros: a stop takes effect only by a kill: waiting for SIGTERM: {error}");
    }
    program(arguments)
}

/// `cloud-init-execute [-pre-console] [-console]`.
fn execute_cloud_init(arguments: &[String]) -> Result<()> {
    if arguments.iter().any(|argument| argument.trim_start_matches('-') == "pre-console") {
        execute::run()
    } else {
        console::execute()
    }
}

/// `ros cloud-init-save [--network]`.
fn save_cloud_init(arguments: &[String]) -> Result<()> {
    match arguments {
        [] => cloud_init::run_local(),
        [flag] if flag == "--network" => cloud_init::run_network(),
        _ => bail!("cloud-init-save [--network]: not {arguments:?}"),
    }
}

/// `ros console-guard NAME`.
fn guard_console(arguments: &[String]) -> Result<()> {
    let [name] = arguments else { bail!("console-guard NAME: {arguments:?} is not a name") };
    console_guard::run(name)
}

/// `ros console-mount NUMBER`.
fn mount_in_console(arguments: &[String]) -> Result<()> {
    let [number] = arguments else { bail!("console-mount NUMBER: {arguments:?} is not a number") };
    console::mounts::make_one(number.parse().with_context(|| format!("console-mount {number}"))?)
}

/// `ros image-check SERVICE MARK`.
fn check_image(arguments: &[String]) -> Result<()> {
    let [service, mark] = arguments else { bail!("image-check SERVICE MARK: not {arguments:?}") };
    image_check::run(service, mark)
}

/// `ros engine-trial MARK NAME`.
fn try_engine(arguments: &[String]) -> Result<()> {
    let [mark, name] = arguments else { bail!("engine-trial MARK NAME: not {arguments:?}") };
    engine_trial::run(mark, name)
}

/// `ros preload-images system-docker|docker`.
fn preload_images(arguments: &[String]) -> Result<()> {
    let engine = arguments.first().and_then(|name| Engine::from_str(name, false).ok());
    preload::run(engine.with_context(|| format!("preload-images: {arguments:?} is not an engine"))?)
}

/// `ros service-files [--index] [FILE…]`.
fn fetch_service_files(arguments: &[String]) -> Result<()> {
    let words = std::iter::once("service-files").chain(arguments.iter().map(String::as_str));
    service_files::run(&service_files::Options::try_parse_from(words)?)
}

/// The creation helper: its socket is the descriptor that PID 1 passes.
pub(crate) fn helper(arguments: &[String]) -> ExitCode {
    let Some(number) = arguments.first().and_then(|text| text.parse::<RawFd>().ok()) else {
        eprintln!("the helper is started by PID 1 only");
        return ExitCode::FAILURE;
    };
    let Some(socket) = corral_engine::sys::inherited(number) else { return ExitCode::FAILURE };
    ExitCode::from(u8::try_from(corral_engine::runtime::helper::run(&socket)).unwrap_or(1))
}

/// `ros entrypoint COMMAND…`: in RancherOS this wrote the service's files first. Here they are
/// there already.
fn entrypoint(command: &[String]) -> Result<()> {
    let Some((program, arguments)) = command.split_first() else { bail!("no command was given") };
    Err(process::Command::new(program).args(arguments).exec())
        .with_context(|| format!("starting {program}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_is_found_by_its_name_and_no_name_is_there_twice() {
        assert!(PROGRAMS.iter().all(|(name, _)| find(name).is_some()));
        let names: Vec<&str> = PROGRAMS.iter().map(|(name, _)| *name).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        assert!(find("config").is_none(), "a command is no program");
    }
}
