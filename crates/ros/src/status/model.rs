//! What the status shows, as JSON has it.

use super::clock::Clock;
use super::disk::StateDisk;
use crate::net::Origin;
use crate::why::Finding;
use serde::Serialize;

/// All that is shown.
#[derive(Debug, Default, Serialize)]
pub(super) struct Status {
    pub(super) version: String,
    pub(super) hostname: String,
    pub(super) uptime_seconds: u64,
    /// None on a real machine.
    pub(super) hypervisor: Option<Hypervisor>,
    pub(super) addresses: Vec<Address>,
    /// As `ssh-keygen -l` shows them.
    pub(super) host_keys: Vec<String>,
    pub(super) state: StateDisk,
    pub(super) services: Option<Services>,
    pub(super) docker: Option<Docker>,
    pub(super) clock: Option<Clock>,
    pub(super) upgrade: Upgrade,
    pub(super) pending_change: Option<PendingChange>,
    pub(super) findings: Vec<Finding>,
    /// Parts that only root can see.
    pub(super) hidden: Vec<&'static str>,
    pub(super) is_well: bool,
}

/// The hypervisor that the machine runs under.
#[derive(Debug, Serialize)]
pub(super) struct Hypervisor {
    pub(super) name: &'static str,
    /// The service that its tools talk to, if its channel is there.
    pub(super) agent: Option<&'static str>,
}

/// An address of the machine itself, not of its containers.
#[derive(Debug, Serialize)]
pub(super) struct Address {
    pub(super) interface: String,
    pub(super) address: String,
    pub(super) origin: Origin,
}

/// How many services of the system run.
#[derive(Debug, Serialize)]
pub(super) struct Services {
    /// Those that start by themselves, and those that run.
    pub(super) planned: usize,
    pub(super) running: usize,
    /// The names of those that wait to be started: by cron at their times, or by a client.
    pub(super) on_demand: Vec<String>,
    /// The names of those that are not well.
    pub(super) unwell: Vec<String>,
}

/// The user's Docker.
#[derive(Debug, Default, Serialize)]
pub(super) struct Docker {
    /// Empty if it does not answer.
    pub(super) version: String,
    /// `answers`, or why it does not.
    pub(super) state: String,
    pub(super) containers: usize,
    pub(super) running: usize,
}

/// The versions on this machine.
#[derive(Debug, Default, Serialize)]
pub(super) struct Upgrade {
    pub(super) running: String,
    /// None on a machine that was not started from an installed disk.
    pub(super) default: Option<String>,
    /// What `ros os rollback` makes the default.
    pub(super) previous: Option<String>,
    pub(super) trial: Option<Trial>,
}

#[derive(Debug, Serialize)]
pub(super) struct Trial {
    pub(super) version: String,
    /// `armed`, `trying` or `failed`.
    pub(super) stage: &'static str,
    /// Why it failed.
    pub(super) reason: String,
}

/// A change that is rolled back unless it is confirmed.
#[derive(Debug, Serialize)]
pub(super) struct PendingChange {
    pub(super) within_seconds: u64,
    pub(super) seconds_left: Option<u64>,
    /// The time began with this boot.
    pub(super) since_boot: bool,
}
