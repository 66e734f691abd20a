//! The life of a container as a state machine without a clock, processes and sockets. Requests of
//! clients and events go in, effects come out. PID 1 carries the effects out and reports what
//! became of them as the next events.
//!
//! Of several requests the last one wins. A stop that follows a restart cancels the start; a start
//! that follows a stop lets the container run again. Each client that waits gets exactly one
//! answer.

mod messages;

use crate::restart;
use corral_engine::spec::{RestartPolicy, State};
pub(crate) use messages::{Change, Effect, Event, Outcome, Refusal, Request, Rules, Stop};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    Created,
    Preparing,
    /// A helper is at work. It has made the first process, which may have ended before the helper
    /// reports.
    Launching {
        made: bool,
        ended: Option<i32>,
    },
    Running,
    /// It could not be started, and its first process is killed.
    Failing,
    /// Its first process has ended with this code. `ran`: after it was started.
    CleaningUp {
        code: i32,
        ran: bool,
    },
    Exited,
    /// Its policy starts it again when the time since its end is over.
    #[serde(alias = "Pausing")]
    BackingOff,
}

/// What follows from this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Goal {
    /// It runs. When it ends, its policy decides; if a client killed it, it stays down.
    Up {
        killed: Kill,
    },
    Down(Stop),
    /// It ends, and starts again at once.
    Again(Stop),
}

/// Whether a client sent a signal that ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Kill {
    No,
    /// It may ignore the signal.
    Perhaps,
    Surely,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Removal {
    No,
    /// Another one takes its place.
    Replaced,
    ByClient,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Until {
    Started,
    Stopped,
    Removed,
}

/// The life of one container; `C` is a client that waits for an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Life<C> {
    phase: Phase,
    goal: Goal,
    removal: Removal,
    /// Starts by its policy since a client requested one.
    restarts: u32,
    /// Failures in a row, without a stable run in between.
    failures: u32,
    waiting: Vec<(C, Until)>,
}

type Effects<C> = Vec<Effect<C>>;

/// The exit code of one that could not be started, as shells have it.
const NOT_STARTED: i32 = 127;

impl<C: Copy> Life<C> {
    /// Never started.
    pub(crate) fn new() -> Life<C> {
        Life {
            phase: Phase::Created,
            goal: Goal::Up { killed: Kill::No },
            removal: Removal::No,
            restarts: 0,
            failures: 0,
            waiting: Vec::new(),
        }
    }

    /// It ran before this boot.
    pub(crate) fn exited() -> Life<C> {
        Life { phase: Phase::Exited, ..Life::new() }
    }

    pub(crate) fn state(&self) -> State {
        let is_stopping = !matches!(self.goal, Goal::Up { .. });
        match self.phase {
            Phase::Created => State::Created,
            Phase::Exited => State::Exited,
            Phase::BackingOff => State::Restarting,
            _ if is_stopping => State::Stopping,
            Phase::Running | Phase::CleaningUp { ran: true, .. } => State::Running,
            _ => State::Starting,
        }
    }

    /// No process, helper or preparation of it is left.
    pub(crate) fn is_down(&self) -> bool {
        matches!(self.phase, Phase::Created | Phase::Exited | Phase::BackingOff)
    }

    /// Its first process runs the program, and was not requested to stop.
    pub(crate) fn is_running(&self) -> bool {
        self.phase == Phase::Running && self.state() == State::Running
    }

    pub(crate) fn is_preparing(&self) -> bool {
        self.phase == Phase::Preparing
    }

    /// It ends and stays down: a further stop of PID 1 changes nothing.
    pub(crate) fn is_going_down(&self) -> bool {
        matches!(self.goal, Goal::Down(_))
    }

    /// How it is being stopped, if it is.
    pub(crate) fn stop_in_progress(&self) -> Option<Stop> {
        match self.goal {
            Goal::Down(how) | Goal::Again(how) if !self.is_down() => Some(how),
            _ => None,
        }
    }

    /// It is down, and no backoff leads to its next start.
    pub(crate) fn is_at_rest(&self) -> bool {
        matches!(self.phase, Phase::Created | Phase::Exited)
    }

    /// Another container takes its place.
    pub(crate) fn is_replaced(&self) -> bool {
        self.removal == Removal::Replaced
    }

    /// Starts by its policy since a client requested one.
    pub(crate) fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Forgets clients that are gone.
    pub(crate) fn retain_clients(&mut self, is_there: impl Fn(&C) -> bool) {
        self.waiting.retain(|(client, _)| is_there(client));
    }

    /// A client's request. A refused one has changed nothing, and its client waits for nothing.
    pub(crate) fn request(
        &mut self,
        client: C,
        request: Request,
        rules: Rules,
    ) -> Result<Effects<C>, Refusal> {
        let (until, effects) = match request {
            Request::Start => (Until::Started, self.request_start(rules)?),
            Request::Restart(how) => (Until::Started, self.request_restart(how, rules)?),
            Request::Stop(how) => return self.request_stop(client, how),
            Request::Remove { force } => return self.request_removal(client, force),
        };
        self.waiting.push((client, until));
        Ok(effects)
    }

    /// What follows from an event. One that means nothing in this phase has no effect.
    pub(crate) fn handle(&mut self, event: Event, rules: Rules) -> Effects<C> {
        match (event, self.phase) {
            (Event::Start, Phase::Created | Phase::Exited | Phase::BackingOff) => self.begin(rules),
            (Event::Stop, _) if !self.is_at_rest() && !self.is_going_down() => {
                self.stop(Stop::AsDefined)
            }
            (Event::Replace, _) => self.replace(),
            (Event::Killed { surely }, Phase::Launching { .. } | Phase::Running) => {
                if let Goal::Up { killed } = &mut self.goal {
                    *killed = if surely { Kill::Surely } else { Kill::Perhaps };
                }
                Vec::new()
            }
            (Event::Prepared, Phase::Preparing) => self.launch(),
            (Event::Made, Phase::Launching { ended, .. }) => self.made(ended),
            (Event::Started, Phase::Launching { ended, .. }) => self.started(ended),
            (Event::LaunchFailed, Phase::Preparing) => self.failed(rules),
            (Event::LaunchFailed, Phase::Launching { made, ended }) => {
                self.launch_failed(made, ended, rules)
            }
            (Event::Ended { code, .. }, Phase::Launching { made, .. }) => {
                self.phase = Phase::Launching { made, ended: Some(code) };
                Vec::new()
            }
            (Event::Ended { code, was_stable }, Phase::Running | Phase::Failing) => {
                self.ended(code, was_stable)
            }
            (Event::CleanedUp, Phase::CleaningUp { code, .. }) => self.finish(code, rules.policy),
            (Event::BackoffOver, Phase::BackingOff) => self.begin(rules),
            (Event::GraceOver, Phase::Running) if self.state() == State::Stopping => {
                vec![Effect::Kill]
            }
            _ => Vec::new(),
        }
    }

    fn request_start(&mut self, rules: Rules) -> Result<Effects<C>, Refusal> {
        if self.removal != Removal::No {
            return Err(Refusal::IsBeingRemoved);
        }
        match (self.phase, self.goal) {
            (Phase::Created | Phase::Exited | Phase::BackingOff, _) => {
                self.restarts = 0;
                Ok(self.begin(rules))
            }
            (Phase::Preparing, _) => Ok(vec![Effect::HurryPreparation]),
            (Phase::Launching { .. } | Phase::Running, Goal::Up { killed: Kill::Surely }) => {
                self.goal = Goal::Again(Stop::Kill);
                Ok(Vec::new())
            }
            (Phase::Launching { .. } | Phase::Running, Goal::Up { .. }) => {
                Err(Refusal::RunsAlready)
            }
            (_, Goal::Down(how) | Goal::Again(how)) => {
                self.goal = Goal::Again(how);
                Ok(Vec::new())
            }
            (Phase::Failing | Phase::CleaningUp { .. }, Goal::Up { .. }) => {
                self.goal = Goal::Again(Stop::AsDefined);
                Ok(Vec::new())
            }
        }
    }

    fn request_restart(&mut self, how: Stop, rules: Rules) -> Result<Effects<C>, Refusal> {
        if self.is_down() || self.is_preparing() || self.removal != Removal::No {
            return self.request_start(rules);
        }
        self.goal = Goal::Again(how);
        Ok(self.signal_if_running(how))
    }

    fn request_stop(&mut self, client: C, how: Stop) -> Result<Effects<C>, Refusal> {
        if self.is_at_rest() {
            return Err(Refusal::IsDown);
        }
        self.waiting.push((client, Until::Stopped));
        Ok(self.stop(how))
    }

    fn request_removal(&mut self, client: C, force: bool) -> Result<Effects<C>, Refusal> {
        // One in its backoff is up for clients of Docker.
        if (!self.is_down() || self.phase == Phase::BackingOff) && !force {
            return Err(Refusal::IsUp);
        }
        self.removal = Removal::ByClient;
        self.waiting.push((client, Until::Removed));
        Ok(self.end_for_removal(Stop::Kill))
    }

    fn replace(&mut self) -> Effects<C> {
        if self.removal != Removal::No {
            return Vec::new();
        }
        self.removal = Removal::Replaced;
        let ends_already = !self.is_down() && self.is_going_down();
        if ends_already { Vec::new() } else { self.end_for_removal(Stop::AsDefined) }
    }

    fn end_for_removal(&mut self, how: Stop) -> Effects<C> {
        match self.phase {
            Phase::Created | Phase::Exited => self.forget(),
            Phase::BackingOff => {
                std::iter::once(Effect::ClearBackoff).chain(self.forget()).collect()
            }
            _ => self.stop(how),
        }
    }

    /// The first step of each start.
    fn begin(&mut self, rules: Rules) -> Effects<C> {
        self.goal = Goal::Up { killed: Kill::No };
        let mut effects = Vec::new();
        if self.phase == Phase::BackingOff {
            effects.push(Effect::ClearBackoff);
        }
        if rules.needs_preparation {
            self.phase = Phase::Preparing;
            effects.push(Effect::Prepare);
        } else {
            effects.extend(self.launch());
        }
        effects
    }

    fn launch(&mut self) -> Effects<C> {
        self.phase = Phase::Launching { made: false, ended: None };
        vec![Effect::Launch]
    }

    fn made(&mut self, ended: Option<i32>) -> Effects<C> {
        self.phase = Phase::Launching { made: true, ended };
        if ended.is_none() && self.goal == Goal::Down(Stop::Kill) {
            vec![Effect::Kill]
        } else {
            Vec::new()
        }
    }

    fn started(&mut self, ended: Option<i32>) -> Effects<C> {
        self.phase = Phase::Running;
        let mut effects = vec![Effect::Report(Change::Started)];
        if matches!(self.goal, Goal::Up { .. }) {
            effects.extend(self.answer(Until::Started, Outcome::Done));
        }
        effects.extend(match (ended, self.goal) {
            (Some(code), _) => self.ended(code, false),
            (None, Goal::Up { .. }) => Vec::new(),
            (None, Goal::Down(how) | Goal::Again(how)) => self.signal_if_running(how),
        });
        effects
    }

    fn launch_failed(&mut self, made: bool, ended: Option<i32>, rules: Rules) -> Effects<C> {
        match (made, ended) {
            (_, Some(code)) => self.ended(code, false),
            // It waits to be started, and never will be.
            (true, None) => {
                self.phase = Phase::Failing;
                vec![Effect::Kill]
            }
            (false, None) => self.failed(rules),
        }
    }

    /// Nothing of it was made.
    fn failed(&mut self, rules: Rules) -> Effects<C> {
        self.failures = self.failures.saturating_add(1);
        self.finish(NOT_STARTED, rules.policy)
    }

    fn ended(&mut self, code: i32, was_stable: bool) -> Effects<C> {
        self.failures = if was_stable { 0 } else { self.failures.saturating_add(1) };
        self.phase = Phase::CleaningUp { code, ran: self.phase == Phase::Running };
        vec![Effect::ClearGrace, Effect::CleanUp]
    }

    /// It is to end and to stay down. Clients that wait for a start do so in vain.
    fn stop(&mut self, how: Stop) -> Effects<C> {
        self.goal = Goal::Down(how);
        let mut effects = self.answer(Until::Started, Outcome::Stopped);
        effects.extend(match self.phase {
            Phase::BackingOff => self.settle(),
            Phase::Preparing => {
                let rest = self.finish(NOT_STARTED, RestartPolicy::No);
                std::iter::once(Effect::CancelPreparation).chain(rest).collect()
            }
            Phase::Launching { made: true, ended: None } if how == Stop::Kill => vec![Effect::Kill],
            _ => self.signal_if_running(how),
        });
        effects
    }

    fn signal_if_running(&self, how: Stop) -> Effects<C> {
        match (self.phase, how) {
            (Phase::Running, Stop::Kill) => vec![Effect::Kill],
            (Phase::Running, how) => vec![Effect::Signal(how)],
            _ => Vec::new(),
        }
    }

    /// Its backoff leads to no start any more.
    fn settle(&mut self) -> Effects<C> {
        self.phase = Phase::Exited;
        let mut effects = vec![Effect::ClearBackoff, Effect::Report(Change::Settled)];
        effects.extend(self.answer(Until::Stopped, Outcome::Done));
        effects
    }

    /// Nothing of this run is left: it stays down, starts again, or goes.
    fn finish(&mut self, code: i32, policy: RestartPolicy) -> Effects<C> {
        let goal = std::mem::replace(&mut self.goal, Goal::Up { killed: Kill::No });
        self.phase = Phase::Exited;
        let mut effects = vec![Effect::Report(Change::Died)];
        effects.extend(self.answer(Until::Stopped, Outcome::Done));
        if self.removal != Removal::No {
            effects.extend(self.forget());
            return effects;
        }
        match goal {
            Goal::Again(_) => {
                self.restarts = 0;
                effects.push(Effect::StartAgain);
                return effects;
            }
            Goal::Up { killed: Kill::No } if restart::is_due(policy, code, self.restarts) => {
                self.phase = Phase::BackingOff;
                self.restarts = self.restarts.saturating_add(1);
                effects.push(Effect::SetBackoff(restart::backoff(self.failures)));
            }
            Goal::Up { .. } | Goal::Down(_) => {}
        }
        effects.extend(self.answer(Until::Started, Outcome::NotStarted));
        effects
    }

    fn forget(&mut self) -> Effects<C> {
        let with_files = self.removal == Removal::Replaced;
        let mut effects = vec![Effect::Report(Change::Destroyed), Effect::Forget { with_files }];
        effects.extend(self.answer(Until::Removed, Outcome::Done));
        effects.extend(self.answer(Until::Stopped, Outcome::Done));
        effects.extend(self.answer(Until::Started, Outcome::Removed));
        effects
    }

    fn answer(&mut self, until: Until, outcome: Outcome) -> Effects<C> {
        let is_answered = |(_, other): &mut (C, Until)| *other == until;
        self.waiting
            .extract_if(.., is_answered)
            .map(|(client, _)| Effect::Answer(client, outcome))
            .collect()
    }
}

impl<C: Copy> Default for Life<C> {
    fn default() -> Life<C> {
        Life::new()
    }
}

#[cfg(test)]
mod world;
