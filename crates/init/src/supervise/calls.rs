//! What clients ask is taken in turn, and what the engine daemon must know of containers is sent to it.

use super::Supervisor;
use super::clients::{Asked, Waiting};
use super::table::millis;
use super::timers::Timer;
use corral_engine::protocol::Event as News;
use std::time::Duration;

/// Until it is tried again whether there is a descriptor for a client.
const PAUSE: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Lets new clients in, now or as soon as there is a descriptor.
    pub(super) fn accept(&mut self) {
        self.timers.clear(&Timer::Accept);
        if !self.clients.accept() {
            self.timers.set(PAUSE, Timer::Accept);
        }
    }

    /// Sends a client what is in its queue, and takes what it asks.
    pub(super) fn serve(&mut self, number: u64) {
        self.clients.flush(number);
        while let Some(Asked { caller, request, descriptors }) = self.clients.hear(number) {
            self.handle(caller, request, descriptors);
        }
    }

    /// Forgets what clients waited for that are gone.
    pub(super) fn forget_gone(&mut self) {
        let is_there = |caller: &Waiting| self.clients.has(caller);
        self.waiters.retain(|waiter| is_there(&waiter.caller));
        self.reload.retain(is_there);
    }

    /// From now on this client, the engine daemon, gets events; first of all that are there.
    pub(super) fn attach(&mut self, number: u64) {
        self.clients.attach(number);
        for id in self.containers.ids() {
            self.tell(&id, "known", None);
            self.offer_streams(&id);
            if let Some(container) = self.containers.get_mut(&id).filter(|container| container.pid == 0) {
                container.streams.clear();
            }
        }
        self.ask_for_preparations();
    }

    /// Hands the read ends of a container's output to the engine daemon.
    pub(super) fn offer_streams(&mut self, id: &str) {
        let Some(container) = self.containers.get(id) else { return };
        for (stream, descriptor) in &container.streams {
            let name = container.spec.name.clone();
            let event = News::Log { id: id.to_owned(), name, stream: *stream };
            self.clients.broadcast(&event, std::slice::from_ref(descriptor));
        }
    }

    /// Sends what a container did to the engine daemon, which has those who follow the events.
    pub(super) fn tell(&mut self, id: &str, action: &str, detail: Option<(&str, &str)>) {
        let Some(container) = self.containers.get(id) else { return };
        let news = News::Container {
            action: action.to_owned(),
            snapshot: Box::new(container.snapshot()),
            time: millis(),
            detail: detail.map(|(key, value)| (key.to_owned(), value.to_owned())),
        };
        self.clients.broadcast(&news, &[]);
    }
}
