//! The engine daemon, a child of PID 1: serves the Docker Engine API and writes the logs of containers. It holds no
//! state that matters: when it dies, PID 1 starts it again and hands it the log pipes.

use crate::client::Client;
use crate::error::EngineError;
use crate::logs::{self, Entry, Lines, Log};
use crate::protocol::Event;
use crate::{api, paths};
use anyhow::{Context, Result};
use rustix::fs::OFlags;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe;
use tokio::sync::broadcast;

/// The size of one log file, in bytes, and how many there are of a container.
const LOG_BYTES: u64 = 25 << 20;
const LOG_FILES: u32 = 2;

/// What every request of the API can reach.
#[derive(Debug)]
pub struct Shared {
    pub client: Client,
    /// Everything that happens to containers.
    pub events: broadcast::Sender<Event>,
    /// Lines as they are written to logs: (container id, line).
    pub lines: broadcast::Sender<(String, Entry)>,
    /// Processes that were asked for and not yet started, or that run.
    pub execs: api::exec::Execs,
}

/// Runs the daemon until PID 1 hangs up.
pub fn run() -> Result<()> {
    // It was started as /proc/self/exe; `ps` is to show what it is.
    let _ = rustix::thread::set_name(c"ros-engine");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(serve())
}

async fn serve() -> Result<()> {
    let (events, _) = broadcast::channel(1024);
    let (lines, _) = broadcast::channel(4096);
    let (streams, mut new_streams) = tokio::sync::mpsc::unbounded_channel();
    let news = events.clone();
    let client = Client::connect(move |event, mut descriptors| match (&event, descriptors.pop()) {
        (Event::Log { id, name, stream }, Some(descriptor)) => {
            // The receiver lives as long as this process.
            let _ = streams.send((id.clone(), name.clone(), *stream, descriptor));
        }
        _ => {
            // Without a listener there is nobody to tell.
            let _ = news.send(event);
        }
    })
    .context("connecting to PID 1")?;
    let shared =
        Arc::new(Shared { client, events, lines: lines.clone(), execs: api::exec::Execs::default() });
    let attaching = Arc::clone(&shared);
    blocking(move || attaching.client.attach()).await.context("attaching to PID 1")?;
    tokio::spawn(async move {
        let mut logs = Logs::default();
        while let Some((id, name, stream, descriptor)) = new_streams.recv().await {
            match logs.get(&id) {
                Ok(log) => drop(tokio::spawn(write_log(
                    Sink { id, name, stream, log, followers: lines.clone() },
                    descriptor,
                ))),
                Err(error) => eprintln!("log of {id}: {error}"),
            }
        }
    });
    api::serve(shared, paths::API_SOCKET).await
}

/// Runs something that waits, such as a call to PID 1, where it does not hold up others.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|error| Err(EngineError::Failed(format!("a task of the engine ended: {error}"))))
}

/// The open logs: both streams of a container share one, so that a rotation is the same for both.
#[derive(Debug, Default)]
struct Logs(HashMap<String, Weak<Mutex<Log>>>);

impl Logs {
    fn get(&mut self, id: &str) -> std::io::Result<Arc<Mutex<Log>>> {
        self.0.retain(|_, log| log.strong_count() > 0);
        if let Some(log) = self.0.get(id).and_then(Weak::upgrade) {
            return Ok(log);
        }
        let log = Arc::new(Mutex::new(Log::open(&paths::log(id), LOG_BYTES, LOG_FILES)?));
        self.0.insert(id.to_owned(), Arc::downgrade(&log));
        Ok(log)
    }
}

/// Where one stream of a container goes.
#[derive(Debug)]
struct Sink {
    id: String,
    name: String,
    stream: u8,
    log: Arc<Mutex<Log>>,
    followers: broadcast::Sender<(String, Entry)>,
}

/// Reads one stream of a container until its end, into the log and to those who follow it.
async fn write_log(sink: Sink, descriptor: OwnedFd) {
    let is_pipe = rustix::fs::fstat(&descriptor)
        .is_ok_and(|data| rustix::fs::FileType::from_raw_mode(data.st_mode) == rustix::fs::FileType::Fifo);
    let result = if is_pipe {
        match pipe::Receiver::from_owned_fd(descriptor) {
            Ok(source) => sink.copy(source).await,
            Err(error) => Err(error.into()),
        }
    } else {
        sink.copy(tokio::fs::File::from_std(File::from(descriptor))).await
    };
    if let Err(error) = result {
        eprintln!("log of {}: {error:#}", sink.id);
    }
}

impl Sink {
    async fn copy(&self, mut source: impl AsyncRead + Unpin) -> Result<()> {
        let mut lines = Lines::default();
        let mut buffer = vec![0_u8; 32 * 1024];
        loop {
            // A pty whose other side is closed says EIO: that is its end.
            let count = source.read(&mut buffer).await.unwrap_or(0);
            if count == 0 {
                break;
            }
            for line in lines.push(&buffer[..count]) {
                self.write(line)?;
            }
        }
        lines.finish().map_or(Ok(()), |line| self.write(line))
    }

    fn write(&self, line: String) -> Result<()> {
        if Path::new(paths::SHOW_LOGS).exists() {
            show(&self.name, &line);
        }
        let stream = if self.stream == 2 { "stderr" } else { "stdout" };
        let entry = Entry { log: line, stream: stream.to_owned(), time: logs::rfc3339(logs::now()) };
        self.log.lock().unwrap_or_else(PoisonError::into_inner).append(&entry)?;
        // Without a follower there is nobody to tell.
        let _ = self.followers.send((self.id.clone(), entry));
        Ok(())
    }
}

/// Shows a line on the console. One that does not take it is not waited for.
fn show(name: &str, line: &str) {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    if let Ok(mut console) = OpenOptions::new().write(true).custom_flags(flags).open("/dev/console") {
        let _ = console.write_all(format!("{name}: {}\r\n", line.trim_end()).as_bytes());
    }
}
