//! Helpers at work: what each was started for, what it reported, and what follows from its end.

use super::connection::Waiting;
use super::{Supervisor, Timer};
use corral_engine::core::{Helper, Streams};
use corral_engine::error::EngineError;
use corral_engine::protocol::{Event, Order, Reply, Report};
use corral_engine::sys::packet::Received;
use corral_engine::sys::reap::End;
use corral_engine::sys::signals;
use corral_machine::console::say;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// No helper takes this long but one that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is lost is the terminal of what it made.
const NO_ROOM: &str = "PID 1 has no descriptor left for its terminal: Too many open files";

/// A helper and what it is for.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) helper: Helper,
    pub(super) purpose: Purpose,
    /// Its socket may still have something to say.
    pub(super) listening: bool,
    pub(super) result: Option<Report>,
    /// The process that it made, and its terminal.
    pub(super) made: Option<i32>,
    pub(super) terminal: Option<OwnedFd>,
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
        caller: Waiting,
    },
    /// Without a caller: PID 1 itself wants it.
    Exec {
        exec: String,
        caller: Option<Waiting>,
    },
}

impl Supervisor {
    /// Starts a helper.
    pub(super) fn start_job(
        &mut self,
        purpose: Purpose,
        order: &Order,
        streams: Streams,
    ) -> std::io::Result<()> {
        let helper = Helper::start(order, streams)?;
        let pid = helper.pid;
        self.set_timer(PATIENCE, Timer::HelperLate(pid));
        self.jobs
            .insert(pid, Job { helper, purpose, listening: true, result: None, made: None, terminal: None });
        Ok(())
    }

    /// Takes what a helper reports.
    pub(super) fn hear_helper(&mut self, pid: i32) {
        let mut created = None;
        if let Some(job) = self.jobs.get_mut(&pid) {
            loop {
                match job.helper.report() {
                    Received::Message(Report::Created { pid }, mut descriptors) => {
                        job.made = Some(pid);
                        job.terminal = descriptors.pop();
                        created = Some(pid);
                    }
                    Received::Stripped(Report::Created { pid }) => {
                        job.made = Some(pid);
                        job.result = Some(Report::Failed { message: NO_ROOM.to_owned() });
                        created = Some(pid);
                    }
                    Received::Message(other, _) | Received::Stripped(other) => job.result = Some(other),
                    Received::Nothing => break,
                    // It hung up: its end will be reaped.
                    Received::Closed => {
                        job.listening = false;
                        break;
                    }
                }
            }
        }
        if let Some(made) = created {
            self.process_made(pid, made);
        }
    }

    /// A helper has made a process: know it before it can end.
    fn process_made(&mut self, helper: i32, made: i32) {
        let Some(job) = self.jobs.get_mut(&helper) else { return };
        let has_failed = matches!(job.result, Some(Report::Failed { .. }));
        if has_failed {
            // What it made ends with it; what follows follows from the helper's end.
            let _ = signals::send(helper, 9);
            let _ = signals::send(made, 9);
        }
        match &job.purpose {
            Purpose::Launch { id } => {
                let (id, terminal) = (id.clone(), job.terminal.take());
                if let Some(container) = self.containers.get_mut(&id) {
                    container.pid = made;
                    if let Some(terminal) = terminal {
                        container.streams = vec![(1, terminal)];
                        self.offer_streams(&id);
                    }
                }
                if !has_failed && let Some(job) = self.jobs.get(&helper) {
                    // A helper that does not hear it fails, and says so at its end.
                    let _ = job.helper.go();
                }
            }
            Purpose::Exec { exec, .. } => {
                self.execs.insert(made, exec.clone());
            }
            Purpose::Cleanup { .. } | Purpose::Remove | Purpose::Network { .. } => {}
        }
    }

    /// A helper ended: go on with what it was for.
    pub(super) fn helper_ended(&mut self, end: End) {
        self.clear_timer(&Timer::HelperLate(end.pid));
        // Its last words may have come after we last looked.
        self.hear_helper(end.pid);
        let Some(mut job) = self.jobs.remove(&end.pid) else { return };
        let failure = match job.result.take() {
            Some(Report::Failed { message }) => Some(message),
            Some(_) => None,
            None => Some(format!("the helper ended with {}", end.code)),
        };
        match job.purpose {
            Purpose::Launch { id } => match failure {
                None => self.launched(&id),
                Some(message) => self.launch_failed(&id, &message),
            },
            Purpose::Cleanup { id } => {
                failure.iter().for_each(|message| say(message));
                self.cleaned(&id);
            }
            Purpose::Remove => failure.iter().for_each(|message| say(message)),
            Purpose::Network { caller } => {
                let reply = failure.map_or(Reply::Done, |message| Reply::Error(EngineError::Failed(message)));
                self.answer(caller, reply, &[]);
            }
            Purpose::Exec { exec, caller } => self.exec_made(exec, caller, (failure, job.made), job.terminal),
        }
    }

    /// A helper has put a process into a container, or could not.
    fn exec_made(
        &mut self,
        exec: String,
        caller: Option<Waiting>,
        (failure, made): (Option<String>, Option<i32>),
        terminal: Option<OwnedFd>,
    ) {
        match (failure, made, caller) {
            (None, Some(pid), Some(caller)) => {
                let terminal: Vec<OwnedFd> = terminal.into_iter().collect();
                self.answer(caller, Reply::ExecStarted { exec, pid }, &terminal);
            }
            (None, Some(_), None) => {}
            (failure, made, caller) => {
                made.map(|pid| self.execs.remove(&pid));
                let message = failure.unwrap_or_else(|| "the helper made no process".to_owned());
                match caller {
                    Some(caller) => self.answer(caller, Reply::Error(EngineError::BadRequest(message)), &[]),
                    None => say(&message),
                }
            }
        }
    }

    /// A helper hangs: end it; what follows follows from its end.
    pub(super) fn helper_late(&mut self, pid: i32) {
        if self.jobs.contains_key(&pid) {
            let _ = signals::send(pid, 9);
        }
    }

    /// A process that was asked for in a container ended.
    pub(super) fn exec_ended(&mut self, exec: String, exit_code: i32) {
        self.broadcast(&Event::ExecEnded { exec, exit_code });
    }
}
