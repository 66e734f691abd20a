//! Running a process in a container: for clients of the API, and for health checks.

use crate::blocking::blocking;
use crate::bus::of_container;
use crate::execs::Exec;
use crate::hub::read_some;
use crate::shared::Shared;
use corral_engine::client::unexpected;
use corral_engine::error::{EngineError, FailureKind};
use corral_engine::protocol::{Reply, Request};
use corral_engine::signal::Signal;
use corral_engine::spec::{ExecSpec, Snapshot};
use corral_engine::sys::{open_async, signals};
use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::{Value, json};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::sync::broadcast::Receiver;

/// Bytes that are kept of the output of a check.
const LONGEST_OUTPUT: usize = 4096;

/// Our ends of the streams of a process.
pub(crate) struct Streams {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: Option<OwnedFd>,
}

/// A process that is to run, or runs.
pub(crate) struct Running {
    pub(crate) shared: Arc<Shared>,
    pub(crate) container: Arc<Snapshot>,
    pub(crate) id: String,
}

impl Running {
    /// Starts it; its end is noted when it comes.
    pub(crate) async fn launch(
        self,
        exec: Exec,
    ) -> Result<(Streams, tokio::task::JoinHandle<()>), EngineError> {
        let ends = self.shared.bus.listen_to_execs();
        let (starting, name) = (Arc::clone(&self.shared), self.id.clone());
        let launched = blocking(move || launch(&starting, &name, &exec)).await;
        let (streams, engine_id) = match launched {
            Ok(launched) => launched,
            Err(error) => {
                let kind = match &error {
                    EngineError::StartFailed(failure) => failure.kind,
                    _ => FailureKind::Other,
                };
                self.ended(kind.exit_code());
                return Err(error);
            }
        };
        emit(&self.shared, &self.container, "exec_start", &self.id, None);
        let ended = tokio::spawn(async move { self.ended(end_of(ends, &engine_id).await) });
        Ok((streams, ended))
    }

    fn ended(&self, code: i32) {
        // No client requests the exit code of one that was forgotten meanwhile.
        let _ = self
            .shared
            .execs
            .with(&self.id, |exec| (exec.running, exec.exit_code) = (false, Some(code)));
        emit(&self.shared, &self.container, "exec_die", &self.id, Some(code));
    }
}

/// Waits for the end of a process; its exit code.
async fn end_of(mut ends: Receiver<(String, i32)>, engine_id: &str) -> i32 {
    loop {
        match ends.recv().await {
            Ok((exec, code)) if exec == engine_id => return code,
            Ok(_) => {}
            // Its end was among what was missed, or never comes.
            Err(_) => return -1,
        }
    }
}

fn launch(shared: &Shared, id: &str, exec: &Exec) -> Result<(Streams, String), EngineError> {
    let request =
        Request::Exec { container: exec.container.clone(), spec: Box::new(exec.spec.clone()) };
    let (delivery, streams) = if exec.spec.tty {
        let (reply, mut descriptors) = shared.client.call_with(request, &[])?;
        let master = descriptors
            .pop()
            .ok_or_else(|| EngineError::Failed("no terminal received".to_owned()))?;
        let copy =
            |fd: &OwnedFd| fd.try_clone().map_err(|error| EngineError::Failed(error.to_string()));
        shared.execs.with(id, |exec| exec.terminal = copy(&master).ok().map(Arc::new))?;
        (reply, Streams { stdin: Some(copy(&master)?), stdout: master, stderr: None })
    } else {
        with_pipes(shared, request, exec.attach_stdin)?
    };
    match delivery {
        Reply::ExecStarted { exec: engine_id, pid } => {
            shared.execs.with(id, |exec| (exec.running, exec.pid) = (true, pid))?;
            Ok((streams, engine_id))
        }
        other => Err(unexpected(&other)),
    }
}

fn with_pipes(
    shared: &Shared,
    request: Request,
    keep_stdin: bool,
) -> Result<(Reply, Streams), EngineError> {
    let failed = |error: rustix::io::Errno| EngineError::Failed(format!("making pipes: {error}"));
    let flags = PipeFlags::CLOEXEC;
    let (stdin, to_stdin) = pipe_with(flags).map_err(failed)?;
    let (from_stdout, stdout) = pipe_with(flags).map_err(failed)?;
    let (from_stderr, stderr) = pipe_with(flags).map_err(failed)?;
    let (reply, _) =
        shared.client.call_with(request, &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])?;
    let stdin = keep_stdin.then_some(to_stdin);
    Ok((reply, Streams { stdin, stdout: from_stdout, stderr: Some(from_stderr) }))
}

/// Runs a process to its end: its exit code and the beginning of its output. None if it took too
/// long and was killed.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    container: &str,
    spec: ExecSpec,
    timeout: Duration,
) -> Result<Option<(i32, String)>, EngineError> {
    let ends = shared.bus.listen_to_execs();
    let (asking, request) = (
        Arc::clone(shared),
        Request::Exec { container: container.to_owned(), spec: Box::new(spec) },
    );
    let (reply, streams) = blocking(move || with_pipes(&asking, request, false)).await?;
    let Reply::ExecStarted { exec, pid } = reply else { return Err(unexpected(&reply)) };
    let work = async {
        let mut output = Vec::new();
        for source in [Some(streams.stdout), streams.stderr].into_iter().flatten() {
            let Some(source) = open_async(source, Interest::READABLE) else { continue };
            let mut buffer = vec![0_u8; 1024];
            loop {
                let count = read_some(&source, &mut buffer).await;
                if count == 0 {
                    break;
                }
                let room = LONGEST_OUTPUT.saturating_sub(output.len());
                output.extend_from_slice(&buffer[..count.min(room)]);
            }
        }
        (end_of(ends, &exec).await, String::from_utf8_lossy(&output).into_owned())
    };
    match tokio::time::timeout(timeout, work).await {
        Ok(found) => Ok(Some(found)),
        Err(_) => {
            let _ = signals::send(pid, Signal::KILL);
            Ok(None)
        }
    }
}

/// Reports an event of a process to those who listen.
pub(crate) fn emit(
    shared: &Shared,
    container: &Snapshot,
    action: &str,
    exec: &str,
    code: Option<i32>,
) {
    let mut attributes = of_container(container);
    attributes.insert("execID".to_owned(), json!(exec));
    if let Some(code) = code {
        attributes.insert("exitCode".to_owned(), json!(code.to_string()));
    }
    shared.bus.emit("container", action, &container.id, Value::Object(attributes));
}
