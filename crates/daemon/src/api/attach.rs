//! `POST /containers/{id}/attach` and its websocket: the streams of a container while it runs.

use super::error::ApiError;
use super::query::{Parameters, Parts, id_of, is_true, text};
use super::state::State;
use super::stream::{connection, frame, hijack, hijacked, unhijacked, wait_for_head};
use crate::hub::{Hub, Piece};
use crate::logs;
use crate::shared::Shared;
use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use corral_engine::error::EngineError;
use corral_engine::paths;
use corral_engine::protocol::Request;
use corral_engine::spec::Snapshot;
use rustix::termios::Winsize;
use std::io::Cursor;
use std::os::fd::AsFd;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::sync::mpsc::Receiver;

/// Keys that end an attachment and not the container: ctrl-p, ctrl-q.
const DETACH: [u8; 2] = [16, 17];

/// Which streams a client requests.
#[derive(Debug, Clone, Copy)]
struct AttachOptions {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    framed: bool,
}

impl AttachOptions {
    fn of(parameters: &Parameters, container: &Snapshot) -> AttachOptions {
        let any = ["stdin", "stdout", "stderr"].iter().any(|name| parameters.contains_key(*name));
        AttachOptions {
            stdin: is_true(parameters, "stdin") && container.spec.open_stdin,
            stdout: is_true(parameters, "stdout") || !any,
            stderr: is_true(parameters, "stderr") || !any,
            framed: !container.spec.tty,
        }
    }

    fn render(self, (stream, bytes): Piece) -> Option<Bytes> {
        let is_wanted = if stream == 2 { self.stderr } else { self.stdout };
        is_wanted.then(|| if self.framed { frame(stream, &bytes) } else { bytes })
    }
}

/// What was written before, if the client requests that; then what comes.
fn begin(
    shared: &Shared,
    container: &Snapshot,
    wanted: AttachOptions,
    with_logs: bool,
) -> (Vec<Bytes>, Receiver<Piece>, Arc<Hub>) {
    let hub = shared.hubs.get(&container.id);
    let pieces = hub.attach();
    let old = if with_logs { logs::read_all(&paths::log(&container.id)) } else { Vec::new() };
    let number = |stream: &str| if stream == "stderr" { 2 } else { 1 };
    let old = old
        .into_iter()
        .filter_map(|entry| wanted.render((number(&entry.stream), Bytes::from(entry.log))))
        .collect();
    (old, pieces, hub)
}

pub(super) async fn attach(
    state: State,
    parts: Parts,
    parameters: Parameters,
    headers: HeaderMap,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    let shared = state.0;
    let container = shared.find(id_of(&parts))?;
    if container.status.paused {
        return Err(EngineError::Conflict(format!(
            "container {} is paused: unpause it first",
            container.spec.name
        ))
        .into());
    }
    let wanted = AttachOptions::of(&parameters, &container);
    let (with_logs, follow) = (is_true(&parameters, "logs"), is_true(&parameters, "stream"));
    let detach = text(&parameters, "detachKeys").to_owned();
    let (upgrade, _) = hijack(request).await;
    if !follow && !container.status.is_up() {
        // It may have ended a moment ago: what it wrote last is on its way to the log.
        shared.hubs.get(&container.id).wait_for_end().await;
    }
    let (old, pieces, hub) = begin(&shared, &container, wanted, with_logs);
    let attached = Attached { shared, container, hub, wanted, detach, follow };
    let Some(upgrade) = upgrade else {
        let (ours, response) = unhijacked(wanted.framed);
        let (reader, writer) = tokio::io::split(ours);
        tokio::spawn(attached.serve((reader, writer, pieces), old));
        return Ok(response);
    };
    tokio::spawn(async move {
        let Some((stream, read)) = connection(upgrade).await else { return };
        if !old.is_empty() {
            wait_for_head(&stream).await;
        }
        let (reader, writer) = stream.into_split();
        let reader = Cursor::new(read).chain(reader);
        attached.serve((reader, writer, pieces), old).await;
    });
    Ok(hijacked(&headers, wanted.framed))
}

/// A client that attached.
struct Attached {
    shared: Arc<Shared>,
    container: Arc<Snapshot>,
    hub: Arc<Hub>,
    wanted: AttachOptions,
    detach: String,
    follow: bool,
}

impl Attached {
    async fn serve<R, W>(self, (reader, mut writer, pieces): Ends<R, W>, old: Vec<Bytes>)
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin,
    {
        for bytes in old {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
        if self.follow {
            let (wanted, detach) = (self.wanted, self.detach);
            let ends = (reader, &mut writer, pieces);
            relay(&self.shared, &self.container, &self.hub, (wanted, detach), ends).await;
        }
        // The client sees the end of the stream; there is no other channel to report it.
        let _ = writer.shutdown().await;
    }
}

type Ends<R, W> = (R, W, Receiver<Piece>);

/// Copies both ways until the container has ended or the client detaches.
async fn relay<R, W>(
    shared: &Arc<Shared>,
    container: &Snapshot,
    hub: &Arc<Hub>,
    (wanted, detach): (AttachOptions, String),
    (reader, writer, mut pieces): Ends<R, &mut W>,
) where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin,
{
    let stop = Arc::new(Notify::new());
    let input = tokio::spawn(copy_input(
        Arc::clone(shared),
        container.clone(),
        wanted,
        detach,
        (reader, Arc::clone(&stop)),
    ));
    loop {
        let piece = tokio::select! {
            biased;
            piece = pieces.recv() => piece,
            // Only the detach keys end it from this side: a client that closed its input still
            // reads the output.
            () = stop.notified() => None,
        };
        let Some(piece) = piece else { break };
        if let Some(bytes) = wanted.render(piece)
            && writer.write_all(&bytes).await.is_err()
        {
            break;
        }
    }
    input.abort();
    if wanted.stdin && container.spec.stdin_once && !container.spec.tty {
        close_input(shared, container, hub).await;
    }
}

async fn close_input(shared: &Arc<Shared>, container: &Snapshot, hub: &Arc<Hub>) {
    hub.close_input().await;
    // A container that is gone has no input either.
    let _ = shared.call(Request::CloseStdin { container: container.id.clone() }).await;
}

async fn copy_input(
    shared: Arc<Shared>,
    container: Snapshot,
    wanted: AttachOptions,
    detach: String,
    (mut reader, stop): (impl AsyncRead + Unpin, Arc<Notify>),
) {
    let hub = shared.hubs.get(&container.id);
    let keys = detach_keys(&detach);
    let mut seen = 0;
    let mut buffer = vec![0_u8; 8 * 1024];
    loop {
        let count = reader.read(&mut buffer).await.unwrap_or(0);
        if count == 0 {
            break;
        }
        if !wanted.stdin {
            continue;
        }
        let mut bytes = buffer[..count].to_vec();
        if container.spec.tty && find_keys(&mut bytes, &keys, &mut seen) {
            stop.notify_one();
            return;
        }
        wait_for_input(&shared, &container, &hub).await;
        if !hub.write_input(&bytes).await {
            break;
        }
    }
    if wanted.stdin && container.spec.stdin_once && !container.spec.tty {
        // Before the start there is nothing to close: the program would wait for input forever.
        wait_for_input(&shared, &container, &hub).await;
        close_input(&shared, &container, &hub).await;
    }
}

/// A client may attach, and type, before the container is started.
async fn wait_for_input(shared: &Shared, container: &Snapshot, hub: &Hub) {
    let mut changes = hub.watch();
    while shared.table.get(&container.id).is_some_and(|now| now.status.pid.is_none())
        && changes.changed().await.is_ok()
    {}
}

/// `ctrl-p,ctrl-q` as bytes; there is at least one.
pub fn detach_keys(text: &str) -> Vec<u8> {
    let key = |word: &str| match word.strip_prefix("ctrl-") {
        Some("@") => Some(0),
        Some(letter) => letter.bytes().next().map(|byte| byte & 0x1f),
        None => word.bytes().next().filter(|_| word.len() == 1),
    };
    let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
    keys.filter(|keys| !keys.is_empty()).unwrap_or_else(|| DETACH.to_vec())
}

/// Looks for the keys, which may come in several pieces; they are not passed on.
pub fn find_keys(bytes: &mut Vec<u8>, keys: &[u8], seen: &mut usize) -> bool {
    let mut passed = Vec::with_capacity(bytes.len());
    for byte in bytes.iter() {
        if *byte == keys[*seen] {
            *seen += 1;
            if *seen == keys.len() {
                return true;
            }
            continue;
        }
        passed.extend_from_slice(&keys[..*seen]);
        *seen = 0;
        passed.push(*byte);
    }
    *bytes = passed;
    false
}

/// The same by websocket, as browsers speak it: without frames, as one stream.
pub(super) async fn websocket(
    state: State,
    parts: Parts,
    parameters: Parameters,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    let shared = state.0;
    let container = shared.find(id_of(&parts))?;
    let wanted = AttachOptions { framed: false, ..AttachOptions::of(&parameters, &container) };
    let with_logs = is_true(&parameters, "logs");
    let (old, pieces, hub) = begin(&shared, &container, wanted, with_logs);
    Ok(upgrade.on_upgrade(async move |socket| talk(socket, wanted, hub, (old, pieces)).await))
}

async fn talk(
    mut socket: WebSocket,
    wanted: AttachOptions,
    hub: Arc<Hub>,
    (old, mut pieces): (Vec<Bytes>, Receiver<Piece>),
) {
    for bytes in old {
        if socket.send(Message::Binary(bytes)).await.is_err() {
            return;
        }
    }
    loop {
        tokio::select! {
            piece = pieces.recv() => {
                let Some(piece) = piece else { break };
                let Some(bytes) = wanted.render(piece) else { continue };
                if socket.send(Message::Binary(bytes)).await.is_err() {
                    return;
                }
            }
            message = socket.recv() => {
                let bytes = match message {
                    Some(Ok(Message::Binary(bytes))) => bytes,
                    Some(Ok(Message::Text(text))) => Bytes::from(text.as_str().to_owned()),
                    Some(Ok(_)) => continue,
                    _ => return,
                };
                if wanted.stdin && !hub.write_input(&bytes).await {
                    break;
                }
            }
        }
    }
    let _ = socket.send(Message::Close(None)).await;
}

pub(super) async fn resize(
    state: State,
    parts: Parts,
    parameters: Parameters,
) -> Result<StatusCode, ApiError> {
    let container = state.find(id_of(&parts))?;
    if let Some(terminal) = state.hubs.get(&container.id).terminal() {
        set_size(&*terminal, &parameters)?;
    }
    Ok(StatusCode::OK)
}

/// Gives a terminal the size that a request names.
pub(super) fn set_size(terminal: impl AsFd, parameters: &Parameters) -> Result<(), EngineError> {
    let number = |name: &str| text(parameters, name).parse().unwrap_or(0);
    let size = Winsize { ws_row: number("h"), ws_col: number("w"), ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size)
        .map_err(|error| EngineError::Failed(format!("resizing the terminal: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_that_detach_may_come_in_pieces() {
        let keys = detach_keys("");
        let mut seen = 0;
        let mut first = b"ab\x10".to_vec();
        assert!(!find_keys(&mut first, &keys, &mut seen));
        assert_eq!(first, b"ab", "the first key is held back");
        assert!(find_keys(&mut b"\x11".to_vec(), &keys, &mut seen));
        let (mut seen, mut bytes) = (0, b"\x10x".to_vec());
        assert!(!find_keys(&mut bytes, &keys, &mut seen));
        assert_eq!(bytes, b"\x10x", "what only began like them is passed on");
        assert_eq!(detach_keys("ctrl-@,x"), [0, b'x']);
    }
}
