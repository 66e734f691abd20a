//! Programs that netconf runs. A failure is reported, and netconf continues.

use corral_machine::program;
use corral_plan::compose::split_words;
use std::process::Command;

/// One command of ip(8).
pub(super) fn ip(arguments: &[&str]) {
    let mut command = Command::new("/usr/bin/ip");
    command.args(arguments);
    run(&mut command, &format!("ip {}", arguments.join(" ")));
}

/// Words of a command. Quotes and backslashes are read as a shell reads them. Where a quote is left
/// open, only double quotes hold blanks together, as in kernel parameters.
pub(super) fn words(text: &str) -> Vec<String> {
    split_words(text).unwrap_or_else(|| corral_config::cmdline::words(text))
}

/// One of the owner's commands: words, no shell; `$iface` is the interface.
pub(super) fn run_words(text: &str, interface: &str) {
    let words: Vec<String> =
        words(text).iter().map(|word| word.replace("$iface", interface)).collect();
    let Some((program, rest)) = words.split_first() else { return };
    run(Command::new(program).args(rest), text);
}

fn run(command: &mut Command, shown: &str) {
    if let Err(error) = program::run(command) {
        println!("{shown}: {error:#}");
    }
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn quotes_hold_words_together() {
        for (text, expected) in [
            ("ip link set eth0 up", vec!["ip", "link", "set", "eth0", "up"]),
            ("sh -c 'echo \"a b\" > /tmp/x'", vec!["sh", "-c", "echo \"a b\" > /tmp/x"]),
            ("note \"a  b\" c\\ d ''", vec!["note", "a  b", "c d", ""]),
            ("note it's \"a b\"", vec!["note", "it's", "a b"]),
            ("", vec![]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }
}
