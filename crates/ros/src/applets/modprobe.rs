//! `/sbin/modprobe` of the system image: the kernel calls it when it needs a module. `ros modprobe`
//! is the same for its owner.

use super::failures;
use anyhow::{Result, bail};
use corral_machine::modules::Index;

const USAGE: &str = "modprobe [-q] MODULE [PARAMETER=VALUE…] [MODULE…]; it removes none";

/// What is to be loaded.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    /// A module that does not exist is not reported.
    is_quiet: bool,
    /// Each with its parameters behind it.
    modules: Vec<String>,
}

/// Loads modules by name or alias. The kernel calls `modprobe -q -- NAME`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let request = parse(arguments)?;
    let mut index = Index::running()?;
    let mut failures = Vec::new();
    for module in &request.modules {
        let name = module.split(' ').next().unwrap_or_default();
        if request.is_quiet && !index.knows(name) {
            // As modprobe does: without a message, but not as a success.
            std::process::exit(1);
        }
        failures.extend(index.load_alias(module).err().map(|error| format!("{error:#}")));
    }
    failures::as_error(&failures)
}

fn parse(arguments: &[String]) -> Result<Request> {
    let (mut is_quiet, mut only_names) = (false, false);
    let mut modules: Vec<String> = Vec::new();
    for argument in arguments {
        match argument.as_str() {
            "--" if !only_names => only_names = true,
            flag if flag.starts_with('-') && !only_names => match flag {
                "-q" | "--quiet" | "-aq" | "-qa" => is_quiet = true,
                // Several names need no flag here.
                "-a" | "--all" => {}
                _ => bail!("modprobe: no option {flag}: {USAGE}"),
            },
            word => match modules.last_mut().filter(|_| word.contains('=')) {
                Some(module) => *module = format!("{module} {word}"),
                None => modules.push(word.to_owned()),
            },
        }
    }
    if modules.is_empty() {
        bail!("modprobe: no module is named: {USAGE}");
    }
    Ok(Request { is_quiet, modules })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_those_of_modprobe() {
        let cases = [
            ("-q -- net-pf-10", Ok((true, vec!["net-pf-10"]))),
            (
                "softdog soft_margin=60 nowayout=1",
                Ok((false, vec!["softdog soft_margin=60 nowayout=1"])),
            ),
            ("-a tun fuse", Ok((false, vec!["tun", "fuse"]))),
            ("-aq tun", Ok((true, vec!["tun"]))),
            ("tun fuse", Ok((false, vec!["tun", "fuse"]))),
            ("zram num_devices=3 loop", Ok((false, vec!["zram num_devices=3", "loop"]))),
            ("-r tun", Err("no option -r")),
            ("", Err("no module is named")),
        ];
        for (line, expected) in cases {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            match (parse(&words), expected) {
                (Ok(request), Ok((is_quiet, modules))) => {
                    let modules = modules.into_iter().map(str::to_owned).collect();
                    assert_eq!(request, Request { is_quiet, modules }, "{line}");
                }
                (Err(error), Err(expected)) => {
                    assert!(error.to_string().contains(expected), "{line}: {error}");
                }
                (found, _) => panic!("{line}: {found:?}"),
            }
        }
    }
}
