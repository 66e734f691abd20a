//! Services that require something of the engine daemon before they can be created. PID 1 requests
//! it, and goes on with everything else meanwhile.

use super::container::Container;
use super::requests::Answered;
use super::supervisor::Supervisor;
use crate::lifecycle::Event;
use corral_engine::error::{EngineError, Failure};
use corral_engine::protocol::{Action, Event as DaemonEvent, Reply};
use corral_engine::spec::ContainerSpec;

impl Supervisor {
    /// Has the engine daemon get what a container requires. A daemon that is away gets the request
    /// when it is back.
    pub(super) fn prepare(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        container.begin_preparation();
        let spec = Box::new(container.spec().clone());
        self.clients.broadcast(&DaemonEvent::Prepare { id: id.to_owned(), spec }, &[]);
    }

    /// It is stopped before it could be created.
    pub(super) fn cancel_preparation(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        container.failed(&Failure::other("it was stopped before it could be created"));
        self.clients.broadcast(&DaemonEvent::CancelPreparation { id: id.to_owned() }, &[]);
    }

    /// A daemon that is new does not know what was requested of the last one.
    pub(super) fn request_preparations(&mut self) {
        let open = self.containers.iter().filter(|container| container.life.is_preparing());
        let open: Vec<String> = open.map(|container| container.id().to_owned()).collect();
        open.iter().for_each(|id| self.prepare(id));
    }

    /// A container that is being prepared. For one that is not, the daemon need not go on.
    fn preparing(&mut self, id: &str) -> Result<&mut Container, EngineError> {
        let container =
            self.containers.get_mut(id).filter(|container| container.life.is_preparing());
        container.ok_or_else(|| EngineError::NoSuchContainer(id.to_owned()))
    }

    /// The daemon could not get it yet.
    pub(super) fn handle_not_prepared(&mut self, id: &str, problem: String) -> Answered {
        self.preparing(id)?.note_delay(problem);
        Ok(Some(Reply::Done))
    }

    /// The daemon has it, or could not get it.
    pub(super) fn handle_prepared(
        &mut self,
        id: &str,
        result: Result<Box<ContainerSpec>, String>,
    ) -> Answered {
        let container = self.preparing(id)?;
        match result {
            Ok(spec) => {
                container.prepared(*spec);
                self.emit(id, Action::Update);
                self.handle_event(id, Event::Prepared);
            }
            Err(error) => self.launch_failed(id, &Failure::other(error)),
        }
        Ok(Some(Reply::Done))
    }
}
