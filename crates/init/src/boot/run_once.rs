//! A container that a step of the boot runs once, to its exit, before the loop begins.

use crate::container_spec;
use anyhow::{Context, Result, bail};
use corral_engine::pid1::{Helper, Streams};
use corral_engine::protocol::{HelperRequest, Join, Report};
use corral_engine::sys::packet::Received;
use corral_engine::sys::reap;
use corral_machine::deadline;
use corral_plan::resolved::Resolved;
use rustix::event::{PollFd, PollFlags};
use std::fs;
use std::time::{Duration, Instant};

/// What making and removing a container may take.
const HELPER_TIME: Duration = Duration::from_secs(60);

/// Runs the container of a service, with its output on the console. Without a time it may take as
/// long as it likes.
pub(super) fn run(
    resolved: &Resolved,
    name: &str,
    environment: Vec<String>,
    time: Option<Duration>,
) -> Result<()> {
    let service = resolved.plan.get(name);
    let service = service.with_context(|| format!("the system image has no service {name}"))?;
    let mut spec = container_spec::of_service(service, &resolved.environment);
    spec.env.extend(environment);
    let id = corral_engine::id::new_id();
    let console = fs::OpenOptions::new()
        .write(true)
        .open("/dev/console")
        .ok()
        .map(std::os::fd::OwnedFd::from);
    let copy = console.as_ref().and_then(|console| console.try_clone().ok());
    let streams = Streams { stdin: None, stdout: console, stderr: copy };
    let helper = Helper::start(
        &HelperRequest::Launch { id: id.clone(), spec: Box::new(spec), join: Join::default() },
        streams,
    )?;
    let pid = match next_report(&helper)? {
        Report::Created { pid } => pid,
        Report::Failed(failure) => bail!("{failure}"),
        other => bail!("the helper reported {other:?}"),
    };
    helper.go()?;
    let code = wait_for_end(pid, time.map(deadline::after));
    let request = HelperRequest::Cleanup { id, keep_children: false, remove: true };
    let cleaning = Helper::start(&request, Streams::default())?;
    next_report(&cleaning)?;
    match code.with_context(|| format!("the container {name}"))? {
        0 => Ok(()),
        code => bail!("the container {name} exited with {code}"),
    }
}

fn next_report(helper: &Helper) -> Result<Report> {
    let end = deadline::after(HELPER_TIME);
    loop {
        match helper.report() {
            Received::Message(report, _) | Received::Stripped(report) => return Ok(report),
            Received::Closed => bail!("the helper ended without a report"),
            Received::Nothing => {}
        }
        if !deadline::poll(&mut [PollFd::new(helper, PollFlags::IN)], end)? {
            bail!("the helper did not report in time");
        }
    }
}

/// Reaps until the process has ended, which its pidfd reports. Until its helper has ended, it is
/// the helper's child and not ours.
fn wait_for_end(pid: i32, end: Option<Instant>) -> Result<i32> {
    let process = rustix::process::Pid::from_raw(pid).context("invalid process id")?;
    let handle = rustix::process::pidfd_open(process, rustix::process::PidfdFlags::empty())?;
    loop {
        while let Some(ended) = reap::next() {
            if ended.pid == pid {
                return Ok(ended.code);
            }
        }
        if end.is_some_and(|end| end <= Instant::now()) {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
            bail!("it did not exit in time");
        }
        // It may be a zombie of a helper that has not ended yet: look again soon.
        let again = deadline::after(Duration::from_millis(20));
        deadline::poll(&mut [PollFd::new(&handle, PollFlags::IN)], again)?;
    }
}
