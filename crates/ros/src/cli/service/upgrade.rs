//! `ros service upgrade`: a newer image of a service of the owner's is tried before it counts, beside the old container
//! where that can be, and taken back where it does not work.

use crate::api;
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use corral_engine::client::Client;
use serde_json::{Value, json};
use std::process::Command as Process;
use std::time::{Duration, Instant};

const DOCKER: &str = "/usr/bin/system-docker";
/// A service without a health check works if it has run for so long.
const SETTLED: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(250);
/// Images that are part of the system have such names.
const OURS: &str = "corral/";

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Name of a service of the system
    name: String,
    /// Seconds that the new container has until it works
    #[arg(long, default_value_t = 120)]
    time: u64,
}

pub(super) fn run(options: &Options) -> Result<()> {
    Service::load(&options.name)?.upgrade(Duration::from_secs(options.time))
}

/// A service, with the container and the image that it has now.
#[derive(Debug)]
struct Service {
    name: String,
    /// Image as its compose file names it.
    reference: String,
    /// Digest of what it has.
    image: String,
    /// The container, as the engine shows it.
    shown: Value,
}

impl Service {
    fn load(name: &str) -> Result<Service> {
        let containers = Client::connect(|_, _| {})?.list()?;
        let found = containers.iter().find(|container| container.spec.name == name);
        if !found.is_some_and(|container| container.status.planned) {
            bail!(
                "{name} is no service of this machine, or was not started; `system-docker ps -a` lists them"
            );
        }
        let shown = api::get(&format!("/containers/{name}/json"))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (reference, image) = (text(&shown["Config"]["Image"]), text(&shown["Image"]));
        if reference.starts_with(OURS) {
            bail!("{name} is part of the system: `ros os upgrade` brings a newer one");
        }
        if reference.contains('@') {
            bail!("{name} has its image by digest ({reference}): change the configuration to have another");
        }
        Ok(Service { name: name.to_owned(), reference, image, shown })
    }

    fn upgrade(&self, time: Duration) -> Result<()> {
        pull(&self.reference)?;
        let newest = image_of(&format!("/images/{}/json", self.reference), "Id")?;
        if newest == self.image {
            println!("{}: {} is the newest there is", self.name, self.reference);
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
            return Err(error.context(format!("{} stays as it is", self.name)));
        }
        if let Err(error) = self.replace(&newest, time) {
            println!("{}: taking the old image back", self.name);
            self.name_old_image()?;
            self.replace(&self.image, time).context("the old image does not work any more either")?;
            return Err(error.context(format!("{} has its old image again", self.name)));
        }
        println!("{}: runs the newest {}", self.name, self.reference);
        Ok(())
    }

    /// Two containers must not be in each other's way.
    fn why_not_beside(&self) -> Option<&'static str> {
        let host = &self.shown["HostConfig"];
        let mounts = self.shown["Mounts"].as_array().map(Vec::as_slice).unwrap_or_default();
        if host["NetworkMode"] == "host" {
            Some("it uses the network of the machine")
        } else if host["Privileged"] == true {
            Some("it is privileged")
        } else if mounts.iter().any(|mount| mount["RW"] == true) {
            Some("it writes to volumes")
        } else {
            None
        }
    }

    /// A second container from the new image, without published ports, until it works.
    fn try_beside(&self, image: &str, time: Duration) -> Result<()> {
        let trial = format!("{}-upgrade", self.name);
        println!("{}: trying the new image beside the old container", self.name);
        let path = format!("/containers/{trial}?force=1");
        // One that was left over.
        let _ = api::delete(&path);
        let made = api::post_with(&format!("/containers/create?name={trial}"), &self.trial_body(image))
            .and_then(|_| api::post(&format!("/containers/{trial}/start")))
            .and_then(|_| wait_until_it_works(&trial, image, time));
        api::delete(&path)?;
        made
    }

    fn trial_body(&self, image: &str) -> Value {
        let mut body = self.shown["Config"].clone();
        body["Image"] = json!(image);
        body["Hostname"] = json!("");
        body["HostConfig"] = self.shown["HostConfig"].clone();
        body["HostConfig"]["PortBindings"] = json!({});
        body["HostConfig"]["RestartPolicy"] = json!({"Name": "no"});
        let networks = self.shown["NetworkSettings"]["Networks"].as_object().into_iter().flatten();
        // Without its names there: nobody is to take it for the service.
        let networks: serde_json::Map<String, Value> =
            networks.map(|(name, _)| (name.clone(), json!({}))).collect();
        body["NetworkingConfig"] = json!({"EndpointsConfig": networks});
        body
    }

    /// Without its container PID 1 makes the service anew, from what the image's name stands for now.
    fn replace(&self, image: &str, time: Duration) -> Result<()> {
        let name = &self.name;
        api::post(&format!("/containers/{name}/stop"))?;
        api::delete(&format!("/containers/{name}?force=1"))?;
        wait_until_it_works(name, image, time)
    }

    fn name_old_image(&self) -> Result<()> {
        let (repository, tag) = match self.reference.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            _ => (self.reference.as_str(), "latest"),
        };
        api::post(&format!("/images/{}/tag?repo={repository}&tag={tag}", self.image)).map(drop)
    }
}

fn pull(reference: &str) -> Result<()> {
    let status = Process::new(DOCKER).args(["pull", reference]).status().context("starting docker")?;
    if status.success() { Ok(()) } else { bail!("pulling {reference} failed; nothing was changed") }
}

fn image_of(path: &str, key: &str) -> Result<String> {
    let shown = api::get(path)?;
    shown[key].as_str().map(str::to_owned).with_context(|| format!("{path}: no {key}"))
}

/// With a health check: until it says so. Without one: it has run for a while, or has done its work.
fn wait_until_it_works(name: &str, image: &str, time: Duration) -> Result<()> {
    let deadline = Instant::now() + time;
    let mut running: Option<(Value, Instant)> = None;
    loop {
        // Between two containers of one name there is none.
        let shown = api::get(&format!("/containers/{name}/json")).unwrap_or_default();
        if shown["Image"] == image {
            let start = &shown["State"]["StartedAt"];
            if running.as_ref().is_none_or(|(seen, _)| seen != start) {
                running = Some((start.clone(), Instant::now()));
            }
            let settled = running.as_ref().is_some_and(|(_, since)| since.elapsed() > SETTLED);
            if let Some(works) = works(name, &shown["State"], settled) {
                return works.map_err(|error| anyhow!("{error:#}{}", last_words(name)));
            }
        }
        if Instant::now() > deadline {
            bail!("{name} does not work after {} s{}", time.as_secs(), last_words(name));
        }
        std::thread::park_timeout(PAUSE);
    }
}

/// None if it is too early to say.
fn works(name: &str, state: &Value, settled: bool) -> Option<Result<()>> {
    match (state["Status"].as_str()?, state["Health"]["Status"].as_str()) {
        ("exited", _) if state["ExitCode"] == 0 && state["Error"] == "" => Some(Ok(())),
        ("exited" | "restarting", _) => {
            let (code, error) = (&state["ExitCode"], state["Error"].as_str().unwrap_or_default());
            Some(Err(anyhow!("{name} ended with {code} {error}")))
        }
        ("running", Some("healthy")) => Some(Ok(())),
        ("running", Some("unhealthy")) => Some(Err(anyhow!("{name} is unhealthy"))),
        ("running", None | Some("none")) if settled => Some(Ok(())),
        _ => None,
    }
}

/// The end of its log, for the owner to see why.
fn last_words(name: &str) -> String {
    let output = Process::new(DOCKER).args(["logs", "--tail", "5", name]).output();
    let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    if text.trim().is_empty() { String::new() } else { format!("; its log ends:\n{}", text.trim_end()) }
}
