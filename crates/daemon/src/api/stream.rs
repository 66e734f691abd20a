//! Connections that become streams: `hijack` for attach and exec, and Docker's multiplexed frames.

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use corral_engine::error::EngineError;
use corral_engine::sys::unread::has_unread;
use futures_util::Stream;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast;
use serde_json::Value;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::time::Duration;
use tokio::io::{AsyncReadExt, DuplexStream, Interest};
use tokio::net::UnixStream;
use tokio::sync::mpsc::Receiver;

/// A client has this long to read the head of a response. Then output follows.
const HEAD_TIME: Duration = Duration::from_secs(1);

/// A frame of Docker's multiplexed stream: kind, three zeros, length (big endian), data.
pub fn frame(kind: u8, data: &[u8]) -> Bytes {
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = vec![kind, 0, 0, 0];
    frame.extend_from_slice(&length);
    frame.extend_from_slice(data);
    Bytes::from(frame)
}

/// Takes what makes a request's connection ours, if the client requests that; the request's body
/// comes back as well.
pub(super) async fn hijack(request: Request) -> (Option<OnUpgrade>, Bytes) {
    let (mut parts, body) = request.into_parts();
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let has_length = parts.headers.get("content-length").is_some_and(|length| length != "0");
    // Without a length the stream begins at once: there is no body to wait for.
    let body = if has_length {
        axum::body::to_bytes(body, 64 * 1024).await.unwrap_or_default()
    } else {
        Bytes::new()
    };
    (upgrade, body)
}

/// The connection as a stream, and what the client has sent on it already.
pub(super) async fn connection(upgrade: OnUpgrade) -> Option<(UnixStream, Bytes)> {
    let parts = downcast::<TokioIo<UnixStream>>(upgrade.await.ok()?);
    match parts {
        Ok(parts) => Some((parts.io.into_inner(), parts.read_buf)),
        Err(_) => {
            eprintln!("a connection that becomes a stream is not one of the socket");
            None
        }
    }
}

/// Waits until the client has read the head of the response, at most `HEAD_TIME`: docker-py reads
/// it into a buffer and loses what comes with it.
pub(super) async fn wait_for_head(stream: &UnixStream) {
    let _ = tokio::time::timeout(HEAD_TIME, head_is_read(stream)).await;
}

/// Waits until the client has read what was written. A socket that cannot say so is not waited for.
async fn head_is_read(stream: &UnixStream) {
    // The kernel reports that there is room, also where there was some before, whenever the other
    // end has read a piece.
    let check = || match has_unread(stream) {
        Ok(true) => Err(ErrorKind::WouldBlock.into()),
        _ => Ok(()),
    };
    let _ = stream.async_io(Interest::WRITABLE, check).await;
}

/// For a client that requests no upgrade: output alone, as the body of the response.
pub(super) fn unhijacked(is_framed: bool) -> (DuplexStream, Response) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let body = futures_util::stream::unfold(theirs, |mut theirs| async move {
        let mut buffer = vec![0_u8; 32 * 1024];
        let count = theirs.read(&mut buffer).await.unwrap_or(0);
        buffer.truncate(count);
        (count > 0).then(|| (Ok(Bytes::from(buffer)), theirs))
    });
    (ours, streamed(media_type(is_framed), body))
}

/// The answer before the stream: 101.
pub(super) fn hijacked(headers: &HeaderMap, is_framed: bool) -> Response {
    let mut response = Response::new(Body::empty());
    if headers.contains_key("upgrade") {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert("connection", HeaderValue::from_static("Upgrade"));
        headers.insert("upgrade", HeaderValue::from_static("tcp"));
    }
    response.headers_mut().insert("content-type", HeaderValue::from_static(media_type(is_framed)));
    response
}

/// How a stream of output is named.
pub(super) fn media_type(is_framed: bool) -> &'static str {
    if is_framed {
        "application/vnd.docker.multiplexed-stream"
    } else {
        "application/vnd.docker.raw-stream"
    }
}

/// An answer whose body comes piece by piece; its head goes out at once.
pub(super) fn streamed(
    media_type: &'static str,
    stream: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static,
) -> Response {
    let mut response = Response::new(Body::from_stream(stream));
    response.headers_mut().insert("content-type", HeaderValue::from_static(media_type));
    response
}

/// JSON objects as they come, one a line.
pub(super) fn json_lines(receiver: Receiver<Value>) -> Response {
    let lines = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let value = receiver.recv().await?;
        Some((Ok(Bytes::from(format!("{value}\r\n"))), receiver))
    });
    streamed("application/json", lines)
}

/// An archive that a thread writes while the client reads it.
pub(super) fn written(
    write: impl FnOnce(&mut ChannelWriter) -> Result<(), EngineError> + Send + 'static,
) -> Response {
    let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<Bytes>>(16);
    tokio::task::spawn_blocking(move || {
        let mut writer = ChannelWriter(sender);
        if let Err(error) = write(&mut writer) {
            // The head is out: only breaking off the body reports that it is not complete.
            let _ = writer.0.blocking_send(Err(std::io::Error::other(error.to_string())));
        }
    });
    let body = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let bytes = receiver.recv().await?;
        Some((bytes, receiver))
    });
    let mut response = Response::new(Body::from_stream(body));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/x-tar"));
    response
}

/// Writes to a client from a thread, waiting for it where need be.
pub(super) struct ChannelWriter(tokio::sync::mpsc::Sender<std::io::Result<Bytes>>);

impl std::io::Write for ChannelWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Reads a client's body from a thread.
pub(super) struct ChannelReader {
    receiver: Receiver<std::io::Result<Bytes>>,
    rest: Bytes,
}

/// A body for a thread to read.
pub(super) fn readable(body: Body) -> ChannelReader {
    use futures_util::StreamExt;
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        let mut body = body.into_data_stream();
        while let Some(piece) = body.next().await {
            if sender.send(piece.map_err(std::io::Error::other)).await.is_err() {
                return;
            }
        }
    });
    ChannelReader { receiver, rest: Bytes::new() }
}

impl std::io::Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.rest.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.rest = piece?,
                None => return Ok(0),
            }
        }
        let count = self.rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.rest.split_to(count));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn a_client_that_reads_is_noticed_by_an_event() {
        for _ in 0..1000 {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            ours.write_all(b"head").await.unwrap();
            let mut theirs = theirs.into_std().unwrap();
            theirs.set_nonblocking(false).unwrap();
            let client = std::thread::spawn(move || {
                theirs.read_exact(&mut [0; 2]).unwrap();
                theirs.read_exact(&mut [0; 2]).unwrap();
                theirs
            });
            let noticed = tokio::time::timeout(Duration::from_secs(60), head_is_read(&ours)).await;
            assert!(noticed.is_ok(), "no event came");
            drop(client.join().unwrap());
        }
    }
}
