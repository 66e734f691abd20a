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

use anyhow::{Context, Result, bail};
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

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
pub(crate) fn entrypoint(command: &[String]) -> Result<()> {
    let Some((program, arguments)) = command.split_first() else { bail!("no command was given") };
    Err(Command::new(program).args(arguments).exec()).with_context(|| format!("starting {program}"))
}
