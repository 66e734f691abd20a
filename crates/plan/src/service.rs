//! One container that is wanted: what a compose file says of a service, normalised and typed.

use crate::labels::Labels;
use corral_config::names::ServiceName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// A service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    pub name: ServiceName,
    pub image: String,
    /// None: the image's own.
    pub entrypoint: Option<Vec<String>>,
    /// None: the image's own.
    pub command: Option<Vec<String>>,
    /// `KEY=VALUE`; a bare `KEY` takes its value from `rancher.environment`.
    pub environment: Vec<String>,
    pub working_dir: String,
    pub user: String,
    pub hostname: String,
    pub tty: bool,
    pub stdin_open: bool,
    pub privileged: bool,
    pub read_only: bool,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub security_opt: Vec<String>,
    pub devices: Vec<String>,
    pub network: Network,
    pub pid: Sharing,
    pub ipc: Sharing,
    pub uts: Sharing,
    pub volumes: Vec<Volume>,
    pub tmpfs: Vec<String>,
    pub restart: Restart,
    pub stop_signal: String,
    pub stop_grace: Duration,
    /// Bytes; 0: no limit.
    pub memory_limit: u64,
    /// As written, for `docker inspect`.
    pub label_map: BTreeMap<String, String>,
    /// What they mean.
    pub labels: Labels,
}

/// The network that a container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    Host,
    None,
}

/// Whether a namespace is the host's or the container's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    Private,
    Host,
}

/// A path of the host that a container sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub source: String,
    pub target: String,
    pub read_only: bool,
    /// Mounts made below it are seen on both sides.
    pub shared: bool,
}

/// When an ended container is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    No,
    Always,
    UnlessStopped,
    /// After a failure, at most so many times; 0: without limit.
    OnFailure(u32),
}

impl Service {
    /// A service with nothing but a name and an image.
    pub fn new(name: ServiceName, image: String) -> Service {
        Service {
            name,
            image,
            entrypoint: None,
            command: None,
            environment: Vec::new(),
            working_dir: String::new(),
            user: String::new(),
            hostname: String::new(),
            tty: false,
            stdin_open: false,
            privileged: false,
            read_only: false,
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            security_opt: Vec::new(),
            devices: Vec::new(),
            network: Network::None,
            pid: Sharing::Private,
            ipc: Sharing::Private,
            uts: Sharing::Private,
            volumes: Vec::new(),
            tmpfs: Vec::new(),
            restart: Restart::No,
            stop_signal: "SIGTERM".to_owned(),
            stop_grace: Duration::from_secs(10),
            memory_limit: 0,
            label_map: BTreeMap::new(),
            labels: Labels::default(),
        }
    }
}
