//! When the configuration is read again, and which clients wait for it. A run of the resolver that
//! began before a request may have read too early for it: the request waits for the next run.

use super::clients::Caller;
use crate::boot::resolver::{BUILT_IN, ROLL_BACK, Resolver, WITH_KERNEL};
use anyhow::{Context, Result};
use corral_config::Config;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};

/// What a run of the resolver is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    /// It rolls this unconfirmed change back first.
    pub(super) roll_back: Option<String>,
    /// The console applies what is its own afterwards.
    pub(super) apply: bool,
    /// It leaves the owner's files out: they ended the run before it, for this reason.
    pub(super) built_in: Option<String>,
}

/// The requests, without the process that serves them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Requests {
    running: Option<Run>,
    /// It starts as soon as that is over.
    next: Option<Run>,
    /// Clients that wait for the run at work, and for the next one.
    callers: Vec<Caller>,
    next_callers: Vec<Caller>,
    /// Those of the last run, while its outcome is applied.
    concluding: Vec<Caller>,
    /// Clients that wait until no source of the boot can change the configuration any more.
    settling: Vec<Caller>,
}

/// A run is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finished {
    pub(super) run: Run,
    /// This one starts now.
    pub(super) next: Option<Run>,
}

impl Run {
    /// What follows if it fails. The active configuration stays, unless no user can log in with it
    /// over the network, as in a first boot: then the logins that are known without the owner's
    /// files are used.
    pub(super) fn fallback(&self, active: &Config, reason: &str) -> Option<Run> {
        let is_needed = self.built_in.is_none() && !active.has_remote_login();
        let built_in = Some(reason.to_owned());
        is_needed.then(|| Run { apply: true, built_in, ..Run::default() })
    }
}

impl Requests {
    /// Requests a run. The one to start now, if none is at work.
    pub(super) fn add(&mut self, run: Run, caller: Option<Caller>) -> Option<Run> {
        if self.running.is_none() {
            self.running = Some(run.clone());
            self.callers.extend(caller);
            return Some(run);
        }
        let next = self.next.get_or_insert_default();
        // Only one change waits at a time, the last one.
        next.roll_back = run.roll_back.or_else(|| next.roll_back.take());
        next.apply |= run.apply;
        self.next_callers.extend(caller);
        None
    }

    /// Those who waited for the run are taken once its outcome is applied.
    pub(super) fn finish(&mut self) -> Finished {
        let run = self.running.take().unwrap_or_default();
        self.running = self.next.take();
        let next_callers = std::mem::take(&mut self.next_callers);
        self.concluding.extend(std::mem::replace(&mut self.callers, next_callers));
        Finished { run, next: self.running.clone() }
    }

    pub(super) fn take_concluding(&mut self) -> Vec<Caller> {
        std::mem::take(&mut self.concluding)
    }

    /// Forgets clients that are gone.
    fn retain_clients(&mut self, is_there: impl Fn(&Caller) -> bool) {
        for waiting in [&mut self.callers, &mut self.next_callers, &mut self.settling] {
            waiting.retain(&is_there);
        }
    }
}

/// The resolver and its requests.
#[derive(Debug, Default)]
pub(super) struct Reload {
    requests: Requests,
    resolver: Option<Resolver>,
    /// Stages of cloud-init that run again in this boot for what they have fetched.
    repeated: BTreeSet<&'static str>,
}

impl Reload {
    /// May this stage run again for its own result? Only once.
    pub(super) fn take_repetition(&mut self, stage: &'static str) -> bool {
        self.repeated.insert(stage)
    }

    /// Is a run at work? What was resolved before it may be out of date.
    pub(super) fn is_running(&self) -> bool {
        self.requests.running.is_some()
    }

    /// What to poll.
    pub(super) fn output(&self) -> Option<BorrowedFd<'_>> {
        self.resolver.as_ref().map(AsFd::as_fd)
    }

    /// Requests a run. The one to start now, if none is at work.
    pub(super) fn request(&mut self, run: Run, caller: Option<Caller>) -> Option<Run> {
        self.requests.add(run, caller)
    }

    /// Starts the resolver for a run.
    pub(super) fn start(&mut self, run: &Run) -> Result<()> {
        let roll_back = run.roll_back.iter().flat_map(|change| [ROLL_BACK, change.as_str()]);
        let built_in = run.built_in.iter().flat_map(|reason| [BUILT_IN, reason.as_str()]);
        let arguments: Vec<&str> = roll_back.chain(built_in).chain([WITH_KERNEL]).collect();
        self.resolver =
            Some(Resolver::start(&arguments).context("reading the configuration again")?);
        Ok(())
    }

    /// Takes the output of the resolver; returns the resolver when that is complete.
    pub(super) fn read(&mut self) -> Option<Resolver> {
        self.resolver.take_if(Resolver::read)
    }

    /// The resolver, whose output should be complete by now.
    pub(super) fn take_late(&mut self) -> Option<Resolver> {
        self.resolver.take()
    }

    pub(super) fn finish(&mut self) -> Finished {
        self.requests.finish()
    }

    /// Who waited for the run that is over.
    pub(super) fn take_concluding(&mut self) -> Vec<Caller> {
        self.requests.take_concluding()
    }

    /// A client is answered when no source of the boot can change the configuration any more.
    pub(super) fn await_settled(&mut self, caller: Caller) {
        self.requests.settling.push(caller);
    }

    pub(super) fn has_settling(&self) -> bool {
        !self.requests.settling.is_empty()
    }

    pub(super) fn take_settling(&mut self) -> Vec<Caller> {
        std::mem::take(&mut self.requests.settling)
    }

    /// Forgets clients that are gone.
    pub(super) fn retain_clients(&mut self, is_there: impl Fn(&Caller) -> bool) {
        self.requests.retain_clients(is_there);
    }

    /// What the next process needs. [`Reload::put_back`] undoes it.
    pub(super) fn save(&mut self) -> Requests {
        std::mem::take(&mut self.requests)
    }

    pub(super) fn put_back(&mut self, requests: Requests) {
        self.requests = requests;
    }

    /// The run that was at work reports to no process any more: it is to be started again.
    pub(super) fn restore(requests: Requests) -> (Reload, Option<Run>) {
        let run = requests.running.clone();
        (Reload { requests, ..Reload::default() }, run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_run_that_fails_is_repeated_without_the_owners_files_if_no_user_can_log_in() {
        let empty = Config::default();
        let mut owner = empty.clone();
        owner.ssh_authorized_keys.push("ssh-ed25519 AAAA owner".to_owned());
        let run = Run::default();
        let fallback = run.fallback(&empty, "why").unwrap();
        assert_eq!((fallback.built_in.as_deref(), fallback.apply), (Some("why"), true));
        assert_eq!(run.fallback(&owner, "why"), None);
        assert_eq!(fallback.fallback(&empty, "again"), None);
        let with_client = Run { apply: true, ..Run::default() };
        assert!(with_client.fallback(&empty, "why").is_some(), "a client's run was joined to it");
    }

    proptest! {
        /// Each client is answered once, by a run that began after its request, and waits for two
        /// runs at most.
        #[test]
        fn each_client_is_answered_by_a_run_that_began_after_its_request(steps: Vec<(bool, bool)>) {
            let mut requests = Requests::default();
            let (mut started, mut finished) = (0_u64, 0);
            // Client → runs that had begun when it came.
            let mut open = BTreeMap::new();
            // The change that is to be rolled back: the last one of those requested.
            let mut waiting = None;
            for (number, (is_request, roll_back)) in (0..).zip(steps) {
                if is_request {
                    let caller = Caller { connection: number, number };
                    open.insert(number, started);
                    let roll_back = roll_back.then(|| number.to_string());
                    waiting = roll_back.clone().or(waiting);
                    let run = Run { roll_back, apply: true, built_in: None };
                    if requests.add(run, Some(caller)).is_some() {
                        started += 1;
                    }
                } else if started > finished {
                    let done = requests.finish();
                    finished += 1;
                    for caller in requests.take_concluding() {
                        let before = open.remove(&caller.number);
                        let is_in_time =
                            |before: u64| before < finished && finished <= before + 2;
                        prop_assert!(before.is_some_and(is_in_time));
                    }
                    started += u64::from(done.next.is_some());
                    if done.run.roll_back == waiting {
                        waiting = None;
                    }
                }
            }
            while started > finished {
                let done = requests.finish();
                finished += 1;
                let callers = requests.take_concluding();
                let is_done = |number: u64| callers.iter().any(|caller| caller.number == number);
                open.retain(|number, _| !is_done(*number));
                started += u64::from(done.next.is_some());
                if done.run.roll_back == waiting {
                    waiting = None;
                }
            }
            prop_assert!(open.is_empty() && waiting.is_none(), "{open:?} {waiting:?}");
        }
    }
}
