//! A replacement for the built-in console (`rancher.console`) or engine (`rancher.docker.engine`).
//! The built-in one stays active until the replacement's compose file and image are present and the
//! image check has found the programs that it needs: a broken replacement locks no owner out.

use super::{catalogue, user_file};
use anyhow::{Context, Result};
use corral_config::Config;
use corral_config::Position;
use corral_config::error::{Problem, Severity};
use corral_engine::image::lookup;
use corral_plan::Service;
use corral_plan::compose::parse_with;
use corral_plan::resolved::Environment;
use corral_plan::service::Pull;
use std::fs;
use std::path::Path;

/// Images that were checked and are good, each by its id.
pub(crate) const GOOD: &str = "/var/lib/rancher/cache/images";
/// How often the persistent console was made anew on request.
pub(crate) const REBUILDS: &str = "/var/lib/rancher/conf/console-rebuilds";

/// A service that may be replaced.
#[derive(Debug)]
pub(crate) struct Switchable {
    pub(crate) service: &'static str,
    /// The service that looks into the image of another one.
    pub(crate) check: &'static str,
    pub(crate) key: &'static str,
    /// What the configuration says.
    pub(crate) configured: fn(&Config) -> &str,
}

pub(crate) const CONSOLE: Switchable = Switchable {
    service: "console",
    check: "console-check",
    key: "rancher.console",
    configured: |config| &config.rancher.console,
};

pub(crate) const ENGINE: Switchable = Switchable {
    service: "docker",
    check: "engine-check",
    key: "rancher.docker.engine",
    configured: |config| &config.rancher.docker.engine,
};

/// Puts what the configuration names in the place of ours, or has it looked into first.
pub(super) fn apply(
    services: &mut Vec<Service>,
    config: &Config,
    environment: &Environment,
    problems: &mut Vec<Problem>,
) {
    for switchable in [&CONSOLE, &ENGINE] {
        let found = switchable.find(config, environment).unwrap_or_else(|error| {
            let text = format!("{error:#}: what is part of the system is used");
            problems.push(Problem::new(Severity::Warning, switchable.key, Position::default(), "", text));
            None
        });
        switchable.put(services, found);
    }
}

impl Switchable {
    /// The other service; None if ours is meant, or as long as its file is being fetched.
    fn find(&self, config: &Config, environment: &Environment) -> Result<Option<Service>> {
        let Some(place) = catalogue::other((self.configured)(config)) else { return Ok(None) };
        let Some(file) = catalogue::find(place, config)? else { return Ok(None) };
        let text = user_file::read(&file)?;
        let mut services = parse_with(place, &text, environment)?.services;
        services.retain(|service| service.name.as_str() == self.service);
        services.pop().map(Some).with_context(|| format!("{place} defines no service {}", self.service))
    }

    fn put(&self, services: &mut Vec<Service>, other: Option<Service>) {
        let Some(other) = other else {
            return services.retain(|service| service.name.as_str() != self.check);
        };
        // By its id: another image of the same name is another image, and is checked too.
        let id = lookup::find(&other.image).map(|image| image.id).unwrap_or_default();
        let mark = mark(self.service, &id);
        if Path::new(GOOD).join(&mark).exists() && !id.is_empty() {
            services.retain(|service| service.name.as_str() != self.check);
            for ours in services.iter_mut().filter(|service| service.name.as_str() == self.service) {
                *ours = in_place_of(ours, pinned(other.clone(), &id));
            }
            return;
        }
        let words = vec!["image-check".to_owned(), self.service.to_owned(), mark];
        for check in services.iter_mut().filter(|service| service.name.as_str() == self.check) {
            check.image.clone_from(&other.image);
            check.command = Some(words.clone());
            if !id.is_empty() {
                *check = pinned(check.clone(), &id);
            }
        }
    }
}

/// The name of the file that says that an image was checked. Without an id there is none yet: it has to be fetched.
fn mark(service: &str, id: &str) -> String {
    if id.is_empty() { String::new() } else { catalogue::digest(&format!("{service} {id}")) }
}

/// That image and no other, also if its name is given to another one meanwhile.
fn pinned(service: Service, id: &str) -> Service {
    Service { image_id: id.to_owned(), pull: Pull::Never, ..service }
}

/// Whatever its file says, it gets all that ours has: without that it could not do what the rest of the system asks of it.
fn in_place_of(ours: &Service, mut other: Service) -> Service {
    if other.entrypoint.is_none() && other.command.is_none() {
        other.entrypoint = ours.command.clone();
        other.command = Some(Vec::new());
    }
    let is_there = |target: &str, all: &Service| all.volumes.iter().any(|volume| volume.target == target);
    let missing = ours.volumes.iter().filter(|volume| !is_there(&volume.target, &other));
    let missing: Vec<_> = missing.cloned().collect();
    other.volumes.extend(missing);
    other.environment.splice(0..0, ours.environment.iter().cloned());
    other.privileged = true;
    other.network = ours.network.clone();
    (other.pid, other.ipc, other.uts) = (ours.pid.clone(), ours.ipc.clone(), ours.uts.clone());
    other.restart = ours.restart;
    // What would keep it from being started, or from letting anybody in.
    other.depends_on = ours.depends_on.clone();
    other.profiles = ours.profiles.clone();
    other.labels.create_only = ours.labels.create_only;
    other.user = "0".to_owned();
    other.read_only = ours.read_only;
    other.cap_drop = ours.cap_drop.clone();
    other.security_opt = ours.security_opt.clone();
    other.labels.system = true;
    other.labels.detach = true;
    other.labels.kill_mode = ours.labels.kill_mode;
    other.labels.after.extend(ours.labels.after.iter().cloned());
    other
}

/// Names the file system that a service keeps over restarts of the machine, where its label asks for that.
pub(super) fn keep(service: &mut Service) {
    if service.labels.rebuild != Some(false) {
        return;
    }
    let identity = service.label_map.get("io.rancher.os.console").cloned().unwrap_or_default();
    let rebuilds = match service.name.as_str() {
        "console" => fs::read_to_string(REBUILDS).unwrap_or_default(),
        _ => String::new(),
    };
    let digest = catalogue::digest(&format!("{} {identity} {}", service.image, rebuilds.trim()));
    service.keep = format!("{}-{}", service.name, digest.get(..16).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_plan::compose::parse;

    fn service(text: &str) -> Service {
        parse("f", text).unwrap().services.remove(0)
    }

    #[test]
    fn another_console_has_all_that_ours_has() {
        let ours = service(
            "console: {image: a, command: [ros, console-init], privileged: true, network_mode: host, pid: host, restart: always, volumes: ['/run:/run', '/home:/home'], labels: {io.rancher.os.after: cloud-init}}",
        );
        let other = service(
            "console: {image: b, volumes: ['/data/home:/home'], labels: {io.rancher.os.after: network, io.docker.compose.rebuild: 'false'}}",
        );
        let mut merged = in_place_of(&ours, other);
        assert_eq!((merged.image.as_str(), merged.privileged), ("b", true));
        assert_eq!(merged.entrypoint, ours.command);
        assert_eq!(merged.volumes.len(), 2, "its own /home, our /run");
        assert_eq!(merged.labels.after, ["network", "cloud-init"]);
        keep(&mut merged);
        assert!(merged.keep.starts_with("console-"), "{}", merged.keep);
    }

    #[test]
    fn nothing_in_its_file_keeps_another_console_from_being_started_as_root() {
        let ours = service("console: {image: a, command: [ros, console-init], privileged: true}");
        let other = service(
            "services: {console: {image: b, profiles: [never], read_only: true, user: '1000', security_opt: ['no-new-privileges:true'], depends_on: {db: {condition: service_healthy}}, labels: {io.rancher.os.createonly: 'true'}}}",
        );
        assert!(other.labels.create_only && other.read_only && !other.profiles.is_empty());
        let merged = in_place_of(&ours, other);
        assert_eq!(merged.user, "0");
        assert!(!merged.labels.create_only && !merged.read_only);
        assert!(merged.profiles.is_empty() && merged.depends_on.is_empty() && merged.security_opt.is_empty());
    }
}
