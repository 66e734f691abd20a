//! `ros crontab`, in the container `system-cron`: starts containers of both engines at the times of
//! their labels (`cron.schedule`). One thread for each engine follows its containers, one for each
//! request waits for the answer, and this one decides (`table.rs`). So an engine that hangs holds
//! up only itself.

mod engines;
mod key;
mod records;
mod table;

use anyhow::{Context, Result};
use chrono::Local;
use corral_docker::Engine;
use corral_machine::console::log;
use corral_resolve::catalogue::CRONTAB;
use corral_resolve::effective::load_config;
use engines::Message;
use records::Records;
use std::fs;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Instant;
use table::{Now, Step, Table};

/// What is wrong with labels and runs, a line each; each begins with the container's name.
pub(crate) const PROBLEMS: &str = "/run/corral/cron-problems";
/// The last runs that must be known after a boot.
const RECORDS: &str = "/var/lib/rancher/cron/last-runs.json";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Runs until it is stopped.
pub(crate) fn run() -> Result<()> {
    let boot = fs::read_to_string(BOOT_ID).with_context(|| format!("reading {BOOT_ID}"))?;
    let mut table = Table::new(boot.trim(), Records::load(Path::new(RECORDS)));
    let start = Instant::now();
    let now = || Now { wall: Local::now(), uptime: start.elapsed() };
    println!("local time is {}", Local::now().format("%F %T %:z"));
    let (sender, receiver) = channel();
    for engine in engines()? {
        engines::follow(engine, sender.clone())?;
    }
    let mut reported = Vec::new();
    loop {
        carry_out(&mut table, &sender, now);
        report(&table, &mut reported);
        save(&mut table);
        match receiver.recv_timeout(table.wait(&now())) {
            Ok(Message::Listed(engine, containers)) => table.refresh(engine, containers, &now()),
            Ok(Message::Done(key, outcome)) => table.finish(key, outcome),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// The user's Docker is left out if the owner has disabled RancherOS's service for it.
fn engines() -> Result<Vec<Engine>> {
    let included = load_config()?.rancher.services_include;
    if included.get(CRONTAB) == Some(&false) {
        println!("labels in your Docker have no effect: the service {CRONTAB} is disabled");
        return Ok(vec![Engine::System]);
    }
    Ok(vec![Engine::System, Engine::User])
}

fn carry_out(table: &mut Table, sender: &Sender<Message>, now: impl Fn() -> Now<Local>) {
    for step in table.take_steps(&now()) {
        match step {
            Step::Note(text) => println!("{text}"),
            Step::Run(run) => {
                println!("{}: {}", run.key.name, run.verb);
                let key = run.key.clone();
                if let Err(error) = engines::request(run, sender.clone()) {
                    table.finish(key, Err(format!("{error:#}")));
                }
            }
        }
    }
}

/// Shows a new problem on the console once, and all of them in `ros why`.
fn report(table: &Table, reported: &mut Vec<String>) {
    let problems = table.problems();
    if problems == *reported {
        return;
    }
    let new = problems.iter().filter(|problem| !reported.contains(problem));
    new.for_each(|problem| {
        println!("{problem}");
        log(&format!("cron: {problem}"));
    });
    let text: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
    if let Err(error) = fs::write(PROBLEMS, text) {
        println!("writing {PROBLEMS}: {error}");
    }
    *reported = problems;
}

fn save(table: &mut Table) {
    if let Some(error) = table.records.save(Path::new(RECORDS)).err() {
        println!("{error:#}; after a restart missed runs are not known");
    }
}

/// What is wrong, for `ros why`; with a name, with that container.
pub(crate) fn problems(name: Option<&str>) -> Vec<String> {
    let text = fs::read_to_string(PROBLEMS).unwrap_or_default();
    let is_wanted = |line: &&str| {
        name.is_none_or(|name| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with([':', ' ']))
        })
    };
    text.lines().filter(is_wanted).map(str::to_owned).collect()
}
