//! What follows from what the helpers of PID 1 report, and from their ends.

use super::clients::Caller;
use super::jobs::{Ended, Purpose, TIMEOUT};
use super::supervisor::Supervisor;
use super::timers::Timer;
use crate::lifecycle::Event as LifeEvent;
use corral_engine::error::{EngineError, Failure};
use corral_engine::pid1::Streams;
use corral_engine::protocol::{Event, HelperRequest, Reply};
use corral_engine::sys::reap::End;
use corral_machine::console::log;

impl Supervisor {
    /// Starts a helper.
    pub(super) fn start_job(
        &mut self,
        purpose: Purpose,
        request: &HelperRequest,
        streams: Streams,
    ) -> std::io::Result<()> {
        let helper = self.jobs.start(purpose, request, streams)?;
        self.timers.set(TIMEOUT, Timer::HelperLate(helper));
        Ok(())
    }

    /// Takes what a helper reports. The first process of a container gets its streams before it
    /// begins.
    pub(super) fn read_helper(&mut self, helper: i32) {
        let Some(made) = self.jobs.read(helper) else { return };
        if let Some(container) = self.containers.get_mut(&made.container) {
            let has_terminal = made.terminal.is_some();
            container.made(made.pid, made.terminal);
            if has_terminal {
                self.offer_streams(&made.container);
            }
            self.handle_event(&made.container, LifeEvent::Made);
        }
        self.jobs.go(helper);
    }

    /// A helper ended: go on with what it was for.
    pub(super) fn helper_ended(&mut self, end: End) {
        self.timers.clear(&Timer::HelperLate(end.pid));
        // Its last words may have come after we last looked.
        self.read_helper(end.pid);
        let Some(ended) = self.jobs.end(end) else { return };
        let Ended { purpose, failure, .. } = &ended;
        match purpose {
            Purpose::Launch { id } => match failure {
                None => self.launched(id),
                Some(failure) => self.launch_failed(id, failure),
            },
            Purpose::Cleanup { id } => {
                report(failure.as_ref());
                self.cleaned(id);
            }
            Purpose::Remove => report(failure.as_ref()),
            Purpose::Network { caller } => {
                let failed =
                    |failure: &Failure| Reply::Error(EngineError::Failed(failure.to_string()));
                let reply = failure.as_ref().map_or(Reply::Done, failed);
                self.clients.answer(*caller, reply, &[]);
            }
            Purpose::Exec { exec, caller } => {
                let (exec, caller) = (exec.clone(), *caller);
                self.exec_made(exec, caller, ended);
            }
        }
    }

    /// A helper has put a process into a container, or could not.
    fn exec_made(&mut self, exec: String, caller: Option<Caller>, ended: Ended) {
        match (ended.failure, ended.made, caller) {
            (None, Some(pid), Some(caller)) => {
                let terminal = ended.terminal.as_slice();
                self.clients.answer(caller, Reply::ExecStarted { exec, pid }, terminal);
            }
            (None, Some(_), None) => {}
            (failure, made, caller) => {
                made.map(|pid| self.jobs.take_exec(pid));
                let failure =
                    failure.unwrap_or_else(|| Failure::other("the helper started no process"));
                match caller {
                    Some(caller) => {
                        self.clients.answer(
                            caller,
                            Reply::Error(EngineError::StartFailed(failure)),
                            &[],
                        );
                    }
                    None => log(&failure.message),
                }
            }
        }
    }

    /// A process that was requested in a container ended.
    pub(super) fn exec_ended(&mut self, exec: String, exit_code: i32) {
        self.clients.broadcast(&Event::ExecEnded { exec, exit_code }, &[]);
    }
}

/// Of a helper that no client waits for.
fn report(failure: Option<&Failure>) {
    if let Some(failure) = failure {
        log(&failure.message);
    }
}
