//! Helpers at work: what each was started for, what it reported and what it made. What follows is
//! in `reports`.

use super::clients::Caller;
use corral_engine::error::Failure;
use corral_engine::pid1::{Helper, Streams};
use corral_engine::protocol::{HelperRequest, Report};
use corral_engine::signal::Signal;
use corral_engine::sys;
use corral_engine::sys::packet::Received;
use corral_engine::sys::reap::End;
use corral_engine::sys::signals;
use rustix::event::{PollFd, PollFlags};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// No helper takes this long but one that hangs.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);
/// What is lost is the terminal of what it made.
const NO_ROOM: &str = "PID 1 has no descriptor left for its terminal: Too many open files";

/// A helper and what it is for.
#[derive(Debug)]
struct Job {
    helper: Helper,
    purpose: Purpose,
    /// Its socket may still have something to read.
    listening: bool,
    /// Its [`TIMEOUT`] was over, and it was killed.
    is_late: bool,
    result: Option<Report>,
    /// The process that it made, and its terminal.
    made: Option<i32>,
    terminal: Option<OwnedFd>,
}

/// What a helper was started for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Purpose {
    Launch {
        id: String,
    },
    Cleanup {
        id: String,
    },
    /// The files of a container that is in the table no more.
    Remove,
    /// A change of the networks of a container that runs.
    Network {
        caller: Caller,
    },
    /// Without a caller: PID 1 itself wants it.
    Exec {
        exec: String,
        caller: Option<Caller>,
    },
}

/// All helpers at work, and the processes in containers that some of them made.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    /// By process id.
    helpers: HashMap<i32, Job>,
    /// Processes in containers that were requested: process id → id of the exec.
    execs: HashMap<i32, String>,
}

/// A helper has made the first process of a container, which waits for [`Jobs::go`].
#[derive(Debug)]
pub(super) struct FirstProcess {
    pub(super) container: String,
    pub(super) pid: i32,
    pub(super) terminal: Option<OwnedFd>,
}

/// A helper has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) purpose: Purpose,
    /// Why it did not do what it was for.
    pub(super) failure: Option<Failure>,
    /// The process that it made, and its terminal.
    pub(super) made: Option<i32>,
    pub(super) terminal: Option<OwnedFd>,
}

impl Jobs {
    /// Starts a helper; its process id.
    pub(super) fn start(
        &mut self,
        purpose: Purpose,
        request: &HelperRequest,
        streams: Streams,
    ) -> std::io::Result<i32> {
        let helper = Helper::start(request, streams)?;
        let pid = helper.pid;
        let job = Job {
            helper,
            purpose,
            listening: true,
            is_late: false,
            result: None,
            made: None,
            terminal: None,
        };
        self.helpers.insert(pid, job);
        Ok(pid)
    }

    /// How many helpers and processes in containers there are.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.helpers.len(), self.execs.len())
    }

    pub(super) fn helpers(&self) -> Vec<i32> {
        self.helpers.keys().copied().collect()
    }

    pub(super) fn has(&self, helper: i32) -> bool {
        self.helpers.contains_key(&helper)
    }

    /// Those that may report something, with what to poll them for.
    pub(super) fn polled(&self) -> impl Iterator<Item = (i32, PollFd<'_>)> {
        let listening = self.helpers.iter().filter(|(_, job)| job.listening);
        listening.map(|(pid, job)| (*pid, PollFd::new(&job.helper, PollFlags::IN)))
    }

    /// Takes what a helper reports. The process that it made is known before that can end.
    pub(super) fn read(&mut self, helper: i32) -> Option<FirstProcess> {
        let job = self.helpers.get_mut(&helper)?;
        let made = job.read()?;
        if job.has_failed() {
            // What it made ends with it; what follows follows from the helper's end.
            let _ = signals::send(helper, Signal::KILL);
            let _ = signals::send(made, Signal::KILL);
        }
        match &job.purpose {
            Purpose::Launch { id } => Some(FirstProcess {
                container: id.clone(),
                pid: made,
                terminal: job.terminal.take(),
            }),
            Purpose::Exec { exec, .. } => {
                self.execs.insert(made, exec.clone());
                None
            }
            Purpose::Cleanup { .. } | Purpose::Remove | Purpose::Network { .. } => None,
        }
    }

    /// Lets the process begin that a helper has made. A helper that does not receive this fails,
    /// and its end reports that.
    pub(super) fn go(&self, helper: i32) {
        if let Some(job) = self.helpers.get(&helper).filter(|job| !job.has_failed()) {
            let _ = job.helper.go();
        }
    }

    /// Forgets a helper that has ended, and returns its result. All that it reported was read
    /// before.
    pub(super) fn end(&mut self, end: End) -> Option<Ended> {
        let job = self.helpers.remove(&end.pid)?;
        let failure = match job.result {
            Some(Report::Failed(failure)) => Some(failure),
            Some(_) => None,
            None => Some(Failure::other(why_silent(end.code, job.is_late))),
        };
        Some(Ended { purpose: job.purpose, failure, made: job.made, terminal: job.terminal })
    }

    /// Ends a helper that hangs; what follows follows from its end.
    pub(super) fn give_up(&mut self, helper: i32) {
        if let Some(job) = self.helpers.get_mut(&helper) {
            job.is_late = true;
            let _ = signals::send(helper, Signal::KILL);
        }
    }

    /// The exec whose process this is, which is forgotten.
    pub(super) fn take_exec(&mut self, pid: i32) -> Option<String> {
        self.execs.remove(&pid)
    }

    /// What the next process needs; its descriptors stay open.
    pub(super) fn save(&self) -> Saved {
        let execs = self.execs.iter().map(|(pid, exec)| (*pid, exec.clone()));
        Saved { helpers: self.helpers.values().map(Job::save).collect(), execs: execs.collect() }
    }

    /// A helper whose socket is gone is forgotten.
    pub(super) fn restore(saved: Saved) -> Jobs {
        let helpers = saved.helpers.into_iter().filter_map(Job::restore);
        Jobs {
            helpers: helpers.map(|job| (job.helper.pid, job)).collect(),
            execs: saved.execs.into_iter().collect(),
        }
    }
}

impl Job {
    /// Takes all that it reports now; the process that it made, when it reports that.
    fn read(&mut self) -> Option<i32> {
        let mut created = None;
        loop {
            match self.helper.report() {
                Received::Message(Report::Created { pid }, mut descriptors) => {
                    self.made = Some(pid);
                    self.terminal = descriptors.pop();
                    created = Some(pid);
                }
                Received::Stripped(Report::Created { pid }) => {
                    self.made = Some(pid);
                    self.result = Some(Report::Failed(Failure::other(NO_ROOM)));
                    created = Some(pid);
                }
                Received::Message(other, _) | Received::Stripped(other) => {
                    self.result = Some(other)
                }
                Received::Nothing => return created,
                // It hung up: its end will be reaped.
                Received::Closed => {
                    self.listening = false;
                    return created;
                }
            }
        }
    }

    fn has_failed(&self) -> bool {
        matches!(self.result, Some(Report::Failed(_)))
    }

    fn save(&self) -> SavedJob {
        SavedJob {
            pid: self.helper.pid,
            socket: self.helper.as_fd().as_raw_fd(),
            purpose: self.purpose.clone(),
            listening: self.listening,
            is_late: self.is_late,
            result: self.result.clone(),
            made: self.made,
            terminal: self.terminal.as_ref().map(AsRawFd::as_raw_fd),
        }
    }

    fn restore(saved: SavedJob) -> Option<Job> {
        Some(Job {
            helper: Helper::adopt(saved.pid, sys::take_kept(saved.socket)?),
            purpose: saved.purpose,
            listening: saved.listening,
            is_late: saved.is_late,
            result: saved.result,
            made: saved.made,
            terminal: saved.terminal.and_then(sys::take_kept),
        })
    }
}

/// Why a helper ended without a report; its code is that of [`End`].
fn why_silent(code: i32, is_late: bool) -> String {
    let signal: Option<Signal> =
        code.checked_sub(128).and_then(|number| number.to_string().parse().ok());
    match signal {
        _ if is_late => format!(
            "the helper of PID 1 was killed, for it had not finished within {} s",
            TIMEOUT.as_secs()
        ),
        Some(Signal::KILL) => "the helper of PID 1 was killed by SIGKILL, as the kernel does when \
                               memory runs out; `dmesg` shows that"
            .to_owned(),
        Some(signal) => format!("the helper of PID 1 was killed by {signal}"),
        None => format!("the helper of PID 1 ended with exit status {code} and no report"),
    }
}

/// [`Jobs`], with descriptors by their numbers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Saved {
    helpers: Vec<SavedJob>,
    execs: Vec<(i32, String)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedJob {
    pid: i32,
    socket: RawFd,
    purpose: Purpose,
    listening: bool,
    #[serde(default)]
    is_late: bool,
    result: Option<Report>,
    made: Option<i32>,
    terminal: Option<RawFd>,
}

impl Saved {
    /// Those that must stay open.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.helpers.iter().flat_map(|job| std::iter::once(job.socket).chain(job.terminal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_helper_without_a_report_is_explained() {
        let cases = [
            (137, true, "was killed, for it had not finished within 60 s"),
            (137, false, "was killed by SIGKILL, as the kernel does when memory runs out; `dmesg`"),
            (139, false, "was killed by SIGSEGV"),
            (1, false, "ended with exit status 1 and no report"),
            (128, false, "ended with exit status 128 and no report"),
        ];
        for (code, is_late, expected) in cases {
            let why = why_silent(code, is_late);
            assert!(why.contains(expected), "{code}: {why}");
        }
    }
}
