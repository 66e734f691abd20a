//! `ros console` and `ros engine`: which console and which engine there are, which one runs, and a
//! switch to another one. Its image is checked first, and what works stays until then.

use crate::cli::repository;
use crate::docker::{Client, Container, Engine, cli};
use crate::prompt::confirm;
use crate::resolve::effective::EffectiveConfig;
use crate::resolve::switchable::Switchable;
use crate::resolve::{self, catalogue, store};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use corral_config::Config;
use corral_engine::client::ask;
use corral_engine::protocol::Request;
use corral_plan::compose::parse_with;
use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

/// What is part of the system.
const OURS: &str = "default";
/// How long the look into another image may take.
const TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List what there is: current, enabled for the next start, disabled
    List,
    /// Change now
    Switch(Switch),
    /// Change at the next start
    Enable {
        /// A name that `list` shows, a path, or a URL
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Switch {
    /// Ask nothing
    #[arg(short, long)]
    force: bool,
    /// Its image is here: do not pull it
    #[arg(long)]
    no_pull: bool,
    /// A name that `list` shows, a path, or a URL
    name: String,
}

/// Does what is asked of such a service.
pub(crate) fn run(switchable: &Switchable, command: &Command) -> Result<()> {
    let choice = Choice(switchable);
    match command {
        Command::List => choice.list(),
        Command::Switch(options) => choice.switch(options),
        Command::Enable { name } => {
            choice.prepare(name, true)?;
            choice.store(name)
        }
    }
}

/// The one of which the choice is.
struct Choice<'a>(&'a Switchable);

impl Choice<'_> {
    fn list(&self) -> Result<()> {
        let stored = resolve::stored_config();
        let (current, enabled) = (self.current()?, self.name(&stored));
        let mut names: BTreeSet<String> = (self.0.listed)(repository::index(&stored)).into_iter().collect();
        names.extend([OURS.to_owned(), current.clone(), enabled.clone()]);
        for name in names {
            let word = match name {
                _ if name == current => "current ",
                _ if name == enabled => "enabled ",
                _ => "disabled",
            };
            println!("{word} {name}");
        }
        Ok(())
    }

    fn switch(&self, options: &Switch) -> Result<()> {
        let name = &options.name;
        if self.current()? == *name {
            println!("warning: the {} {name} is the current one already", self.0.what);
        }
        let image = self.prepare(name, !options.no_pull)?;
        println!("{}", self.0.consequences);
        if !options.force && !confirm("Continue")? {
            return Ok(());
        }
        let before = self.name(&resolve::stored_config());
        // What was found in another image of that name does not count.
        let client = Client::of(Engine::System)?;
        client.remove(self.0.check, false)?;
        self.store(name)?;
        ask(Request::Reload).context("putting it into force")?;
        let Some(image) = image else { return Ok(()) };
        self.wait(&client, &image).or_else(|error| {
            self.store(&before)?;
            ask(Request::Reload).context("putting it into force")?;
            Err(error.context(format!("the {} stays {before}", self.0.what)))
        })
    }

    /// The name of the one that runs.
    fn current(&self) -> Result<String> {
        let service = self.0.service;
        let found = Client::of(Engine::System)?.container(service)?;
        let found = found.with_context(|| format!("there is no container {service}; ros why {service}"))?;
        let is_ours = corral_engine::image::lookup::is_embedded(found.image_name());
        Ok(if is_ours { OURS.to_owned() } else { self.name(&EffectiveConfig::applied().config) })
    }

    fn name(&self, config: &Config) -> String {
        catalogue::other((self.0.configured)(config)).unwrap_or(OURS).to_owned()
    }

    /// Has file and image here; returns the image, or None where ours is meant.
    fn prepare(&self, name: &str, pull: bool) -> Result<Option<String>> {
        let config = resolve::stored_config();
        let Some(place) = catalogue::other(name) else { return Ok(None) };
        let invalid = || format!("{name} is not a valid {}", self.0.what);
        let file = repository::fetch(place, &config).with_context(invalid)?;
        let text = fs::read_to_string(&file).with_context(invalid)?;
        let services =
            parse_with(place, &text, &resolve::environment(&config)).with_context(invalid)?.services;
        let found = services.into_iter().find(|service| service.name.as_str() == self.0.service);
        let Some(service) = found else { bail!("{}: it defines no service {}", invalid(), self.0.service) };
        if pull && corral_engine::image::lookup::find(&service.image).is_err() {
            cli::pull(Engine::System, &service.image).context("nothing was changed")?;
        }
        Ok(Some(service.image))
    }

    fn store(&self, name: &str) -> Result<()> {
        store::set(self.0.key, name, None)?;
        let counts = self.name(&resolve::stored_config());
        if counts != catalogue::other(name).unwrap_or(OURS) {
            bail!("{}: {counts} counts more; ros config explain {} says why", self.0.key, self.0.key);
        }
        Ok(())
    }

    /// Until the other one runs, or was found wanting. When it is the console, who waits here is gone by then.
    fn wait(&self, client: &Client, image: &str) -> Result<()> {
        let Switchable { service, check, .. } = self.0;
        let changed = client.watch(&[service, check], Instant::now() + TIMEOUT, || {
            // An engine that does not answer at the moment may do so at the next look.
            let find = |name: &str| client.container(name).unwrap_or_default().unwrap_or_default();
            if find(service).image_name() == image {
                return Ok(Some(()));
            }
            let Container { state, .. } = find(check);
            if state.status == "exited" && state.exit_code != 0 {
                bail!("{}", client.last_lines(check, 1));
            }
            Ok(None)
        })?;
        changed.with_context(|| format!("it was not there after {} s", TIMEOUT.as_secs()))?;
        println!("the {} changes", self.0.what);
        Ok(())
    }
}
