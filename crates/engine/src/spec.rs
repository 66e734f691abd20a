//! All that the engine is told about a container, and what it tells of one.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A container that is wanted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    pub name: String,
    /// A reference of an embedded image, with or without tag.
    pub image: String,
    pub entrypoint: Option<Vec<String>>,
    pub command: Option<Vec<String>>,
    /// `KEY=VALUE`.
    pub env: Vec<String>,
    pub working_dir: String,
    pub user: String,
    /// Empty: the first 12 characters of the id.
    pub hostname: String,
    pub tty: bool,
    pub open_stdin: bool,
    pub privileged: bool,
    pub read_only: bool,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub no_new_privileges: bool,
    /// Device nodes of the host that the container may use.
    pub devices: Vec<String>,
    pub host_network: bool,
    pub host_pid: bool,
    pub host_ipc: bool,
    pub host_uts: bool,
    pub binds: Vec<Bind>,
    pub tmpfs: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// Docker's word: `no`, `always`, `unless-stopped`, `on-failure`.
    pub restart: String,
    pub restart_limit: u32,
    /// A signal's name or number.
    pub stop_signal: String,
    /// Seconds between the stop signal and the final one.
    pub stop_timeout: u64,
    /// Bytes; 0: no limit.
    pub memory: u64,
    /// What the container started lives on when its first process ends.
    pub keep_children: bool,
}

/// The label of a container that has files to be placed; its value changes when they do.
pub const FILES_LABEL: &str = "io.corral.files";

/// A file to be placed in a container before it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedFile {
    pub path: String,
    /// The file of the host with its content.
    pub blob: String,
    pub mode: u32,
    /// `user[:group]` by the container's own accounts; empty: root.
    pub owner: String,
}

/// A path of the host that a container sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    pub source: String,
    pub target: String,
    pub read_only: bool,
    pub shared: bool,
}

/// A process to run in a container that runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecSpec {
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub working_dir: String,
    pub user: String,
    pub tty: bool,
    pub privileged: bool,
}

/// A container as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub id: String,
    pub spec: ContainerSpec,
    /// `created`, `starting`, `running`, `stopping`, `exited`, `restarting`.
    pub state: String,
    /// Process id of its first process as PID 1 sees it; 0 while there is none.
    pub pid: i32,
    pub exit_code: i32,
    /// Why it could not be started the last time; empty if it could.
    pub error: String,
    pub restarts: u32,
    /// Milliseconds since 1970; 0: never.
    pub created: u64,
    pub started: u64,
    pub finished: u64,
}
