//! The logs of this machine, by their names.

use super::entry::Entry;
use super::file::{self, FOLDER};
use super::kernel;
use super::range::Range;
use anyhow::{Result, bail};
use corral_docker::{Client, Engine, LogRequest};
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

/// Which containers are meant if no log is named.
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
        let found: Vec<Vec<Source>> =
            names.iter().map(|name| named(name)).collect::<Result<_>>()?;
        return Ok(found.concat());
    }
    let mut sources = match wanted {
        Containers::All => containers(),
        Containers::System => of_system(containers()),
        Containers::BuiltIn => of_services(of_system(containers()), &built_in()),
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

fn of_system(mut sources: Vec<Source>) -> Vec<Source> {
    sources.retain(|source| matches!(source, Source::Container(Engine::System, _)));
    sources
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

/// A container and a file may have the same name, as those of syslog: then both are meant.
fn named(name: &str) -> Result<Vec<Source>> {
    if name == kernel::NAME {
        return Ok(vec![Source::Kernel]);
    }
    let is_it = |source: &Source| matches!(source, Source::Container(_, of) if of == name);
    let mut found: Vec<Source> = containers().into_iter().filter(is_it).collect();
    let file = name.strip_prefix("/var/log/").unwrap_or(name);
    if is_file(file) {
        found.push(Source::File(file.to_owned()));
    }
    if found.is_empty() {
        bail!("there is no log {name}; `ros logs --list` shows their names");
    }
    Ok(found)
}

fn is_file(name: &str) -> bool {
    !name.split('/').any(|part| part == "..") && Path::new(FOLDER).join(name).is_file()
}

/// Of the system, then of the user's Docker if it answers. A name that both have is the system's.
fn containers() -> Vec<Source> {
    let mut sources = Vec::new();
    let mut seen = BTreeSet::new();
    for engine in [Engine::System, Engine::User] {
        let listed = Client::of(engine).and_then(|client| {
            client.ping(TIMEOUT)?;
            client.containers()
        });
        let listed = listed.unwrap_or_else(|error| {
            eprintln!("{error}");
            Vec::new()
        });
        // One that was never started has no log.
        let started = listed.iter().filter(|container| container.state != "created");
        for name in started.filter_map(|container| container.name()) {
            if seen.insert(name.to_owned()) {
                sources.push(Source::Container(engine, name.to_owned()));
            }
        }
    }
    sources
}

/// The names of all logs.
pub(super) fn names() -> Vec<String> {
    let mut names: Vec<String> = containers().iter().map(Source::to_string).collect();
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
        let source = |engine, name: &str| Source::Container(engine, name.to_owned());
        let all = vec![
            source(Engine::System, "syslog"),
            source(Engine::System, "mine"),
            source(Engine::User, "ntp"),
        ];
        let names = ["syslog", "ntp"].map(str::to_owned).into();
        assert_eq!(of_services(of_system(all), &names), [source(Engine::System, "syslog")]);
    }

    #[test]
    fn a_log_is_a_file_below_its_folder() {
        assert!(!is_file("../../etc/shadow") && !is_file(""));
    }
}
