//! One static binary for everything of ours above stage 0: which program it is, its name says (argv[0]).
//!
//! This file only dispatches. PID 1 is the crate `init`, the engine daemon the crate `daemon`.

mod api;
mod applets;
mod cli;
mod grow;
mod install;
mod kexec;
mod luks;
mod power;
mod progress;
mod prompt;
mod registries;
mod release;
mod resolve;
mod terminals;
mod upgrade;
mod why;

use cli::report::report;
use corral_init::boot;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    let path = arguments.next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default().trim_start_matches('-');
    let arguments: Vec<String> = arguments.collect();
    match name {
        "init" | "system-docker" if std::process::id() == 1 => boot::run(&arguments),
        "engine-alone" if std::process::id() == 1 => boot::run_engine_alone(),
        corral_engine::core::HELPER_NAME => applets::helper(&arguments),
        boot::resolver::NAME => resolve::main(&arguments),
        "system-docker" => applets::system_docker::run(&arguments),
        "respawn" => report(applets::respawn::run(&arguments)),
        "autologin" => report(applets::autologin::run(&arguments)),
        "recovery-login" => report(applets::recovery::log_in()),
        "recovery-shell" => report(applets::recovery::shell()),
        "netconf" => report(applets::run(applets::Command::Netconf)),
        "cloud-init-execute" => report(execute(&arguments)),
        "wait-for-docker" => report(applets::wait_for_docker::run()),
        "modprobe" => report(applets::modprobe::run(&arguments)),
        "reboot" | "poweroff" | "halt" | "shutdown" => report(cli::power::run(name, &arguments)),
        _ => cli::run(&arguments),
    }
}

/// `cloud-init-execute [-pre-console] [-console]`.
fn execute(arguments: &[String]) -> anyhow::Result<()> {
    if arguments.iter().any(|argument| argument.trim_start_matches('-') == "pre-console") {
        applets::execute::run()
    } else {
        applets::console::execute()
    }
}
