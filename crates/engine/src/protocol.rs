//! What PID 1 and its clients (the engine daemon, `ros`) say to each other over the control socket, and what PID 1 and
//! a creation helper say over theirs. Each message is one packet (see `sys::packet`).

use crate::error::EngineError;
use crate::spec::{ContainerSpec, ExecSpec, Snapshot};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Both sides must speak the same version: they come from one binary, but a live update may meet an older one.
pub const VERSION: u32 = 1;

/// A client's message: a request with a number that the reply repeats.
#[derive(Debug, Serialize, Deserialize)]
pub struct Call {
    pub number: u64,
    pub request: Request,
}

/// What a client may ask.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// From the engine daemon: send me events, and every log stream that there is.
    Attach {
        version: u32,
    },
    /// One `Reply::Container` each, then `Reply::Done`.
    List,
    Inspect {
        container: String,
    },
    Create {
        spec: Box<ContainerSpec>,
    },
    Start {
        container: String,
    },
    /// Answered when it has ended. None: the container's own time-out.
    Stop {
        container: String,
        timeout: Option<u64>,
    },
    Restart {
        container: String,
        timeout: Option<u64>,
    },
    Kill {
        container: String,
        signal: String,
    },
    Remove {
        container: String,
        force: bool,
    },
    /// With three descriptors (stdin, stdout, stderr) unless it has a tty.
    Exec {
        container: String,
        spec: Box<ExecSpec>,
    },
    /// The spans of the boot, as JSON.
    Boot,
    /// Answered when no source of the boot can change the configuration any more.
    AwaitConfig,
    /// Read the configuration again and put it into force; answered when it is read.
    Reload,
    /// The change that waits stays.
    Confirmed,
    /// End the machine.
    Power {
        action: PowerAction,
        force: bool,
    },
    /// Everything that a client cannot be told otherwise: counters for tests and `ros`.
    Status,
}

/// What becomes of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PowerAction {
    Reboot,
    PowerOff,
    Halt,
}

/// PID 1's message.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    Reply { number: u64, reply: Box<Reply> },
    Event(Event),
}

/// The answer to a request.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    Done,
    Container(Box<Snapshot>),
    Created {
        id: String,
    },
    /// With the master of the pty as a descriptor, if it has one.
    ExecStarted {
        exec: String,
        pid: i32,
    },
    Value(Value),
    Error(EngineError),
}

/// News for the engine daemon.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Event {
    Container {
        id: String,
        name: String,
        image: String,
        action: String,
        exit_code: Option<i32>,
        time: u64,
    },
    /// With the read end of a pipe (or a pty master) as a descriptor; `stream` is 1 or 2.
    Log {
        id: String,
        name: String,
        stream: u8,
    },
    ExecEnded {
        exec: String,
        exit_code: i32,
    },
}

/// PID 1's order to a creation helper.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// Mount, create, report, wait for `Go`, start. The helper's own standard streams become the container's.
    Launch {
        id: String,
        spec: Box<ContainerSpec>,
    },
    Exec {
        id: String,
        spec: Box<ExecSpec>,
    },
    /// After the end of the first process: end the rest of the container, and forget it.
    Cleanup {
        id: String,
        name: String,
        keep_children: bool,
        remove: bool,
    },
    Go,
}

/// A creation helper's report.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// The first process is there and waits; with the pty master if there is one.
    Created {
        pid: i32,
    },
    /// It runs the program now.
    Started,
    /// All is done.
    Done,
    Failed {
        message: String,
    },
}
