//! A service: what its compose file defines, normalised and as types.

use crate::labels::Labels;
use core::net::Ipv4Addr;
use corral_config::names::ServiceName;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// A service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    pub name: ServiceName,
    pub image: String,
    /// The exact image that it is to have, even if `image` names another by then; empty: what
    /// `image` names.
    #[serde(default)]
    pub image_id: String,
    pub pull: Pull,
    /// None: the image's own.
    pub entrypoint: Option<Vec<String>>,
    /// None: the image's own.
    pub command: Option<Vec<String>>,
    /// `KEY=VALUE`; a bare `KEY` takes its value from `rancher.environment`.
    pub environment: Vec<String>,
    /// Files with more of it; what `environment` says comes after them.
    pub env_files: Vec<EnvFile>,
    pub working_dir: String,
    pub user: String,
    pub group_add: Vec<String>,
    pub hostname: String,
    pub domainname: String,
    pub tty: bool,
    pub stdin_open: bool,
    /// A small init is its first process, and reaps.
    pub init: bool,
    pub privileged: bool,
    pub read_only: bool,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub security_opt: Vec<String>,
    /// `source[:target[:rwm]]`.
    pub devices: Vec<String>,
    /// `c 13:* rwm`.
    pub device_rules: Vec<String>,
    pub network: Network,
    pub ports: Vec<Port>,
    pub links: Vec<Link>,
    pub dns: Vec<String>,
    pub dns_search: Vec<String>,
    pub dns_options: Vec<String>,
    /// `name:address`.
    pub extra_hosts: Vec<String>,
    pub mac_address: String,
    pub pid: Sharing,
    pub ipc: Sharing,
    pub uts: Sharing,
    pub volumes: Vec<Volume>,
    /// Services whose volumes it has as well; with `true`, read-only.
    pub volumes_from: Vec<(String, bool)>,
    /// `target[:options]`.
    pub tmpfs: Vec<String>,
    /// Bytes of /dev/shm; 0: the engine's default.
    pub shm_size: u64,
    pub restart: Restart,
    pub stop_signal: String,
    pub stop_grace: Duration,
    pub limits: Limits,
    pub ulimits: Vec<Ulimit>,
    pub sysctls: BTreeMap<String, String>,
    pub oom_score_adj: i64,
    pub logging: Logging,
    /// Its file system is kept under this name over restarts of the machine; empty: it is new at
    /// each.
    pub keep: String,
    pub health: Option<Health>,
    pub depends_on: BTreeMap<String, Dependency>,
    /// Not empty: it is only there when one of these is active.
    pub profiles: Vec<String>,
    /// As written, for `docker inspect`.
    pub label_map: BTreeMap<String, String>,
    /// What they mean.
    pub labels: Labels,
    /// It is part of the system image: nothing of an owner's takes its name.
    #[serde(default)]
    pub built_in: bool,
}

/// When an image is fetched from its registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pull {
    /// When it is not there.
    #[default]
    Missing,
    /// At each start, when the registry can be reached.
    Always,
    Never,
}

/// A file of `KEY=VALUE` lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvFile {
    pub path: String,
    /// False: it may be missing.
    pub required: bool,
}

/// The network that a container sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    Host,
    None,
    /// That of another service.
    Service(String),
    /// In bridges; at least one.
    Bridges(Vec<Attachment>),
}

/// A container's endpoint in a bridge.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    pub network: BridgeNetwork,
    /// Names by which others find it there, besides its own.
    pub aliases: Vec<String>,
    /// None: any.
    pub address: Option<Ipv4Addr>,
}

/// A bridge, as a compose file defines it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeNetwork {
    /// The name that the engine knows.
    pub name: String,
    /// It is there already: this file does not create it.
    pub external: bool,
    /// It has no way out.
    pub internal: bool,
    /// None: any that is free.
    pub subnet: Option<Ipv4Net>,
    pub gateway: Option<Ipv4Addr>,
    pub labels: BTreeMap<String, String>,
}

/// The bridge of RancherOS for system containers that name no network.
pub const DEFAULT_BRIDGE: &str = "bridge";

impl Network {
    /// The engine's own bridge, `docker-sys`.
    pub fn default_bridge() -> Network {
        let network = BridgeNetwork {
            name: DEFAULT_BRIDGE.to_owned(),
            external: true,
            ..BridgeNetwork::default()
        };
        Network::Bridges(vec![Attachment { network, ..Attachment::default() }])
    }
}

/// A port that the host publishes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Empty: every address of the host.
    pub host_ip: String,
    /// 0: any that is free.
    pub host_port: u16,
    pub container_port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
}

/// Another container, by a name of this one's choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub container: String,
    pub alias: String,
}

/// Whether a namespace is the container's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    #[default]
    Private,
    Host,
    /// That of another service.
    Service(String),
}

/// What a container sees at a path of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub source: Source,
    pub target: String,
    pub read_only: bool,
    /// Mounts made below it are seen on both sides.
    pub shared: bool,
    /// The source must be there already.
    pub must_exist: bool,
    /// Where it cannot be mounted the service starts without it.
    #[serde(default)]
    pub optional: bool,
}

/// Where a volume comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A path of the host.
    Path(String),
    /// A volume of the engine.
    Volume(String),
}

/// When an ended container is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    #[default]
    No,
    Always,
    UnlessStopped,
    /// After a failure, at most so many times; 0: without limit.
    OnFailure(u32),
}

/// What a container may use; 0 and the empty text: no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes.
    pub memory: u64,
    /// Bytes that it is not asked to give back.
    pub memory_reservation: u64,
    /// Bytes of memory and swap together; -1: as much swap as there is.
    pub memory_swap: i64,
    /// Microseconds of processor in each period.
    pub cpu_quota: i64,
    /// Microseconds.
    pub cpu_period: u64,
    /// Docker's shares, 2 to 262144.
    pub cpu_shares: u64,
    /// `0-2,7`.
    pub cpuset: String,
    /// Processes.
    pub pids: i64,
}

/// A resource limit of processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// `nofile`.
    pub name: String,
    pub soft: u64,
    pub hard: u64,
}

/// How much is kept of what a container writes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logging {
    /// Nothing is kept.
    pub none: bool,
    /// Bytes of one file; 0: the engine's default.
    pub max_bytes: u64,
    /// Files; 0: the engine's default.
    pub max_files: u32,
}

/// How the engine checks whether a container is healthy. A time of 0: the engine's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `NONE`; or `CMD`, words…; or `CMD-SHELL`, line.
    pub test: Vec<String>,
    pub interval: Duration,
    pub timeout: Duration,
    pub start_period: Duration,
    pub start_interval: Duration,
    pub retries: u32,
}

/// What must have become of another service first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    pub condition: Condition,
    /// False: without that service it starts all the same.
    pub required: bool,
}

/// Compose's conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It runs, or ran.
    ServiceStarted,
    /// Its check reports that it is healthy.
    ServiceHealthy,
    /// It ended, and well.
    ServiceCompletedSuccessfully,
}

impl Service {
    /// A service with nothing but a name and an image.
    pub fn new(name: ServiceName, image: String) -> Service {
        Service {
            name,
            image,
            image_id: String::new(),
            pull: Pull::default(),
            entrypoint: None,
            command: None,
            environment: Vec::new(),
            env_files: Vec::new(),
            working_dir: String::new(),
            user: String::new(),
            group_add: Vec::new(),
            hostname: String::new(),
            domainname: String::new(),
            tty: false,
            stdin_open: false,
            init: false,
            privileged: false,
            read_only: false,
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            security_opt: Vec::new(),
            devices: Vec::new(),
            device_rules: Vec::new(),
            network: Network::None,
            ports: Vec::new(),
            links: Vec::new(),
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_options: Vec::new(),
            extra_hosts: Vec::new(),
            mac_address: String::new(),
            pid: Sharing::default(),
            ipc: Sharing::default(),
            uts: Sharing::default(),
            volumes: Vec::new(),
            volumes_from: Vec::new(),
            tmpfs: Vec::new(),
            shm_size: 0,
            restart: Restart::default(),
            stop_signal: String::new(),
            stop_grace: Duration::from_secs(10),
            limits: Limits::default(),
            ulimits: Vec::new(),
            sysctls: BTreeMap::new(),
            oom_score_adj: 0,
            logging: Logging::default(),
            keep: String::new(),
            health: None,
            depends_on: BTreeMap::new(),
            profiles: Vec::new(),
            label_map: BTreeMap::new(),
            labels: Labels::default(),
            built_in: false,
        }
    }

    /// Whether it is created and not started (`createonly`), so that cron or the owner can start
    /// it. The lists of mounts of the system image, and what a step of the boot runs, have no
    /// container.
    pub fn is_startable_by_others(&self) -> bool {
        let has_schedule = self.label_map.contains_key("cron.schedule");
        self.labels.create_only && (has_schedule || !self.built_in)
    }

    /// The services that it cannot be without.
    pub fn needs(&self) -> impl Iterator<Item = &str> {
        let required = self.depends_on.iter().filter(|(_, dependency)| dependency.required);
        required.map(|(name, _)| name.as_str())
    }
}
