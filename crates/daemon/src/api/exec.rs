//! `/containers/{id}/exec` and `/exec`: a process in a running container, its streams hijacked from
//! the connection.

use super::attach::{detach_keys, find_keys, set_size};
use super::error::ApiError;
use super::query::{Parameters, Parts, id_of, parse};
use super::state::State;
use super::stream::{connection, frame, hijack, hijacked, unhijacked, wait_for_head};
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
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::Cursor;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::sync::Notify;

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
    /// docker-py writes it so, which Docker's parser takes as well.
    #[serde(alias = "detachKeys")]
    detach_keys: String,
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
        detach_keys: body.detach_keys,
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
            "OpenStderr": true, "CanRemove": false, "DetachKeys": exec.detach_keys,
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
    /// The client takes the output as it is. Otherwise it comes in frames, also that of a terminal.
    tty: bool,
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
    let (upgrade, body) = hijack(request).await;
    let options: StartBody = parse(&body)?;
    let running = Running { shared, container, id };
    if options.detach {
        let (streams, _) = running.launch(exec).await?;
        discard(streams.stdout);
        streams.stderr.into_iter().for_each(discard);
        return Ok(StatusCode::OK.into_response());
    }
    let is_framed = !options.tty;
    let Some(upgrade) = upgrade else {
        let (ours, response) = unhijacked(is_framed);
        let (reader, writer) = tokio::io::split(ours);
        tokio::spawn(serve(running, exec, is_framed, reader, writer));
        return Ok(response);
    };
    tokio::spawn(async move {
        let Some((stream, read)) = connection(upgrade).await else { return };
        // Before the process writes: what it wrote could come together with the head.
        wait_for_head(&stream).await;
        let (reader, writer) = stream.into_split();
        serve(running, exec, is_framed, Cursor::new(read).chain(reader), writer).await;
    });
    Ok(hijacked(&headers, is_framed))
}

/// Runs the process with a client at its streams.
async fn serve<R, W>(running: Running, exec: Exec, is_framed: bool, reader: R, mut writer: W)
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin,
{
    let keys = exec.spec.tty.then(|| detach_keys(&exec.detach_keys));
    match running.launch(exec).await {
        Ok((streams, ended)) => {
            if relay(streams, (reader, keys), (&mut writer, is_framed)).await {
                // The client requests the exit code once the stream ends: it must be known by then.
                let _ = ended.await;
            }
        }
        Err(error) => {
            let text = format!("{error}\r\n");
            let bytes = if is_framed { frame(2, text.as_bytes()) } else { Bytes::from(text) };
            let _ = writer.write_all(&bytes).await;
        }
    }
    let _ = writer.shutdown().await;
}

/// Copies both ways until the process has closed its output; false if the client detached.
async fn relay<R, W>(
    streams: Streams,
    (reader, keys): (R, Option<Vec<u8>>),
    (writer, is_framed): (&mut W, bool),
) -> bool
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin,
{
    let input = streams.stdin.and_then(|stdin| open_async(stdin, Interest::WRITABLE));
    let stop = Arc::new(Notify::new());
    let copying = tokio::spawn(copy_input(reader, input, keys, Arc::clone(&stop)));
    let mut out = open_async(streams.stdout, Interest::READABLE);
    let mut err = streams.stderr.and_then(|stderr| open_async(stderr, Interest::READABLE));
    let ended = tokio::select! {
        () = copy_output(&mut out, &mut err, writer, is_framed) => true,
        () = stop.notified() => false,
    };
    copying.abort();
    // Without a client the process goes on, and does not wait for a reader.
    for source in [out, err].into_iter().flatten() {
        tokio::spawn(read_to_end(source));
    }
    ended
}

/// Reads the output of a process that no client listens to.
fn discard(output: OwnedFd) {
    if let Some(source) = open_async(output, Interest::READABLE) {
        tokio::spawn(read_to_end(source));
    }
}

async fn read_to_end(source: AsyncFd<OwnedFd>) {
    let mut buffer = vec![0_u8; 8 * 1024];
    while read_some(&source, &mut buffer).await > 0 {}
}

async fn copy_input(
    mut reader: impl AsyncRead + Unpin,
    target: Option<AsyncFd<OwnedFd>>,
    keys: Option<Vec<u8>>,
    stop: Arc<Notify>,
) {
    let mut seen = 0;
    let mut buffer = vec![0_u8; 8 * 1024];
    while let Ok(count) = reader.read(&mut buffer).await {
        let mut bytes = buffer[..count].to_vec();
        if keys.as_ref().is_some_and(|keys| find_keys(&mut bytes, keys, &mut seen)) {
            stop.notify_one();
            return;
        }
        let Some(target) = &target else { return };
        if count == 0 || write_all(target, &bytes).await.is_err() {
            return;
        }
    }
}

type Source = Option<AsyncFd<OwnedFd>>;

/// A stream that has ended is None afterwards.
async fn copy_output(
    out: &mut Source,
    err: &mut Source,
    writer: &mut (impl AsyncWrite + Unpin),
    is_framed: bool,
) {
    let (mut out_buffer, mut err_buffer) = (vec![0_u8; 8 * 1024], vec![0_u8; 8 * 1024]);
    while out.is_some() || err.is_some() {
        let (kind, count) = tokio::select! {
            count = read_open(out, &mut out_buffer) => (1, count),
            count = read_open(err, &mut err_buffer) => (2, count),
        };
        let data = match (kind, count) {
            (1, 0) => {
                *out = None;
                continue;
            }
            (_, 0) => {
                *err = None;
                continue;
            }
            (1, count) => &out_buffer[..count],
            (_, count) => &err_buffer[..count],
        };
        let framed = is_framed.then(|| frame(kind, data));
        if writer.write_all(framed.as_deref().unwrap_or(data)).await.is_err() {
            return;
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
