//! Clients of the control socket. Nothing here waits: what a client does not take at once stays in its queue, and a
//! client that takes nothing for too long is cut off.

use super::{Supervisor, Timer};
use corral_engine::error::EngineError;
use corral_engine::protocol::{Answer, Call, Event, Reply};
use corral_engine::sys::packet::{self, Received};
use corral_machine::console::say;
use rustix::event::PollFlags;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// More than this in the queue means that nobody reads.
const LONGEST_QUEUE: usize = 10_000;
/// The same in bytes.
const LARGEST_QUEUE: usize = 64 << 20;
/// Until it is tried again whether there is a descriptor for a client.
const PAUSE: Duration = Duration::from_secs(1);
/// More clients than this are not let in: descriptors are for containers.
const MOST_CONNECTIONS: usize = 200;

/// A client.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    pub(super) queue: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    /// It wants events: the engine daemon.
    pub(super) attached: bool,
}

/// Who waits for the reply to which request.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub(super) connection: u64,
    pub(super) number: u64,
}

impl Connection {
    /// What to poll it for.
    pub(super) fn interest(&self) -> PollFlags {
        if self.queue.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT }
    }

    /// False when it is gone, reads nothing, or would get a message without its descriptors: a client that is cut off
    /// connects again, and gets all of it.
    fn send(&mut self, bytes: Vec<u8>, descriptors: &[OwnedFd]) -> bool {
        if self.queue.is_empty() {
            let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
            match packet::send_bytes(&self.socket, &bytes, &borrowed) {
                Ok(true) => return true,
                Ok(false) => {}
                Err(_) => return false,
            }
        }
        let copies: std::io::Result<Vec<OwnedFd>> = descriptors.iter().map(OwnedFd::try_clone).collect();
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

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Supervisor {
    /// Lets new clients in. Without descriptors the listener stays readable and would be polled in vain: it is left
    /// alone until a client goes, or for a second.
    pub(super) fn accept(&mut self) {
        let was_parked = self.parked.take().is_some();
        self.clear_timer(&Timer::Accept);
        loop {
            match packet::accept_from(&self.listener) {
                Ok(Some(socket)) => self.let_in(socket),
                Ok(None) => return,
                Err(error) => {
                    if !was_parked {
                        say(&format!("no client is let in at the moment: {error}"));
                    }
                    self.parked = Some(self.connections.len());
                    return self.set_timer(PAUSE, Timer::Accept);
                }
            }
        }
    }

    /// Is it worth while to look for new clients?
    pub(super) fn is_listening(&self) -> bool {
        self.parked.is_none_or(|connections| self.connections.len() < connections)
    }

    fn let_in(&mut self, socket: OwnedFd) {
        if self.connections.len() < MOST_CONNECTIONS {
            let connection = Connection { socket, queue: VecDeque::new(), attached: false };
            self.connections.insert(self.next_connection, connection);
            self.next_connection += 1;
        }
    }

    /// Forgets what clients waited for that are gone.
    pub(super) fn forget_gone(&mut self) {
        let connections = &self.connections;
        let is_there = |caller: &Waiting| connections.contains_key(&caller.connection);
        self.waiters.retain(|waiter| is_there(&waiter.caller));
        self.reload.retain(is_there);
    }

    /// Takes what a client asks, and sends it what is in its queue.
    pub(super) fn serve(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        if !connection.flush() {
            self.connections.remove(&number);
            return;
        }
        loop {
            let Some(connection) = self.connections.get(&number) else { return };
            match packet::receive::<Call>(&connection.socket) {
                Ok(Received::Message(call, descriptors)) => {
                    let caller = Waiting { connection: number, number: call.number };
                    self.handle(caller, call.request, descriptors);
                }
                Ok(Received::Stripped(call)) => {
                    let caller = Waiting { connection: number, number: call.number };
                    let error = "PID 1 has no descriptor left for what came along: Too many open files";
                    self.answer(caller, Reply::Error(EngineError::Failed(error.to_owned())), &[]);
                }
                Ok(Received::Nothing) => return,
                Ok(Received::Closed) | Err(_) => {
                    self.connections.remove(&number);
                    return;
                }
            }
        }
    }

    /// Sends a reply. A client that is gone does not get it.
    pub(super) fn answer(&mut self, to: Waiting, reply: Reply, descriptors: &[OwnedFd]) {
        if let Some(connection) = self.connections.get_mut(&to.connection)
            && let Ok(bytes) = encode_reply(to.number, reply)
            && !connection.send(bytes, descriptors)
        {
            self.connections.remove(&to.connection);
        }
    }

    /// From now on this client gets events.
    pub(super) fn attach(&mut self, number: u64) {
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.attached = true;
        }
        let ids: Vec<String> = self.containers.keys().cloned().collect();
        for id in ids {
            self.tell(&id, "known", None);
            self.offer_streams(&id);
            if let Some(container) = self.containers.get_mut(&id).filter(|container| container.pid == 0) {
                container.streams.clear();
            }
        }
        self.ask_for_preparations();
    }

    /// Does somebody write the logs?
    pub(super) fn is_attached(&self) -> bool {
        self.connections.values().any(|connection| connection.attached)
    }

    /// Tells everybody who attached.
    pub(super) fn broadcast(&mut self, event: &Event) {
        self.send_event(event, &[]);
    }

    /// Hands the read ends of a container's output to the engine daemon.
    pub(super) fn offer_streams(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let name = container.spec.name.clone();
        let streams = std::mem::take(&mut container.streams);
        for (stream, descriptor) in &streams {
            let event = Event::Log { id: id.to_owned(), name: name.clone(), stream: *stream };
            self.send_event(&event, std::slice::from_ref(descriptor));
        }
        if let Some(container) = self.containers.get_mut(id) {
            container.streams = streams;
        }
    }

    fn send_event(&mut self, event: &Event, descriptors: &[OwnedFd]) {
        let bytes = match packet::encode(&Answer::Event(event.clone())) {
            Ok(bytes) => bytes,
            Err(error) => return say(&format!("the engine daemon is not told of a container: {error}")),
        };
        self.connections
            .retain(|_, connection| !connection.attached || connection.send(bytes.clone(), descriptors));
    }
}

/// The bytes of a reply; of an error in its place where it is larger than a message, for nobody else would wake the caller.
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
