//! `ros service upgrade`: tries a newer image of an owner's service before it takes effect. The
//! trial runs beside the old container where possible. If it does not work, the service is rolled
//! back to its old image.

use super::state::inspect_in_system;
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use corral_docker::{Client, Container, Engine, State, cli};
use corral_terminal::duration;
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

/// A service without a health check works once it has run this long.
const SETTLED: Duration = Duration::from_secs(10);
/// Prefix of images that are part of the system.
const OURS: &str = "corral/";

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Name of a service of the system
    name: String,
    /// How long the new container may take until it works: 90s, 10m, or seconds
    #[arg(long, default_value = "2m", value_name = "TIME", value_parser = parse_time)]
    time: Duration,
}

pub(super) fn run(options: &Options) -> Result<()> {
    Service::load(&options.name)?.upgrade(options.time)
}

fn parse_time(text: &str) -> Result<Duration, String> {
    duration::parse_within(text, 1..=86_400)
}

/// A service, with the container and the image that it has now.
#[derive(Debug)]
struct Service {
    name: String,
    /// Image, as its compose file names it.
    reference: String,
    /// As the engine shows it, with the digest of its image.
    container: Container,
    client: Client,
}

impl Service {
    fn load(name: &str) -> Result<Service> {
        let client = Client::of(Engine::System)?;
        let planned = inspect_in_system(name)?
            .filter(|found| found.spec.name == name && found.status.planned);
        let container = client.container(name)?.filter(|_| planned.is_some());
        let container = container.with_context(|| {
            format!(
                "{name} is not a service of this machine, or was not started; \
                 `system-docker ps -a` lists them"
            )
        })?;
        let reference = container.image_name().to_owned();
        if reference.starts_with(OURS) {
            bail!("{name} is part of the system: `ros os upgrade` installs a newer one");
        }
        if reference.contains('@') {
            bail!(
                "{name} has its image by digest ({reference}); change the configuration to use \
                 another"
            );
        }
        Ok(Service { name: name.to_owned(), reference, container, client })
    }

    fn upgrade(&self, time: Duration) -> Result<()> {
        cli::pull(Engine::System, &self.reference).context("nothing was changed")?;
        let newest = self.client.image_id(&self.reference)?;
        let newest =
            newest.with_context(|| format!("{} is missing after it was pulled", self.reference))?;
        if newest == self.container.image {
            println!("{}: {} is up to date", self.name, self.reference);
            return Ok(());
        }
        let tried = match self.why_not_beside() {
            None => self.try_beside(&newest, time),
            Some(reason) => {
                println!("{}: not tried beside the old container: {reason}", self.name);
                Ok(())
            }
        };
        if let Err(error) = tried {
            self.name_old_image()?;
            return Err(error.context(format!("{} is unchanged", self.name)));
        }
        if let Err(error) = self.replace(&newest, time) {
            println!("{}: rolling back to the old image", self.name);
            self.name_old_image()?;
            self.replace(&self.container.image, time)
                .context("the old image no longer works either")?;
            return Err(error.context(format!("{} was rolled back to its old image", self.name)));
        }
        println!("{}: runs the newest {}", self.name, self.reference);
        Ok(())
    }

    /// Two containers must not disturb each other.
    fn why_not_beside(&self) -> Option<&'static str> {
        let host = &self.container.host_config;
        if host["NetworkMode"] == "host" {
            Some("it uses the network of the machine")
        } else if host["Privileged"] == true {
            Some("it is privileged")
        } else if self.container.mounts.iter().any(|mount| mount.is_writable) {
            Some("it writes to volumes")
        } else {
            None
        }
    }

    /// A second container from the new image, without published ports. It is removed after the
    /// trial.
    fn try_beside(&self, image: &str, time: Duration) -> Result<()> {
        let trial = format!("{}-upgrade", self.name);
        println!("{}: trying the new image beside the old container", self.name);
        let client = &self.client;
        // Removes one that an earlier trial left.
        client.remove(&trial, false)?;
        client.create(&trial, &self.trial_body(image))?;
        let started = client.start(&trial).map_err(anyhow::Error::from);
        let works = started.and_then(|()| self.wait_until_it_works(&trial, image, time));
        let removed = client.remove(&trial, false).map_err(anyhow::Error::from);
        works.and(removed)
    }

    fn trial_body(&self, image: &str) -> Value {
        let mut body = self.container.config.clone();
        body["Image"] = json!(image);
        body["Hostname"] = json!("");
        body["HostConfig"] = self.container.host_config.clone();
        body["HostConfig"]["PortBindings"] = json!({});
        body["HostConfig"]["RestartPolicy"] = json!({"Name": "no"});
        // Without its network aliases: no other container must take it for the service.
        let networks = self.container.network_settings.networks.keys();
        let networks: Map<String, Value> = networks.map(|name| (name.clone(), json!({}))).collect();
        body["NetworkingConfig"] = json!({"EndpointsConfig": networks});
        body
    }

    /// Once its container is removed, PID 1 recreates the service from the image that its name now
    /// stands for.
    fn replace(&self, image: &str, time: Duration) -> Result<()> {
        self.client.stop(&self.name, None)?;
        self.client.remove(&self.name, false)?;
        self.wait_until_it_works(&self.name, image, time)
    }

    fn name_old_image(&self) -> Result<()> {
        let (repository, tag) = match self.reference.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            _ => (self.reference.as_str(), "latest"),
        };
        self.client.tag(&self.container.image, repository, tag).map_err(Into::into)
    }

    /// With a health check: until it is healthy. Without one: until it has run for a while, or
    /// exited with success.
    fn wait_until_it_works(&self, name: &str, image: &str, time: Duration) -> Result<()> {
        let mut running: Option<(String, Instant)> = None;
        let done = self.client.watch(&[name], Instant::now() + time, || {
            // While a container is replaced none may be found, and the engine may not answer for a
            // moment.
            let found = self.client.container(name).unwrap_or_default();
            let Some(found) = found.filter(|found| found.image == image) else { return Ok(None) };
            let start = found.state.started_at.clone();
            let since = match running.take() {
                Some((seen, since)) if seen == start => since,
                _ => Instant::now(),
            };
            running = Some((start, since));
            works(name, &found.state, since.elapsed() > SETTLED).transpose()
        });
        let done = done.and_then(|done| {
            done.with_context(|| format!("{name} does not work after {} s", time.as_secs()))
        });
        done.map_err(|error| anyhow!("{error:#}{}", self.last_words(name)))
    }

    /// The last lines of its log, which show the owner the cause.
    fn last_words(&self, name: &str) -> String {
        match self.client.last_lines(name, 5) {
            lines if lines.is_empty() => String::new(),
            lines => format!("; its log ends:\n{lines}"),
        }
    }
}

/// None if it is too early to decide.
fn works(name: &str, state: &State, has_settled: bool) -> Option<Result<()>> {
    match (state.status.as_str(), state.health()) {
        ("exited", _) if state.exit_code == 0 && state.error.is_empty() => Some(Ok(())),
        ("exited" | "restarting", _) => {
            Some(Err(anyhow!("{name} ended with {} {}", state.exit_code, state.error)))
        }
        ("running", Some("healthy")) => Some(Ok(())),
        ("running", Some("unhealthy")) => Some(Err(anyhow!("{name} is unhealthy"))),
        ("running", None) if has_settled => Some(Ok(())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_works_when_it_says_so_or_has_settled() -> Result<()> {
        let says = |state: Value, has_settled: bool| -> Result<String> {
            let state: State = serde_json::from_value(state)?;
            Ok(match works("web", &state, has_settled) {
                None => "too early".to_owned(),
                Some(Ok(())) => "works".to_owned(),
                Some(Err(error)) => error.to_string(),
            })
        };
        let all = [
            (json!({"Status": "running"}), false, "too early"),
            (json!({"Status": "running", "Health": {"Status": "none"}}), true, "works"),
            (json!({"Status": "running", "Health": {"Status": "starting"}}), true, "too early"),
            (json!({"Status": "running", "Health": {"Status": "healthy"}}), false, "works"),
            (
                json!({"Status": "running", "Health": {"Status": "unhealthy"}}),
                true,
                "web is unhealthy",
            ),
            (json!({"Status": "exited", "ExitCode": 0, "Error": ""}), false, "works"),
            (
                json!({"Status": "exited", "ExitCode": 3, "Error": "no such file"}),
                false,
                "web ended with 3 no such file",
            ),
            (
                json!({"Status": "restarting", "ExitCode": 1, "Health": null}),
                true,
                "web ended with 1 ",
            ),
            (json!({"Status": "created"}), true, "too early"),
        ];
        for (state, has_settled, expected) in all {
            assert_eq!(says(state.clone(), has_settled)?, expected, "{state}");
        }
        Ok(())
    }
}
