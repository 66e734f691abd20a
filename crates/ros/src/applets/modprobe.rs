//! `/sbin/modprobe` of the system image: the kernel calls it when it needs a module. `ros modprobe`
//! is the same for its owner.

use anyhow::{Context, Result, bail};
use corral_machine::modules::Index;

const USAGE: &str =
    "modprobe [-q] MODULE [PARAMETER=VALUE…], or modprobe [-q] -a MODULE…; it removes none";

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
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("; ")) }
}

fn parse(arguments: &[String]) -> Result<Request> {
    let (mut is_quiet, mut takes_all, mut only_names) = (false, false, false);
    let mut words = Vec::new();
    for argument in arguments {
        match argument.as_str() {
            "--" if !only_names => only_names = true,
            flag if flag.starts_with('-') && !only_names => match flag {
                "-q" | "--quiet" => is_quiet = true,
                "-a" | "--all" => takes_all = true,
                "-aq" | "-qa" => (is_quiet, takes_all) = (true, true),
                _ => bail!("modprobe: no option {flag}: {USAGE}"),
            },
            word => words.push(word.to_owned()),
        }
    }
    let first = words.first().with_context(|| format!("modprobe: no module is named: {USAGE}"))?;
    if takes_all {
        return Ok(Request { is_quiet, modules: words });
    }
    if let Some(word) = words.iter().skip(1).find(|word| !word.contains('=')) {
        bail!("modprobe: {word} is no parameter of {first}; `modprobe -a` loads several modules");
    }
    Ok(Request { is_quiet, modules: vec![words.join(" ")] })
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
            ("tun fuse", Err("fuse is no parameter of tun")),
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
