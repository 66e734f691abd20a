//! The compose files that are added to the system's: what the repositories have, and what is
//! enabled.

use crate::cli::repository;
use anyhow::{Context, Result, bail};
use corral_config::Config;
use corral_docker::{Client, Engine, cli};
use corral_init::boot::state::CONF;
use corral_plan::compose::parse_with;
use corral_plan::service::Pull;
use corral_resolve::root::Root;
use corral_resolve::{self, catalogue, store};
use corral_terminal::output::Output;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const KEY: &str = "rancher.services_include";

/// A compose file of the list.
#[derive(Debug, Serialize)]
struct Row {
    file: String,
    enabled: bool,
}

/// `ros service list`.
pub(super) fn list(output: Output) -> Result<()> {
    let config = corral_resolve::stored_config();
    let included = &config.rancher.services_include;
    let listed: BTreeSet<String> = repository::index(&config).services.into_iter().collect();
    let others = included.keys().filter(|file| !listed.contains(*file));
    let row = |file: &String| Row {
        file: file.clone(),
        enabled: included.get(file).is_some_and(|enabled| *enabled),
    };
    let rows: Vec<Row> = listed.iter().chain(others).map(row).collect();
    output.print(&rows, |rows| {
        for Row { file, enabled } in rows {
            println!("{} {file}", if *enabled { "enabled " } else { "disabled" });
        }
    })
}

/// `ros service enable`: a file is enabled only when it and its images are on this machine.
pub(super) fn enable(file: &str) -> Result<()> {
    if file.starts_with('/') && !Path::new(file).starts_with(CONF) {
        bail!("{file}: put it below {}, where it persists across reboots", CONF);
    }
    if catalogue::IS_BUILT_IN.contains(&file) {
        println!("{file} is part of the system: nothing is fetched");
        return store::set(&entry(file), "true", None);
    }
    let config = corral_resolve::stored_config();
    repository::fetch(file, &config).with_context(|| format!("{file} is not a valid service"))?;
    pull_images(file, &config)?;
    store::set(&entry(file), "true", None)
}

/// `ros service disable`.
pub(super) fn disable(file: &str) -> Result<()> {
    let is_here = catalogue::IS_BUILT_IN.contains(&file);
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

fn entry(file: &str) -> String {
    format!("{KEY}.\"{file}\"")
}

/// Pulls images that the engine does not have yet.
fn pull_images(place: &str, config: &Config) -> Result<()> {
    let Some(file) = catalogue::find(&Root::machine(), place, config)? else { return Ok(()) };
    let text = fs::read_to_string(&file).with_context(|| format!("reading {place}"))?;
    let of_user = catalogue::names_of_user(&text);
    for service in parse_with(place, &text, &corral_resolve::environment(config))?.services {
        let engine =
            if of_user.contains(&service.name.to_string()) { Engine::User } else { Engine::System };
        if service.pull != Pull::Never && Client::of(engine)?.image_id(&service.image)?.is_none() {
            cli::pull(engine, &service.image)?;
        }
    }
    Ok(())
}
