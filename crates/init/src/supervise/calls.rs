//! Takes the requests of clients in turn, and sends the engine daemon what it must know of
//! containers.

use super::clients::{Caller, ClientRequest};
use super::supervisor::Supervisor;
use super::timers::Timer;
use corral_engine::error::EngineError;
use corral_engine::protocol::{Action, Event as DaemonEvent, Reply};
use std::time::Duration;

/// Until it is tried again whether there is a descriptor for a client.
const PAUSE: Duration = Duration::from_secs(1);

/// What a client reads whose request had no end.
const BUG: &str = "PID 1 panicked, a bug, and may have done a part of this: `dmesg` shows where; \
                   run `ros why`, then try again";

impl Supervisor {
    /// Lets new clients in, now or as soon as there is a descriptor.
    pub(super) fn accept(&mut self) {
        self.timers.clear(&Timer::Accept);
        if !self.clients.accept() {
            self.timers.set(PAUSE, Timer::Accept);
        }
    }

    /// Sends a client what is in its queue, and takes its requests.
    pub(super) fn serve(&mut self, number: u64) {
        self.clients.flush(number);
        while let Some(ClientRequest { caller, request, descriptors }) =
            self.clients.next_request(number)
        {
            self.serving = Some(caller);
            self.handle(caller, request, descriptors);
            self.serving = None;
        }
    }

    /// Answers the clients that a bug in the last turn would leave without a reply.
    pub(super) fn answer_interrupted(&mut self) {
        let applying = self.reload.take_concluding();
        for caller in self.serving.take().into_iter().chain(applying) {
            self.clients.answer(caller, Reply::Error(EngineError::Failed(BUG.to_owned())), &[]);
        }
    }

    /// Forgets the requests of clients that are gone.
    pub(super) fn forget_gone(&mut self) {
        let is_there = |caller: &Caller| self.clients.has(caller);
        self.containers.retain_clients(is_there);
        self.reload.retain_clients(is_there);
    }

    /// From now on this client, the engine daemon, gets events; first of all that are there.
    pub(super) fn attach(&mut self, number: u64) {
        self.clients.attach(number);
        for id in self.containers.ids() {
            self.emit(&id, Action::Known);
            self.offer_streams(&id);
            let container =
                self.containers.get_mut(&id).filter(|container| container.pid().is_none());
            if let Some(container) = container {
                container.close_streams();
            }
        }
        self.request_preparations();
    }

    /// Hands the read ends of a container's output to the engine daemon.
    pub(super) fn offer_streams(&mut self, id: &str) {
        let Some(container) = self.containers.get(id) else { return };
        for (stream, descriptor) in container.streams() {
            let name = container.name().to_owned();
            let event = DaemonEvent::Log { id: id.to_owned(), name, stream: *stream };
            self.clients.broadcast(&event, std::slice::from_ref(descriptor));
        }
    }
}
