//! PID 1's state: parts that own what is theirs. The files that wire them together have an
//! `impl Supervisor` each.

use super::bugs::Bugs;
use super::clients::{Caller, Clients};
use super::daemon::Daemon;
use super::jobs::Jobs;
use super::moment::Moment;
use super::reload::Reload;
use super::table::Containers;
use super::timers::Timers;
use crate::trace::Trace;
use anyhow::{Context, Result};
use corral_engine::paths;
use corral_engine::protocol::PowerAction;
use corral_engine::sys::packet;
use corral_engine::sys::signals::Signals;
use corral_plan::resolved::Resolved;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What the boot hands over to the loop.
#[derive(Debug)]
pub(crate) struct BootContext {
    pub(crate) resolved: Resolved,
    pub(crate) trace: Trace,
}

/// PID 1 executes its binary again: the clients that requested it, if a bug did not.
#[derive(Debug, Default)]
pub(super) struct ReexecRequest {
    pub(super) callers: Vec<Caller>,
}

/// PID 1's complete state.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(super) signals: Signals,
    pub(super) clients: Clients,
    pub(super) containers: Containers,
    pub(super) jobs: Jobs,
    pub(super) timers: Timers,
    pub(super) daemon: Daemon,
    pub(super) reload: Reload,
    pub(super) resolved: Resolved,
    pub(super) trace: Trace,
    pub(super) bugs: Bugs,
    /// Whose request this turn is about.
    pub(super) serving: Option<Caller>,
    pub(super) reexec: Option<ReexecRequest>,
    /// How often it was executed again.
    pub(super) resumed: u32,
    /// The machine shuts down.
    pub(super) shutdown: Option<PowerAction>,
    /// The console has reported that the machine is up.
    pub(super) announced: bool,
    /// What keeps services from being started, as the console has reported it.
    pub(super) blockers: BTreeSet<String>,
    pub(super) started: Moment,
}

impl Supervisor {
    /// Opens the control socket and takes over from the boot.
    pub(crate) fn new(signals: Signals, boot: BootContext) -> Result<Supervisor> {
        std::fs::create_dir_all("/run/corral").context("making /run/corral")?;
        let listener = packet::listen_at(Path::new(paths::CONTROL_SOCKET))
            .context("opening the control socket")?;
        let _ =
            std::fs::set_permissions(paths::CONTROL_SOCKET, std::fs::Permissions::from_mode(0o600));
        Ok(Supervisor::with_clients(signals, Clients::new(listener), boot))
    }

    pub(super) fn with_clients(
        signals: Signals,
        clients: Clients,
        boot: BootContext,
    ) -> Supervisor {
        Supervisor {
            signals,
            clients,
            containers: Containers::default(),
            jobs: Jobs::default(),
            timers: Timers::default(),
            daemon: Daemon::default(),
            reload: Reload::default(),
            resolved: boot.resolved,
            trace: boot.trace,
            bugs: Bugs::default(),
            serving: None,
            reexec: None,
            resumed: 0,
            shutdown: None,
            announced: false,
            blockers: BTreeSet::new(),
            started: Moment::now(),
        }
    }
}
