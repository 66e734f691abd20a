//! `ros engine list`: the engines of this machine, and those that can be had.

use super::check;
use super::choice::{Choice, OURS, configured};
use super::data::Kind;
use super::of_release;
use crate::cli::repository;
use anyhow::{Context, Result};
use corral_config::Config;
use corral_daemon::image::artifact::Artifact;
use corral_docker::{Client, Container, Engine, Image};
use corral_engine::image::lookup;
use corral_install::registries;
use corral_resolve::effective::EffectiveConfig;
use corral_resolve::engine_switch::{Candidate, running, stands_in};
use corral_resolve::engines::{self, NAME_LABEL, REPOSITORY};
use corral_resolve::replacement::mark;
use corral_resolve::root::Root;
use corral_resolve::switchable::ENGINE;
use corral_terminal::output::{Output, listing, printable};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A row of the list.
#[derive(Debug, Clone, Default, Serialize)]
struct Row {
    name: String,
    state: &'static str,
    /// Empty if it is not known.
    version: String,
    /// Where it comes from.
    from: String,
    /// Is it on this machine?
    here: bool,
}

pub(super) fn run(output: Output) -> Result<()> {
    let stored = corral_resolve::stored_config();
    let (current, enabled) = (current()?, shown_name(&configured(&stored)));
    let client = Client::of(Engine::System)?;
    let mut rows = rows(&client, &stored)?;
    for name in [&current, &enabled] {
        rows.entry(name.clone()).or_insert_with(|| named(&client, name));
    }
    let state = |name: &str| match name {
        _ if name == current => "current",
        _ if name == enabled => "enabled",
        _ => "disabled",
    };
    // The image of the one that runs may have the name of its registry only.
    let is_here = |row: &Row| row.here || row.name == current;
    let rows = rows.into_values();
    let rows: Vec<Row> =
        rows.map(|row| Row { state: state(&row.name), here: is_here(&row), ..row }).collect();
    output.print(&rows, |rows| {
        let lines = rows.iter().map(|row| {
            let here = if row.here { "yes" } else { "no" }.to_owned();
            let version = if row.version.is_empty() { "-" } else { row.version.as_str() };
            // The labels of an image are its author's.
            let [name, version, from] = [row.name.as_str(), version, row.from.as_str()]
                .map(|text| printable(text).into_owned());
            [row.state.to_owned(), name, version, here, from]
        });
        print!("{}", listing(["STATE", "NAME", "VERSION", "HERE", "FROM"], lines));
    })
}

/// The name of the engine that runs.
pub(super) fn current() -> Result<String> {
    let image = container()?;
    let image = image.image_name();
    if lookup::is_embedded(image) {
        return Ok(shown_name(OURS));
    }
    let stored = image.strip_prefix(REPOSITORY).and_then(|rest| rest.strip_prefix(':'));
    if let Some(name) = stored {
        return Ok(name.to_owned());
    }
    let (root, config) = (Root::machine(), EffectiveConfig::applied().config);
    let name = running(&root, &configured(&config));
    Ok(if stands_in(&root, image, &name, &config) { image.to_owned() } else { name })
}

/// What is known of it.
pub(super) fn current_kind() -> Result<Kind> {
    let image = Client::of(Engine::System)?.image(&container()?.image)?;
    Ok(kind(&current()?, image.as_ref()))
}

fn container() -> Result<Container> {
    let service = ENGINE.service;
    let found = Client::of(Engine::System)?.container(service)?;
    found.with_context(|| format!("there is no container {service}; ros why {service}"))
}

/// What is known of an engine that can be switched to.
pub(super) fn kind_of(chosen: &Choice) -> Result<Kind> {
    let image = chosen.image.as_deref().unwrap_or(engines::BUILT_IN);
    let image = Client::of(Engine::System)?.image(image)?;
    Ok(kind(&chosen.name, image.as_ref()))
}

fn kind(name: &str, image: Option<&Image>) -> Kind {
    let found = image.map(|image| check::found(&mark(&ENGINE, &image.id))).unwrap_or_default();
    Kind {
        name: shown_name(name),
        version: image.map(version_of).unwrap_or_default(),
        is_podman: found.is_podman,
    }
}

/// The image of an engine, if it is on this machine.
fn find(client: &Client, name: &str) -> Option<Image> {
    let get = |name: &str| client.image(name).ok().flatten();
    let image = engines::image_among(name, |stored| get(stored).is_some())?;
    get(&candidate_of(name).unwrap_or(image))
}

/// The image that has proved itself, and is to have that name.
fn candidate_of(name: &str) -> Option<String> {
    let root = Root::machine();
    let candidate = Candidate::load(&root)?;
    (candidate.name == name && candidate.has_proof(&root)).then_some(candidate.image_id)
}

/// The built-in one is shown by its version.
fn shown_name(name: &str) -> String {
    let own = engines::is_built_in(name).then(engines::built_in_name).flatten();
    own.unwrap_or_else(|| name.to_owned())
}

/// Of its label, or as its program printed it.
fn version_of(image: &Image) -> String {
    // It goes to a terminal, also in questions. The label is of the image's author.
    let labelled = image.label(engines::VERSION_LABEL).map(|text| printable(text).into_owned());
    labelled.unwrap_or_else(|| check::found(&mark(&ENGINE, &image.id)).version)
}

fn rows(client: &Client, config: &Config) -> Result<BTreeMap<String, Row>> {
    let mut rows = BTreeMap::new();
    let mut add = |row: Row| {
        rows.entry(row.name.clone()).or_insert(row);
    };
    add(built_in(client));
    let own = format!("{REPOSITORY}:");
    let stored = client.images()?.into_iter().flat_map(|image| image.repo_tags);
    for name in stored.filter_map(|tag| tag.strip_prefix(&own).map(str::to_owned)) {
        let image = find(client, &name).unwrap_or_default();
        add(of_image(name, &image));
    }
    let images = &config.rancher.docker.engine_images;
    of_release::load().into_iter().for_each(|known| {
        let remote = if images.is_empty() { None } else { remote(images, &known.name) };
        let version = known.version.unwrap_or_default();
        let row = Row { name: known.name, version, from: known.about, ..Row::default() };
        add(remote.map_or(row.clone(), |(from, version)| Row { from, version, ..row }));
    });
    for name in repository::index(config).engines {
        add(Row { name, from: "a file of rancher.repositories".to_owned(), ..Row::default() });
    }
    Ok(rows)
}

fn built_in(client: &Client) -> Row {
    let image = client.image(engines::BUILT_IN).ok().flatten();
    Row {
        name: shown_name(OURS),
        version: image.as_ref().map(version_of).unwrap_or_default(),
        from: "built in, also named default".to_owned(),
        here: true,
        ..Row::default()
    }
}

/// An engine that was loaded or pulled.
fn of_image(name: String, image: &Image) -> Row {
    let about = image.label("org.opencontainers.image.description");
    let of_archive = image.label(NAME_LABEL).map(|_| "a file");
    Row {
        name,
        version: version_of(image),
        from: about.or(of_archive).unwrap_or("an image").to_owned(),
        here: true,
        ..Row::default()
    }
}

/// A service file or an image that the configuration names.
fn named(client: &Client, name: &str) -> Row {
    let found = find(client, name);
    let is_image = found.is_some() || (!name.starts_with('/') && !engines::is_plain(name));
    Row {
        name: name.to_owned(),
        version: found.as_ref().map(version_of).unwrap_or_default(),
        from: if is_image { "an image" } else { "a service file" }.to_owned(),
        here: found.is_some() || name.starts_with('/'),
        ..Row::default()
    }
}

/// Its reference in the owner's registry, and its version by the annotation there. None if it is
/// not there.
fn remote(images: &str, name: &str) -> Option<(String, String)> {
    let reference = format!("{images}:{name}");
    let artifact = match Artifact::find(&reference, &registries::load()) {
        Ok(artifact) => artifact,
        Err(error) => {
            eprintln!("{reference}: {error}");
            return None;
        }
    };
    let manifest: Value = serde_json::from_slice(&artifact.manifest).unwrap_or_default();
    let version = manifest["annotations"][engines::VERSION_LABEL].as_str().unwrap_or_default();
    Some((reference, version.to_owned()))
}
