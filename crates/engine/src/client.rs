//! A client of PID 1's control socket. Calls wait for replies; events go to attached clients.

use crate::error::EngineError;
use crate::paths;
use crate::protocol::{Answer, Call, Event, Reply, Request, VERSION};
use crate::spec::Snapshot;
use crate::sys::packet::{self, Received};
use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// A reply with the descriptors that came along.
type Delivery = (Reply, Vec<OwnedFd>);
type Pending = Arc<Mutex<HashMap<u64, Sender<Delivery>>>>;

/// A connection to PID 1. May be shared by threads.
#[derive(Debug)]
pub struct Client {
    socket: Arc<OwnedFd>,
    next: AtomicU64,
    pending: Pending,
}

impl Client {
    /// Connects. `events` gets what PID 1 sends without a request. The thread that reads ends when
    /// PID 1 hangs up; every call that still waits then fails.
    pub fn connect(
        events: impl FnMut(Event, Vec<OwnedFd>) + Send + 'static,
    ) -> std::io::Result<Client> {
        let socket = Arc::new(packet::connect_to(Path::new(paths::CONTROL_SOCKET))?);
        let pending = Pending::default();
        let (reading, waiting) = (Arc::clone(&socket), Arc::clone(&pending));
        std::thread::spawn(move || read(&reading, &waiting, events));
        Ok(Client { socket, next: AtomicU64::new(1), pending })
    }

    /// Sends a request, and waits for one reply.
    pub fn call(&self, request: Request) -> Result<Reply, EngineError> {
        self.call_with(request, &[]).map(|(reply, _)| reply)
    }

    /// Sends a request with descriptors, and waits for one reply with its descriptors.
    pub fn call_with(
        &self,
        request: Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Delivery, EngineError> {
        let (number, replies) = self.send(request, descriptors)?;
        let delivery = replies.recv().map_err(|_| gone());
        self.forget(number);
        match delivery? {
            (Reply::Error(error), _) => Err(error),
            delivery => Ok(delivery),
        }
    }

    /// Every container.
    pub fn list(&self) -> Result<Vec<Snapshot>, EngineError> {
        let (number, replies) = self.send(Request::List, &[])?;
        let mut found = Vec::new();
        let result = loop {
            match replies.recv() {
                Ok((Reply::Container(snapshot), _)) => found.push(*snapshot),
                Ok((Reply::Error(error), _)) => break Err(error),
                Ok(_) => break Ok(found),
                Err(_) => break Err(gone()),
            }
        };
        self.forget(number);
        result
    }

    /// One container, by id, unique beginning of an id, or name.
    pub fn inspect(&self, container: &str) -> Result<Snapshot, EngineError> {
        match self.call(Request::Inspect { container: container.to_owned() })? {
            Reply::Container(snapshot) => Ok(*snapshot),
            other => Err(unexpected(&other)),
        }
    }

    /// Requests events, and every log stream that PID 1 holds.
    pub fn attach(&self) -> Result<(), EngineError> {
        self.call(Request::Attach { version: VERSION }).map(|_| ())
    }

    fn send(
        &self,
        request: Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(u64, Receiver<Delivery>), EngineError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = channel();
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).insert(number, sender);
        let sent = packet::send(&*self.socket, &Call { number, request }, descriptors);
        sent.map_err(|error| EngineError::Failed(format!("sending a request to PID 1: {error}")))?;
        Ok((number, receiver))
    }

    fn forget(&self, number: u64) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }
}

/// Sends one request on a connection of its own, without a thread. It is for programs that must
/// stay single-threaded, and for those with no further request.
pub fn call(request: Request) -> Result<Reply, EngineError> {
    let failed = |act: &'static str| {
        move |error: std::io::Error| EngineError::Failed(format!("{act} PID 1: {error}"))
    };
    let socket = packet::connect_to(Path::new(paths::CONTROL_SOCKET));
    let socket = socket.map_err(failed("connecting to"))?;
    let sent = packet::send(&socket, &Call { number: 1, request }, &[]);
    sent.map_err(failed("sending a request to"))?;
    loop {
        match packet::receive::<Answer>(&socket).map_err(failed("waiting for the reply of"))? {
            Received::Message(Answer::Reply { reply, .. }, _)
            | Received::Stripped(Answer::Reply { reply, .. }) => {
                return match *reply {
                    Reply::Error(error) => Err(error),
                    reply => Ok(reply),
                };
            }
            Received::Message(Answer::Event(_), _) | Received::Stripped(Answer::Event(_)) => {}
            Received::Closed | Received::Nothing => return Err(gone()),
        }
    }
}

/// The error for a reply of the wrong kind: a bug of ours, reported instead of hidden.
pub fn unexpected(reply: &Reply) -> EngineError {
    EngineError::Failed(format!("unexpected reply of PID 1: {reply:?}"))
}

fn gone() -> EngineError {
    EngineError::Failed("PID 1 closed the connection".to_owned())
}

fn read(socket: &OwnedFd, pending: &Pending, mut events: impl FnMut(Event, Vec<OwnedFd>)) {
    while let Ok(Received::Message(answer, descriptors)) =
        packet::receive_complete::<Answer>(socket)
    {
        match answer {
            Answer::Event(event) => events(event, descriptors),
            Answer::Reply { number, reply } => {
                let waiting = pending.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(sender) = waiting.get(&number) {
                    // A caller that does not wait any more has no use for it.
                    let _ = sender.send((*reply, descriptors));
                }
            }
        }
    }
    pending.lock().unwrap_or_else(PoisonError::into_inner).clear();
}
