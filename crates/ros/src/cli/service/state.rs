//! Services by their names: the container of each, its image, its engine, and its state.

use crate::applets::user_services::HASH_LABEL;
use anyhow::{Context, Result, bail};
use corral_docker::{Client, Engine};
use corral_engine::client::{call, unexpected};
use corral_engine::error::EngineError;
use corral_engine::protocol::{Reply, Request};
use corral_engine::spec::{self, Snapshot};
use corral_resolve::services::is_of_system;
use std::time::{Duration, Instant};

/// How long a service may take to start: its image may have to be pulled, and it may wait for
/// dependencies.
const TIMEOUT: Duration = Duration::from_secs(300);

/// The state of a service's container.
#[derive(Debug)]
pub(super) struct State {
    pub(super) id: String,
    /// Docker's status, or `stopping`.
    status: String,
    exit_code: i64,
}

impl State {
    pub(super) fn is_running(&self) -> bool {
        self.status == "running"
    }
}

/// A service, as the stored configuration has it.
#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) container: String,
    pub(super) image: String,
    pub(super) engine: Engine,
    /// Its container is created, and not started.
    create_only: bool,
}

impl Service {
    /// The services of these names; all if no name is given.
    pub(super) fn load(names: &[String]) -> Result<Vec<Service>> {
        let all = Service::load_all();
        if names.is_empty() {
            return Ok(all);
        }
        let find = |name: &String| {
            let unknown = || format!("No such service: {name}");
            match all.iter().find(|service| service.name == *name) {
                Some(service) => Ok(service.clone()),
                // A service that was disabled may still have its container.
                None => Service::left_over(name).with_context(unknown)?.with_context(unknown),
            }
        };
        names.iter().map(find).collect()
    }

    fn load_all() -> Vec<Service> {
        let resolved = corral_resolve::stored();
        let of_system = resolved.plan.services.iter().map(|service| Service {
            name: service.name.to_string(),
            container: service.name.to_string(),
            image: service.image.clone(),
            engine: Engine::System,
            create_only: service.labels.create_only,
        });
        let others =
            resolved.config.rancher.services.iter().filter(|(_, value)| !is_of_system(value));
        let of_user = others.map(|(name, definition)| {
            let text =
                |key: &str| definition.get(key).and_then(|value| value.as_str()).map(str::to_owned);
            Service {
                name: name.clone(),
                container: text("container_name").unwrap_or_else(|| name.clone()),
                image: text("image").unwrap_or_default(),
                engine: Engine::User,
                create_only: false,
            }
        });
        of_system.chain(of_user).collect()
    }

    /// A container of that name that was created from a configuration, not by hand.
    fn left_over(name: &str) -> Result<Option<Service>> {
        let service = |engine| Service {
            name: name.to_owned(),
            container: name.to_owned(),
            image: String::new(),
            engine,
            create_only: false,
        };
        let is_planned = |found: &Snapshot| found.spec.name == name && found.status.planned;
        if inspect_in_system(name)?.as_ref().is_some_and(is_planned) {
            return Ok(Some(service(Engine::System)));
        }
        let found = Client::of(Engine::User)?.container(name)?;
        let is_made = found.is_some_and(|container| container.label(HASH_LABEL).is_some());
        Ok(is_made.then(|| service(Engine::User)))
    }

    pub(super) fn client(&self) -> Result<Client> {
        Client::of(self.engine).map_err(Into::into)
    }

    /// None if it has no container.
    pub(super) fn state(&self) -> Result<Option<State>> {
        match self.engine {
            Engine::System => Ok(inspect_in_system(&self.container)?.map(state_in_system)),
            Engine::User => {
                let found = self.client()?.container(&self.container)?;
                Ok(found.map(|container| State {
                    id: container.id,
                    status: container.state.status,
                    exit_code: container.state.exit_code,
                }))
            }
        }
    }

    /// The same, but an engine that does not answer yet has no containers.
    pub(super) fn state_so_far(&self) -> Option<State> {
        self.state().unwrap_or_default()
    }

    /// Waits until it runs, or has exited with success; or is created, if it is created only. A
    /// container that was stopped before is started.
    pub(super) fn wait(&self, stopped: Option<&str>) -> Result<()> {
        let client = self.client()?;
        let deadline = Instant::now() + TIMEOUT;
        let there = client
            .watch(&[self.container.as_str()], deadline, || self.is_there(&client, stopped))?;
        there.with_context(|| {
            let name = &self.name;
            format!("{name} is not up after {} s; ros why {name} shows more", TIMEOUT.as_secs())
        })
    }

    /// None while it may still start; an error if it has failed.
    fn is_there(&self, client: &Client, stopped: Option<&str>) -> Result<Option<()>> {
        let Some(state) = self.state_so_far() else { return Ok(None) };
        match (state.status.as_str(), state.exit_code) {
            _ if self.create_only => Ok(Some(())),
            ("running", _) => Ok(Some(())),
            _ if stopped == Some(state.id.as_str()) => {
                Ok(client.start(&self.container).map(Some)?)
            }
            ("exited", 0) => Ok(Some(())),
            ("exited", code) => {
                let name = &self.name;
                bail!("{name} ended with {code}; ros service logs {name} shows its output")
            }
            _ => Ok(None),
        }
    }
}

/// From PID 1, not by Docker's API. The API does not know which containers are in the plan. It also
/// does not show one that is being stopped to be recreated from another definition.
pub(super) fn inspect_in_system(container: &str) -> Result<Option<Snapshot>> {
    match call(Request::Inspect { container: container.to_owned() }) {
        Ok(Reply::Container(snapshot)) => Ok(Some(*snapshot)),
        Ok(other) => Err(unexpected(&other).into()),
        Err(EngineError::NoSuchContainer(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn state_in_system(container: Snapshot) -> State {
    let status = match container.status.state {
        spec::State::Stopping => "stopping",
        _ => container.status.word(),
    };
    let (status, exit_code) = (status.to_owned(), container.status.exit_code.into());
    State { id: container.id, status, exit_code }
}
