//! What this binary is under its other names, and inside system containers.

pub(crate) mod autologin;
pub(crate) mod bootcmd;
pub(crate) mod bootstrap;
pub(crate) mod cloud_init;
pub(crate) mod console;
pub(crate) mod execute;
pub(crate) mod image_check;
pub(crate) mod modprobe;
pub(crate) mod netconf;
pub(crate) mod preload;
pub(crate) mod recovery;
pub(crate) mod respawn;
pub(crate) mod service_files;
pub(crate) mod system_docker;
pub(crate) mod user_docker;
pub(crate) mod user_services;
pub(crate) mod wait_for_docker;

use crate::resolve::preload::Engine;
use crate::{registries, upgrade};
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::process::{self, ExitCode};

// Programs of system containers, as compose files call them: `ros NAME`. (A doc comment here would
// be the help of `ros` to clap.)
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(hide = true)]
    EngineDaemon,
    #[command(hide = true)]
    Bootstrap,
    #[command(hide = true)]
    CloudInitSave {
        /// Ask the sources on the network
        #[arg(long)]
        network: bool,
    },
    #[command(hide = true)]
    Bootcmd,
    #[command(hide = true)]
    ConfigApplied,
    #[command(hide = true)]
    ConsoleInit,
    #[command(hide = true)]
    ConsoleMount { number: usize },
    #[command(hide = true)]
    ConsoleRun,
    #[command(hide = true)]
    Recovery,
    #[command(hide = true)]
    OsTrial,
    #[command(hide = true)]
    Netconf,
    #[command(hide = true)]
    NetconfAfter,
    #[command(hide = true)]
    ServiceFiles(service_files::Options),
    #[command(hide = true)]
    PreloadImages { engine: Engine },
    #[command(hide = true)]
    ImageCheck { service: String, mark: String },
    /// What images of the original have before their command
    #[command(hide = true)]
    Entrypoint {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    #[command(hide = true)]
    UserDocker,
    #[command(hide = true)]
    UserServices,
}

/// Does the work of a program.
pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::EngineDaemon => corral_daemon::serve::run(registries::load),
        Command::Bootstrap => bootstrap::run(),
        Command::CloudInitSave { network: false } => cloud_init::run_local(),
        Command::CloudInitSave { network: true } => cloud_init::run_network(),
        Command::ConfigApplied => console::config_applied(),
        Command::Bootcmd => bootcmd::run(),
        Command::ConsoleInit => console::run(),
        Command::ConsoleMount { number } => console::mounts::make_one(number),
        Command::ConsoleRun => console::run_commands(),
        Command::Recovery => recovery::run(),
        Command::OsTrial => upgrade::trial::run(),
        Command::Netconf => netconf::run(),
        Command::NetconfAfter => netconf::run_after(),
        Command::ServiceFiles(options) => service_files::run(&options),
        Command::PreloadImages { engine } => preload::run(engine),
        Command::ImageCheck { service, mark } => image_check::run(&service, &mark),
        Command::Entrypoint { command } => entrypoint(&command),
        Command::UserDocker => user_docker::run(),
        Command::UserServices => user_services::run(),
    }
}

/// The creation helper: its socket is the descriptor that PID 1 names.
pub(crate) fn helper(arguments: &[String]) -> ExitCode {
    let Some(number) = arguments.first().and_then(|text| text.parse::<RawFd>().ok()) else {
        eprintln!("the helper is started by PID 1 only");
        return ExitCode::FAILURE;
    };
    let Some(socket) = corral_engine::sys::inherited(number) else { return ExitCode::FAILURE };
    ExitCode::from(u8::try_from(corral_engine::runtime::helper::run(&socket)).unwrap_or(1))
}

/// `ros entrypoint COMMAND…`: in the original this wrote the service's files first; here they are there already.
fn entrypoint(command: &[String]) -> Result<()> {
    let Some((program, arguments)) = command.split_first() else { bail!("no command was given") };
    Err(process::Command::new(program).args(arguments).exec()).with_context(|| format!("starting {program}"))
}
