//! What is requested of an engine: one function for each request. Those for images and networks
//! have their own files.

use super::engine::Engine;
use super::error::Error;
use super::http::{Answer, Http, Piece};
use super::lines::Lines;
use super::model::{Container, Summary, Version};
use super::upload::Upload;
use hyper::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Timeout of queries.
pub(super) const QUICK: Duration = Duration::from_secs(30);
/// Timeout of actions: a disk may be slow, and a machine may be busy.
pub(super) const WORK: Duration = Duration::from_secs(600);
/// Timeout of actions that may fetch an image first, wait for a container to stop, or read every
/// image.
pub(super) const LONG: Duration = Duration::from_secs(3600);

/// A client of an engine. Its calls block until the answer is there.
#[derive(Debug)]
pub struct Client {
    http: Http,
}

impl Client {
    pub fn of(engine: Engine) -> Result<Client, Error> {
        Client::at(engine, engine.socket().into())
    }

    pub(super) fn at(engine: Engine, socket: PathBuf) -> Result<Client, Error> {
        Ok(Client { http: Http::new(engine, socket)? })
    }

    /// Does it answer?
    pub fn ping(&self, time: Duration) -> Result<(), Error> {
        self.http.send(Method::GET, "/_ping", Vec::new(), time)?.read().map(drop)
    }

    /// The version of the engine.
    pub fn version(&self) -> Result<String, Error> {
        self.get::<Version>("/version").map(|version| version.version)
    }

    /// Every container, the newest first.
    pub fn containers(&self) -> Result<Vec<Summary>, Error> {
        self.get("/containers/json?all=1")
    }

    /// A container by its name or id; None if there is none.
    pub fn container(&self, name: &str) -> Result<Option<Container>, Error> {
        Error::absence(self.get(&format!("/containers/{}/json", segment(name))))
    }

    /// Creates a container; the body is that of the API.
    pub fn create(&self, name: &str, body: &Value) -> Result<(), Error> {
        self.act(
            Method::POST,
            &format!("/containers/create?name={}", segment(name)),
            Some(body),
            WORK,
        )
    }

    /// Starts a container, unless it runs already. If the image of a system service is not here
    /// yet, this waits for it.
    pub fn start(&self, name: &str) -> Result<(), Error> {
        self.act(Method::POST, &format!("/containers/{}/start", segment(name)), None, LONG)
    }

    /// Stops a container. It is killed after so many seconds, or after those of its definition.
    pub fn stop(&self, name: &str, seconds: Option<u32>) -> Result<(), Error> {
        self.end(name, "stop", seconds)
    }

    /// Stops a container in the same way, and starts it again.
    pub fn restart(&self, name: &str, seconds: Option<u32>) -> Result<(), Error> {
        self.end(name, "restart", seconds)
    }

    fn end(&self, name: &str, action: &str, seconds: Option<u32>) -> Result<(), Error> {
        let grace = seconds.map(|seconds| format!("?t={seconds}")).unwrap_or_default();
        let longest = LONG + Duration::from_secs(seconds.unwrap_or_default().into());
        self.act(
            Method::POST,
            &format!("/containers/{}/{action}{grace}", segment(name)),
            None,
            longest,
        )
    }

    pub fn kill(&self, name: &str, signal: &str) -> Result<(), Error> {
        let path = format!("/containers/{}/kill?signal={}", segment(name), segment(signal));
        self.act(Method::POST, &path, None, WORK)
    }

    /// Removes a container, even if it runs; with its anonymous volumes if requested. It is no
    /// error if the container is already gone.
    pub fn remove(&self, name: &str, with_volumes: bool) -> Result<(), Error> {
        let volumes = if with_volumes { "&v=1" } else { "" };
        let path = format!("/containers/{}?force=1{volumes}", segment(name));
        Error::absence(self.act(Method::DELETE, &path, None, WORK)).map(drop)
    }

    /// Calls `print` with each requested line of a container's log. With `follow` also with new
    /// lines, until the log ends or `print` returns false.
    pub fn logs(
        &self,
        name: &str,
        request: &LogRequest,
        mut print: impl FnMut(&str) -> bool,
    ) -> Result<(), Error> {
        let container: Container = self.get(&format!("/containers/{}/json", segment(name)))?;
        let mut lines = Lines::new(!container.has_terminal());
        let path = format!("/containers/{}/logs?{}", segment(name), request.query());
        let mut answer = self.http.send(Method::GET, &path, Vec::new(), QUICK)?;
        loop {
            // No deadline with `follow`: a container may be silent for days.
            let deadline = (!request.follow).then(|| Instant::now() + QUICK);
            let piece = match answer.piece(deadline)? {
                Piece::Data(piece) => piece,
                Piece::End => break,
                Piece::Late => return Err(answer.late()),
            };
            if !lines.add(&piece).iter().all(|line| print(line)) {
                return Ok(());
            }
        }
        lines.rest().iter().all(|line| print(line));
        Ok(())
    }

    /// The last lines of a container's log, for an error to show; none if there are no logs.
    pub fn last_lines(&self, name: &str, count: u32) -> String {
        let mut all = Vec::new();
        let request = LogRequest { tail: Some(count), ..LogRequest::default() };
        let read = self.logs(name, &request, |line| {
            all.push(line.to_owned());
            true
        });
        match read {
            Ok(()) => all.join("\n").trim().to_owned(),
            Err(error) => format!("(no log: {error})"),
        }
    }

    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.http.send(Method::GET, path, Vec::new(), QUICK)?.json()
    }

    /// A request without a body that may take long.
    pub(super) fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.http.send(Method::POST, path, Vec::new(), LONG)?.json()
    }

    /// A request with a tar archive as its body. It returns a stream of messages, which is read to
    /// its end.
    pub(super) fn upload<T: DeserializeOwned>(
        &self,
        path: &str,
        archive: File,
    ) -> Result<Vec<T>, Error> {
        self.http.upload(path, Upload(archive), LONG)?.json_lines()
    }

    /// A request that returns no data, only success or an error.
    pub(super) fn act(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        time: Duration,
    ) -> Result<(), Error> {
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        self.http.send(method, path, body, time)?.read().map(drop)
    }

    /// An answer that is streamed as long as the client reads it.
    pub(super) fn listen(&self, path: &str) -> Result<Answer<'_>, Error> {
        self.http.send(Method::GET, path, Vec::new(), QUICK)
    }
}

/// What of a container's log is requested.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogRequest {
    /// Number of lines from the end; None: all.
    pub tail: Option<u32>,
    pub follow: bool,
    /// Each line begins with its time (RFC 3339) and a blank.
    pub timestamps: bool,
    /// Since 1970, as the next one.
    pub since: Option<Duration>,
    pub until: Option<Duration>,
}

impl LogRequest {
    fn query(&self) -> String {
        let tail = self.tail.map_or("all".to_owned(), |count| count.to_string());
        let follow = u8::from(self.follow);
        let mut text = format!("stdout=1&stderr=1&tail={tail}&follow={follow}");
        if self.timestamps {
            text.push_str("&timestamps=1");
        }
        for (name, time) in [("since", self.since), ("until", self.until)] {
            let time = time.map(|time| (time.as_secs(), time.subsec_nanos()));
            text.extend(time.map(|(seconds, nanos)| format!("&{name}={seconds}.{nanos:09}")));
        }
        text
    }
}

/// Text as a part of a path or of a query.
pub(super) fn segment(text: &str) -> String {
    encoded(text, "")
}

/// Percent-encodes all but letters, digits, `-._~` and `kept`.
pub(super) fn encoded(text: &str, kept: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let mut all = String::new();
    for byte in text.bytes() {
        if is_plain(byte) || kept.as_bytes().contains(&byte) {
            all.push(char::from(byte));
        } else {
            all.push_str(&format!("%{byte:02X}"));
        }
    }
    all
}
