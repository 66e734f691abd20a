//! Services that want something of the engine daemon before they can be made: PID 1 asks for it, and goes on with
//! everything else meanwhile.

use super::Supervisor;
use super::requests::Answered;
use super::table::Container;
use corral_engine::error::EngineError;
use corral_engine::protocol::{Event as News, Reply};
use corral_engine::spec::ContainerSpec;
use corral_plan::lifecycle::State;

impl Supervisor {
    /// Has the engine daemon get what a container wants. A daemon that is away is asked when it is back.
    pub(super) fn have_prepared(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        container.preparing = true;
        container.error.clear();
        let news = News::Prepare { id: id.to_owned(), spec: Box::new(container.spec.clone()) };
        self.clients.broadcast(&news, &[]);
    }

    /// A daemon that is new knows nothing of what the last one was asked for.
    pub(super) fn ask_for_preparations(&mut self) {
        let open = self.containers.iter().filter(|container| container.preparing);
        let open: Vec<String> = open.map(|container| container.id.clone()).collect();
        open.iter().for_each(|id| self.have_prepared(id));
    }

    /// A container that is being prepared. For one that is not, the daemon need not go on.
    fn preparing(&mut self, id: &str) -> Result<&mut Container, EngineError> {
        let container = self.containers.get_mut(id).filter(|container| container.preparing);
        container.ok_or_else(|| EngineError::NoSuchContainer(id.to_owned()))
    }

    /// Who asks for its start may have brought what was missing.
    pub(super) fn hurry(&mut self, id: &str) {
        self.clients.broadcast(&News::TryAgain { id: id.to_owned() }, &[]);
    }

    /// The daemon could not get it yet.
    pub(super) fn handle_not_prepared(&mut self, id: &str, problem: String) -> Answered {
        self.preparing(id)?.error = problem;
        Ok(Some(Reply::Done))
    }

    /// The daemon has it, or could not get it.
    pub(super) fn handle_prepared(
        &mut self,
        id: &str,
        result: Result<Box<ContainerSpec>, String>,
    ) -> Answered {
        let container = self.preparing(id)?;
        container.preparing = false;
        match result {
            Ok(spec) if container.state == State::Starting => {
                container.spec = *spec;
                container.error.clear();
                self.tell(id, "update", None);
                self.launch(id);
            }
            Ok(_) => self.launch_failed(id, "it was stopped before it could be made"),
            Err(error) => self.launch_failed(id, &error),
        }
        Ok(Some(Reply::Done))
    }
}
