//! HTTP on a unix socket, by hyper. Each request has its own connection, so a restart of the engine
//! between two requests does not matter. This file handles bytes and deadlines; `client.rs`
//! interprets the bytes.

use super::engine::Engine;
use super::error::Error;
use super::upload::Upload;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

/// Size limit of an engine's answer, in bytes.
const LARGEST: usize = 64 << 20;

/// What a request carries.
type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A server on a socket, and the runtime that its requests run on.
#[derive(Debug)]
pub(super) struct Http {
    engine: Engine,
    socket: PathBuf,
    runtime: Runtime,
}

impl Http {
    pub(super) fn new(engine: Engine, socket: PathBuf) -> Result<Http, Error> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.map_err(|source| Error::Client { engine, source })?;
        Ok(Http { engine, socket, runtime })
    }

    /// Sends a request, with JSON as its body unless that is empty. The complete answer may take
    /// `time`. An error status is an error.
    pub(super) fn send(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        time: Duration,
    ) -> Result<Answer<'_>, Error> {
        let name = format!("{method} {path}");
        let mut request = Request::builder().method(method).uri(path).header(HOST, "docker");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = Full::new(Bytes::from(body)).map_err(|never| match never {});
        let request = request.body(UnsyncBoxBody::new(body));
        self.request(name, request, time)
    }

    /// Sends a tar archive in the same way.
    pub(super) fn upload(
        &self,
        path: &str,
        archive: Upload,
        time: Duration,
    ) -> Result<Answer<'_>, Error> {
        let request = Request::post(path).header(HOST, "docker");
        let request = request.header(CONTENT_TYPE, "application/x-tar");
        let request = request.body(UnsyncBoxBody::new(archive));
        self.request(format!("POST {path}"), request, time)
    }

    fn request(
        &self,
        name: String,
        request: Result<Request<Body>, hyper::http::Error>,
        time: Duration,
    ) -> Result<Answer<'_>, Error> {
        let deadline = Instant::now() + time;
        let request = request.map_err(|error| self.malformed(&name, &error))?;
        let response = self.within(Some(deadline), self.exchange(&name, request));
        let response = response.unwrap_or_else(|| Err(self.late(&name, time)))?;
        let answer = Answer { http: self, request: name, time, deadline, response };
        match answer.response.status() {
            status if status.is_success() || status == StatusCode::NOT_MODIFIED => Ok(answer),
            status => {
                Err(answer.read().map_or_else(|error| error, |body| Error::refused(status, &body)))
            }
        }
    }

    /// Sends a request on a new connection. Returns when the head of the answer has arrived.
    async fn exchange(
        &self,
        name: &str,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Error> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|cause| Error::connecting(self.engine, &self.socket, cause))?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|source| self.cut(name, source))?;
        // The task ends with the answer. An error of the connection is also an error of the answer.
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|source| self.cut(name, source))
    }

    /// Runs until the work is done, or the deadline has passed.
    fn within<T>(&self, deadline: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
        self.runtime.block_on(async {
            match deadline {
                Some(deadline) => tokio::time::timeout_at(deadline.into(), work).await.ok(),
                None => Some(work.await),
            }
        })
    }

    fn cut(&self, request: &str, source: hyper::Error) -> Error {
        Error::Cut { engine: self.engine, request: request.to_owned(), source }
    }

    fn late(&self, request: &str, time: Duration) -> Error {
        Error::Late { engine: self.engine, request: request.to_owned(), time }
    }

    fn malformed(&self, request: &str, cause: &dyn std::fmt::Display) -> Error {
        Error::Malformed {
            engine: self.engine,
            request: request.to_owned(),
            cause: cause.to_string(),
        }
    }
}

/// An answer whose head has arrived; its body is read in pieces.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    http: &'a Http,
    /// Method and path.
    request: String,
    /// Timeout of the complete answer.
    time: Duration,
    deadline: Instant,
    response: Response<Incoming>,
}

/// Result of waiting for the next piece of a body.
#[derive(Debug)]
pub(super) enum Piece {
    Data(Bytes),
    /// The body is complete.
    End,
    /// The deadline has passed.
    Late,
}

impl Answer<'_> {
    /// The next piece of the body.
    pub(super) fn piece(&mut self, deadline: Option<Instant>) -> Result<Piece, Error> {
        let (http, request) = (self.http, &self.request);
        let body = self.response.body_mut();
        let next = http.within(deadline, async {
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|source| http.cut(request, source))?;
                // Frames without data are trailers.
                if let Ok(data) = frame.into_data() {
                    return Ok(Piece::Data(data));
                }
            }
            Ok(Piece::End)
        });
        next.unwrap_or(Ok(Piece::Late))
    }

    /// The complete body.
    pub(super) fn read(mut self) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        loop {
            match self.piece(Some(self.deadline))? {
                Piece::Data(piece) => all.extend_from_slice(&piece),
                Piece::End => return Ok(all),
                Piece::Late => return Err(self.late()),
            }
            if all.len() > LARGEST {
                let cause = format!("the answer has more than {LARGEST} bytes");
                return Err(self.http.malformed(&self.request, &cause));
            }
        }
    }

    /// The complete body, parsed from JSON.
    pub(super) fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let (http, request) = (self.http, self.request.clone());
        let body = self.read()?;
        serde_json::from_slice(&body).map_err(|error| http.malformed(&request, &error))
    }

    /// The complete body, of JSON values that follow each other.
    pub(super) fn json_lines<T: DeserializeOwned>(self) -> Result<Vec<T>, Error> {
        let (http, request) = (self.http, self.request.clone());
        let body = self.read()?;
        let values = serde_json::Deserializer::from_slice(&body).into_iter::<T>();
        values.collect::<Result<_, _>>().map_err(|error| http.malformed(&request, &error))
    }

    pub(super) fn late(&self) -> Error {
        self.http.late(&self.request, self.time)
    }
}
