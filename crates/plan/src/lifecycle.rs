//! The life of a container as one table: (state, event) → (state, action). Time and processes are the caller's business.

use crate::restart;
use crate::service::Restart;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Never started.
    Created,
    /// A helper is making it.
    Starting,
    Running,
    /// It was asked to end.
    Stopping,
    /// It ended and stays ended until somebody starts it.
    Exited,
    /// It ended and will be started again after a pause.
    Restarting,
}

/// What happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Somebody wants it to run.
    Start,
    /// Its first process runs.
    Started,
    /// It could not be made.
    StartFailed,
    /// Somebody wants it to end.
    Stop,
    /// Its first process ended with this code.
    Exited(i32),
    /// The pause before the next start is over.
    PauseOver,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Nothing,
    /// Have a helper make and start it.
    Launch,
    /// Send it its stop signal, and the final one when its grace is over.
    Signal,
    /// Come back with `PauseOver` after this time.
    Pause(Duration),
}

/// What the table needs to know of a container besides its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    pub policy: Restart,
    /// Starts that the policy asked for since somebody asked last.
    pub restarts: u32,
    /// Failures in a row, without a stable run in between.
    pub failures: u32,
}

/// The table. An event that means nothing in a state leaves it as it is.
pub fn next(state: State, event: Event, record: Record) -> (State, Action) {
    match (state, event) {
        (State::Created | State::Exited | State::Restarting, Event::Start) => {
            (State::Starting, Action::Launch)
        }
        (State::Restarting, Event::PauseOver) => (State::Starting, Action::Launch),
        (State::Restarting, Event::Stop) => (State::Exited, Action::Nothing),
        (State::Starting, Event::Started) => (State::Running, Action::Nothing),
        (State::Starting, Event::StartFailed) => after_end(127, record),
        // A stop that comes while the helper is at work counts as soon as there is something to stop.
        (State::Starting | State::Running, Event::Stop) => (State::Stopping, Action::Signal),
        (State::Stopping, Event::Started) => (State::Stopping, Action::Signal),
        (State::Stopping, Event::Exited(_) | Event::StartFailed) => (State::Exited, Action::Nothing),
        (State::Starting | State::Running, Event::Exited(code)) => after_end(code, record),
        (state, _) => (state, Action::Nothing),
    }
}

fn after_end(code: i32, record: Record) -> (State, Action) {
    if restart::wanted(record.policy, code, record.restarts) {
        (State::Restarting, Action::Pause(restart::pause(record.failures)))
    } else {
        (State::Exited, Action::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_with_and_without_restarts() {
        let record = |policy| Record { policy, restarts: 0, failures: 0 };
        let pause = Action::Pause(Duration::from_millis(100));
        let cases = [
            (State::Created, Event::Start, Restart::No, State::Starting, Action::Launch),
            (State::Starting, Event::Started, Restart::No, State::Running, Action::Nothing),
            (State::Running, Event::Exited(0), Restart::No, State::Exited, Action::Nothing),
            (State::Running, Event::Exited(137), Restart::Always, State::Restarting, pause),
            (State::Starting, Event::StartFailed, Restart::Always, State::Restarting, pause),
            (State::Restarting, Event::PauseOver, Restart::Always, State::Starting, Action::Launch),
            (State::Restarting, Event::Stop, Restart::Always, State::Exited, Action::Nothing),
            (State::Running, Event::Stop, Restart::Always, State::Stopping, Action::Signal),
            (State::Starting, Event::Stop, Restart::Always, State::Stopping, Action::Signal),
            (State::Stopping, Event::Started, Restart::Always, State::Stopping, Action::Signal),
            (State::Stopping, Event::Exited(0), Restart::Always, State::Exited, Action::Nothing),
            (State::Exited, Event::PauseOver, Restart::Always, State::Exited, Action::Nothing),
        ];
        for (state, event, policy, expected, action) in cases {
            assert_eq!(
                next(state, event, record(policy)),
                (expected, action),
                "{state:?} {event:?} {policy:?}"
            );
        }
    }
}
