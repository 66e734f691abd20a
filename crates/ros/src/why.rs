//! `ros why`: a plain answer to "why is it not up?". It collects all problems that the parts of the
//! system report. `ros status` shows the same findings.

mod of_docker;

use crate::applets::console::commands;
use crate::applets::crontab;
use crate::applets::user_docker::CONSOLE_DONE;
use anyhow::{Context, Result};
use corral_config::error::Severity;
use corral_docker::{self as docker, Engine};
use corral_engine::client::{Client, call, unexpected};
use corral_engine::paths;
use corral_engine::protocol::{Reply, Request};
use corral_engine::spec::{HealthState, Snapshot, State, Status};
use corral_engine::time;
use corral_init::boot::state;
use corral_init::restart;
use corral_machine::boot_partition::Stage;
use corral_machine::boot_partition::booted;
use corral_machine::modules::Index;
use corral_machine::os_release::running_version;
use corral_machine::{drivers, mounts};
use corral_resolve::effective::load_config;
use corral_resolve::engines::Failure;
use corral_resolve::root::Root;
use corral_terminal::output::Output;
use corral_terminal::size::megabytes;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// How many lines of a service's log are shown: the last ones say why it ended.
const LAST_LINES: u32 = 3;

/// Something that an owner should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// A service, or a part of the machine: `state`, `configuration`, `upgrade`, `system engine`.
    pub(crate) subject: String,
    pub(crate) message: String,
    /// A note needs no repair: a machine without a disk runs from memory, as it was started.
    pub(crate) is_problem: bool,
    /// A service that only waits for its start.
    #[serde(skip)]
    only_waits: bool,
}

impl Finding {
    pub(crate) fn problem(subject: &str, message: String) -> Finding {
        Finding { subject: subject.to_owned(), message, is_problem: true, only_waits: false }
    }

    fn note(subject: &str, message: String) -> Finding {
        Finding { is_problem: false, ..Finding::problem(subject, message) }
    }

    fn waiting(subject: &str, reason: &str) -> Finding {
        let message = format!("not started yet: {reason}");
        Finding { only_waits: true, ..Finding::problem(subject, message) }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.subject, self.message)
    }
}

/// Prints what is wrong with the machine, or with one service. False if something is.
pub(crate) fn run(service: Option<&str>, output: Output) -> Result<bool> {
    let snapshots = snapshots()?;
    let mut findings = services(service, &snapshots)?;
    let mut log = String::new();
    match service {
        None => drop(findings.splice(0..0, machine()?)),
        Some(name) if is_of_system(name, &snapshots, &findings) => log = last_words(name),
        Some(name) => {
            let found = of_docker::explain(name, &load_config()?)?;
            findings.extend(found.map(|message| Finding::problem(name, message)));
        }
    }
    output.print(&findings, |findings| {
        if findings.is_empty() {
            println!("{}: nothing is wrong", service.unwrap_or("this machine"));
        }
        findings.iter().for_each(|finding| println!("{finding}"));
        if findings.iter().any(|finding| finding.is_problem) {
            log.lines().for_each(|line| println!("  {line}"));
        }
    })?;
    Ok(!findings.iter().any(|finding| finding.is_problem))
}

/// What a service of the system wrote last; nothing if its log cannot be read.
fn last_words(name: &str) -> String {
    let client = docker::Client::of(Engine::System);
    client.map(|client| client.last_lines(name, LAST_LINES)).unwrap_or_default()
}

/// Has it a container in the system engine, or a place in the plan? One that only waits is among
/// the findings; those of cron may be about a container of the user's Docker.
fn is_of_system(name: &str, snapshots: &[Snapshot], findings: &[Finding]) -> bool {
    snapshots.iter().any(|snapshot| snapshot.spec.name == name)
        || findings.iter().any(|finding| finding.only_waits)
        || corral_resolve::stored().plan.get(name).is_some()
}

/// All that needs repair, without what only has not started yet.
pub(crate) fn problems() -> Result<Vec<Finding>> {
    let mut findings = machine()?;
    findings.extend(services(None, &snapshots()?)?);
    findings.retain(|finding| finding.is_problem && !finding.only_waits);
    Ok(findings)
}

/// Every container of the system engine.
pub(crate) fn snapshots() -> Result<Vec<Snapshot>> {
    Ok(Client::connect(|_, _| {}).context("asking PID 1")?.list()?)
}

/// What is wrong with the machine apart from its services.
pub(crate) fn machine() -> Result<Vec<Finding>> {
    let mut findings: Vec<Finding> = state_disk()?.into_iter().collect();
    let left_out = fs::read_to_string(state::LEFT_OUT).unwrap_or_default();
    findings.extend(left_out.lines().map(|line| {
        Finding::problem(
            "state",
            format!(
                "{line}; this folder is in memory and is not kept, the rest is on the disk. \
             `e2fsck DEVICE` in the recovery console (rancher.recovery=true) repairs it"
            ),
        )
    }));
    let damaged = fs::read_to_string(paths::DAMAGED).unwrap_or_default();
    findings.extend(damaged.lines().map(|line| {
        let message = format!(
            "{line} cannot be used and was left unchanged; remove it if you do not need it"
        );
        Finding::problem("system engine", message)
    }));
    if let Some(trial) = booted::partition().and_then(|partition| partition.trial())
        && trial.stage == Stage::Failed
    {
        let message = format!("version {} failed: {}", trial.version, trial.reason);
        findings.push(Finding::problem("upgrade", message));
    }
    findings.extend(Failure::load(&Root::machine()).map(|failure| {
        let message = format!(
            "{} failed its trial: {}; the engine before it runs",
            failure.name, failure.reason
        );
        Finding::problem("engine", message)
    }));
    findings.extend(nearly_full());
    findings.extend(unused_drivers());
    findings.extend(missing_drivers());
    let problems = corral_resolve::problems();
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    findings.extend(errors.map(|problem| Finding::problem("configuration", problem.to_string())));
    Ok(findings)
}

fn state_disk() -> Result<Option<Finding>> {
    if let Ok(problem) = fs::read_to_string(state::PROBLEM_FILE) {
        let message = format!(
            "{}; the machine runs from memory, nothing is kept. The disk is unchanged: \
             `sudo e2fsck DEVICE` repairs a file system, `ros config get rancher.state.dev` shows \
             which disk is meant",
            problem.trim()
        );
        return Ok(Some(Finding::problem("state", message)));
    }
    let is_named = !load_config()?.rancher.state.dev.is_empty();
    if is_named || booted::partition().is_some() || state::is_on_disk() {
        return Ok(None);
    }
    let message =
        "no disk is named (rancher.state.dev); the machine runs from memory, nothing is kept";
    Ok(Some(Finding::note("state", message.to_owned())))
}

/// Devices that nothing drives, although the full image could. A machine may do without them.
fn missing_drivers() -> Vec<Finding> {
    let wanted = Index::running().and_then(|index| drivers::load_wanted(&index));
    let finding = |concerned: drivers::Concerned| {
        let message = format!(
            "{concerned}, which only the full image has: start the full ISO, or add it with \
             `ros os upgrade --drivers always`"
        );
        Finding::note("drivers", message)
    };
    wanted.unwrap_or_default().into_iter().map(finding).collect()
}

/// Drivers that were installed, and are not there or not used.
fn unused_drivers() -> Option<Finding> {
    let partition = booted::partition()?;
    let folder = partition.folder(&running_version());
    let are_there = drivers::FILES.map(|name| folder.join(name).is_file());
    let message = explain_drivers(are_there, mounts::is_mount_point(Path::new(drivers::MOUNT)))?;
    Some(Finding::problem("drivers", message))
}

/// `are_there`: in the order of `drivers::FILES`.
fn explain_drivers(are_there: [bool; 2], is_used: bool) -> Option<String> {
    const REPAIR: &str = "`ros os upgrade --drivers always -i RELEASE` of the version that runs";
    let [image, initrd] = drivers::FILES;
    match are_there {
        [true, false] => Some(format!("{initrd} is missing beside {image}; {REPAIR} adds it")),
        [false, true] => Some(format!("{image} is missing beside {initrd}; {REPAIR} adds it")),
        [true, true] if !is_used => Some(format!(
            "{image} is installed and not used. If it was added since the last start, restart; \
             else `dmesg | grep drivers.erofs` has the reason, and {REPAIR} replaces what is \
             damaged"
        )),
        _ => None,
    }
}

/// A full disk is the cause of many services that do not start.
fn nearly_full() -> Option<Finding> {
    let data = rustix::fs::statvfs(state::STATE_VIEW).ok().filter(|_| state::is_on_disk())?;
    let free = data.f_bavail * data.f_frsize;
    let message =
        format!("the disk is full: {} are free; `docker system prune`, `ros gc`", megabytes(free));
    (free < data.f_blocks * data.f_frsize / 50).then(|| Finding::problem("state", message))
}

/// Docker starts when the owner's commands are done.
fn docker_waits() -> Option<Finding> {
    let command =
        fs::read_to_string(commands::RUNNING).ok().filter(|_| !Path::new(CONSOLE_DONE).exists())?;
    let reason =
        format!("it waits for the owner's commands; this one still runs: {}", command.trim());
    Some(Finding::waiting("docker", &reason))
}

/// What is wrong with all services, or with one.
pub(crate) fn services(wanted: Option<&str>, snapshots: &[Snapshot]) -> Result<Vec<Finding>> {
    let waiting: BTreeMap<String, Vec<String>> = match call(Request::Waiting)? {
        Reply::Value(value) => {
            serde_json::from_value(value).context("reading what PID 1 waits for")?
        }
        other => return Err(unexpected(&other).into()),
    };
    let is_wanted = |name: &str| wanted.is_none_or(|wanted| wanted == name);
    let mut findings: Vec<Finding> =
        docker_waits().into_iter().filter(|finding| is_wanted(&finding.subject)).collect();
    let planned = snapshots
        .iter()
        .filter(|snapshot| snapshot.status.planned && is_wanted(&snapshot.spec.name));
    findings.extend(planned.filter_map(|snapshot| explain(snapshot, time::now())));
    for (name, reasons) in waiting.into_iter().filter(|(name, _)| is_wanted(name)) {
        let reasons = if reasons.is_empty() {
            "it is about to be started".to_owned()
        } else {
            reasons.join(", ")
        };
        findings.push(Finding::waiting(&name, &reasons));
    }
    findings.extend(crontab::problems(wanted).iter().map(|line| {
        let (subject, message) = line.split_once(": ").unwrap_or(("cron", line));
        Finding::problem(subject, message.to_owned())
    }));
    Ok(findings)
}

/// After so many restarts, a container that has just started is expected to fail again.
const MANY_RESTARTS: u32 = 2;

/// What is wrong with a container of the plan, `now` being since 1970.
fn explain(snapshot: &Snapshot, now: Duration) -> Option<Finding> {
    let (name, status) = (&snapshot.spec.name, &snapshot.status);
    if status.state == State::Starting && snapshot.spec.requirements.is_some() {
        let reason = match &status.error {
            None => format!("pulling its image {}", snapshot.spec.image),
            Some(error) => format!("{error}; it will be retried"),
        };
        return Some(Finding::waiting(name, &reason));
    }
    explain_status(name, status, now).map(|message| Finding::problem(name, message))
}

fn explain_status(name: &str, status: &Status, now: Duration) -> Option<String> {
    let logs = format!("see: system-docker logs {name}");
    if let Some(error) = &status.error {
        return Some(format!("could not be started: {error}"));
    }
    if status.oom_killed {
        return Some(format!("killed, out of memory; {logs}"));
    }
    match status.state {
        _ if keeps_exiting(status, now) => Some(format!(
            "keeps exiting (exit status {}, {} restarts); {logs}",
            status.exit_code, status.restarts
        )),
        State::Exited if status.exit_code != 0 => {
            Some(format!("ended with exit status {}; {logs}", status.exit_code))
        }
        _ if status.health == Some(HealthState::Unhealthy) => {
            Some(format!("its health check fails; {logs}"))
        }
        _ => None,
    }
}

/// It waits for its next start, or it is in the moment between a start and the next failure.
fn keeps_exiting(status: &Status, now: Duration) -> bool {
    let failed_often = status.restarts >= MANY_RESTARTS;
    let is_young = |started| now.saturating_sub(started) < restart::STABLE;
    match status.state {
        State::Restarting => true,
        State::Starting => failed_often,
        State::Running => failed_often && status.started.is_some_and(is_young),
        State::Created | State::Stopping | State::Exited => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_engine::spec::ContainerSpec;

    #[test]
    fn what_does_not_work_is_named_with_the_next_step() {
        let now = Duration::from_secs(1000);
        let status = |state: State| Status { state, planned: true, ..Status::default() };
        let runs = |restarts: u32, seconds: u64| Status {
            exit_code: 1,
            restarts,
            started: Some(now - Duration::from_secs(seconds)),
            ..status(State::Running)
        };
        let all = [
            (status(State::Running), None),
            (runs(0, 1), None),
            (runs(1, 1), None),
            (
                runs(3, 1),
                Some("keeps exiting (exit status 1, 3 restarts); see: system-docker logs web"),
            ),
            (runs(3, 10), None),
            (status(State::Exited), None),
            (
                Status { exit_code: 3, ..status(State::Exited) },
                Some("ended with exit status 3; see: system-docker logs web"),
            ),
            (
                Status { exit_code: 1, restarts: 4, ..status(State::Restarting) },
                Some("keeps exiting (exit status 1, 4 restarts); see: system-docker logs web"),
            ),
            (
                Status { health: Some(HealthState::Unhealthy), ..status(State::Running) },
                Some("its health check fails; see: system-docker logs web"),
            ),
            (
                Status { error: Some("no such file".to_owned()), ..status(State::Created) },
                Some("could not be started: no such file"),
            ),
        ];
        for (status, expected) in all {
            let spec = ContainerSpec { name: "web".to_owned(), ..ContainerSpec::default() };
            let snapshot = Snapshot { id: String::new(), spec, status };
            let found = explain(&snapshot, now).map(|finding| finding.message);
            assert_eq!(found.as_deref(), expected, "{:?}", snapshot.status);
        }
    }

    #[test]
    fn drivers_that_are_lost_or_not_used_are_named() {
        for (are_there, is_used, named) in [
            ([false, false], false, None),
            ([true, true], true, None),
            ([true, true], false, Some("drivers.erofs is installed and not used")),
            ([true, false], true, Some("drivers.initrd is missing")),
            ([false, true], false, Some("drivers.erofs is missing")),
        ] {
            let said = explain_drivers(are_there, is_used);
            assert_eq!(said.is_some(), named.is_some(), "{are_there:?} {is_used}");
            let begins = |said: String| named.is_some_and(|named| said.starts_with(named));
            assert!(said.is_none_or(begins), "{are_there:?} {is_used}");
        }
    }
}
