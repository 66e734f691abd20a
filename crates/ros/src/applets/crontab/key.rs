//! What a container with a schedule is known by.

use corral_docker::Engine;
use std::fmt;

/// A container by its engine and name. A container that is recreated keeps its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) engine: Engine,
    pub(super) name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", prefix(self.engine), self.name)
    }
}

/// The beginning of the keys of an engine.
pub(super) fn prefix(engine: Engine) -> &'static str {
    match engine {
        Engine::System => "system/",
        Engine::User => "user/",
    }
}
