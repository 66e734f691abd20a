//! `/containers/{id}/exec` and `/exec`: a process in a running container, its streams hijacked from the connection.

use super::State;
use super::attach::set_size;
use super::query::{Parameters, Parts, id_of, parse};
use super::stream::{Connection, frame, hijack, hijacked};
use crate::client::unexpected;
use crate::daemon::hub::{read_some, write_all};
use crate::daemon::{Shared, blocking};
use crate::error::EngineError;
use crate::id::new_id;
use crate::protocol::{Reply, Request};
use crate::spec::{ExecSpec, Snapshot};
use crate::sys::{open_async, signals};
use axum::Json;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use rustix::pipe::{PipeFlags, pipe_with};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest, ReadHalf, WriteHalf};
use tokio::sync::broadcast::Receiver;

/// Bytes that are kept of what a check says.
const LONGEST_OUTPUT: usize = 4096;

/// Processes by their id.
#[derive(Debug, Default)]
pub struct Execs(Mutex<HashMap<String, Exec>>);

#[derive(Debug, Clone)]
struct Exec {
    container: String,
    spec: ExecSpec,
    attach_stdin: bool,
    running: bool,
    exit_code: Option<i32>,
    pid: i32,
    /// The master of its pty, for resizing.
    terminal: Option<Arc<OwnedFd>>,
}

impl Execs {
    fn with<T>(&self, id: &str, work: impl FnOnce(&mut Exec) -> T) -> Result<T, EngineError> {
        let mut execs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        execs
            .get_mut(id)
            .map(work)
            .ok_or_else(|| EngineError::NotFound(format!("no such exec instance: {id}")))
    }

    fn insert(&self, exec: Exec) -> String {
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

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CreateBody {
    cmd: Vec<String>,
    env: Option<Vec<String>>,
    user: String,
    working_dir: String,
    tty: bool,
    privileged: bool,
    attach_stdin: bool,
}

pub(super) async fn create(state: State, parts: Parts, body: Bytes) -> Result<Response, EngineError> {
    let body: CreateBody = parse(&body)?;
    let container = state.find(id_of(&parts))?;
    check_running(&container)?;
    if body.cmd.is_empty() {
        return Err(EngineError::BadRequest("no exec command specified".to_owned()));
    }
    let spec = ExecSpec {
        args: body.cmd,
        env: body.env.unwrap_or_default(),
        working_dir: body.working_dir,
        user: body.user,
        tty: body.tty,
        privileged: body.privileged,
    };
    let line = spec.args.join(" ");
    let exec = Exec {
        container: container.id.clone(),
        spec,
        attach_stdin: body.attach_stdin,
        running: false,
        exit_code: None,
        pid: 0,
        terminal: None,
    };
    let id = state.execs.insert(exec);
    tell(&state.0, &container, &format!("exec_create: {line}"), &id, None);
    Ok((StatusCode::CREATED, Json(json!({ "Id": id }))).into_response())
}

fn check_running(container: &Snapshot) -> Result<(), EngineError> {
    let name = &container.spec.name;
    match container.status.word() {
        "running" => Ok(()),
        "paused" => Err(EngineError::Conflict(format!(
            "container {name} is paused, unpause the container before exec"
        ))),
        _ => Err(EngineError::Conflict(format!("container {name} is not running"))),
    }
}

fn tell(shared: &Shared, container: &Snapshot, action: &str, exec: &str, code: Option<i32>) {
    let mut attributes = crate::daemon::bus::of_container(container);
    attributes.insert("execID".to_owned(), json!(exec));
    if let Some(code) = code {
        attributes.insert("exitCode".to_owned(), json!(code.to_string()));
    }
    shared.bus.tell("container", action, &container.id, Value::Object(attributes));
}

pub(super) async fn inspect(state: State, parts: Parts) -> Result<Json<Value>, EngineError> {
    let id = id_of(&parts);
    state.execs.with(id, |exec| {
        Json(json!({
            "ID": id, "Running": exec.running, "ExitCode": exec.exit_code, "Pid": exec.pid,
            "ContainerID": exec.container, "OpenStdin": exec.attach_stdin, "OpenStdout": true, "OpenStderr": true,
            "CanRemove": false, "DetachKeys": "",
            "ProcessConfig": {
                "tty": exec.spec.tty, "entrypoint": exec.spec.args.first(), "arguments": exec.spec.args.get(1..),
                "privileged": exec.spec.privileged, "user": exec.spec.user,
            },
        }))
    })
}

pub(super) async fn resize(state: State, parts: Parts, size: Parameters) -> Result<StatusCode, EngineError> {
    let terminal = state.execs.with(id_of(&parts), |exec| exec.terminal.clone())?;
    if let Some(terminal) = terminal {
        set_size(&*terminal, &size)?;
    }
    Ok(StatusCode::OK)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct StartBody {
    detach: bool,
}

/// Our ends of the streams of a process.
struct Streams {
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: Option<OwnedFd>,
}

pub(super) async fn start(
    state: State,
    parts: Parts,
    headers: HeaderMap,
    request: axum::extract::Request,
) -> Result<Response, EngineError> {
    let (shared, id) = (state.0, id_of(&parts).to_owned());
    let exec = shared.execs.with(&id, |exec| exec.clone())?;
    if exec.running || exec.exit_code.is_some() {
        return Err(EngineError::Conflict(format!("exec {id} has been started already")));
    }
    let container = shared.find(&exec.container)?;
    check_running(&container)?;
    let (upgrade, body) = hijack(request).await?;
    let options: StartBody = parse(&body)?;
    let is_tty = exec.spec.tty;
    let running = Running { shared, container, id };
    if options.detach {
        running.launch(exec).await?;
        return Ok(StatusCode::OK.into_response());
    }
    tokio::spawn(async move {
        // The connection is a stream before the process writes to it: clients may not look for output in the head.
        let Ok(connection) = upgrade.await else { return };
        let (reader, mut writer) = tokio::io::split(TokioIo::new(connection));
        match running.launch(exec).await {
            Ok((streams, ended)) => {
                relay(streams, reader, &mut writer).await;
                // The client asks for the exit code as soon as the stream ends: it must be known by then.
                let _ = ended.await;
            }
            Err(error) => {
                let text = format!("{error}\r\n");
                let bytes = if is_tty { Bytes::from(text) } else { frame(2, text.as_bytes()) };
                let _ = writer.write_all(&bytes).await;
            }
        }
        let _ = writer.shutdown().await;
    });
    Ok(hijacked(&headers, !is_tty))
}

/// A process that is to run, or runs.
struct Running {
    shared: Arc<Shared>,
    container: Arc<Snapshot>,
    id: String,
}

impl Running {
    /// Starts it; its end is noted when it comes.
    async fn launch(self, exec: Exec) -> Result<(Streams, tokio::task::JoinHandle<()>), EngineError> {
        let ends = self.shared.bus.listen_to_execs();
        let (starting, name) = (Arc::clone(&self.shared), self.id.clone());
        let launched = blocking(move || launch(&starting, &name, &exec)).await;
        let (streams, engine_id) = match launched {
            Ok(launched) => launched,
            Err(error) => {
                // The codes of a shell: what is not there, and what may not be run.
                self.ended(if error.to_string().contains("permission denied") { 126 } else { 127 });
                return Err(error);
            }
        };
        tell(&self.shared, &self.container, "exec_start", &self.id, None);
        let ended = tokio::spawn(async move { self.ended(end_of(ends, &engine_id).await) });
        Ok((streams, ended))
    }

    fn ended(&self, code: i32) {
        // One that was forgotten meanwhile has nobody who asks.
        let _ = self.shared.execs.with(&self.id, |exec| (exec.running, exec.exit_code) = (false, Some(code)));
        tell(&self.shared, &self.container, "exec_die", &self.id, Some(code));
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
    let request = Request::Exec { container: exec.container.clone(), spec: Box::new(exec.spec.clone()) };
    let (delivery, streams) = if exec.spec.tty {
        let (reply, mut descriptors) = shared.client.call_with(request, &[])?;
        let master = descriptors.pop().ok_or_else(|| EngineError::Failed("no terminal came".to_owned()))?;
        let copy = |fd: &OwnedFd| fd.try_clone().map_err(|error| EngineError::Failed(error.to_string()));
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

fn with_pipes(shared: &Shared, request: Request, keep_stdin: bool) -> Result<(Reply, Streams), EngineError> {
    let failed = |error: rustix::io::Errno| EngineError::Failed(format!("making pipes: {error}"));
    let flags = PipeFlags::CLOEXEC;
    let (stdin, to_stdin) = pipe_with(flags).map_err(failed)?;
    let (from_stdout, stdout) = pipe_with(flags).map_err(failed)?;
    let (from_stderr, stderr) = pipe_with(flags).map_err(failed)?;
    let (reply, _) = shared.client.call_with(request, &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])?;
    let stdin = keep_stdin.then_some(to_stdin);
    Ok((reply, Streams { stdin, stdout: from_stdout, stderr: Some(from_stderr) }))
}

/// Runs a process to its end: its exit code and the beginning of what it said. One that takes too long is killed.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    container: &str,
    spec: ExecSpec,
    patience: Duration,
) -> Result<(i32, String), EngineError> {
    let ends = shared.bus.listen_to_execs();
    let (asking, request) =
        (Arc::clone(shared), Request::Exec { container: container.to_owned(), spec: Box::new(spec) });
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
    match tokio::time::timeout(patience, work).await {
        Ok(found) => Ok(found),
        Err(_) => {
            let _ = signals::send(pid, 9);
            Ok((-1, format!("Health check exceeded timeout ({patience:?})")))
        }
    }
}

/// Copies both ways until the process has closed its output.
async fn relay(streams: Streams, reader: ReadHalf<Connection>, writer: &mut WriteHalf<Connection>) {
    let input = streams.stdin.and_then(|stdin| open_async(stdin, Interest::WRITABLE));
    let copying = tokio::spawn(copy_input(reader, input));
    let stdout = open_async(streams.stdout, Interest::READABLE);
    match streams.stderr {
        None => copy_terminal(stdout, writer).await,
        Some(stderr) => copy_framed(stdout, open_async(stderr, Interest::READABLE), writer).await,
    }
    copying.abort();
}

async fn copy_input(mut reader: ReadHalf<Connection>, target: Option<AsyncFd<OwnedFd>>) {
    let Some(target) = target else { return };
    let mut buffer = vec![0_u8; 8 * 1024];
    while let Ok(count) = reader.read(&mut buffer).await {
        if count == 0 || write_all(&target, &buffer[..count]).await.is_err() {
            return;
        }
    }
}

async fn copy_terminal(source: Option<AsyncFd<OwnedFd>>, writer: &mut WriteHalf<Connection>) {
    let Some(source) = source else { return };
    let mut buffer = vec![0_u8; 8 * 1024];
    loop {
        let count = read_some(&source, &mut buffer).await;
        if count == 0 || writer.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

type Source = Option<AsyncFd<OwnedFd>>;

async fn copy_framed(mut out: Source, mut err: Source, writer: &mut WriteHalf<Connection>) {
    let (mut out_buffer, mut err_buffer) = (vec![0_u8; 8 * 1024], vec![0_u8; 8 * 1024]);
    while out.is_some() || err.is_some() {
        let (kind, count) = tokio::select! {
            count = read_open(&out, &mut out_buffer) => (1, count),
            count = read_open(&err, &mut err_buffer) => (2, count),
        };
        match (kind, count) {
            (1, 0) => out = None,
            (_, 0) => err = None,
            (kind, count) => {
                let data = if kind == 1 { &out_buffer[..count] } else { &err_buffer[..count] };
                if writer.write_all(&frame(kind, data)).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Reads from a stream that is still open; waits for ever on one that is not.
async fn read_open(source: &Source, buffer: &mut [u8]) -> usize {
    match source {
        Some(source) => read_some(source, buffer).await,
        None => std::future::pending().await,
    }
}
