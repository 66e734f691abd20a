//! The messages between PID 1 and its clients (the engine daemon, `ros`) over the control socket.
//! Also those between PID 1 and a creation helper over theirs. Each message is one packet (see
//! `sys::packet`).

use crate::error::{EngineError, Failure};
use crate::signal::Signal;
use crate::spec::{
    ContainerSpec, Endpoint, ExecSpec, Grace, HealthState, Limits, Past, RestartPolicy, Snapshot,
    Status,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Both sides must speak the same version. They come from one binary, but a live update may meet an
/// older one.
pub const VERSION: u32 = 5;

/// A client's message: a request with a number that the reply repeats.
#[derive(Debug, Serialize, Deserialize)]
pub struct Call {
    pub number: u64,
    pub request: Request,
}

/// What a client may request.
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
    /// Answered when it has ended. None: as its definition says.
    Stop {
        container: String,
        grace: Option<Grace>,
    },
    Restart {
        container: String,
        grace: Option<Grace>,
    },
    Kill {
        container: String,
        signal: Signal,
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
        restart: Option<RestartPolicy>,
    },
    /// What the check of a container found.
    Health {
        container: String,
        health: HealthState,
    },
    /// Gives a container an endpoint in a network, at once if it runs.
    Connect {
        container: String,
        endpoint: Box<Endpoint>,
    },
    /// Takes it out of the network of that id.
    Disconnect {
        container: String,
        network: String,
    },
    /// What [`Event::Prepare`] requires is not there yet: why, until the next try.
    NotPrepared {
        container: String,
        problem: String,
    },
    /// The answer to [`Event::Prepare`]: what it required is there, or why not.
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
    /// Read the configuration again and apply it; answered when it is read.
    Reload,
    /// The change that waits for its confirmation stays.
    Confirmed,
    /// Shut the machine down.
    Power {
        action: PowerAction,
        force: bool,
    },
    /// Counters for tests and `ros`, as JSON.
    Status,
}

/// How the machine shuts down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PowerAction {
    Reboot,
    PowerOff,
    Halt,
    /// Start the kernel that kexec(8) loaded; without one the machine restarts.
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

/// What PID 1 sends to the engine daemon without a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Event {
    /// A container did something; this is its status now.
    Container {
        id: String,
        action: Action,
        status: Box<Status>,
        /// Its definition, where that is new or has changed since the last event.
        definition: Option<Box<ContainerSpec>>,
        /// Milliseconds since 1970.
        time: u64,
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
    /// A service of the plan has requirements before it can be made: answer with
    /// [`Request::Prepared`].
    Prepare {
        id: String,
        spec: Box<ContainerSpec>,
    },
    /// What [`Event::Prepare`] requires is not needed any more.
    CancelPreparation {
        id: String,
    },
    /// The next try to get what [`Event::Prepare`] requires is due now.
    TryAgain {
        id: String,
    },
}

/// What a container did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Nothing: the client is new, or its status changed in a way that Docker has no event for.
    Known,
    Create,
    Start,
    Die,
    Oom,
    Kill(Signal),
    Rename {
        old_name: String,
    },
    Pause,
    Unpause,
    Update,
    Health(HealthState),
    Destroy,
}

impl Action {
    /// Docker's word for it.
    pub fn word(&self) -> String {
        match self {
            Action::Known => "known".to_owned(),
            Action::Create => "create".to_owned(),
            Action::Start => "start".to_owned(),
            Action::Die => "die".to_owned(),
            Action::Oom => "oom".to_owned(),
            Action::Kill(_) => "kill".to_owned(),
            Action::Rename { .. } => "rename".to_owned(),
            Action::Pause => "pause".to_owned(),
            Action::Unpause => "unpause".to_owned(),
            Action::Update => "update".to_owned(),
            Action::Health(health) => format!("health_status: {}", health.word()),
            Action::Destroy => "destroy".to_owned(),
        }
    }
}

/// PID 1's request to a creation helper.
#[derive(Debug, Serialize, Deserialize)]
pub enum HelperRequest {
    /// Mount, create, report, wait for `Go`, start. The helper's own standard streams become the
    /// container's.
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

/// First processes of the containers whose namespaces a container shares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    pub network: Option<i32>,
    pub pid: Option<i32>,
    pub ipc: Option<i32>,
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
    Failed(Failure),
}
