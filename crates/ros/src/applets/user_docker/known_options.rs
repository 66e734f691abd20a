//! The options that an engine knows. Another version has some more and lacks some, and dockerd does
//! not start with an option that it does not know. It is asked: `dockerd OPTIONS --help` parses all
//! of them first, and names the first one that is unknown.

use corral_machine::program;
use std::process::Command;
use std::time::{Duration, Instant};

/// More unknown options than anyone has.
const MOST: usize = 32;
const TIMEOUT: Duration = Duration::from_secs(20);
const LONG: &str = "unknown flag: --";
/// `unknown shorthand flag: 'g' in -g`
const SHORT: &str = "unknown shorthand flag: '";

/// The arguments that the program knows, and the others' names.
pub(super) fn only(program: &str, arguments: Vec<String>) -> (Vec<String>, Vec<String>) {
    filter(arguments, |arguments| {
        let mut command = Command::new(program);
        command.args(arguments).arg("--help");
        let ended = program::output(&mut command, &[], Instant::now() + TIMEOUT).ok()?;
        if ended.status.success() { None } else { unknown_in(&ended.stderr) }
    })
}

/// `first_unknown` names the first option that is not known.
fn filter(
    mut arguments: Vec<String>,
    first_unknown: impl Fn(&[String]) -> Option<String>,
) -> (Vec<String>, Vec<String>) {
    let mut unknown = Vec::new();
    while unknown.len() < MOST {
        let Some(name) = first_unknown(&arguments) else { break };
        let kept = without(&name, &arguments);
        if kept.len() == arguments.len() {
            break;
        }
        arguments = kept;
        unknown.push(name);
    }
    (arguments, unknown)
}

fn unknown_in(said: &str) -> Option<String> {
    let after = |start: &str| said.split_once(start).map(|(_, rest)| rest);
    let end = |text: &str| text.split([' ', '\n', '\'', ',']).next().unwrap_or_default().to_owned();
    let name = after(LONG).map(|rest| format!("--{}", end(rest)));
    name.or_else(|| after(SHORT).map(|rest| format!("-{}", end(rest))))
}

/// All but the option of that name, with its value.
fn without(name: &str, arguments: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = arguments.iter().peekable();
    while let Some(word) = words.next() {
        let is_it = match name.strip_prefix("--") {
            Some(_) => word.split('=').next() == Some(name),
            None => word.starts_with(name) && !word.starts_with("--"),
        };
        if !is_it {
            kept.push(word.clone());
        } else if word == name {
            // dockerd takes no other word than an option or its value.
            let _ = words.next_if(|next| !next.starts_with('-'));
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As dockerd reports the first option that is not among `known`.
    fn first_unknown(known: &[&str], arguments: &[String]) -> Option<String> {
        let name = |word: &str| word.split('=').next().unwrap_or_default().to_owned();
        let found = arguments
            .iter()
            .filter(|word| word.starts_with('-'))
            .find(|word| !known.contains(&name(word).as_str()))?;
        unknown_in(&match found.strip_prefix("--") {
            Some(long) => format!("Status: unknown flag: --{}\nSee 'dockerd --help'.", name(long)),
            None => format!("unknown shorthand flag: '{}' in {found}", &found[1..2]),
        })
    }

    #[test]
    fn an_option_that_is_not_known_is_left_out_with_its_value() {
        for (words, expected, unknown) in [
            ("--debug --log-format=json --bip=a", "--debug --bip=a", "--log-format"),
            ("--oom-score-adjust -500 --debug", "-500 --debug", "--oom-score-adjust"),
            ("--api-cors-header x --debug", "--debug", "--api-cors-header"),
            ("-g /mnt --debug", "--debug", "-g"),
            ("--debug --bip=a", "--debug --bip=a", ""),
            ("--x --y=1 --x=2 --debug", "--debug", "--x --y"),
        ] {
            let arguments: Vec<String> = words.split(' ').map(str::to_owned).collect();
            let known = ["--debug", "--bip", "-500"];
            let (kept, left_out) = filter(arguments, |words| first_unknown(&known, words));
            assert_eq!((kept.join(" "), left_out.join(" ")), (expected.into(), unknown.into()));
        }
    }

    #[test]
    fn an_engine_that_always_complains_ends_no_loop() {
        let arguments = vec!["--debug".to_owned()];
        let (kept, unknown) = filter(arguments.clone(), |_| Some("--other".to_owned()));
        assert_eq!((kept, unknown), (arguments, Vec::new()));
        assert_eq!(unknown_in("invalid argument"), None);
    }
}
