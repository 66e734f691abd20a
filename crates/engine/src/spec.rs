//! What a container is: its definition, and its status.

mod mac;
mod policy;

use crate::shapes::{millis, optional_millis, optional_nanos};
use crate::signal::Signal;
use ipnet::Ipv4Net;
pub use mac::{MacAddress, NotAMacAddress};
pub use policy::{Grace, RestartPolicy, UnknownPolicy};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

/// A container as it was requested.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    pub name: String,
    /// The image as it was requested.
    pub image: String,
    /// Its id when the container was made. Empty: the image that the name means at the start.
    pub image_id: String,
    pub entrypoint: Option<Vec<String>>,
    pub command: Option<Vec<String>>,
    /// `KEY=VALUE`.
    pub env: Vec<String>,
    pub working_dir: String,
    pub user: String,
    /// Empty: the first 12 characters of the id.
    pub hostname: String,
    pub domainname: String,
    pub tty: bool,
    pub open_stdin: bool,
    /// Its stdin ends when the first client that attached goes.
    pub stdin_once: bool,
    pub privileged: bool,
    pub read_only: bool,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub no_new_privileges: bool,
    pub seccomp: Seccomp,
    /// Nothing of /proc and /sys is hidden or read-only (`systempaths=unconfined`).
    pub bare_system_paths: bool,
    /// Device nodes of the host that the container may use: `source[:target[:rwm]]`.
    pub devices: Vec<String>,
    /// One of these that the machine lacks is left out. Otherwise the container does not start.
    pub devices_may_be_missing: bool,
    /// `c 13:* rwm`.
    pub device_rules: Vec<String>,
    pub group_add: Vec<String>,
    pub host_network: bool,
    pub host_pid: bool,
    pub host_ipc: bool,
    pub host_uts: bool,
    /// Containers (by id) whose namespaces it shares.
    pub network_of: String,
    pub pid_of: String,
    pub ipc_of: String,
    /// In bridge networks.
    pub endpoints: Vec<Endpoint>,
    pub ports: Vec<Port>,
    /// Containers that it finds by its hosts file: there are no names on the default bridge.
    pub links: Vec<Link>,
    pub dns: Dns,
    /// It has /etc/hostname, /etc/hosts and /etc/resolv.conf of its own.
    pub own_names: bool,
    /// `name:address`.
    pub extra_hosts: Vec<String>,
    pub binds: Vec<Bind>,
    /// `target[:options]`.
    pub tmpfs: Vec<String>,
    /// Bytes of /dev/shm; 0: 64 MiB.
    pub shm_size: u64,
    pub labels: BTreeMap<String, String>,
    pub sysctls: BTreeMap<String, String>,
    pub ulimits: Vec<Ulimit>,
    pub oom_score_adj: i64,
    pub limits: Limits,
    #[serde(flatten)]
    pub restart: RestartPolicy,
    pub stop_signal: Signal,
    pub stop_timeout: Grace,
    pub health: Option<Health>,
    pub log: LogOptions,
    /// It goes when it ends.
    pub auto_remove: bool,
    /// A small init is its first process, and reaps.
    pub init: bool,
    /// What the container started lives on when its first process ends.
    pub keep_children: bool,
    /// Its file system is kept under this name when the container goes; empty: it goes with it.
    pub keep: String,
    /// What it requires before it can be created.
    #[serde(alias = "wants")]
    pub requirements: Option<Requirements>,
}

/// What only the engine daemon can give a service of the plan: an image from a registry, endpoints
/// in networks, volumes and free ports. The volumes are the binds that have a name and no source
/// yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Requirements {
    pub pull: Pull,
    pub networks: Vec<NetworkAttachment>,
    /// (container, alias): its address stands in the hosts file under both names.
    pub links: Vec<(String, String)>,
}

/// When an image is fetched from its registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pull {
    /// When it is not there.
    #[default]
    Missing,
    /// Each time, as long as the registry can be reached.
    Always,
    Never,
}

/// An endpoint that is required in a bridge network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkAttachment {
    pub network: String,
    /// It is created if it is not there, with the next three values.
    pub may_be_created: bool,
    pub internal: bool,
    /// None: any that is free.
    pub subnet: Option<Ipv4Net>,
    pub gateway: Option<Ipv4Addr>,
    pub labels: BTreeMap<String, String>,
    pub aliases: Vec<String>,
    /// None: any.
    pub address: Option<Ipv4Addr>,
    pub mac: Option<MacAddress>,
}

/// Which system calls a container may make.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// The default profile, unless the container is privileged.
    #[default]
    Default,
    Unconfined,
    /// A profile in Docker's JSON format, as text.
    Profile(String),
}

/// What a container may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes; 0: no limit. The same for the next two.
    pub memory: u64,
    pub memory_reservation: u64,
    /// Memory and swap together; -1: no limit of swap.
    pub memory_swap: i64,
    /// Microseconds of processor in each period; 0: no limit.
    pub cpu_quota: i64,
    pub cpu_period: u64,
    /// Docker's shares, 2 to 262144; 0: the default.
    pub cpu_shares: u64,
    /// `0-2,7`.
    pub cpus: String,
    pub mems: String,
    /// Processes; 0: no limit.
    pub pids: i64,
}

/// A resource limit of processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// `nofile`.
    pub name: String,
    pub soft: u64,
    pub hard: u64,
}

/// How a container finds names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    pub servers: Vec<String>,
    pub search: Vec<String>,
    pub options: Vec<String>,
}

/// A container's endpoint in a bridge network. Its address is its own as long as it exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Name and id of the network.
    pub network: String,
    pub network_id: String,
    pub endpoint_id: String,
    /// The bridge on the host.
    pub bridge: String,
    pub address: Ipv4Addr,
    pub prefix: u8,
    /// The bridge's own address.
    pub gateway: Ipv4Addr,
    pub mac: MacAddress,
    /// Names by which others in this network find it, besides its own.
    pub aliases: Vec<String>,
    /// The bridge answers questions for names: not on the default one, as in Docker.
    pub has_dns: bool,
    /// The network has no way out.
    pub internal: bool,
    /// 0: the kernel's default.
    pub mtu: u32,
    /// In a network that has IPv6.
    #[serde(default)]
    pub v6: Option<EndpointV6>,
    /// Names by which it alone finds others in this network: (container, alias).
    #[serde(default)]
    pub links: Vec<(String, String)>,
    /// What the client requested of it.
    #[serde(default)]
    pub requested: EndpointRequest,
}

/// The IPv6 side of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointV6 {
    pub address: Ipv6Addr,
    pub prefix: u8,
    /// The bridge's own address.
    pub gateway: Ipv6Addr,
}

/// What a client requested of an endpoint: `inspect` shows it beside what takes effect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointRequest {
    pub address: Option<Ipv4Addr>,
    pub address_v6: Option<Ipv6Addr>,
    /// Shown only: the bridges have no options for one endpoint.
    pub driver_options: BTreeMap<String, String>,
}

/// Another container on the default bridge, as `docker run --link` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its name.
    pub container: String,
    pub alias: String,
    pub address: Ipv4Addr,
    /// `ALIAS_PORT=…` and the like.
    pub env: Vec<String>,
}

/// A port of the container that the host publishes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Empty: every address of the host.
    pub host_ip: String,
    pub host_port: u16,
    pub container_port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
}

/// How the engine checks whether a container is healthy. None: Docker's defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// `CMD`, words… or `CMD-SHELL`, line.
    pub test: Vec<String>,
    #[serde(with = "optional_nanos")]
    pub interval: Option<Duration>,
    #[serde(with = "optional_nanos")]
    pub timeout: Option<Duration>,
    #[serde(with = "optional_nanos")]
    pub start_period: Option<Duration>,
    #[serde(with = "optional_nanos")]
    pub start_interval: Option<Duration>,
    /// Failures in a row that make it unhealthy; 0: Docker's default.
    pub retries: u32,
}

/// What the check of a container found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthState {
    Starting,
    Healthy,
    Unhealthy,
}

impl HealthState {
    /// Docker's word.
    pub fn word(self) -> &'static str {
        match self {
            HealthState::Starting => "starting",
            HealthState::Healthy => "healthy",
            HealthState::Unhealthy => "unhealthy",
        }
    }
}

impl Health {
    /// What to run; None for `NONE`.
    pub fn command(&self) -> Option<Vec<String>> {
        let (kind, rest) = self.test.split_first()?;
        match (kind.as_str(), rest) {
            ("CMD", words) if !words.is_empty() => Some(words.to_vec()),
            ("CMD-SHELL", [line]) => {
                Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()])
            }
            _ => None,
        }
    }
}

/// How much is kept of what a container writes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogOptions {
    /// Nothing is kept.
    pub none: bool,
    /// Bytes of one file; 0: the default.
    pub max_bytes: u64,
    /// Files; 0: the default.
    pub max_files: u32,
    /// A text file of the host that gets the same lines, for a service of the system image.
    pub copy: Option<LogCopy>,
}

/// A second log, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogCopy {
    pub path: PathBuf,
    /// Bytes of one file; there are two.
    pub max_bytes: u64,
    /// Each line begins with the time. Not if its program writes that itself.
    pub with_time: bool,
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
#[serde(default)]
pub struct Bind {
    pub source: String,
    pub target: String,
    pub read_only: bool,
    pub shared: bool,
    /// It is a volume of this name. An empty one is filled with the image's files at the target.
    pub volume: Option<String>,
    /// The source must be there already.
    pub must_exist: bool,
    /// Where it cannot be mounted the container starts without it.
    pub optional: bool,
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
    pub status: Status,
}

/// How a container is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub state: State,
    pub paused: bool,
    /// Process id of its first process as PID 1 sees it, while there is one.
    pub pid: Option<i32>,
    pub exit_code: i32,
    /// The kernel killed it because memory ran out.
    pub oom_killed: bool,
    /// Why it could not be started the last time, if it could not.
    pub error: Option<String>,
    pub restarts: u32,
    /// Since 1970, as the next two.
    #[serde(with = "millis")]
    pub created: Duration,
    #[serde(with = "optional_millis")]
    pub started: Option<Duration>,
    #[serde(with = "optional_millis")]
    pub finished: Option<Duration>,
    /// What its check found last, if it has one.
    pub health: Option<HealthState>,
    /// A service of the plan, not a container that a client made.
    pub planned: bool,
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Never started.
    #[default]
    Created,
    /// It is being prepared, or a helper creates it.
    Starting,
    Running,
    /// It was requested to stop, and has not ended yet.
    Stopping,
    /// It ended, and stays so until a client starts it.
    Exited,
    /// It ended, and its policy starts it again after a pause.
    Restarting,
}

impl Status {
    /// Docker has fewer words for where a container is.
    pub fn word(&self) -> &'static str {
        match self.state {
            State::Created | State::Starting => "created",
            State::Running | State::Stopping if self.paused => "paused",
            State::Running | State::Stopping => "running",
            State::Exited => "exited",
            State::Restarting => "restarting",
        }
    }

    /// Does its first process run?
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Running | State::Stopping)
    }

    /// Is it `created` or `exited`, in Docker's words? One in its backoff is not.
    pub fn is_down(&self) -> bool {
        matches!(self.state, State::Created | State::Starting | State::Exited)
    }
}

/// A container that was there before PID 1 began: its end is history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Since 1970, as the next two.
    #[serde(with = "millis")]
    pub created: Duration,
    #[serde(with = "optional_millis")]
    pub started: Option<Duration>,
    #[serde(with = "optional_millis")]
    pub finished: Option<Duration>,
    pub exit_code: i32,
}
