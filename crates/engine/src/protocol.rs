//! What PID 1 and its clients (the engine daemon, `ros`) say to each other over the control socket, and what PID 1 and
//! a creation helper say over theirs. Each message is one packet (see `sys::packet`).

use crate::error::EngineError;
use crate::spec::{ContainerSpec, Endpoint, ExecSpec, Limits, Past, Snapshot};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Both sides must speak the same version: they come from one binary, but a live update may meet an older one.
pub const VERSION: u32 = 4;

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
    /// With an id of the caller's choice, and what was before this boot.
    Create {
        id: String,
        spec: Box<ContainerSpec>,
        past: Option<Past>,
    },
    /// Answered when it runs, or could not be started.
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
    /// Forget a container; with `force` after ending it. Its files are the caller's to remove.
    Remove {
        container: String,
        force: bool,
    },
    Rename {
        container: String,
        name: String,
    },
    Pause {
        container: String,
        pause: bool,
    },
    Update {
        container: String,
        limits: Option<Limits>,
        /// Docker's word and the limit of `on-failure`.
        restart: Option<(String, u32)>,
    },
    /// What the check of a container found.
    Health {
        container: String,
        status: String,
    },
    /// Gives a container its place in a network, at once if it runs.
    Connect {
        container: String,
        endpoint: Box<Endpoint>,
    },
    /// Takes it out of the network of that id.
    Disconnect {
        container: String,
        network: String,
    },
    /// What [`Event::Prepare`] wants is not there yet: why, until the next try.
    NotPrepared {
        container: String,
        problem: String,
    },
    /// The answer to [`Event::Prepare`]: what it wanted is there, or why not.
    Prepared {
        container: String,
        result: Result<Box<ContainerSpec>, String>,
    },
    /// No more input comes: what PID 1 keeps of its stdin is closed.
    CloseStdin {
        container: String,
    },
    /// PID 1 executes its own binary again; everything goes on.
    Reexec,
    /// A bug in PID 1, in builds for tests.
    Panic,
    /// With three descriptors (stdin, stdout, stderr) unless it has a tty.
    Exec {
        container: String,
        spec: Box<ExecSpec>,
    },
    /// The spans of the boot, as JSON.
    Boot,
    /// Services of the plan that were not started yet, and what each waits for, as JSON.
    Waiting,
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
    /// Start the kernel that kexec(8) loaded.
    Kexec,
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
    /// Something happened to a container; this is how it is now.
    Container {
        /// Docker's word: `create`, `start`, `die`… or `known` for one that is told of because the client is new.
        action: String,
        snapshot: Box<Snapshot>,
        /// Milliseconds since 1970.
        time: u64,
        /// More that Docker tells of such an event, such as the signal of a `kill`.
        detail: Option<(String, String)>,
    },
    /// With our end of a stream (or a pty master) as a descriptor; `stream` is 0, 1 or 2.
    Log {
        id: String,
        name: String,
        stream: u8,
    },
    ExecEnded {
        exec: String,
        exit_code: i32,
    },
    /// A service of the plan wants something before it can be made: answer with [`Request::Prepared`].
    Prepare {
        id: String,
        spec: Box<ContainerSpec>,
    },
    /// The next try to get what [`Event::Prepare`] wants is due now.
    TryAgain {
        id: String,
    },
}

/// PID 1's order to a creation helper.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// Mount, create, report, wait for `Go`, start. The helper's own standard streams become the container's.
    Launch {
        id: String,
        spec: Box<ContainerSpec>,
        join: Join,
    },
    Exec {
        id: String,
        spec: Box<ExecSpec>,
    },
    /// After the end of the first process: end the rest of the container, and forget it.
    Cleanup {
        id: String,
        keep_children: bool,
        /// Its files go too.
        remove: bool,
    },
    /// Change the networks of a container that runs.
    Network {
        pid: i32,
        connect: Option<Box<Endpoint>>,
        /// The endpoint whose interface goes.
        disconnect: Option<Box<Endpoint>>,
    },
    Go,
}

/// First processes of the containers whose namespaces a container shares; 0: none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    pub network: i32,
    pub pid: i32,
    pub ipc: i32,
}

/// A creation helper's report.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
