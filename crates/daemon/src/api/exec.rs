//! `/containers/{id}/exec` and `/exec`: a process in a running container, its streams hijacked from
//! the connection.

use super::attach::set_size;
use super::error::ApiError;
use super::query::{Parameters, Parts, id_of, parse};
use super::state::State;
use super::stream::{Connection, frame, hijack, hijacked};
use crate::exec::{Running, Streams, emit};
use crate::execs::Exec;
use crate::hub::{read_some, write_all};
use axum::Json;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use corral_engine::error::EngineError;
use corral_engine::spec::{ExecSpec, Snapshot};
use corral_engine::sys::open_async;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest, ReadHalf, WriteHalf};

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

pub(super) async fn create(state: State, parts: Parts, body: Bytes) -> Result<Response, ApiError> {
    let body: CreateBody = parse(&body)?;
    let container = state.find(id_of(&parts))?;
    check_running(&container)?;
    if body.cmd.is_empty() {
        return Err(EngineError::BadRequest("no exec command specified".to_owned()).into());
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
    emit(&state.0, &container, &format!("exec_create: {line}"), &id, None);
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

pub(super) async fn inspect(state: State, parts: Parts) -> Result<Json<Value>, ApiError> {
    let id = id_of(&parts);
    Ok(state.execs.with(id, |exec| {
        Json(json!({
            "ID": id, "Running": exec.running, "ExitCode": exec.exit_code, "Pid": exec.pid,
            "ContainerID": exec.container, "OpenStdin": exec.attach_stdin, "OpenStdout": true,
            "OpenStderr": true, "CanRemove": false, "DetachKeys": "",
            "ProcessConfig": {
                "tty": exec.spec.tty, "entrypoint": exec.spec.args.first(),
                "arguments": exec.spec.args.get(1..), "privileged": exec.spec.privileged,
                "user": exec.spec.user,
            },
        }))
    })?)
}

pub(super) async fn resize(
    state: State,
    parts: Parts,
    size: Parameters,
) -> Result<StatusCode, ApiError> {
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

pub(super) async fn start(
    state: State,
    parts: Parts,
    headers: HeaderMap,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    let (shared, id) = (state.0, id_of(&parts).to_owned());
    let exec = shared.execs.with(&id, |exec| exec.clone())?;
    if exec.running || exec.exit_code.is_some() {
        return Err(EngineError::Conflict(format!("exec {id} has been started already")).into());
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
        // The connection is a stream before the process writes to it: clients may not look for
        // output in the head.
        let Ok(connection) = upgrade.await else { return };
        let (reader, mut writer) = tokio::io::split(TokioIo::new(connection));
        match running.launch(exec).await {
            Ok((streams, ended)) => {
                relay(streams, reader, &mut writer).await;
                // The client requests the exit code once the stream ends: it must be known by then.
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
