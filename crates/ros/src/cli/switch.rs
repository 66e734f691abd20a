//! `ros console` and `ros engine`: list consoles and engines, show which one runs, and switch to
//! another. The image of a replacement is checked first; the current one stays active until then.

use crate::cli::repository;
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use corral_config::Config;
use corral_docker::{Client, Container, Engine, cli};
use corral_engine::client::call;
use corral_engine::protocol::Request;
use corral_machine::files::remove_durably;
use corral_plan::compose::parse_with;
use corral_resolve::catalogue::Role;
use corral_resolve::effective::EffectiveConfig;
use corral_resolve::enabled::Enabled;
use corral_resolve::replacement::{LOGIN_WORKED, REFUSED};
use corral_resolve::root::Root;
use corral_resolve::switchable::Switchable;
use corral_resolve::{self, catalogue, store};
use corral_terminal::output::{Output, listing};
use corral_terminal::prompt::confirm;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// The built-in one.
const OURS: &str = "default";
/// How long the image check may take.
const TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List current, enabled (for the next start) and disabled ones
    List(Output),
    /// Switch now
    Switch(Switch),
    /// Switch at the next start
    Enable {
        /// A name that `list` shows, an image (consoles), a path, or a URL
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Switch {
    /// Do not ask for confirmation
    #[arg(short, long, visible_alias = "yes", visible_short_alias = 'y')]
    force: bool,
    /// Do not pull the image: it is on this machine
    #[arg(long)]
    no_pull: bool,
    /// A name that `list` shows, an image (consoles), a path, or a URL
    name: String,
}

/// A row of the list.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    state: &'static str,
}

/// Runs the command for such a service.
pub(crate) fn run(switchable: &Switchable, command: &Command) -> Result<()> {
    let choice = Choice(switchable);
    match command {
        Command::List(output) => choice.list(*output),
        Command::Switch(options) => choice.switch(options),
        Command::Enable { name } => choice.enable(name),
    }
}

/// The service that is switched.
struct Choice<'a>(&'a Switchable);

impl Choice<'_> {
    fn list(&self, output: Output) -> Result<()> {
        let stored = corral_resolve::stored_config();
        let (current, enabled) = (self.current()?, self.name(&stored));
        let mut names: BTreeSet<String> =
            (self.0.listed)(repository::index(&stored)).into_iter().collect();
        names.extend(self.0.stock.iter().map(|(name, _)| (*name).to_owned()));
        names.extend([OURS.to_owned(), current.clone(), enabled.clone()]);
        let state = |name: &String| match name {
            _ if *name == current => "current",
            _ if *name == enabled => "enabled",
            _ => "disabled",
        };
        let rows: Vec<Row> =
            names.into_iter().map(|name| Row { state: state(&name), name }).collect();
        output.print(&rows, |rows| {
            // With one blank, as RancherOS prints it.
            let cells = rows.iter().map(|row| [format!("{:<8} {}", row.state, row.name)]);
            print!("{}", listing([&format!("{:<8} NAME", "STATE")], cells));
        })
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
        let before = self.name(&corral_resolve::stored_config());
        // The result of checking an earlier image of that name is not valid for this one.
        let client = Client::of(Engine::System)?;
        client.remove(self.0.check, false)?;
        if let Some(guard) = self.0.guard {
            // It may be repaired: it is tried again, and the login before is not one in it.
            client.remove(guard, false)?;
            remove_durably(Path::new(LOGIN_WORKED))?;
            remove_durably(Path::new(REFUSED))?;
        }
        Enabled::forget(self.0.service)?;
        self.store(name)?;
        call(Request::Reload).context("applying it")?;
        let Some(image) = image else { return Ok(()) };
        self.wait(&client, &image).or_else(|error| {
            self.store(&before)?;
            call(Request::Reload).with_context(|| format!("rolling back to {before}"))?;
            Err(error.context(format!("the {} stays {before}", self.0.what)))
        })
    }

    /// Stores the choice for the next boot. In this boot, no reload of the configuration applies
    /// it.
    fn enable(&self, name: &str) -> Result<()> {
        self.prepare(name, true)?;
        let stored = corral_resolve::stored_config();
        let configured = (self.0.configured)(&stored);
        let running = self.until_next_boot(configured);
        store::ensure_free()?;
        Enabled::keep(self.0.service, name, &running)?;
        self.store(name).inspect_err(|_| {
            let _ = Enabled::restore(self.0.service, configured, &running);
        })
    }

    fn until_next_boot(&self, configured: &str) -> String {
        Enabled::until_next_boot(&Root::machine(), self.0.service, configured)
            .unwrap_or_else(|| configured.to_owned())
    }

    /// The name of the active one.
    fn current(&self) -> Result<String> {
        let service = self.0.service;
        let found = Client::of(Engine::System)?.container(service)?;
        let found =
            found.with_context(|| format!("there is no container {service}; ros why {service}"))?;
        let is_ours = corral_engine::image::lookup::is_embedded(found.image_name());
        if is_ours {
            return Ok(OURS.to_owned());
        }
        let applied = EffectiveConfig::applied().config;
        let running = self.until_next_boot((self.0.configured)(&applied));
        Ok(catalogue::other(&running).unwrap_or(OURS).to_owned())
    }

    fn name(&self, config: &Config) -> String {
        catalogue::other((self.0.configured)(config)).unwrap_or(OURS).to_owned()
    }

    /// Fetches file and image. Returns the image, or None for the built-in one.
    fn prepare(&self, name: &str, pull: bool) -> Result<Option<String>> {
        let config = corral_resolve::stored_config();
        let Some(place) = catalogue::other(name) else { return Ok(None) };
        let image = match (self.0.image)(place, &config) {
            Some(image) => image,
            None => self.image_of_file(place, &config)?,
        };
        // The console does not see the image store.
        if pull && Client::of(Engine::System)?.image_id(&image)?.is_none() {
            cli::pull(Engine::System, &image).context("nothing was changed")?;
        }
        Ok(Some(image))
    }

    /// The image that a service file names.
    fn image_of_file(&self, place: &str, config: &Config) -> Result<String> {
        let invalid = || format!("{place} is not a valid {}", self.0.what);
        let role = Role::Replacement(self.0);
        let file = repository::fetch(place, role, config).with_context(invalid)?;
        let text = fs::read_to_string(&file).with_context(invalid)?;
        let services = parse_with(place, &text, &corral_resolve::environment(config))
            .with_context(invalid)?
            .services;
        let found = services.into_iter().find(|service| service.name.as_str() == self.0.service);
        match found {
            Some(service) => Ok(service.image),
            None => bail!("{}: it defines no service {}", invalid(), self.0.service),
        }
    }

    fn store(&self, name: &str) -> Result<()> {
        store::set(self.0.key, name, None)?;
        let effective = self.name(&corral_resolve::stored_config());
        if effective != catalogue::other(name).unwrap_or(OURS) {
            bail!(
                "{}: {effective} takes precedence; ros config explain {} shows why",
                self.0.key,
                self.0.key
            );
        }
        Ok(())
    }

    /// Waits until the replacement runs, or its check has failed. A switch of the console ends this
    /// process before that.
    fn wait(&self, client: &Client, image: &str) -> Result<()> {
        let Switchable { service, check, .. } = self.0;
        let changed = client.watch(&[service, check], Instant::now() + TIMEOUT, || {
            // An engine that does not answer now may answer at the next check.
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
        changed.with_context(|| format!("it was not up after {} s", TIMEOUT.as_secs()))?;
        println!("switching the {}", self.0.what);
        Ok(())
    }
}
