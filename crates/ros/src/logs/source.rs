//! The logs of this machine, by their names.

use super::entry::Entry;
use super::file::{self, FOLDER};
use super::kernel;
use super::range::Range;
use anyhow::{Result, bail};
use corral_docker::{Client, Engine, LogRequest, Summary};
use std::cell::LazyCell;
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Messages of /dev/log and of the kernel.
const SYSLOG: &str = "syslog";
/// How long the user's Docker may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Container(Engine, String),
    Kernel,
    File(String),
    /// The file of syslog without the kernel's messages, which are shown by themselves.
    SyslogOnly,
}

/// Which containers are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Containers {
    All,
    /// Those of the system engine.
    System,
    /// Those of the system image's services. The owner's services, replacements and
    /// `system-docker run` are not.
    BuiltIn,
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Source::Container(_, name) | Source::File(name) => name,
            Source::Kernel => kernel::NAME,
            Source::SyslogOnly => SYSLOG,
        })
    }
}

impl Source {
    /// The last lines of a range.
    pub(super) fn read(&self, range: Range, most: usize) -> Result<Vec<Entry>> {
        let mut entries = match self {
            Source::Container(engine, name) => return read_container(*engine, name, range, most),
            Source::Kernel => kernel::read()?,
            Source::File(name) => file::read(name)?,
            Source::SyslogOnly => {
                let mut entries = file::read(SYSLOG)?;
                entries.retain(|entry| !is_of_kernel(&entry.text));
                entries
            }
        };
        entries.retain(|entry| range.contains(entry.time));
        Ok(entries.split_off(entries.len().saturating_sub(most)))
    }

    /// New lines, until `print` returns false or the log ends.
    pub(super) fn follow(&self, since: Duration, print: &dyn Fn(&Entry) -> bool) -> Result<()> {
        match self {
            Source::Container(engine, name) => {
                let since = Some(since);
                let request =
                    LogRequest { follow: true, timestamps: true, since, ..LogRequest::default() };
                let mut before = Duration::ZERO;
                Ok(Client::of(*engine)?.logs(name, &request, |line| {
                    let entry = Entry::parse(name, line, before);
                    before = entry.time;
                    print(&entry)
                })?)
            }
            Source::Kernel => kernel::follow(since, print),
            Source::File(name) => file::follow(name, since, print),
            Source::SyslogOnly => {
                file::follow(SYSLOG, since, &|entry| is_of_kernel(&entry.text) || print(entry))
            }
        }
    }
}

/// The engine leaves out older lines where only their number is limited. A container may have
/// logged more than fits in memory.
fn read_container(engine: Engine, name: &str, range: Range, most: usize) -> Result<Vec<Entry>> {
    let Range { since, until } = range;
    let tail = tail(range, most);
    let request = LogRequest { timestamps: true, tail, since, until, ..LogRequest::default() };
    let (mut last, mut before) = (VecDeque::new(), Duration::ZERO);
    Client::of(engine)?.logs(name, &request, |line| {
        let entry = Entry::parse(name, line, before);
        before = entry.time;
        if range.contains(entry.time) {
            push(&mut last, entry, most);
        }
        true
    })?;
    Ok(last.into())
}

/// With a range the number applies to the lines that are in it.
fn tail(range: Range, most: usize) -> Option<u32> {
    let is_all = range.since.is_none() && range.until.is_none();
    is_all.then(|| u32::try_from(most).ok()).flatten()
}

/// Adds one, and drops the oldest where there would be more than `most`.
fn push<T>(last: &mut VecDeque<T>, item: T, most: usize) {
    last.push_back(item);
    if last.len() > most {
        last.pop_front();
    }
}

/// A line of syslog after its time: host, program, text.
fn is_of_kernel(text: &str) -> bool {
    text.split(' ').nth(1) == Some("kernel:")
}

/// The logs of these names. Without names: all, but of files only that of syslog. Of an earlier
/// boot the kernel's messages are in that file only.
pub(super) fn find(
    names: &[String],
    wanted: Containers,
    is_earlier_boot: bool,
) -> Result<Vec<Source>> {
    if !names.is_empty() {
        let of_system = LazyCell::new(|| list(Engine::System));
        let of_user = LazyCell::new(|| match wanted {
            Containers::All => list(Engine::User),
            Containers::System | Containers::BuiltIn => Vec::new(),
        });
        let listed = |engine: Engine| match engine {
            Engine::System => of_system.clone(),
            Engine::User => of_user.clone(),
        };
        let found: Vec<Vec<Source>> =
            names.iter().map(|name| named(name, &listed)).collect::<Result<_>>()?;
        return Ok(found.concat());
    }
    let mut sources = match wanted {
        Containers::BuiltIn => of_services(containers(wanted), &built_in()),
        Containers::All | Containers::System => containers(wanted),
    };
    if is_earlier_boot {
        sources.push(Source::File(SYSLOG.to_owned()));
    } else {
        sources.push(Source::Kernel);
        sources.push(Source::SyslogOnly);
    }
    sources.retain(|source| *source != Source::SyslogOnly || is_file(SYSLOG));
    Ok(sources)
}

fn of_services(mut sources: Vec<Source>, names: &BTreeSet<String>) -> Vec<Source> {
    sources.retain(|source| matches!(source, Source::Container(_, name) if names.contains(name)));
    sources
}

/// The names of the system image's services, without those that a replacement has taken over.
fn built_in() -> BTreeSet<String> {
    let services = corral_resolve::stored().plan.services;
    let built_in = services.iter().filter(|service| service.built_in);
    built_in.map(|service| service.name.to_string()).collect()
}

/// A container and a file may have the same name, as those of syslog: then both are meant. The
/// user's Docker, which may not be up yet, is asked last.
fn named(name: &str, listed: &dyn Fn(Engine) -> Vec<Listed>) -> Result<Vec<Source>> {
    if name == kernel::NAME {
        return Ok(vec![Source::Kernel]);
    }
    let file = name.strip_prefix("/var/log/").unwrap_or(name);
    let in_engine = |engine| listed(engine).into_iter().find(|container| container.name == name);
    let in_system = in_engine(Engine::System);
    let is_settled = in_system.as_ref().is_some_and(|it| it.was_started) || is_file(file);
    let container = if is_settled { in_system } else { in_engine(Engine::User).or(in_system) };
    let mut found: Vec<Source> = container.iter().filter_map(Listed::source).collect();
    if is_file(file) {
        found.push(Source::File(file.to_owned()));
    }
    match (found.is_empty(), container) {
        (false, _) => Ok(found),
        (true, Some(_)) => bail!("{name} has not been started yet: it has no log"),
        (true, None) => bail!("there is no log {name}; `ros logs --list` shows their names"),
    }
}

fn is_file(name: &str) -> bool {
    !name.split('/').any(|part| part == "..") && Path::new(FOLDER).join(name).is_file()
}

/// A container that an engine has.
#[derive(Debug, Clone)]
struct Listed {
    engine: Engine,
    name: String,
    was_started: bool,
}

impl Listed {
    /// One that was never started has no log.
    fn source(&self) -> Option<Source> {
        self.was_started.then(|| Source::Container(self.engine, self.name.clone()))
    }
}

/// The containers of an engine, if it answers.
fn list(engine: Engine) -> Vec<Listed> {
    let containers = Client::of(engine).and_then(|client| {
        client.ping(TIMEOUT)?;
        client.containers()
    });
    let containers = containers.unwrap_or_else(|error| {
        eprintln!("{error}");
        Vec::new()
    });
    let listed = |container: &Summary| {
        let was_started = container.state != "created";
        Some(Listed { engine, name: container.name()?.to_owned(), was_started })
    };
    containers.iter().filter_map(listed).collect()
}

/// Of the system, then of the user's Docker if it is meant. A name that both have is the system's.
fn containers(wanted: Containers) -> Vec<Source> {
    let mut all = list(Engine::System);
    if wanted == Containers::All {
        all.extend(list(Engine::User));
    }
    let mut seen = BTreeSet::new();
    all.retain(|container| container.was_started && seen.insert(container.name.clone()));
    all.iter().filter_map(Listed::source).collect()
}

/// The names of all logs.
pub(super) fn names(wanted: Containers) -> Vec<String> {
    let mut names: Vec<String> = containers(wanted).iter().map(Source::to_string).collect();
    names.push(kernel::NAME.to_owned());
    let files = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let mut files: Vec<String> =
        files.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
    files.retain(|file| is_file(file) && !names.contains(file));
    files.sort();
    names.extend(files);
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn messages_of_the_kernel_are_kept_apart() {
        for (text, expected) in [
            ("web-1 kernel: [    0.000000] Linux version", true),
            ("web-1 sshd[7]: kernel: is a word here", false),
            ("web-1", false),
        ] {
            assert_eq!(is_of_kernel(text), expected, "{text}");
        }
    }

    #[test]
    fn no_more_lines_are_kept_than_are_shown() {
        let mut last = VecDeque::new();
        (0..10).for_each(|number| push(&mut last, number, 3));
        assert_eq!(last, [7, 8, 9]);
        let all = Range::default();
        assert_eq!((tail(all, 20), tail(all, 0), tail(all, usize::MAX)), (Some(20), Some(0), None));
        assert_eq!(tail(Range { since: Some(Duration::ZERO), ..all }, 20), None);
    }

    #[test]
    fn only_services_of_the_image_are_built_in() {
        let source = |name: &str| Source::Container(Engine::System, name.to_owned());
        let names = ["syslog", "ntp"].map(str::to_owned).into();
        let found = of_services(vec![source("syslog"), source("mine")], &names);
        assert_eq!(found, [source("syslog")]);
    }

    #[test]
    fn the_users_docker_is_asked_only_for_what_the_system_does_not_have() {
        let container = |engine, name: &str, was_started| Listed {
            engine,
            name: format!("corral-{name}"),
            was_started,
        };
        let is_asked = Cell::new(false);
        let listed = |engine: Engine| {
            is_asked.set(engine == Engine::User || is_asked.get());
            match engine {
                Engine::System => {
                    let not_started = ["scheduled", "hourly"];
                    let not_started = not_started.map(|name| container(engine, name, false));
                    [&[container(engine, "both", true)], not_started.as_slice()].concat()
                }
                Engine::User => {
                    ["both", "web", "hourly"].map(|name| container(engine, name, true)).to_vec()
                }
            }
        };
        for (name, expected, asks) in [
            ("both", Ok(Engine::System), false),
            ("scheduled", Err("has not been started yet"), true),
            ("hourly", Ok(Engine::User), true),
            ("web", Ok(Engine::User), true),
            ("nothing", Err("there is no log"), true),
        ] {
            is_asked.set(false);
            let name = format!("corral-{name}");
            match (named(&name, &listed), expected) {
                (Ok(found), Ok(engine)) => {
                    assert_eq!(found, [Source::Container(engine, name.clone())]);
                }
                (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
                (found, _) => panic!("{name}: {found:?}"),
            }
            assert_eq!(is_asked.get(), asks, "{name}");
        }
    }

    #[test]
    fn a_log_is_a_file_below_its_folder() {
        assert!(!is_file("../../etc/shadow") && !is_file(""));
    }
}
