//! The effective configuration, where it comes from, and what is wrong with it.

use crate::resolve::cloud_init::CloudInitMark;
use crate::resolve::confirm::Pending;
use crate::resolve::effective::EffectiveConfig;
use crate::resolve::root::Root;
use crate::resolve::services::{is_of_system, problems_of_user_service};
use crate::resolve::store::read_input;
use crate::resolve::{self, built_in, layers};
use anyhow::{Result, bail};
use corral_config::error::{Problem, Severity, capped};
use corral_config::{Layer, Position, Source};
use corral_config::{explain, export, merge, path, resolve_with_problems, schema, yaml};
use corral_init::boot::oem;
use corral_machine::files::write_atomic;
use corral_plan::compose;
use corral_plan::resolved::Environment;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

fn load_layers() -> Vec<Layer> {
    layers::load(&Root::machine()).layers
}

/// `ros config get`. A secret is printed only if it is requested by its own name.
pub(super) fn get(key: &str) -> Result<()> {
    let mut merged = corral_config::merged(&load_layers());
    let is_leaf =
        path::get(&merged, key).is_some_and(|value| !value.is_object() && !value.is_array());
    if !is_leaf {
        export::remove_secrets(&mut merged);
    }
    let value = path::get(&merged, key).unwrap_or(&Value::Null);
    let text = export::to_text(value).map_err(|error| anyhow::anyhow!("{key}: {error}"))?;
    println!("{}", text.trim_end_matches('\n'));
    Ok(())
}

/// `ros config export`.
pub(super) fn export(output: Option<&Path>, private: bool, full: bool) -> Result<()> {
    let layers = load_layers();
    let oem = Source::File(oem::CONFIG.to_owned());
    let is_ours = |layer: &&Layer| layer.source == Source::Defaults || layer.source == oem;
    let wanted: Vec<&Layer> = layers.iter().filter(|layer| full || !is_ours(layer)).collect();
    let merged = merge::merge(wanted.iter().map(|layer| &layer.value));
    let text = export::to_yaml(&merged, private).map_err(|error| anyhow::anyhow!("{error}"))?;
    match output {
        Some(file) => write_atomic(file, text.as_bytes(), 0o400),
        None => {
            print!("{text}");
            Ok(())
        }
    }
}

/// `ros config validate`.
pub(super) fn validate(input: Option<&Path>) -> ExitCode {
    let problems = match input {
        None => resolve::problems(),
        Some(_) => match read_input(input) {
            Ok((name, bytes)) => check_file(&name, &bytes),
            Err(error) => {
                eprintln!("{error:#}");
                return ExitCode::FAILURE;
            }
        },
    };
    problems.iter().for_each(|problem| println!("{problem}"));
    ExitCode::from(u8::from(problems.iter().any(|problem| problem.severity == Severity::Error)))
}

/// The document, and the services in it.
fn check_file(name: &str, bytes: &[u8]) -> Vec<Problem> {
    let layer = Layer::parse_bytes(Source::File(name.to_owned()), bytes);
    let root = Root::machine();
    let built_in = built_in::names(&root);
    let mut problems = built_in::check(&root, &layer);
    let services = layer.tree.get("rancher").and_then(|rancher| rancher.get("services"));
    let definitions = path::get(&layer.value, "rancher.services").and_then(Value::as_object);
    for (service, definition) in definitions.into_iter().flatten() {
        let Some(node) = services.and_then(|services| services.get(service)) else { continue };
        if built_in.contains(service) {
            continue;
        }
        if !is_of_system(definition) {
            let found = problems_of_user_service(service, definition);
            problems.extend(found.into_iter().map(|problem| placed(problem, name, service, node)));
            continue;
        }
        let one =
            yaml::Node::new(node.at, yaml::Kind::Mapping(vec![(service.clone(), node.clone())]));
        if let Err(error) = compose::parse_tree(name, &one, &Environment::new()) {
            let at = Position { line: error.line, column: error.column };
            let key = format!("rancher.services.{service}");
            problems.push(Problem::new(Severity::Error, name, at, &key, error.message));
        }
    }
    let problems = capped(name, problems);
    let resolution = resolve_with_problems(&[corral_config::defaults(), layer.clone()]);
    [layer.problems, resolution.problems, problems].concat()
}

/// A problem of a service with its position in the document.
fn placed(problem: Problem, file: &str, service: &str, node: &yaml::Node) -> Problem {
    let at = node.get(&problem.key).unwrap_or(node).key_at;
    let key = format!("rancher.services.{service}.{}", problem.key);
    Problem::new(problem.severity, file, at, key.trim_end_matches('.'), problem.message)
}

/// `ros config explain`.
pub(super) fn explain(key: &str) -> Result<()> {
    let explanations = explain::explain(&load_layers(), key);
    if explanations.is_empty() {
        bail!("{key}: no source sets it");
    }
    for explanation in explanations {
        let mut said = explanation.assignments.iter().rev();
        let Some(winner) = said.next() else { continue };
        println!("{}: {}", explanation.key, winner.value);
        println!("  from {}", winner.place);
        said.for_each(|other| println!("  overrides {} from {}", other.value, other.place));
    }
    Ok(())
}

/// `ros config diff`.
pub(super) fn diff(file: Option<&Path>) -> Result<()> {
    let (old, new) = match file {
        None => (
            serde_json::to_value(EffectiveConfig::applied().config)?,
            serde_json::to_value(resolve::stored_config())?,
        ),
        Some(_) => {
            let (name, bytes) = read_input(file)?;
            let layer = Layer::parse_bytes(Source::File(name), &bytes);
            layer.problems.iter().for_each(|problem| eprintln!("{problem}"));
            let old = corral_config::merged(&load_layers());
            let mut new = old.clone();
            merge::merge_into(&mut new, &layer.value);
            (old, new)
        }
    };
    for change in explain::diff(&old, &new) {
        change.old.iter().for_each(|value| println!("- {}: {value}", change.key));
        change.new.iter().for_each(|value| println!("+ {}: {value}", change.key));
    }
    Ok(())
}

/// `ros config status`.
pub(super) fn status() -> Result<()> {
    println!("layers, later ones win:");
    let root = Root::machine();
    for layer in load_layers() {
        let errors =
            layer.problems.iter().filter(|problem| problem.severity == Severity::Error).count();
        let note = if errors > 0 { format!(", {errors} errors") } else { String::new() };
        println!("  {}{note}", layer.source);
    }
    let mark = CloudInitMark::load(&root);
    let named = |source: Option<String>| source.unwrap_or_else(|| "nothing".to_owned());
    println!(
        "data sources: {} on this machine, {} on the network",
        named(mark.local),
        named(mark.network)
    );
    if let Some(pending) = Pending::load(&root) {
        println!(
            "a change waits to be confirmed within {} s{}: ros config confirm",
            pending.within,
            if pending.restarted { " of this boot" } else { "" }
        );
    }
    if let Some(layer) = layers::load_rejected(&root) {
        println!("set aside: {}", layer.source);
    }
    let problems = resolve::problems();
    println!("problems: {}", problems.len());
    problems.iter().for_each(|problem| println!("  {problem}"));
    Ok(())
}

/// `ros config schema`.
pub(super) fn schema() -> Result<()> {
    println!("{}", serde_json::to_string_pretty(&schema::json::schema())?);
    Ok(())
}

/// `ros config images`.
pub(super) fn images(input: Option<&Path>) -> Result<()> {
    let merged = match input {
        Some(_) => {
            let (name, bytes) = read_input(input)?;
            Layer::parse_bytes(Source::File(name), &bytes).value
        }
        None => corral_config::merged(&load_layers()),
    };
    let mut images = BTreeSet::new();
    for section in ["rancher.bootstrap", "rancher.services"] {
        let services = path::get(&merged, section).and_then(Value::as_object);
        let named = services
            .into_iter()
            .flatten()
            .filter_map(|(_, service)| service.get("image")?.as_str());
        images.extend(named.map(str::to_owned));
    }
    println!("{}", images.into_iter().collect::<Vec<_>>().join(" "));
    Ok(())
}
