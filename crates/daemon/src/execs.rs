//! Processes in containers that clients requested: not yet started, running, or ended a while ago.

use corral_engine::error::EngineError;
use corral_engine::id::new_id;
use corral_engine::spec::ExecSpec;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

/// Processes by their id.
#[derive(Debug, Default)]
pub(crate) struct Execs(Mutex<HashMap<String, Exec>>);

#[derive(Debug, Clone)]
pub(crate) struct Exec {
    pub(crate) container: String,
    pub(crate) spec: ExecSpec,
    pub(crate) attach_stdin: bool,
    pub(crate) detach_keys: String,
    pub(crate) running: bool,
    pub(crate) exit_code: Option<i32>,
    pub(crate) pid: i32,
    /// The master of its pty, for resizing.
    pub(crate) terminal: Option<Arc<OwnedFd>>,
}

impl Execs {
    pub(crate) fn with<T>(
        &self,
        id: &str,
        work: impl FnOnce(&mut Exec) -> T,
    ) -> Result<T, EngineError> {
        let mut execs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        execs
            .get_mut(id)
            .map(work)
            .ok_or_else(|| EngineError::NotFound(format!("no such exec instance: {id}")))
    }

    pub(crate) fn insert(&self, exec: Exec) -> String {
        let mut execs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Old ones that have ended are forgotten, so that they do not fill the memory.
        if execs.len() > 256 {
            execs.retain(|_, exec| exec.running || exec.exit_code.is_none());
        }
        let id = new_id();
        execs.insert(id.clone(), exec);
        id
    }
}
