//! The streams of a container. What it writes goes to its log and to every client that attached;
//! none of them loses a byte. What clients write goes to its input.

use crate::log_copies::{LogCopies, TextLog};
use crate::logs::{Entry, Lines, Log};
use crate::table::Table;
use bytes::Bytes;
use corral_engine::paths;
use corral_engine::spec::LogOptions;
use corral_engine::sys::{is_out_of_descriptors, open_async};
use corral_engine::time;
use rustix::fs::OFlags;
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::{
    Receiver, Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel,
};
use tokio::sync::watch;

/// Bytes of a log file, and the number of files, where a container does not set them.
const LOG_BYTES: u64 = 25 << 20;
const LOG_FILES: u32 = 2;
/// Pieces of output that a client may be behind before the container waits for it.
const BEHIND: usize = 64;
/// The longest that a client waits for the last output of a container that has ended.
const LAST_OUTPUT: Duration = Duration::from_secs(2);
/// Until it is tried again whether there is a descriptor.
const PAUSE: Duration = Duration::from_millis(50);

/// A piece of output: 1 or 2, and the bytes.
pub(crate) type Piece = (u8, Bytes);

/// The streams of one container.
#[derive(Debug)]
pub(crate) struct Hub {
    state: Mutex<State>,
    /// A number that grows with every write or change.
    changes: watch::Sender<u64>,
    input: tokio::sync::Mutex<Option<Arc<AsyncFd<OwnedFd>>>>,
}

#[derive(Debug, Default)]
struct State {
    /// Streams that are still open.
    open: usize,
    clients: Vec<Sender<Piece>>,
    terminal: Option<Arc<OwnedFd>>,
    /// Our end of its input, until the first client takes it.
    fresh_input: Option<OwnedFd>,
    log: Weak<Mutex<Log>>,
}

/// A stream that PID 1 handed over.
#[derive(Debug)]
struct Offer {
    id: String,
    name: String,
    stream: u8,
    descriptor: OwnedFd,
}

/// The hubs of all containers; copies are the same hubs.
#[derive(Debug, Clone)]
pub(crate) struct Hubs {
    hubs: Arc<Mutex<HashMap<String, Arc<Hub>>>>,
    offers: UnboundedSender<Offer>,
    waiting: Arc<Mutex<Option<UnboundedReceiver<Offer>>>>,
    copies: LogCopies,
}

impl Default for Hubs {
    fn default() -> Hubs {
        let (offers, waiting) = unbounded_channel();
        Hubs {
            hubs: Arc::default(),
            offers,
            waiting: Arc::new(Mutex::new(Some(waiting))),
            copies: LogCopies::default(),
        }
    }
}

impl Hubs {
    /// The hub of a container.
    pub(crate) fn get(&self, id: &str) -> Arc<Hub> {
        let mut hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(hubs.entry(id.to_owned()).or_insert_with(|| Arc::new(Hub::new())))
    }

    /// A container is gone: clients that still listen get the end, after what it wrote last.
    pub(crate) fn forget(&self, id: &str) {
        let hub = self.hubs.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        if let Some(hub) = hub {
            hub.end_if_closed();
            hub.wake();
        }
    }

    /// A container could not be started: clients that attached for that run get the end.
    pub(super) fn not_started(&self, id: &str) {
        let hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hub) = hubs.get(id) {
            hub.end_if_closed();
        }
    }

    /// A container changed: wakes those that watch it.
    pub(super) fn wake(&self, id: &str) {
        let hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hub) = hubs.get(id) {
            hub.wake();
        }
    }

    /// Takes a stream from PID 1. It is open from now on, also before its reader begins.
    pub(super) fn offer(&self, id: &str, name: &str, stream: u8, descriptor: OwnedFd) {
        let hub = self.get(id);
        if stream == 0 {
            hub.lock().fresh_input = Some(descriptor);
            return;
        }
        let mut state = hub.lock();
        state.open += 1;
        if rustix::termios::isatty(&descriptor) {
            state.terminal = descriptor.try_clone().ok().map(Arc::new);
        }
        drop(state);
        let _ = self.offers.send(Offer {
            id: id.to_owned(),
            name: name.to_owned(),
            stream,
            descriptor,
        });
    }

    /// Reads every stream that is offered, from now on.
    pub(super) fn serve(&self, table: Table) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut waiting) = waiting else { return };
        let hubs = self.clone();
        tokio::spawn(async move {
            while let Some(offer) = waiting.recv().await {
                let hub = hubs.get(&offer.id);
                let options = table
                    .get(&offer.id)
                    .map(|container| container.spec.log.clone())
                    .unwrap_or_default();
                tokio::spawn(read(hub, offer, options, hubs.copies.clone()));
            }
        });
    }
}

impl Hub {
    fn new() -> Hub {
        Hub {
            state: Mutex::default(),
            changes: watch::Sender::new(0),
            input: tokio::sync::Mutex::default(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those that watch: something changed.
    pub(crate) fn wake(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Hears of every change from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Everything that is written from now on, to the end of the container's run. If it does not
    /// run, to the end of its next run.
    pub(crate) fn attach(&self) -> Receiver<Piece> {
        let (sender, receiver) = channel(BEHIND);
        self.lock().clients.push(sender);
        receiver
    }

    /// Is something still to come of what it writes?
    pub(crate) fn is_open(&self) -> bool {
        self.lock().open > 0
    }

    /// Waits until all is read of what a container wrote that has ended.
    pub(crate) async fn wait_for_end(&self) {
        let mut changes = self.watch();
        let closed = async { while self.is_open() && changes.changed().await.is_ok() {} };
        // A process that was left over may keep the stream open for ever.
        let _ = tokio::time::timeout(LAST_OUTPUT, closed).await;
    }

    /// Its terminal, if it has one.
    pub(crate) fn terminal(&self) -> Option<Arc<OwnedFd>> {
        self.lock().terminal.clone()
    }

    /// Writes to its input; false when it takes none any more.
    pub(crate) async fn write_input(&self, bytes: &[u8]) -> bool {
        let Some(input) = self.input().await else { return false };
        write_all(&input, bytes).await.is_ok()
    }

    /// Closes its input, as far as it is ours to close.
    pub(crate) async fn close_input(&self) {
        self.lock().fresh_input = None;
        *self.input.lock().await = None;
    }

    async fn input(&self) -> Option<Arc<AsyncFd<OwnedFd>>> {
        let mut input = self.input.lock().await;
        let (fresh, terminal) = {
            let mut state = self.lock();
            (state.fresh_input.take(), state.terminal.clone())
        };
        if let Some(terminal) = terminal {
            return open_async(terminal.try_clone().ok()?, Interest::WRITABLE).map(Arc::new);
        }
        if let Some(fresh) = fresh {
            *input = open_async(fresh, Interest::WRITABLE).map(Arc::new);
        }
        input.clone()
    }

    fn log(&self, id: &str, options: &LogOptions) -> std::io::Result<Arc<Mutex<Log>>> {
        let mut state = self.lock();
        if let Some(log) = state.log.upgrade() {
            return Ok(log);
        }
        let bytes = if options.max_bytes == 0 { LOG_BYTES } else { options.max_bytes };
        let files = if options.max_files == 0 { LOG_FILES } else { options.max_files };
        let log = Arc::new(Mutex::new(Log::open(&paths::log(id), bytes, files)?));
        state.log = Arc::downgrade(&log);
        Ok(log)
    }

    async fn publish(&self, piece: Piece) {
        let clients = self.lock().clients.clone();
        let mut gone = false;
        for client in clients {
            gone |= client.send(piece.clone()).await.is_err();
        }
        if gone {
            self.lock().clients.retain(|client| !client.is_closed());
        }
    }

    /// Without a stream nothing more comes for those who listen.
    fn end_if_closed(&self) {
        let mut state = self.lock();
        if state.open == 0 {
            state.clients.clear();
        }
    }

    fn stream_ended(&self) {
        let mut state = self.lock();
        state.open = state.open.saturating_sub(1);
        if state.open == 0 {
            state.clients.clear();
            state.terminal = None;
        }
    }
}

/// Reads what is there; 0 at the end. A pty whose other side is closed says EIO: that is its end.
pub(crate) async fn read_some(source: &AsyncFd<OwnedFd>, buffer: &mut [u8]) -> usize {
    loop {
        let Ok(mut ready) = source.readable().await else { return 0 };
        match ready.try_io(|source| Ok(rustix::io::read(source.get_ref(), &mut *buffer)?)) {
            Ok(Ok(count)) => return count,
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(Err(_)) => return 0,
            Err(_) => {}
        }
    }
}

/// Writes all of it, waiting for the reader where need be.
pub(crate) async fn write_all(target: &AsyncFd<OwnedFd>, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let mut ready = target.writable().await?;
        match ready.try_io(|target| Ok(rustix::io::write(target.get_ref(), bytes)?)) {
            Ok(Ok(count)) => bytes = &bytes[count..],
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => {}
        }
    }
    Ok(())
}

/// Reads one stream of a container until its end.
async fn read(hub: Arc<Hub>, offer: Offer, options: LogOptions, copies: LogCopies) {
    let copy = options.copy.as_ref().and_then(|copy| copies.open(copy));
    let log = if options.none { None } else { open_log(&hub, &offer.id, &options).await };
    let mut sink =
        Sink { name: offer.name, stream: offer.stream, log, copy, lines: Lines::default() };
    if let Some(source) = open_async(offer.descriptor, Interest::READABLE) {
        let mut buffer = vec![0_u8; 32 * 1024];
        loop {
            let count = read_some(&source, &mut buffer).await;
            if count == 0 {
                break;
            }
            let lines = sink.lines.push(&buffer[..count]);
            sink.write(lines);
            hub.publish((offer.stream, Bytes::copy_from_slice(&buffer[..count]))).await;
            hub.wake();
        }
    }
    let rest = sink.lines.finish().into_iter().collect();
    sink.write(rest);
    hub.stream_ended();
    hub.wake();
}

/// Without descriptors the container waits until there is one: it loses no line.
async fn open_log(hub: &Hub, id: &str, options: &LogOptions) -> Option<Arc<Mutex<Log>>> {
    loop {
        match hub.log(id, options) {
            Ok(log) => return Some(log),
            Err(error) if is_out_of_descriptors(&error) => tokio::time::sleep(PAUSE).await,
            Err(error) => {
                eprintln!("log of {id}: {error}");
                return None;
            }
        }
    }
}

/// Where the lines of a stream go.
struct Sink {
    name: String,
    stream: u8,
    log: Option<Arc<Mutex<Log>>>,
    copy: Option<TextLog>,
    lines: Lines,
}

impl Sink {
    fn write(&mut self, lines: Vec<String>) {
        if lines.is_empty() {
            return;
        }
        if Path::new(paths::SHOW_LOGS).exists() {
            lines.iter().for_each(|line| show(&self.name, line));
        }
        self.copy = self.copy.take().and_then(|copy| copy.append(&lines));
        let Some(log) = &self.log else { return };
        let (stream, time) =
            (if self.stream == 2 { "stderr" } else { "stdout" }, time::rfc3339(time::now()));
        let entry = |line| Entry { log: line, stream: stream.to_owned(), time: time.clone() };
        let entries: Vec<Entry> = lines.into_iter().map(entry).collect();
        if let Err(error) = log.lock().unwrap_or_else(PoisonError::into_inner).append(&entries) {
            eprintln!("log of {}: {error}", self.name);
        }
    }
}

/// Shows a line on the console. One that does not take it is not waited for.
fn show(name: &str, line: &str) {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    if let Ok(mut console) = OpenOptions::new().write(true).custom_flags(flags).open("/dev/console")
    {
        let _ = console.write_all(format!("{name}: {}\r\n", line.trim_end()).as_bytes());
    }
}
