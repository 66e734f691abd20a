//! Programs that netconf runs. A failure is reported, and netconf continues.

use corral_machine::program;
use std::process::Command;

/// One command of ip(8).
pub(super) fn ip(arguments: &[&str]) {
    let mut command = Command::new("/usr/bin/ip");
    command.args(arguments);
    run(&mut command, &format!("ip {}", arguments.join(" ")));
}

/// One of the owner's commands: words, no shell; `$iface` is the interface.
pub(super) fn run_words(text: &str, interface: &str) {
    let words = corral_config::cmdline::words(text);
    let words: Vec<String> = words.iter().map(|word| word.replace("$iface", interface)).collect();
    let Some((program, rest)) = words.split_first() else { return };
    run(Command::new(program).args(rest), text);
}

fn run(command: &mut Command, shown: &str) {
    if let Err(error) = program::run(command) {
        println!("{shown}: {error:#}");
    }
}
