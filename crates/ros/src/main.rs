//! One static binary for all programs of Corral but stage 0. The name by which it is called
//! (argv[0]) selects the program.
//!
//! This file only dispatches. PID 1 is the crate `init`, the engine daemon the crate `daemon`.

mod applets;
mod boots;
mod bundle;
mod cli;
mod grow;
mod licenses;
mod logs;
mod net;
mod status;
mod why;

use corral_init::boot;
use corral_terminal::report::report;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    let path = arguments.next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default().trim_start_matches('-');
    let arguments: Vec<String> = arguments.collect();
    match name {
        _ if boot::is_pid_1(name, &arguments) => boot::run(&arguments),
        "engine-alone" if std::process::id() == 1 => boot::run_engine_alone(),
        corral_engine::pid1::HELPER_NAME => applets::helper(&arguments),
        boot::resolver::NAME => corral_resolve::process::main(&arguments),
        "system-docker" => applets::system_docker::run(&arguments),
        "reboot" | "poweroff" | "halt" | "shutdown" => report(cli::power::run(name, &arguments)),
        _ => match applets::find(name) {
            Some(program) => report(applets::run(program, &arguments)),
            None => cli::run(&arguments),
        },
    }
}
