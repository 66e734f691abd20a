//! All containers, by id. A name that is taken is not given again.

use super::clients::Caller;
use super::container::{self, Container};
use corral_engine::error::EngineError;
use corral_engine::identity;
use std::collections::BTreeMap;

/// All containers.
#[derive(Debug, Default)]
pub(super) struct Containers(BTreeMap<String, Container>);

impl Containers {
    /// Adds one, unless its name is taken.
    pub(super) fn insert(&mut self, container: Container) -> Result<(), EngineError> {
        self.assert_free(container.name())?;
        self.0.insert(container.id().to_owned(), container);
        Ok(())
    }

    fn assert_free(&self, name: &str) -> Result<(), EngineError> {
        let Some(other) = self.named(name) else { return Ok(()) };
        Err(EngineError::Conflict(format!(
            "the container name \"/{name}\" is already in use by container \"{}\": \
             remove or rename that container",
            other.id()
        )))
    }

    /// Gives one another name, unless that is taken; the old one comes back.
    pub(super) fn rename(&mut self, id: &str, name: &str) -> Result<String, EngineError> {
        if self.get(id).is_none_or(|container| container.name() != name) {
            self.assert_free(name)?;
        }
        Ok(self.find_mut(id)?.rename(name))
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.0.remove(id);
    }

    pub(super) fn get(&self, id: &str) -> Option<&Container> {
        self.0.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Container> {
        self.0.get_mut(id)
    }

    pub(super) fn named(&self, name: &str) -> Option<&Container> {
        self.iter().find(|container| container.name() == name)
    }

    pub(super) fn named_mut(&mut self, name: &str) -> Option<&mut Container> {
        self.0.values_mut().find(|container| container.name() == name)
    }

    /// The id of the one whose first process this is.
    pub(super) fn of_process(&self, pid: i32) -> Option<String> {
        let found = self.iter().find(|container| container.pid() == Some(pid))?;
        Some(found.id().to_owned())
    }

    /// The id of one by its id, its name or the unique beginning of its id.
    pub(super) fn find(&self, name: &str) -> Result<String, EngineError> {
        let found = identity::find(
            self.iter(),
            name.trim_start_matches('/'),
            |container| (container.id(), container.name()),
            EngineError::NoSuchContainer,
        );
        found.map(|container| container.id().to_owned())
    }

    /// The same for one that is to be changed.
    pub(super) fn find_mut(&mut self, name: &str) -> Result<&mut Container, EngineError> {
        let id = self.find(name)?;
        self.get_mut(&id).ok_or_else(|| EngineError::NoSuchContainer(name.to_owned()))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Container> {
        self.0.values()
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets clients that are gone.
    pub(super) fn retain_clients(&mut self, is_there: impl Fn(&Caller) -> bool) {
        self.0.values_mut().for_each(|container| container.life.retain_clients(&is_there));
    }

    pub(super) fn save(&self) -> Vec<container::Saved> {
        self.iter().map(Container::save).collect()
    }

    pub(super) fn restore(saved: Vec<container::Saved>) -> Containers {
        let containers = saved.into_iter().map(Container::restore);
        Containers(containers.map(|container| (container.id().to_owned(), container)).collect())
    }
}
