//! Clients of the control socket. Nothing here waits: what a client does not take at once stays in
//! its queue, and a client whose queue grows too long is cut off.

use corral_engine::error::EngineError;
use corral_engine::protocol::{Answer, Call, Event, Reply, Request};
use corral_engine::sys;
use corral_engine::sys::packet::{self, Received};
use corral_machine::console::log;
use rustix::event::{PollFd, PollFlags};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// More than this in the queue means that the client does not read.
const LONGEST_QUEUE: usize = 10_000;
/// The same in bytes.
const LARGEST_QUEUE: usize = 64 << 20;
/// What came along with a call is lost.
const STRIPPED: &str = "PID 1 has no descriptor left for those of the request: Too many open files";
/// More clients than this are not let in: descriptors are for containers.
const MOST_CONNECTIONS: usize = 200;

/// A client.
#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    queue: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    /// It wants events: the engine daemon.
    attached: bool,
}

/// Who waits for the reply to which request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Caller {
    pub(super) connection: u64,
    pub(super) number: u64,
}

impl Connection {
    /// What to poll it for.
    fn interest(&self) -> PollFlags {
        if self.queue.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT }
    }

    /// False when it is gone, reads nothing, or would get a message without its descriptors. A
    /// client that is cut off connects again, and gets all of it.
    fn send(&mut self, bytes: Vec<u8>, descriptors: &[OwnedFd]) -> bool {
        if self.queue.is_empty() {
            let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
            match packet::send_bytes(&self.socket, &bytes, &borrowed) {
                Ok(true) => return true,
                Ok(false) => {}
                Err(_) => return false,
            }
        }
        let copies: std::io::Result<Vec<OwnedFd>> =
            descriptors.iter().map(OwnedFd::try_clone).collect();
        let Ok(copies) = copies else { return false };
        self.queue.push_back((bytes, copies));
        self.queue.len() <= LONGEST_QUEUE && self.queued_bytes() <= LARGEST_QUEUE
    }

    fn queued_bytes(&self) -> usize {
        self.queue.iter().map(|(bytes, _)| bytes.len()).sum()
    }

    /// Sends what it takes now; false when it is gone.
    fn flush(&mut self) -> bool {
        while let Some((bytes, descriptors)) = self.queue.front() {
            let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
            match packet::send_bytes(&self.socket, bytes, &borrowed) {
                Ok(true) => self.queue.pop_front(),
                Ok(false) => return true,
                Err(_) => return false,
            };
        }
        true
    }
}

impl Connection {
    fn save(&self, number: u64) -> SavedConnection {
        let queued = |(bytes, kept): &(Vec<u8>, Vec<OwnedFd>)| {
            (
                String::from_utf8_lossy(bytes).into_owned(),
                kept.iter().map(AsRawFd::as_raw_fd).collect(),
            )
        };
        let queue = self.queue.iter().map(queued).collect();
        SavedConnection { number, socket: self.socket.as_raw_fd(), attached: self.attached, queue }
    }

    fn restore(saved: SavedConnection) -> Option<Connection> {
        let queued = |(text, kept): (String, Vec<RawFd>)| {
            (text.into_bytes(), kept.into_iter().filter_map(sys::take_kept).collect())
        };
        let queue = saved.queue.into_iter().map(queued).collect();
        Some(Connection { socket: sys::take_kept(saved.socket)?, queue, attached: saved.attached })
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// All clients, and the socket that they come by.
#[derive(Debug)]
pub(super) struct Clients {
    listener: OwnedFd,
    /// By a number of their own.
    connections: BTreeMap<u64, Connection>,
    next: u64,
    /// How many there were when no descriptor was left for another.
    parked: Option<usize>,
}

/// A request of a client.
#[derive(Debug)]
pub(super) struct ClientRequest {
    pub(super) caller: Caller,
    pub(super) request: Request,
    pub(super) descriptors: Vec<OwnedFd>,
}

impl Clients {
    pub(super) fn new(listener: OwnedFd) -> Clients {
        Clients { listener, connections: BTreeMap::new(), next: 1, parked: None }
    }

    /// Lets new ones in. False when there is no descriptor for them. The listener stays readable
    /// and would be polled in vain, so it is left alone until a client goes, or until the caller
    /// tries again.
    pub(super) fn accept(&mut self) -> bool {
        let was_parked = self.parked.take().is_some();
        loop {
            match packet::accept_from(&self.listener) {
                Ok(Some(socket)) => self.let_in(socket),
                Ok(None) => return true,
                Err(error) => {
                    if !was_parked {
                        log(&format!("accepting a client: {error}"));
                    }
                    self.parked = Some(self.connections.len());
                    return false;
                }
            }
        }
    }

    fn let_in(&mut self, socket: OwnedFd) {
        if self.connections.len() < MOST_CONNECTIONS {
            let connection = Connection { socket, queue: VecDeque::new(), attached: false };
            self.connections.insert(self.next, connection);
            self.next += 1;
        }
    }

    /// The socket that new ones come by, while it is worth while to look.
    pub(super) fn listener(&self) -> Option<BorrowedFd<'_>> {
        let is_listening =
            self.parked.is_none_or(|connections| self.connections.len() < connections);
        is_listening.then(|| self.listener.as_fd())
    }

    /// Each with its number and what to poll it for.
    pub(super) fn polled(&self) -> impl Iterator<Item = (u64, PollFd<'_>)> {
        let polled = |connection| PollFd::new(connection, Connection::interest(connection));
        self.connections.iter().map(move |(number, connection)| (*number, polled(connection)))
    }

    /// Sends one what is in its queue.
    pub(super) fn flush(&mut self, number: u64) {
        if self.connections.get_mut(&number).is_some_and(|connection| !connection.flush()) {
            self.connections.remove(&number);
        }
    }

    /// The next request of one; None if there is nothing, or if it is gone.
    pub(super) fn next_request(&mut self, number: u64) -> Option<ClientRequest> {
        loop {
            let connection = self.connections.get(&number)?;
            match packet::receive::<Call>(&connection.socket) {
                Ok(Received::Message(call, descriptors)) => {
                    let caller = Caller { connection: number, number: call.number };
                    return Some(ClientRequest { caller, request: call.request, descriptors });
                }
                Ok(Received::Stripped(call)) => {
                    let caller = Caller { connection: number, number: call.number };
                    self.answer(
                        caller,
                        Reply::Error(EngineError::Failed(STRIPPED.to_owned())),
                        &[],
                    );
                }
                Ok(Received::Nothing) => return None,
                Ok(Received::Closed) | Err(_) => drop(self.connections.remove(&number)),
            }
        }
    }

    /// Is this one still there?
    pub(super) fn has(&self, caller: &Caller) -> bool {
        self.connections.contains_key(&caller.connection)
    }

    /// Sends a reply. A client that is gone does not get it.
    pub(super) fn answer(&mut self, to: Caller, reply: Reply, descriptors: &[OwnedFd]) {
        if let Some(connection) = self.connections.get_mut(&to.connection)
            && let Ok(bytes) = encode_reply(to.number, reply)
            && !connection.send(bytes, descriptors)
        {
            self.connections.remove(&to.connection);
        }
    }

    /// From now on this one gets events.
    pub(super) fn attach(&mut self, number: u64) {
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.attached = true;
        }
    }

    /// Does any of them get events?
    pub(super) fn is_attached(&self) -> bool {
        self.connections.values().any(|connection| connection.attached)
    }

    /// Sends an event to those that attached.
    pub(super) fn broadcast(&mut self, event: &Event, descriptors: &[OwnedFd]) {
        let bytes = match packet::encode(&Answer::Event(event.clone())) {
            Ok(bytes) => bytes,
            Err(error) => {
                return log(&format!("sending an event to the engine daemon: {error}"));
            }
        };
        self.connections.retain(|_, connection| {
            !connection.attached || connection.send(bytes.clone(), descriptors)
        });
    }

    /// What the next process needs; its descriptors stay open.
    pub(super) fn save(&self) -> Saved {
        let connections =
            self.connections.iter().map(|(number, each)| each.save(*number)).collect();
        Saved { listener: self.listener.as_raw_fd(), next: self.next, connections }
    }

    /// None when the listener is gone. A client whose socket is gone is forgotten.
    pub(super) fn restore(saved: Saved) -> Option<Clients> {
        let connections = saved.connections.into_iter();
        let connections =
            connections.filter_map(|each| Some((each.number, Connection::restore(each)?)));
        let listener = sys::take_kept(saved.listener)?;
        Some(Clients {
            listener,
            connections: connections.collect(),
            next: saved.next,
            parked: None,
        })
    }
}

/// [`Clients`], with descriptors by their numbers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Saved {
    listener: RawFd,
    next: u64,
    connections: Vec<SavedConnection>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedConnection {
    number: u64,
    socket: RawFd,
    attached: bool,
    queue: Vec<(String, Vec<RawFd>)>,
}

impl Saved {
    /// Those that must stay open.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let of_connections = self.connections.iter().flat_map(|connection| {
            let queued = connection.queue.iter().flat_map(|(_, kept)| kept);
            std::iter::once(&connection.socket).chain(queued)
        });
        std::iter::once(&self.listener).chain(of_connections).copied()
    }
}

/// The bytes of a reply. A reply that is larger than a message is replaced by an error, for nothing
/// else would wake the caller.
fn encode_reply(number: u64, reply: Reply) -> std::io::Result<Vec<u8>> {
    let answer = |reply| Answer::Reply { number, reply: Box::new(reply) };
    packet::encode(&answer(reply)).or_else(|error| {
        packet::encode(&answer(Reply::Error(EngineError::Failed(format!("the reply: {error}")))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_that_is_too_large_is_an_error_and_not_silence() {
        let large = Reply::Value(serde_json::json!("x".repeat(packet::MAX_MESSAGE)));
        let text = String::from_utf8(encode_reply(7, large).unwrap()).unwrap();
        assert!(text.contains("\"number\":7") && text.contains("too large"), "{text}");
    }
}
