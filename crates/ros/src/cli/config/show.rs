//! The effective configuration, where it comes from, and what is wrong with it.

use anyhow::{Result, bail};
use corral_config::error::{Problem, Severity, capped};
use corral_config::{Config, Layer, Position, Source};
use corral_config::{explain, export, merge, path, resolve_with_problems, schema, yaml};
use corral_init::boot::oem;
use corral_machine::files::write_atomic;
use corral_plan::compose::{self, ComposeError, UNSET};
use corral_plan::cron;
use corral_plan::resolved::Environment;
use corral_plan::user_service;
use corral_resolve::effective::EffectiveConfig;
use corral_resolve::root::Root;
use corral_resolve::services::{is_of_system, problems_of_user_service};
use corral_resolve::store::read_input;
use corral_resolve::{self, built_in, layers};
use corral_terminal::output::Output;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::Path;

fn load_layers() -> Vec<Layer> {
    layers::load(&Root::machine()).layers
}

/// `ros config get`. A secret is printed only if it is requested by its own name.
pub(super) fn get(key: &str, output: Output) -> Result<()> {
    let layers = load_layers();
    let mut merged = corral_config::merged(&layers);
    let is_leaf =
        path::get(&merged, key).is_some_and(|value| !value.is_object() && !value.is_array());
    if !is_leaf {
        export::remove_secrets(&mut merged);
    }
    let value = match path::get(&merged, key) {
        Some(value) => value.clone(),
        None => unset(&layers, key),
    };
    let text = export::to_text(&value).map_err(|error| anyhow::anyhow!("{key}: {error}"))?;
    output.print(&value, |_| println!("{}", text.trim_end_matches('\n')))
}

/// The value of a key that no source sets: `true` or `false`, as scripts of RancherOS compare it.
/// Nothing for other types.
fn unset(layers: &[Layer], key: &str) -> Value {
    let effective = serde_json::to_value(corral_config::resolve(layers)).unwrap_or_default();
    path::get(&effective, key).filter(|value| value.is_boolean()).cloned().unwrap_or_default()
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

/// `ros config validate`. False if there are errors.
pub(super) fn validate(input: Option<&Path>, output: Output) -> Result<bool> {
    let (name, problems) = match input {
        None => ("this machine".to_owned(), corral_resolve::problems()),
        Some(_) => {
            let (name, bytes) = read_input(input)?;
            let problems = check_file(&name, &bytes);
            (name, problems)
        }
    };
    output.print(&problems, |problems| {
        problems.iter().for_each(|problem| println!("{problem}"));
        if problems.is_empty() && std::io::stdout().is_terminal() {
            println!("{name}: no problems");
        }
    })?;
    Ok(!problems.iter().any(|problem| problem.severity == Severity::Error))
}

/// The document, and the services in it.
fn check_file(name: &str, bytes: &[u8]) -> Vec<Problem> {
    let layer = Layer::parse_bytes(Source::File(name.to_owned()), bytes);
    let resolution = resolve_with_problems(&[corral_config::defaults(), layer.clone()]);
    let environment = corral_resolve::environment(&resolution.config);
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
        problems.extend(wrong_schedule(name, service, definition, node));
        if !is_of_system(definition) {
            let found = problems_of_user_service(service, definition);
            problems.extend(found.into_iter().map(|problem| placed(problem, name, service, node)));
            continue;
        }
        let one =
            yaml::Node::new(node.at, yaml::Kind::Mapping(vec![(service.clone(), node.clone())]));
        problems.extend(problems_of_system_service(name, service, &one, &environment));
    }
    let problems = capped(name, problems);
    [layer.problems, resolution.problems, problems].concat()
}

/// A label of cron that cannot be read: the service is never started by it.
fn wrong_schedule(
    file: &str,
    service: &str,
    definition: &Value,
    node: &yaml::Node,
) -> Option<Problem> {
    let pairs = user_service::pairs(definition.get("labels")?, "=");
    let pairs = pairs.iter().filter_map(|label| label.split_once('='));
    let labels = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let error = cron::job::parse(&labels)?.err()?;
    let at = node.get("labels").map_or(node.at, |labels| labels.at);
    let key = format!("rancher.services.{service}.labels");
    let message = format!("{error}; cron does not start it");
    Some(Problem::new(Severity::Warning, file, at, &key, message))
}

/// The error of a system service, or its warnings. A variable that the document does not set may
/// have its value from another source.
fn problems_of_system_service(
    file: &str,
    service: &str,
    tree: &yaml::Node,
    environment: &Environment,
) -> Vec<Problem> {
    let problem = |severity, error: ComposeError| {
        let at = Position { line: error.line, column: error.column };
        let key = format!("rancher.services.{service}");
        Problem::new(severity, file, at, &key, error.message)
    };
    match compose::parse_tree(file, tree, environment) {
        Ok(parsed) => {
            let is_known = |warning: &ComposeError| !warning.message.ends_with(UNSET);
            let warnings = parsed.warnings.into_iter().filter(is_known);
            warnings.map(|warning| problem(Severity::Warning, warning)).collect()
        }
        Err(error) => vec![problem(Severity::Error, error)],
    }
}

/// A problem of a service with its position in the document.
fn placed(problem: Problem, file: &str, service: &str, node: &yaml::Node) -> Problem {
    let at = part_of(node, &problem.key).key_at;
    let key = format!("rancher.services.{service}.{}", problem.key);
    Problem::new(problem.severity, file, at, key.trim_end_matches('.'), problem.message)
}

/// What a key such as `deploy.replicas` or `volumes[0].bind.selinux` stands for, or the nearest
/// above it.
fn part_of<'a>(node: &'a yaml::Node, key: &str) -> &'a yaml::Node {
    let key = key.strip_prefix('.').unwrap_or(key);
    let below = match &node.kind {
        yaml::Kind::Mapping(items) => items.iter().find_map(|(name, value)| {
            let rest = key.strip_prefix(name.as_str())?;
            (rest.is_empty() || rest.starts_with(['.', '['])).then_some((value, rest))
        }),
        yaml::Kind::Sequence(items) => key.strip_prefix('[').and_then(|numbered| {
            let (number, rest) = numbered.split_once(']')?;
            Some((items.get(number.parse::<usize>().ok()?)?, rest))
        }),
        _ => None,
    };
    below.map_or(node, |(value, rest)| part_of(value, rest))
}

/// A key, and each source that sets it; the first one won.
#[derive(Debug, Serialize)]
struct Explained {
    key: String,
    sources: Vec<Setting>,
}

#[derive(Debug, Serialize)]
struct Setting {
    value: Value,
    from: String,
}

/// `ros config explain`.
pub(super) fn explain(key: &str, output: Output) -> Result<()> {
    let layers = load_layers();
    let explanations = explain::explain(&layers, key);
    let explained: Vec<Explained> = if explanations.is_empty() {
        let name = rustix::system::uname();
        let setting = unset_setting(&layers, key, &name.nodename().to_string_lossy())?;
        vec![Explained { key: key.to_owned(), sources: vec![setting] }]
    } else {
        explanations.into_iter().map(Explained::from).collect()
    };
    output.print(&explained, |keys| {
        for Explained { key, sources } in keys {
            let Some((winner, others)) = sources.split_first() else { continue };
            println!("{key}: {}", winner.value);
            println!("  from {}", winner.from);
            others
                .iter()
                .for_each(|other| println!("  overrides {} from {}", other.value, other.from));
        }
    })
}

impl From<explain::Provenance> for Explained {
    fn from(explanation: explain::Provenance) -> Explained {
        let last_first = explanation.assignments.into_iter().rev();
        let setting = |explain::Assignment { place, value }| Setting { value, from: place };
        Explained { key: explanation.key, sources: last_first.map(setting).collect() }
    }
}

/// What takes effect where no source sets a key; `name` is the host name now.
fn unset_setting(layers: &[Layer], key: &str, name: &str) -> Result<Setting> {
    let config = corral_config::resolve(layers);
    if key == "hostname" {
        return Ok(unset_hostname(&config, name));
    }
    if !schema::is_known(&schema::fit(path::parse(key))) {
        bail!("{key}: no source sets it; `ros config schema` lists all keys");
    }
    let value = path::get(&serde_json::to_value(config)?, key).cloned().unwrap_or_default();
    Ok(Setting { value, from: "the default; no source sets it".to_owned() })
}

/// The host name has more sources than the configuration.
fn unset_hostname(config: &Config, name: &str) -> Setting {
    let (name, source) = match config.given_hostname() {
        Some(given) => (given, "fqdn"),
        None if name == config.effective_hostname() => (name, "rancher.defaults.hostname"),
        None => (name, "the DHCP server, or the command hostname"),
    };
    Setting { value: name.into(), from: format!("{source}; no source sets it") }
}

/// A key that differs.
#[derive(Debug, Serialize)]
struct Difference {
    key: String,
    old: Option<Value>,
    new: Option<Value>,
}

/// `ros config diff`.
pub(super) fn diff(file: Option<&Path>, output: Output) -> Result<()> {
    let (old, new) = match file {
        None => (
            serde_json::to_value(EffectiveConfig::applied().config)?,
            serde_json::to_value(corral_resolve::stored_config())?,
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
    let changes = explain::diff(&old, &new).into_iter();
    let changes: Vec<Difference> =
        changes.map(|explain::Change { key, old, new }| Difference { key, old, new }).collect();
    output.print(&changes, |changes| {
        for Difference { key, old, new } in changes {
            old.iter().for_each(|value| println!("- {key}: {value}"));
            new.iter().for_each(|value| println!("+ {key}: {value}"));
        }
    })
}

/// `ros config schema`.
pub(super) fn schema() -> Result<()> {
    println!("{}", serde_json::to_string_pretty(&schema::json::schema())?);
    Ok(())
}

/// `ros config images`.
pub(super) fn images(input: Option<&Path>, output: Output) -> Result<()> {
    let merged = match input {
        Some(_) => {
            let (name, bytes) = read_input(input)?;
            Layer::parse_bytes(Source::File(name), &bytes).value
        }
        None => corral_config::merged(&load_layers()),
    };
    let mut images = match input {
        Some(_) => BTreeSet::new(),
        None => built_in::images(&Root::machine()),
    };
    for section in ["rancher.bootstrap", "rancher.services"] {
        let services = path::get(&merged, section).and_then(Value::as_object);
        let named = services
            .into_iter()
            .flatten()
            .filter_map(|(_, service)| service.get("image")?.as_str());
        images.extend(named.map(str::to_owned));
    }
    output.print(&images, |images| {
        println!("{}", images.iter().map(String::as_str).collect::<Vec<_>>().join(" "));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_of_cron_is_checked_with_its_line() {
        for labels in ["{cron.schedule: 99 * * * *}", "[\"cron.schedule=99 * * * *\"]"] {
            let text =
                format!("rancher:\n  services:\n    a:\n      image: i\n      labels: {labels}\n");
            let found = check_file("f.yml", text.as_bytes());
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            let start = "f.yml:5:15: rancher.services.a.labels: warning: label cron.schedule";
            assert!(found.iter().any(|line| line.starts_with(start)), "{found:?}");
        }
    }

    #[test]
    fn a_switch_that_no_source_sets_is_false_unless_its_default_is_true() {
        let layers = [
            corral_config::defaults(),
            Layer::parse(Source::File("f.yml".to_owned()), "rancher: {log: true}"),
        ];
        for (key, expected) in [
            ("rancher.debug", Value::Bool(false)),
            ("rancher.recovery", Value::Bool(false)),
            ("rancher.log", Value::Bool(true)),
            ("vendor_data.enabled", Value::Bool(true)),
            ("hostname", Value::Null),
            ("rancher.no.such.key", Value::Null),
        ] {
            assert_eq!(unset(&layers, key), expected, "{key}");
        }
    }

    #[test]
    fn a_key_that_no_source_sets_has_its_default() {
        let explained = |text: &str, key: &str| {
            let file = Layer::parse(Source::File("f.yml".to_owned()), text);
            let setting = unset_setting(&[corral_config::defaults(), file], key, "rancher");
            setting.map(|Setting { value, from }| format!("{value} from {from}"))
        };
        for (text, key, expected) in [
            ("", "hostname", "\"rancher\" from rancher.defaults.hostname; no source sets it"),
            (
                "rancher: {defaults: {hostname: box}}",
                "hostname",
                "\"rancher\" from the DHCP server, or the command hostname; no source sets it",
            ),
            ("fqdn: web.a.b", "hostname", "\"web\" from fqdn; no source sets it"),
            ("", "rancher.debug", "false from the default; no source sets it"),
            ("", "fqdn", "null from the default; no source sets it"),
        ] {
            assert_eq!(explained(text, key).unwrap(), expected, "{text} {key}");
        }
        let error = explained("", "rancher.no.such.key").unwrap_err().to_string();
        assert!(error.contains("`ros config schema` lists all keys"), "{error}");
    }

    #[test]
    fn warnings_of_the_users_services_have_their_place() {
        let text = "rancher:\n  services:\n    web:\n      image: i\n      deploy:\n        \
                    replicas: 2\n      networks: {a.b: {priority: 1}}\n      volumes:\n      \
                    - {target: /a, volume: {subpath: b}}\n";
        let shown: Vec<String> =
            check_file("f.yml", text.as_bytes()).iter().map(ToString::to_string).collect();
        let expected = [
            "f.yml:6:9: rancher.services.web.deploy.replicas: ",
            "f.yml:7:24: rancher.services.web.networks.a.b.priority: ",
            "f.yml:9:31: rancher.services.web.volumes[0].volume.subpath: ",
        ];
        assert_eq!(shown.len(), expected.len(), "{shown:?}");
        for (shown, expected) in shown.iter().zip(expected) {
            assert!(shown.starts_with(expected), "{shown} {expected}");
            assert!(shown.ends_with("has no effect for a service of the user's Docker"), "{shown}");
        }
    }

    #[test]
    fn warnings_of_system_services_have_their_place() {
        let text = "rancher:\n  environment: {A: a}\n  services:\n    web:\n      \
                    image: ${A}${B}\n      labels: {io.rancher.os.scope: system}\n      scale: 2\n";
        let shown: Vec<String> =
            check_file("f.yml", text.as_bytes()).iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), 1, "{shown:?}");
        assert!(shown[0].starts_with("f.yml:7:7: rancher.services.web: warning: "), "{shown:?}");
    }
}
