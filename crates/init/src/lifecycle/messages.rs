//! What goes into the life of a container, and what comes out of it.

use corral_engine::spec::{Grace, RestartPolicy};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How a container is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stop {
    /// By its stop signal, with the time until the kill that its definition says.
    AsDefined,
    /// By its stop signal, with this time.
    Within(Grace),
    /// It is killed at once.
    Kill,
}

/// What a client requests of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// Answered when it runs, or cannot be started.
    Start,
    /// Answered when it has ended.
    Stop(Stop),
    /// Answered when it runs again, or cannot be started.
    Restart(Stop),
    /// Answered when it is forgotten; with `force` one that is up is killed first.
    Remove { force: bool },
}

/// What PID 1 reports of a container, or wants of it by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A service of the plan is to run.
    Start,
    /// The machine shuts down.
    Stop,
    /// The configuration defines another container in its place.
    Replace,
    /// A client sent it a signal that ends it: its policy does not start it again after that.
    /// `surely`: the signal cannot be ignored.
    Killed { surely: bool },
    /// What it requires is there.
    Prepared,
    /// Its first process exists, and waits for its start.
    Made,
    /// Its first process runs its program.
    Started,
    /// It could not be prepared, created or started.
    LaunchFailed,
    /// Its first process ended; `was_stable`: it ran for some time.
    Ended { code: i32, was_stable: bool },
    /// Nothing of the ended container is left.
    CleanedUp,
    /// The backoff before the next start is over.
    BackoffOver,
    /// The time between stop signal and kill is over.
    GraceOver,
}

/// What is to be done now, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect<C> {
    /// Have the engine daemon get what it requires.
    Prepare,
    /// Have the engine daemon try again now.
    HurryPreparation,
    /// The engine daemon need not go on.
    CancelPreparation,
    /// Have a helper create and start it.
    Launch,
    /// Send the stop signal, and come back with [`Event::GraceOver`].
    Signal(Stop),
    Kill,
    /// End what its first process left behind.
    CleanUp,
    /// Come back with [`Event::BackoffOver`] after this time.
    SetBackoff(Duration),
    ClearBackoff,
    ClearGrace,
    /// Come back with [`Event::Start`] when this state was reported.
    StartAgain,
    Report(Change),
    Answer(C, Outcome),
    /// It is no more. `with_files`: no client removes its files.
    Forget {
        with_files: bool,
    },
}

/// A change that is reported to the engine daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Started,
    Died,
    /// It does not start again after its backoff.
    Settled,
    Destroyed,
}

/// The answer to a client that waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// It could not be started, or ended before it was.
    NotStarted,
    /// A later request stopped it first.
    Stopped,
    /// It was removed or replaced first.
    Removed,
}

/// Why a request is refused; nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    RunsAlready,
    IsDown,
    /// It is up, and removing it was not forced.
    IsUp,
    IsBeingRemoved,
}

/// What the definition of a container sets for its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) policy: RestartPolicy,
    /// The engine daemon gets something for it before each start.
    pub(crate) needs_preparation: bool,
}
