//! The compose files that are added to the system's: what the repositories have, and what is
//! enabled.

use super::of_release;
use crate::cli::repository;
use anyhow::{Context, Result, bail};
use corral_config::Config;
use corral_docker::{Client, Engine, cli};
use corral_engine::image::lookup;
use corral_init::boot::state::CONF;
use corral_install::release::drivers::KERNEL_EXTRAS;
use corral_install::upgrade::extras;
use corral_plan::Service;
use corral_plan::compose::parse_with;
use corral_plan::service::Pull;
use corral_resolve::catalogue::Role;
use corral_resolve::root::Root;
use corral_resolve::{self, catalogue, shipped, store};
use corral_terminal::output::{Output, listing};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const KEY: &str = "rancher.services_include";

/// A compose file of the list.
#[derive(Debug, Serialize)]
struct Row {
    file: String,
    enabled: bool,
    /// Where it comes from.
    source: Source,
    /// What it is for; empty if the catalogue does not have it.
    about: String,
    /// Why it cannot be enabled, and what to use instead.
    not_available: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    /// Of the system image.
    Catalogue,
    Repository,
    /// A path or a URL, or a name that no catalogue has.
    Configuration,
}

/// `ros service list`.
pub(super) fn list(output: Output) -> Result<()> {
    let config = corral_resolve::stored_config();
    let rows = rows(&Root::machine(), &config, repository::index(&config).services);
    output.print(&rows, |rows| {
        let cells = rows.iter().map(|row| [row.state(), row.file.clone(), row.note()]);
        print!("{}", listing(["STATE", "NAME", "ABOUT"], cells));
    })
}

/// Those of the catalogue, of the repositories and of the configuration, by name.
fn rows(root: &Root, config: &Config, listed: Vec<String>) -> Vec<Row> {
    let included = &config.rancher.services_include;
    let agent = catalogue::agent(root, config);
    let is_enabled = |file: &str| {
        included.get(file).is_some_and(|enabled| *enabled) || agent.is_some_and(|name| name == file)
    };
    let row = |file: String, source| Row {
        enabled: is_enabled(&file),
        source,
        file,
        about: String::new(),
        not_available: None,
    };
    let configured = included.keys().map(|file| row(file.clone(), Source::Configuration));
    let of_repositories = listed.into_iter().map(|file| row(file, Source::Repository));
    let shipped = shipped::entries(root).into_iter().map(|entry| Row {
        about: entry.about,
        not_available: entry.not_available,
        ..row(entry.name, Source::Catalogue)
    });
    // The last one of a name stays.
    let all = configured.chain(of_repositories).chain(shipped);
    let by_name: BTreeMap<String, Row> = all.map(|row| (row.file.clone(), row)).collect();
    by_name.into_values().collect()
}

impl Row {
    fn state(&self) -> String {
        match (self.enabled, &self.not_available) {
            (true, _) => "enabled",
            (false, None) => "disabled",
            (false, Some(_)) => "-",
        }
        .to_owned()
    }

    fn note(&self) -> String {
        match &self.not_available {
            Some(why) => format!("{}: {why}", self.about),
            None => self.about.clone(),
        }
    }
}

/// `ros service enable`: a file is enabled only when it and its images are on this machine.
pub(super) fn enable(file: &str, from: Option<&str>) -> Result<()> {
    if file.starts_with('/') && !Path::new(file).starts_with(CONF) {
        bail!("{file}: put it below {}, where it persists across reboots", CONF);
    }
    if catalogue::IS_BUILT_IN.contains(&file) {
        println!("{file} is part of the system: nothing is fetched");
        return store::set(&entry(file), "true", None);
    }
    let config = corral_resolve::stored_config();
    fetch(file, &config)?;
    if is_extras(file, &config)? {
        extras::add(from)?;
    } else {
        pull_images(file, from, &config)?;
    }
    store::set(&entry(file), "true", None)
}

/// All drivers; not a file of the owner's with that name.
fn is_extras(place: &str, config: &Config) -> Result<bool> {
    let root = Root::machine();
    let shipped = shipped::find(&root, place).map(|entry| entry.file);
    Ok(place == KERNEL_EXTRAS && catalogue::find(&root, place, Role::Service, config)? == shipped)
}

/// `ros service disable`.
pub(super) fn disable(file: &str) -> Result<()> {
    let is_here =
        catalogue::IS_BUILT_IN.contains(&file) || shipped::find(&Root::machine(), file).is_some();
    if is_here || corral_resolve::stored_config().rancher.services_include.contains_key(file) {
        store::set(&entry(file), "false", None)?;
    }
    Ok(())
}

/// `ros service delete`.
pub(super) fn delete(file: &str) -> Result<()> {
    store::remove(&entry(file))?;
    if corral_resolve::stored_config().rancher.services_include.contains_key(file) {
        bail!(
            "{file} is in a source of the configuration that this command cannot change; disable it"
        );
    }
    Ok(())
}

/// A name that the catalogue only explains may be in a repository of the owner's.
fn fetch(file: &str, config: &Config) -> Result<()> {
    let fetched = repository::fetch(file, Role::Service, config);
    match (fetched, shipped::why_not(&Root::machine(), file)) {
        (Ok(_), _) => Ok(()),
        (Err(_), Some(why)) => bail!("{file}: {why}"),
        (Err(error), None) => Err(error.context(format!("{file} is not a valid service"))),
    }
}

fn entry(file: &str) -> String {
    format!("{KEY}.\"{file}\"")
}

/// Pulls images that the engine does not have yet. `from` is where those of a release come from.
fn pull_images(place: &str, from: Option<&str>, config: &Config) -> Result<()> {
    let root = Root::machine();
    let Some(file) = catalogue::find(&root, place, Role::Service, config)? else { return Ok(()) };
    let text = fs::read_to_string(&file).with_context(|| format!("reading {place}"))?;
    let of_user = catalogue::names_of_user(&text);
    let services = parse_with(place, &text, &corral_resolve::environment(config))?.services;
    let engine_of = |service: &Service| {
        if of_user.contains(&service.name.to_string()) { Engine::User } else { Engine::System }
    };
    let is_of_release = |service: &Service| {
        of_release::is_one(&service.image, engine_of(service))
            && !lookup::is_embedded(&service.image)
    };
    if from.is_some() && !services.iter().any(is_of_release) {
        bail!("--from: {place} takes nothing of a release; leave it out");
    }
    for service in &services {
        let engine = engine_of(service);
        if is_of_release(service) {
            of_release::provide(service.name.as_str(), &service.image, from)?;
        } else if service.pull != Pull::Never
            && Client::of(engine)?.image_id(&service.image)?.is_none()
        {
            cli::pull(engine, &service.image)?;
        }
    }
    Ok(())
}
