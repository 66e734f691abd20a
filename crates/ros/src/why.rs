//! `ros why`: a plain answer to "why is it not up?". It collects all problems that the parts of the
//! system report.

use crate::applets::console::commands;
use crate::applets::user_docker::CONSOLE_DONE;
use crate::resolve;
use crate::resolve::effective::load_config;
use crate::size::megabytes;
use anyhow::{Context, Result};
use corral_config::error::Severity;
use corral_engine::client::{Client, call, unexpected};
use corral_engine::paths;
use corral_engine::protocol::{Reply, Request};
use corral_engine::spec::{HealthState, Snapshot, State};
use corral_init::boot::state;
use corral_machine::boot_partition::Stage;
use corral_machine::boot_partition::booted;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Prints what is wrong with the machine, or with one service.
pub(crate) fn run(service: Option<&str>) -> Result<()> {
    let mut lines = services(service)?;
    if service.is_none_or(|service| service == "docker") {
        lines.splice(0..0, docker_waits());
    }
    if service.is_none() {
        lines.splice(0..0, machine()?);
    }
    if lines.is_empty() {
        println!("{}: nothing is wrong", service.unwrap_or("this machine"));
    }
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

fn machine() -> Result<Vec<String>> {
    let mut lines = Vec::new();
    if let Ok(problem) = fs::read_to_string(state::PROBLEM_FILE) {
        lines.push(format!(
            "state: {}; the machine runs from memory, nothing is kept. The disk is unchanged: \
             `sudo e2fsck DEVICE` repairs a file system, `ros config get rancher.state.dev` shows \
             which disk is meant",
            problem.trim()
        ));
    } else if load_config()?.rancher.state.dev.is_empty() && booted::partition().is_none() {
        lines.push(
            "state: no disk is named (rancher.state.dev); the machine runs from memory, nothing is \
             kept"
                .to_owned(),
        );
    }
    let left_out = fs::read_to_string(state::LEFT_OUT).unwrap_or_default();
    lines.extend(left_out.lines().map(|line| {
        format!(
            "state: {line}; this folder is in memory and is not kept, the rest is on the disk. \
             `e2fsck DEVICE` in the recovery console (rancher.recovery=true) repairs it"
        )
    }));
    let damaged = fs::read_to_string(paths::DAMAGED).unwrap_or_default();
    lines.extend(damaged.lines().map(|line| {
        format!(
            "system engine: {line} cannot be used and was left unchanged; remove it if you do not \
             need it"
        )
    }));
    if let Some(trial) = booted::partition().and_then(|partition| partition.trial())
        && trial.stage == Stage::Failed
    {
        lines.push(format!("upgrade: version {} failed: {}", trial.version, trial.reason));
    }
    if let Some(line) = nearly_full() {
        lines.push(line);
    }
    let problems = resolve::problems();
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    lines.extend(errors.map(|problem| format!("configuration: {problem}")));
    Ok(lines)
}

/// A full disk is the cause of many services that do not start.
fn nearly_full() -> Option<String> {
    let data = rustix::fs::statvfs(state::STATE_VIEW).ok().filter(|_| state::is_on_disk())?;
    let free = data.f_bavail * data.f_frsize;
    (free < data.f_blocks * data.f_frsize / 50).then(|| {
        format!(
            "state: the disk is full: {} are free; `docker system prune`, `ros gc`",
            megabytes(free)
        )
    })
}

/// Docker starts when the owner's commands are done.
fn docker_waits() -> Option<String> {
    let command =
        fs::read_to_string(commands::RUNNING).ok().filter(|_| !Path::new(CONSOLE_DONE).exists())?;
    Some(format!(
        "docker: not started yet: it waits for the owner's commands; this one still runs: {}",
        command.trim()
    ))
}

fn services(wanted: Option<&str>) -> Result<Vec<String>> {
    let waiting: BTreeMap<String, Vec<String>> = match call(Request::Waiting)? {
        Reply::Value(value) => {
            serde_json::from_value(value).context("reading what PID 1 waits for")?
        }
        other => return Err(unexpected(&other).into()),
    };
    let is_wanted = |name: &str| wanted.is_none_or(|wanted| wanted == name);
    let mut lines: Vec<String> = Client::connect(|_, _| {})?
        .list()?
        .iter()
        .filter(|snapshot| snapshot.status.planned && is_wanted(&snapshot.spec.name))
        .filter_map(explain)
        .collect();
    for (name, reasons) in waiting.into_iter().filter(|(name, _)| is_wanted(name)) {
        let reasons = if reasons.is_empty() {
            "it is about to be started".to_owned()
        } else {
            reasons.join(", ")
        };
        lines.push(format!("{name}: not started yet: {reasons}"));
    }
    Ok(lines)
}

/// What is wrong with a container of the plan.
fn explain(snapshot: &Snapshot) -> Option<String> {
    let (name, status) = (&snapshot.spec.name, &snapshot.status);
    let logs = format!("see: system-docker logs {name}");
    if status.state == State::Starting && snapshot.spec.requirements.is_some() {
        return Some(match &status.error {
            None => format!("{name}: not started yet: pulling its image {}", snapshot.spec.image),
            Some(error) => format!("{name}: not started yet: {error}; it will be retried"),
        });
    }
    if let Some(error) = &status.error {
        return Some(format!("{name}: could not be started: {error}"));
    }
    if status.oom_killed {
        return Some(format!("{name}: killed, out of memory; {logs}"));
    }
    match status.state {
        State::Restarting => Some(format!(
            "{name}: keeps exiting (exit status {}, {} restarts); {logs}",
            status.exit_code, status.restarts
        )),
        State::Exited if status.exit_code != 0 => {
            Some(format!("{name}: ended with exit status {}; {logs}", status.exit_code))
        }
        _ if status.health == Some(HealthState::Unhealthy) => {
            Some(format!("{name}: its health check fails; {logs}"))
        }
        _ => None,
    }
}
