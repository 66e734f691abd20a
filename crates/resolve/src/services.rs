//! The services of the system image and the owner's, as a plan. A wrong file affects only itself.

use super::catalogue::Role;
use super::cloud_init::{CloudInitMark, local_sources, needs_network};
use super::inputs::Inputs;
use super::last_engine::Note;
use super::preload;
use super::problem;
use super::root::Root;
use super::stopped::{STARTER, Stopped};
use super::{built_in, catalogue, replacement, user_file};
use corral_config::error::{Problem, Severity};
use corral_config::layer::Layer;
use corral_config::{Position, yaml};
use corral_docker::Engine;
use corral_engine::image::lookup;
use corral_engine::signal::Signal;
use corral_engine::spec::MacAddress;
use corral_init::boot::state;
use corral_machine::boot_partition::booted;
use corral_machine::growth;
use corral_plan::compose::{self, ComposeError, ServiceFile, parse_tree, parse_with};
use corral_plan::cron;
use corral_plan::labels::{self, Scope};
use corral_plan::resolved::Environment;
use corral_plan::service::Pull;
use corral_plan::{Plan, Service, user_service};
use serde_json::Value;
use std::path::Path;

/// The service that loads the owner's preloaded images.
const PRELOAD: &str = "preload-system-images";

/// The plan of this machine, and what to note of its engine.
pub(super) fn plan(
    inputs: Inputs<'_>,
    layers: &[Layer],
    problems: &mut Vec<Problem>,
) -> (Plan, Note) {
    let Inputs { root, config, environment } = inputs;
    let mut services = built_in::load(root, environment, problems);
    built_in::amend_by_config(&mut services, layers, environment, problems);
    let (system, user): (Vec<_>, Vec<_>) =
        config.rancher.services.iter().partition(|(_, definition)| is_of_system(definition));
    for (name, definition) in system {
        let one = serde_json::Map::from_iter([(name.clone(), definition.clone())]);
        let text = yaml::to_string(&Value::Object(one)).unwrap_or_default();
        add(
            &mut services,
            parse_with(&format!("rancher.services.{name}"), &text, environment),
            problems,
        );
    }
    for (name, definition) in &user {
        problems.extend(problems_of_user_service(name, definition));
    }
    for place in catalogue::included(root, config) {
        include(&mut services, &place, inputs, problems);
    }
    let engine = replacement::apply(&mut services, inputs, problems);
    services.retain(|service| is_needed(service.name.as_str(), inputs, layers, !user.is_empty()));
    services.retain(|service| compose::is_active(&service.profiles, environment));
    for service in &mut services {
        if service.name.as_str() == catalogue::FETCHER {
            // Another list makes it a different service, so that it runs again.
            service
                .environment
                .push(format!("WANTED={}", catalogue::remote(root, config).concat().join(" ")));
        }
        find_image(service);
        replacement::keep(root, service);
        read_env_files(root, service, problems);
    }
    (build(services, problems), engine)
}

/// Adds a compose file of the owner's: system services, but not those of the user's Docker.
fn include(
    services: &mut Vec<Service>,
    place: &str,
    inputs: Inputs<'_>,
    problems: &mut Vec<Problem>,
) {
    let Inputs { root, config, environment } = inputs;
    let source = format!("rancher.services_include.{place}");
    let file = match catalogue::find(root, place, Role::Service, config) {
        Ok(Some(file)) => file,
        // It is being fetched.
        Ok(None) => return,
        Err(error) => return problems.push(problem::error(&source, &format!("{error:#}"))),
    };
    let text = match user_file::read(root, &file) {
        Ok(text) => text,
        Err(error) => return problems.push(problem::error(&source, &format!("{error:#}"))),
    };
    let parsed = match yaml::parse(&text) {
        Ok(tree) => {
            let rest = built_in::amend_by_file(services, (place, tree), environment, problems);
            parse_tree(place, &rest, environment)
        }
        // Parsed again for its error message.
        Err(_) => parse_with(place, &text, environment),
    };
    add(services, parsed.map(|file| only_of_system(file, &text)), problems);
}

fn only_of_system(mut file: ServiceFile, text: &str) -> ServiceFile {
    let of_user = catalogue::names_of_user(text);
    file.services.retain(|service| !of_user.contains(&service.name.to_string()));
    file.services.iter_mut().for_each(|service| service.labels.system = true);
    file
}

/// Images in the system image are never pulled. Other services wait for the preloaded images, and
/// for the network.
fn find_image(service: &mut Service) {
    if lookup::is_embedded(&service.image) {
        service.pull = Pull::Never;
    } else {
        service.labels.after.push(PRELOAD.to_owned());
        if service.pull != Pull::Never {
            service.labels.after.push("network".to_owned());
        }
    }
}

fn read_env_files(root: &Root, service: &mut Service, problems: &mut Vec<Problem>) {
    let mut read = Vec::new();
    for file in &service.env_files {
        match user_file::read(root, Path::new(&file.path)) {
            Ok(text) => read.extend(compose::env_file(&text)),
            Err(_) if !file.required => {}
            Err(error) => problems.push(problem::error(
                &format!("rancher.services.{}", service.name),
                &format!("env_file: {error:#}"),
            )),
        }
    }
    // The service's own variables override those of its files.
    service.environment.splice(0..0, read);
}

/// What is wrong with a service of the user's Docker, as far as its definition alone shows it: its
/// variables are not put in.
pub fn problems_of_user_service(name: &str, definition: &Value) -> Vec<Problem> {
    let source = format!("rancher.services.{name}");
    let problem = |severity, key: &str, text: String| {
        Problem::new(severity, &source, Position::default(), key, text)
    };
    match user_service::parse(name, definition, &Environment::new()) {
        Ok(service) => service
            .ignored
            .iter()
            .map(|key| {
                let text = "has no effect for a service of the user's Docker".to_owned();
                problem(Severity::Warning, key, text)
            })
            .collect(),
        Err(error) => vec![problem(Severity::Error, "", error)],
    }
}

/// Services of the user's Docker are run by Docker, not by PID 1.
pub fn is_of_system(definition: &Value) -> bool {
    labels::scope(definition) == Some(Scope::System)
}

/// Services that prepare the boot run only if this boot needs them.
fn is_needed(name: &str, inputs: Inputs<'_>, layers: &[Layer], has_user_services: bool) -> bool {
    let Inputs { root, config, .. } = inputs;
    match name {
        "cloud-init" => !local_sources(config).is_empty(),
        "cloud-init-network" => needs_network(root, config, layers),
        "imported-keys" => CloudInitMark::load(root).keys_are_late,
        "ntp" => config.ntp.enabled,
        "bootcmd" => !config.bootcmd.is_empty(),
        "cloud-init-execute" => {
            !config.rancher.resize_device.is_empty()
                || !config.rancher.restart_services.is_empty()
                || growth::is_wanted(&root.path(state::STATE_VIEW))
        }
        "user-services" => has_user_services,
        PRELOAD => !preload::waiting(Engine::System, root).is_empty(),
        "preload-user-images" => !preload::waiting(Engine::User, root).is_empty(),
        catalogue::FETCHER => !catalogue::missing(root, config).is_empty(),
        "os-trial" => booted::is_on_trial(),
        STARTER => Stopped::of_earlier_boot(root).is_some(),
        _ => true,
    }
}

/// Builds the plan. Dependency cycles of the owner's services are broken and reported, so that no
/// service is lost.
fn build(services: Vec<Service>, problems: &mut Vec<Problem>) -> Plan {
    let (plan, cycles) = Plan::new(services);
    plan.services.iter().for_each(|service| check_values(service, problems));
    let report = |text: &str| problem::error("rancher.services", text);
    problems.extend(cycles.shown.iter().map(|cycle| report(&cycle.to_string())));
    if cycles.more > 0 {
        problems.push(report(&format!("{} more dependency cycles were broken", cycles.more)));
    }
    problems.extend(plan.missing().iter().map(|missing| {
        let text = format!(
            "{} needs {}, which is not a service of this machine; it starts without it",
            missing.service, missing.needs
        );
        let source = format!("rancher.services.{}", missing.service);
        Problem::new(Severity::Warning, &source, Position::default(), "", text)
    }));
    plan
}

/// Checks values that the plan keeps as text, and only the engine parses.
fn check_values(service: &Service, problems: &mut Vec<Problem>) {
    let source = format!("service {}", service.name);
    let mut warn = |key: &str, text: String| {
        problems.push(Problem::new(Severity::Warning, &source, Position::default(), key, text));
    };
    if !service.stop_signal.is_empty()
        && let Err(error) = service.stop_signal.parse::<Signal>()
    {
        warn("stop_signal", format!("{error}; SIGTERM is sent"));
    }
    if let Some(Err(error)) = cron::job::parse(&service.label_map) {
        warn("labels", format!("{error}; it is not started by it"));
    }
    if !service.mac_address.is_empty()
        && let Err(error) = service.mac_address.parse::<MacAddress>()
    {
        warn("mac_address", format!("{error}; the address of a card is chosen"));
    }
}

fn add(
    services: &mut Vec<Service>,
    file: Result<ServiceFile, ComposeError>,
    problems: &mut Vec<Problem>,
) {
    match file {
        Ok(file) => {
            for service in file.services {
                services.retain(|other| other.name != service.name);
                services.push(service);
            }
            problems.extend(
                file.warnings.iter().map(|warning| from_compose(warning, Severity::Warning)),
            );
        }
        Err(error) => problems.push(from_compose(&error, Severity::Error)),
    }
}

fn from_compose(error: &ComposeError, severity: Severity) -> Problem {
    let at = Position { line: error.line, column: error.column };
    Problem::new(severity, &error.file, at, "", error.message.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_user_services_without_effect_are_warnings() {
        let definition = serde_json::json!({"image": "${IMAGE}", "scale": 2, "restart": "always"});
        let shown: Vec<String> =
            problems_of_user_service("web", &definition).iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            ["rancher.services.web: scale: warning: has no effect for a service of the user's \
                 Docker"]
        );
        let shown = problems_of_user_service("web", &serde_json::json!({}));
        assert_eq!(shown[0].to_string(), "rancher.services.web: web: image is missing");
    }

    #[test]
    fn values_that_only_the_engine_can_read_are_checked() {
        let text = "s: {image: i, stop_signal: SIGNOTHING, mac_address: '02:42'}\n\
                    t: {image: i, stop_signal: SIGRTMIN+3, labels: {cron.schedule: '* * *'}}";
        let mut problems = Vec::new();
        build(corral_plan::compose::parse("f", text).unwrap().services, &mut problems);
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), 3, "{shown:?}");
        assert!(
            shown[0].starts_with("service s: stop_signal: warning: \"SIGNOTHING\" is not a signal"),
            "{shown:?}"
        );
        assert!(shown[1].contains("mac_address"), "{shown:?}");
        assert!(shown[2].contains("label cron.schedule: \"* * *\": it has 3 fields"), "{shown:?}");
    }
}
