//! `/containers/{id}/exec` and `/exec`: a process in a running container, its streams hijacked from the connection.

use super::State;
use super::containers::id_of;
use super::log_stream::frame;
use crate::client::unexpected;
use crate::daemon::{Shared, blocking};
use crate::error::EngineError;
use crate::id::new_id;
use crate::protocol::{Event, Reply, Request};
use crate::spec::ExecSpec;
use anyhow::Result as AnyResult;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::Winsize;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::unix::pipe;

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
        execs.get_mut(id).map(work).ok_or_else(|| EngineError::NoSuchContainer(format!("exec {id}")))
    }

    fn insert(&self, exec: Exec) -> String {
        let mut execs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Old ones that have ended are forgotten, so that a health check does not fill the memory.
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

pub(super) async fn create(
    state: State,
    ids: Path<HashMap<String, String>>,
    Json(body): Json<CreateBody>,
) -> Result<Response, EngineError> {
    let (shared, id) = (state.0, id_of(&ids));
    let looking = Arc::clone(&shared);
    let container = blocking(move || looking.client.inspect(&id)).await?;
    if container.state != "running" {
        return Err(EngineError::Conflict(format!("container {} is not running", container.spec.name)));
    }
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
    let exec = Exec {
        container: container.id,
        spec,
        attach_stdin: body.attach_stdin,
        running: false,
        exit_code: None,
        pid: 0,
        terminal: None,
    };
    let id = shared.execs.insert(exec);
    Ok((StatusCode::CREATED, Json(json!({ "Id": id }))).into_response())
}

pub(super) async fn inspect(
    state: State,
    ids: Path<HashMap<String, String>>,
) -> Result<Json<Value>, EngineError> {
    let id = id_of(&ids);
    state.execs.with(&id, |exec| {
        Json(json!({
            "ID": id, "Running": exec.running, "ExitCode": exec.exit_code, "Pid": exec.pid,
            "ContainerID": exec.container, "OpenStdin": exec.attach_stdin, "OpenStdout": true, "OpenStderr": true,
            "ProcessConfig": {"tty": exec.spec.tty, "entrypoint": exec.spec.args.first(), "arguments": exec.spec.args.get(1..)},
        }))
    })
}

pub(super) async fn resize(
    state: State,
    ids: Path<HashMap<String, String>>,
    Query(size): Query<HashMap<String, String>>,
) -> Result<StatusCode, EngineError> {
    let number = |name: &str| size.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
    let size = Winsize { ws_row: number("h"), ws_col: number("w"), ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = state.execs.with(&id_of(&ids), |exec| exec.terminal.clone())?;
    if let Some(terminal) = terminal {
        rustix::termios::tcsetwinsize(terminal.as_fd(), size)
            .map_err(|error| EngineError::Failed(format!("resizing the terminal: {error}")))?;
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
    ids: Path<HashMap<String, String>>,
    headers: HeaderMap,
    request: axum::extract::Request,
) -> Result<Response, EngineError> {
    let (shared, id) = (state.0, id_of(&ids));
    let (mut parts, body) = request.into_parts();
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let bytes = axum::body::to_bytes(body, 64 * 1024).await.unwrap_or_default();
    let options: StartBody = serde_json::from_slice(&bytes).unwrap_or_default();
    let exec = shared.execs.with(&id, |exec| exec.clone())?;
    if exec.running || exec.exit_code.is_some() {
        return Err(EngineError::Conflict(format!("exec {id} has been started already")));
    }
    let mut ends = shared.events.subscribe();
    let starting = Arc::clone(&shared);
    let name = id.clone();
    let (streams, engine_id) = blocking(move || launch(&starting, &name, &exec)).await?;
    let (watching, name) = (Arc::clone(&shared), id);
    let ended = tokio::spawn(async move {
        while let Ok(event) = ends.recv().await {
            if let Event::ExecEnded { exec, exit_code } = event
                && exec == engine_id
            {
                let _ = watching
                    .execs
                    .with(&name, |exec| (exec.running, exec.exit_code) = (false, Some(exit_code)));
                return;
            }
        }
    });
    if options.detach {
        return Ok(StatusCode::OK.into_response());
    }
    let Some(upgrade) = upgrade else {
        return Err(EngineError::BadRequest("this connection cannot be hijacked".to_owned()));
    };
    tokio::spawn(async move {
        if let Ok(connection) = upgrade.await {
            let (reader, writer) = tokio::io::split(TokioIo::new(connection));
            // The client sees an error as the end of the stream; there is no other channel to tell it.
            let _ = relay(streams, reader, writer, ended).await;
        }
    });
    Ok(hijacked(&headers))
}

/// 101 where the client asks for an upgrade, 200 for the oldest clients.
fn hijacked(headers: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    let stream = "application/vnd.docker.raw-stream";
    if headers.contains_key("upgrade") {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert("connection", axum::http::HeaderValue::from_static("Upgrade"));
        headers.insert("upgrade", axum::http::HeaderValue::from_static("tcp"));
    }
    response.headers_mut().insert("content-type", axum::http::HeaderValue::from_static(stream));
    response
}

fn launch(shared: &Shared, id: &str, exec: &Exec) -> Result<(Streams, String), EngineError> {
    let failed = |error: rustix::io::Errno| EngineError::Failed(format!("making pipes: {error}"));
    let request = Request::Exec { container: exec.container.clone(), spec: Box::new(exec.spec.clone()) };
    let (delivery, streams) = if exec.spec.tty {
        let (reply, mut descriptors) = shared.client.call_with(request, &[])?;
        let master = descriptors.pop().ok_or_else(|| EngineError::Failed("no terminal came".to_owned()))?;
        let copy = |fd: &OwnedFd| fd.try_clone().map_err(|error| EngineError::Failed(error.to_string()));
        shared.execs.with(id, |exec| exec.terminal = copy(&master).ok().map(Arc::new))?;
        let streams = Streams { stdin: Some(copy(&master)?), stdout: master, stderr: None };
        (reply, streams)
    } else {
        let flags = PipeFlags::CLOEXEC;
        let (stdin, to_stdin) = pipe_with(flags).map_err(failed)?;
        let (from_stdout, stdout) = pipe_with(flags).map_err(failed)?;
        let (from_stderr, stderr) = pipe_with(flags).map_err(failed)?;
        let (reply, _) =
            shared.client.call_with(request, &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])?;
        let to_stdin = exec.attach_stdin.then_some(to_stdin);
        (reply, Streams { stdin: to_stdin, stdout: from_stdout, stderr: Some(from_stderr) })
    };
    match delivery {
        Reply::ExecStarted { exec: engine_id, pid } => {
            shared.execs.with(id, |exec| (exec.running, exec.pid) = (true, pid))?;
            Ok((streams, engine_id))
        }
        other => Err(unexpected(&other)),
    }
}

type Connection = TokioIo<hyper::upgrade::Upgraded>;

/// Copies both ways until the process has closed its output.
async fn relay(
    streams: Streams,
    mut reader: ReadHalf<Connection>,
    mut writer: WriteHalf<Connection>,
    ended: tokio::task::JoinHandle<()>,
) -> AnyResult<()> {
    if let Some(stdin) = streams.stdin {
        tokio::spawn(async move {
            let file = tokio::fs::File::from_std(File::from(stdin));
            copy_input(&mut reader, file).await;
        });
    }
    match streams.stderr {
        None => copy_terminal(streams.stdout, &mut writer).await,
        Some(stderr) => {
            let stdout = pipe::Receiver::from_owned_fd(streams.stdout)?;
            let stderr = pipe::Receiver::from_owned_fd(stderr)?;
            copy_framed(stdout, stderr, &mut writer).await;
        }
    }
    // The client asks for the exit code as soon as the stream ends: it must be known by then.
    let _ = ended.await;
    writer.shutdown().await?;
    Ok(())
}

async fn copy_input(reader: &mut ReadHalf<Connection>, mut file: tokio::fs::File) {
    let mut buffer = vec![0_u8; 8 * 1024];
    while let Ok(count) = reader.read(&mut buffer).await {
        if count == 0 || file.write_all(&buffer[..count]).await.is_err() || file.flush().await.is_err() {
            return;
        }
    }
}

async fn copy_terminal(master: OwnedFd, writer: &mut WriteHalf<Connection>) {
    let mut file = tokio::fs::File::from_std(File::from(master));
    let mut buffer = vec![0_u8; 8 * 1024];
    // EIO is how a pty says that nobody has its other side open any more.
    while let Ok(count) = file.read(&mut buffer).await {
        if count == 0 || writer.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

async fn copy_framed(stdout: pipe::Receiver, stderr: pipe::Receiver, writer: &mut WriteHalf<Connection>) {
    let (mut out, mut err) = (Some(stdout), Some(stderr));
    let (mut out_buffer, mut err_buffer) = (vec![0_u8; 8 * 1024], vec![0_u8; 8 * 1024]);
    while out.is_some() || err.is_some() {
        let (kind, count) = tokio::select! {
            count = read_some(&mut out, &mut out_buffer) => (1, count),
            count = read_some(&mut err, &mut err_buffer) => (2, count),
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
async fn read_some<R: AsyncRead + Unpin>(source: &mut Option<R>, buffer: &mut [u8]) -> usize {
    match source {
        Some(source) => source.read(buffer).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}
