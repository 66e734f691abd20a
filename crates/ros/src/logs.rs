//! `ros logs`: everything that is logged on this machine, in the order of time: containers of both
//! engines, the kernel, the files of syslog.

mod entry;
mod file;
mod kernel;
mod range;
mod source;

use crate::boots;
use anyhow::{Context, Result, bail};
use corral_engine::time;
use corral_terminal::output::Output;
use entry::Entry;
use range::Range;
use source::{Containers, Source};
use std::io::Write;
use std::thread;
use std::time::Duration;

/// Lines that are shown if nothing else limits them.
const LINES: usize = 100;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Show new lines as they come
    #[arg(short, long)]
    follow: bool,
    /// Number of lines from the end [default: 100, or all with --since or --boot]
    #[arg(short = 'n', long, visible_alias = "tail", value_name = "NUMBER")]
    lines: Option<usize>,
    /// Only lines from this time on: an age such as 10m or 1h30m, or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = entry::parse_since)]
    since: Option<Duration>,
    /// Only lines of one boot: 0 is the current one, -1 the one before it
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    boot: Option<i32>,
    /// List the names of all logs
    #[arg(long)]
    list: bool,
    /// Leave out the containers of the user's Docker; a name is one of the system's
    #[arg(long)]
    system: bool,
    /// Of all containers, only those of the system image's services: for `ros support-bundle`
    #[arg(long, hide = true, conflicts_with = "names")]
    built_in: bool,
    #[command(flatten)]
    output: Output,
    /// Services, containers, `kernel`, files below /var/log; all but the files if none is given
    names: Vec<String>,
}

/// The lines that the flags select.
fn range(options: &Options) -> Result<Range> {
    let Some(number) = options.boot else {
        return Ok(Range { since: options.since, until: None });
    };
    let window = boots::window(number).with_context(|| {
        format!(
            "--boot {number}: this boot is not recorded in /var/log/boots, which lists all that are"
        )
    })?;
    let since = options.since.map_or(window.since, |since| since.max(window.since));
    Ok(Range { since: Some(since), until: window.until })
}

/// The containers that the flags select.
fn containers(options: &Options) -> Containers {
    match options {
        Options { built_in: true, .. } => Containers::BuiltIn,
        Options { system: true, .. } => Containers::System,
        _ => Containers::All,
    }
}

/// `ros logs`.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.list {
        let names = source::names(containers(options));
        return options.output.print(&names, |names| {
            names.iter().for_each(|name| println!("{name}"));
        });
    }
    if options.follow && (!options.output.is_text() || options.boot.is_some_and(|boot| boot != 0)) {
        bail!("--follow shows text of the current boot: leave --format and --boot out");
    }
    let range = range(options)?;
    let sources = source::find(&options.names, containers(options), range.until.is_some())?;
    let now = time::now();
    let limited = options.since.is_some() || options.boot.is_some();
    let most = options.lines.unwrap_or(if limited { usize::MAX } else { LINES });
    let mut entries: Vec<Entry> = Vec::new();
    for source in &sources {
        match source.read(range, most) {
            Ok(read) => entries.extend(read),
            Err(error) if options.names.is_empty() => eprintln!("{source}: {error:#}"),
            Err(error) => return Err(error.context(source.to_string())),
        }
    }
    if options.follow {
        entries.retain(|entry| entry.time < now);
    }
    entries.sort_by_key(|entry| entry.time);
    let last = entries.split_off(entries.len().saturating_sub(most));
    options.output.print(&last, |entries| entries.iter().for_each(|entry| println!("{entry}")))?;
    if options.follow { follow(&sources, now) } else { Ok(()) }
}

/// A thread for each log, until all have ended.
fn follow(sources: &[Source], since: Duration) -> Result<()> {
    let print = |entry: &Entry| writeln!(std::io::stdout(), "{entry}").is_ok();
    thread::scope(|scope| {
        for source in sources {
            scope.spawn(move || {
                if let Err(error) = source.follow(since, &print) {
                    eprintln!("{source}: {error:#}");
                }
            });
        }
    });
    Ok(())
}
