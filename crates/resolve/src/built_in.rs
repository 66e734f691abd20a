//! The services of the system image, and what the owner adds to them. Their names are reserved. A
//! definition under one of them, in the configuration or in an included file, is merged as far as
//! `corral_plan::amend` allows. The rest is an error with its position.

use super::problem;
use super::root::Root;
use corral_config::Position;
use corral_config::error::{Problem, Severity};
use corral_config::layer::Layer;
use corral_config::yaml::{self, Kind, Node};
use corral_config::{Config, path};
use corral_plan::Service;
use corral_plan::amend::{Refusal, amend};
use corral_plan::compose::parse_with;
use corral_plan::resolved::Environment;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The services of the system image.
const SYSTEM: &str = "/usr/share/ros";
/// The key of services in the configuration.
const KEY: &str = "rancher.services";

/// The services of the image, as it defines them.
pub(super) fn load(
    root: &Root,
    environment: &Environment,
    problems: &mut Vec<Problem>,
) -> Vec<Service> {
    let mut services = Vec::new();
    for path in files(root) {
        match parse_with(&path.display().to_string(), &root.text(&path), environment) {
            Ok(file) => services.extend(file.services),
            Err(error) => {
                problems.push(problem::error("services of the system", &error.to_string()))
            }
        }
    }
    services.iter_mut().for_each(|service| service.built_in = true);
    services
}

/// Their names.
pub fn names(root: &Root) -> BTreeSet<String> {
    let trees = files(root).into_iter().filter_map(|path| yaml::parse(&root.text(path)).ok());
    trees.flat_map(|tree| names_in(&tree)).collect()
}

/// Their images.
pub fn images(root: &Root) -> BTreeSet<String> {
    load(root, &Environment::default(), &mut Vec::new())
        .into_iter()
        .map(|service| service.image)
        .collect()
}

fn names_in(tree: &Node) -> Vec<String> {
    match tree.get("services").map(|services| &services.kind) {
        Some(Kind::Mapping(items)) => items.iter().map(|(name, _)| name.clone()).collect(),
        _ => Vec::new(),
    }
}

fn files(root: &Root) -> Vec<PathBuf> {
    #[derive(Deserialize)]
    struct Os {
        services: Vec<String>,
    }
    let text = root.text(Path::new(SYSTEM).join("os.yml"));
    let names = yaml::from_str::<Os>(&text).map(|os| os.services).unwrap_or_default();
    names
        .iter()
        .map(|name| Path::new(SYSTEM).join("services").join(name).join("compose.yml"))
        .collect()
}

/// Removes definitions under built-in names: they are no services of their own.
pub(super) fn take_from(root: &Root, config: &mut Config) {
    if config.rancher.services.is_empty() {
        return;
    }
    let names = names(root);
    config.rancher.services.retain(|name, _| !names.contains(name));
}

/// Merges the configuration's changes of built-in services.
pub(super) fn amend_by_config(
    services: &mut [Service],
    layers: &[Layer],
    environment: &Environment,
    problems: &mut Vec<Problem>,
) {
    let merged = corral_config::merged(layers);
    for service in services {
        let name = service.name.to_string();
        let parts = ["rancher", "services", &name];
        let Some(definition) = parts.iter().try_fold(&merged, |value, part| value.get(part)) else {
            continue;
        };
        for refusal in amend(service, definition, environment) {
            problems.push(refused_in_config(layers, &parts, &refusal));
        }
    }
}

/// The position is that of the last layer that set it.
fn refused_in_config(layers: &[Layer], parts: &[&str], refusal: &Refusal) -> Problem {
    let find = |layer: &Layer| {
        let definition = parts.iter().try_fold(&layer.tree, |node, part| node.get(part))?;
        let node =
            if refusal.key.is_empty() { definition } else { definition.get(&refusal.key)? };
        Some((layer.source.to_string(), node.key_at))
    };
    let (source, at) =
        layers.iter().rev().find_map(find).unwrap_or((KEY.to_owned(), Position::default()));
    refused(&source, at, &format!("{KEY}.{}", path::join(&[parts[2].to_owned()])), refusal)
}

fn refused(source: &str, at: Position, key: &str, refusal: &Refusal) -> Problem {
    let key =
        if refusal.key.is_empty() { key.to_owned() } else { format!("{key}.{}", refusal.key) };
    Problem::new(Severity::Error, source, at, &key, refusal.why.clone())
}

/// Merges an included file's changes of built-in services, and removes them from the file.
pub(super) fn amend_by_file(
    services: &mut [Service],
    (source, tree): (&str, Node),
    environment: &Environment,
    problems: &mut Vec<Problem>,
) -> Node {
    let names: BTreeSet<&str> = services.iter().map(|service| service.name.as_str()).collect();
    let (rest, taken) = split(tree, &names);
    for (name, node) in taken {
        let Some(service) = services.iter_mut().find(|service| service.name.as_str() == name)
        else {
            continue;
        };
        for refusal in amend(service, &node.to_value(), environment) {
            let at = node.get(&refusal.key).unwrap_or(&node).key_at;
            problems.push(refused(source, at, &name, &refusal));
        }
    }
    rest
}

/// A compose file without the services of these names, and the removed services.
fn split(tree: Node, names: &BTreeSet<&str>) -> (Node, Vec<(String, Node)>) {
    let Node { at, key_at, kind } = tree;
    let Kind::Mapping(items) = kind else { return (Node { at, key_at, kind }, Vec::new()) };
    let mut taken = Vec::new();
    let has_services = items.iter().any(|(key, _)| key == "services");
    let mut kept = Vec::new();
    for (key, node) in items {
        match node.kind {
            Kind::Mapping(inner) if key == "services" => {
                let (of_system, rest): (Vec<_>, Vec<_>) =
                    inner.into_iter().partition(|(name, _)| names.contains(name.as_str()));
                taken.extend(of_system);
                kept.push((key, Node { kind: Kind::Mapping(rest), ..node }));
            }
            _ if !has_services && names.contains(key.as_str()) => taken.push((key, node)),
            _ => kept.push((key, node)),
        }
    }
    (Node { at, key_at, kind: Kind::Mapping(kept) }, taken)
}

/// Invalid changes of built-in services in a file, for `ros config validate -i`.
pub fn check(root: &Root, layer: &Layer) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut services = load(root, &Environment::new(), &mut problems);
    amend_by_config(&mut services, std::slice::from_ref(layer), &Environment::new(), &mut problems);
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_config::Source;
    use corral_plan::compose::parse;

    fn console() -> Vec<Service> {
        parse("f", "console: {image: corral/os-console, net: host}").unwrap().services
    }

    #[test]
    fn a_built_in_name_in_the_configuration_is_merged_or_refused_with_its_place() {
        let layer = |name: &str, text: &str| Layer::parse(Source::File(name.to_owned()), text);
        let layers = [
            layer("a.yml", "rancher:\n  services:\n    console:\n      image: mine\n"),
            layer("b.yml", "rancher:\n  services:\n    console:\n      environment: {A: '1'}\n"),
        ];
        let (mut services, mut problems) = (console(), Vec::new());
        amend_by_config(&mut services, &layers, &Environment::new(), &mut problems);
        assert_eq!(
            (services[0].image.as_str(), services[0].environment.as_slice()),
            ("corral/os-console", &["A=1".to_owned()][..])
        );
        let problem = problems[0].to_string();
        assert!(
            problem.starts_with("a.yml:4:7: rancher.services.console.image: console is a service"),
            "{problem}"
        );
        assert!(problem.contains("rancher.console replaces it"), "{problem}");
    }

    #[test]
    fn in_an_included_file_the_rest_of_the_file_stays() {
        for (text, place) in [
            ("console: {command: x}\nweb: {image: i}\n", "f.yml:1:11: console.command: "),
            (
                "services:\n  web: {image: i}\n  console: {command: x}\n",
                "f.yml:3:13: console.command: ",
            ),
        ] {
            let (mut services, mut problems) = (console(), Vec::new());
            let tree = yaml::parse(text).unwrap();
            let rest =
                amend_by_file(&mut services, ("f.yml", tree), &Environment::new(), &mut problems);
            let text = yaml::to_string(&rest.to_value()).unwrap();
            assert!(text.contains("web") && !text.contains("console"), "{text}");
            assert!(problems[0].to_string().starts_with(place), "{}", problems[0]);
            assert_eq!(services, console());
        }
    }
}
