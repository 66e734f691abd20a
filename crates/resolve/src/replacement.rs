//! A replacement for the built-in console (`rancher.console`) or engine (`rancher.docker.engine`).
//! The built-in one stays active until the replacement's image is present and was checked: a
//! console's by a login in a container of its own. The built-in console also returns if no login
//! works in the replacement itself: a broken one locks no owner out.

use super::catalogue::Role;
use super::enabled::Enabled;
use super::engine_switch::Candidate;
use super::inputs::Inputs;
use super::last_engine::{LastEngine, Note};
use super::root::Root;
use super::switchable::{CONSOLE, ENGINE, SWITCHABLE, Switchable};
use super::{catalogue, console_images, engine_switch, engines, user_file};
use anyhow::{Context, Result};
use corral_config::Position;
use corral_config::error::{Problem, Severity};
use corral_engine::image::lookup;
use corral_plan::Service;
use corral_plan::compose::parse_with;
use corral_plan::service::{Pull, Source, Volume};
use std::path::Path;

/// Marks of images that passed the check, by image id.
pub const GOOD: &str = engines::MARKS;
/// A login has worked in the console that runs now.
pub const LOGIN_WORKED: &str = "/run/corral/console/login-worked";
/// A console in which no login worked in this boot: its name, and the reason.
pub const REFUSED: &str = "/run/corral/console/refused";
/// Our programs, in a console of another image.
const PROGRAMS: &str = "/usr/lib/corral";
/// Part of the names of marks. Another number has every image checked again.
const CHECK: &str = "login 1";
/// How often the persistent console was recreated on request.
pub const REBUILDS: &str = "/var/lib/rancher/conf/console-rebuilds";

/// The service that is configured instead of the built-in one, and the state of its image.
#[derive(Debug, Clone, PartialEq)]
struct Replacement {
    /// As it is configured.
    name: String,
    service: Service,
    /// Empty until the image is on this machine.
    image_id: String,
    is_checked: bool,
    /// It is defined by its image alone.
    is_image: bool,
}

/// Uses the replacements, or has their images checked first. Returns what to note of the engine.
pub(super) fn apply(
    services: &mut Vec<Service>,
    inputs: Inputs<'_>,
    problems: &mut Vec<Problem>,
) -> Note {
    let mut of_images = Vec::new();
    let mut note = Note::Keep;
    for switchable in SWITCHABLE {
        let of_this = choose(switchable, services, inputs, &mut of_images);
        if switchable.service == ENGINE.service {
            note = of_this;
        }
    }
    // Others have them from PID 1's resolver (`is_about_one`).
    if inputs.root.sees_images() {
        problems.extend(of_images);
    }
    note
}

/// Is it a problem of a replacement?
pub(super) fn is_about_one(problem: &Problem) -> bool {
    SWITCHABLE.iter().any(|switchable| switchable.key == problem.source)
}

fn choose(
    switchable: &Switchable,
    services: &mut Vec<Service>,
    inputs: Inputs<'_>,
    problems: &mut Vec<Problem>,
) -> Note {
    let (name, candidate) = &wanted(switchable, inputs);
    if switchable.guard.is_some()
        && let Some(reason) = refusal(&inputs.root.text(REFUSED), name)
    {
        problems.push(problem(switchable, Severity::Error, refused_text(name, reason)));
        put(switchable, services, None, None);
        return Note::Keep;
    }
    let found = load(switchable, name, candidate.as_ref(), inputs).and_then(|found| {
        let mark = on_trial(switchable, inputs.root, found.as_ref())?;
        if switchable.service == ENGINE.service {
            engines::arrange_trial(services, name, mark.as_deref());
        }
        Ok((found, mark))
    });
    let mut note = Note::Keep;
    match found {
        Ok((Some(found), mark)) if found.is_checked => {
            if mark.is_none() {
                note = found.note();
            }
            put(switchable, services, Some(found), None);
        }
        Ok((Some(unchecked), _)) => {
            let last = until_then(switchable, inputs);
            let text = unchecked_text(&unchecked.service.image, last.as_ref());
            problems.push(problem(switchable, Severity::Warning, text));
            put(switchable, services, Some(unchecked), last);
        }
        Ok((None, _)) if (switchable.is_built_in)(name) => {
            note = Note::Forget;
            put(switchable, services, None, None);
        }
        // Its file is being fetched.
        Ok((None, _)) => put(switchable, services, until_then(switchable, inputs), None),
        Err(error) => {
            let (instead, what) = instead_of(switchable, services, inputs);
            let text = format!("{error:#}; {what} is used");
            problems.push(problem(switchable, Severity::Warning, text));
            put(switchable, services, instead, None);
        }
    }
    note
}

impl Replacement {
    /// What to note when it runs, and has proved itself.
    fn note(&self) -> Note {
        let Replacement { service, image_id, .. } = self;
        match self.is_image {
            true => Note::Replace(LastEngine {
                image: service.image.clone(),
                image_id: image_id.clone(),
            }),
            false => Note::Forget,
        }
    }
}

fn unchecked_text(image: &str, last: Option<&Replacement>) -> String {
    let until = last.map_or("the built-in one", |last| last.name.as_str());
    format!(
        "the image {image} is not on this machine yet, or was not checked yet; {until} is used \
         until then"
    )
}

/// The name of what is to run, and the image that is tried under it.
fn wanted(switchable: &Switchable, inputs: Inputs<'_>) -> (String, Option<Candidate>) {
    let configured = (switchable.configured)(inputs.config);
    if switchable.service == ENGINE.service {
        return engine_switch::of_this_boot(inputs.root, configured);
    }
    let before = Enabled::until_next_boot(inputs.root, switchable.service, configured);
    (before.unwrap_or_else(|| configured.to_owned()), None)
}

fn problem(switchable: &Switchable, severity: Severity, text: String) -> Problem {
    Problem::new(severity, switchable.key, Position::default(), "", text)
}

/// Why the console of that name was refused in this boot.
pub fn refusal<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (refused, reason) = text.split_once('\n')?;
    (refused == name).then_some(reason.trim_end())
}

fn refused_text(name: &str, reason: &str) -> String {
    format!(
        "the console {name} was tried and is not used: {reason}; sudo ros console switch {name} \
         tries it again, rancher.force_console_rebuild gives it a new file system"
    )
}

/// The mark of an engine that has not proved itself yet. An error if it has failed.
fn on_trial(
    switchable: &Switchable,
    root: &Root,
    found: Option<&Replacement>,
) -> Result<Option<String>> {
    let is_engine = switchable.service == ENGINE.service;
    let Some(found) = found.filter(|found| is_engine && found.is_checked) else { return Ok(None) };
    let mark = mark(switchable, &found.image_id);
    Ok(engines::is_on_trial(root, &mark)?.then_some(mark))
}

/// What runs where the configured one cannot: of engines the one before, if it has proved itself.
fn instead_of(
    switchable: &Switchable,
    services: &mut Vec<Service>,
    inputs: Inputs<'_>,
) -> (Option<Replacement>, String) {
    let ours = (None, "the built-in one".to_owned());
    if switchable.service != ENGINE.service {
        return ours;
    }
    engines::arrange_trial(services, "", None);
    if let Some(last) = until_then(switchable, inputs) {
        let what = format!("the engine {}", last.name);
        return (Some(last), what);
    }
    let before = engines::before(inputs.root);
    match load(switchable, &before, None, inputs) {
        Ok(Some(found))
            if matches!(on_trial(switchable, inputs.root, Some(&found)), Ok(None))
                && found.is_checked =>
        {
            (Some(found), format!("the engine {before}"))
        }
        _ => ours,
    }
}

/// The engine that runs while another one is fetched and checked; None for the built-in one. Its
/// image must be here, and must have proved itself.
fn until_then(switchable: &Switchable, inputs: Inputs<'_>) -> Option<Replacement> {
    if switchable.service != ENGINE.service {
        return None;
    }
    let LastEngine { image, image_id } = LastEngine::load(inputs.root)?;
    let is_proven = !engines::is_on_trial(inputs.root, &mark(switchable, &image_id)).ok()?;
    if !is_proven || lookup::find(&image_id).is_err() {
        return None;
    }
    let text = engines::compose(&image).ok()?;
    let service = parse_with(&image, &text, inputs.environment).ok()?.services.pop()?;
    let own = image.strip_prefix(engines::REPOSITORY).and_then(|rest| rest.strip_prefix(':'));
    let name = own.unwrap_or(&image).to_owned();
    Some(Replacement { name, service, image_id, is_checked: true, is_image: true })
}

/// The replacement of that name; None for the built-in one, or until its file is fetched.
fn load(
    switchable: &Switchable,
    name: &str,
    candidate: Option<&Candidate>,
    inputs: Inputs<'_>,
) -> Result<Option<Replacement>> {
    let Inputs { root, environment, .. } = inputs;
    if (switchable.is_built_in)(name) {
        return Ok(None);
    }
    let Some(Definition { text, is_image }) = definition(switchable, name, inputs)? else {
        return Ok(None);
    };
    let mut services = parse_with(name, &text, environment)?.services;
    services.retain(|service| service.name.as_str() == switchable.service);
    let service = services
        .pop()
        .with_context(|| format!("{name} defines no service {}", switchable.service))?;
    // By its id: another image of the same name must be checked too.
    let tried = candidate.and_then(|candidate| lookup::find(&candidate.image_id).ok());
    let image = tried.or_else(|| lookup::find(&service.image).ok());
    let image_id = image.map(|image| image.id).unwrap_or_default();
    let mark = Path::new(GOOD).join(mark(switchable, &image_id));
    let is_checked = !image_id.is_empty() && root.exists(mark);
    Ok(Some(Replacement { name: name.to_owned(), service, image_id, is_checked, is_image }))
}

/// A compose file.
struct Definition {
    text: String,
    /// It was made for an image.
    is_image: bool,
}

/// Its compose file; None until it is fetched. An image needs none of its own.
fn definition(
    switchable: &Switchable,
    name: &str,
    inputs: Inputs<'_>,
) -> Result<Option<Definition>> {
    let of_file = |text| Some(Definition { text, is_image: false });
    if let Some(file) = catalogue::cached(inputs.root, name, inputs.config) {
        return user_file::read(inputs.root, &file).map(of_file);
    }
    if let Some(image) = (switchable.image)(name, inputs.config) {
        let text = match switchable.service == ENGINE.service {
            true => engines::compose(&image)?,
            false => console_images::file(name, &image),
        };
        return Ok(Some(Definition { text, is_image: true }));
    }
    let role = Role::Replacement(switchable);
    let Some(file) = catalogue::find(inputs.root, name, role, inputs.config)? else {
        return Ok(None);
    };
    user_file::read(inputs.root, &file).map(of_file)
}

/// `last` is used until the replacement is checked.
fn put(
    switchable: &Switchable,
    services: &mut Vec<Service>,
    replacement: Option<Replacement>,
    last: Option<Replacement>,
) {
    let mut drop_service = |name| services.retain(|service| service.name.as_str() != name);
    match replacement {
        None => {
            drop_service(switchable.check);
            switchable.guard.into_iter().for_each(drop_service);
        }
        Some(checked) if checked.is_checked => {
            drop_service(switchable.check);
            use_instead(switchable, services, &checked);
        }
        Some(unchecked) => {
            switchable.guard.into_iter().for_each(drop_service);
            have_checked(switchable, services, &unchecked);
            last.iter().for_each(|last| use_instead(switchable, services, last));
        }
    }
}

fn use_instead(switchable: &Switchable, services: &mut [Service], replacement: &Replacement) {
    let Replacement { name, service: other, image_id, .. } = replacement;
    for service in services {
        if service.name.as_str() == switchable.service {
            *service = in_place_of(service, pinned(other.clone(), image_id));
        } else if Some(service.name.as_str()) == switchable.guard {
            service.command = Some(vec!["console-guard".to_owned(), name.clone()]);
        }
    }
}

fn have_checked(switchable: &Switchable, services: &mut [Service], replacement: &Replacement) {
    let Replacement { service: other, image_id, .. } = replacement;
    let mark = mark(switchable, image_id);
    let words = ["image-check", switchable.service, mark.as_str()].map(str::to_owned);
    for check in services.iter_mut().filter(|service| service.name.as_str() == switchable.check) {
        check.image.clone_from(&other.image);
        check.command = Some(words.to_vec());
        if !image_id.is_empty() {
            *check = pinned(check.clone(), image_id);
        }
    }
}

/// Name of the file that marks an image as checked. Empty without an id, because the image has to
/// be fetched first.
pub fn mark(switchable: &Switchable, id: &str) -> String {
    if id.is_empty() {
        return String::new();
    }
    catalogue::digest(&format!("{} {CHECK} {id}", switchable.service))
}

/// Pins the service to this image, even if its name moves to another one.
fn pinned(service: Service, id: &str) -> Service {
    Service { image_id: id.to_owned(), pull: Pull::Never, ..service }
}

/// The replacement gets all that the built-in service has, even against its own file. Without that
/// it could not do what the rest of the system needs.
fn in_place_of(ours: &Service, mut other: Service) -> Service {
    if other.entrypoint.is_none() && other.command.is_none() {
        other.entrypoint = ours.command.clone();
        other.command = Some(Vec::new());
    }
    let is_there =
        |target: &str, all: &Service| all.volumes.iter().any(|volume| volume.target == target);
    let missing = ours.volumes.iter().filter(|volume| !is_there(&volume.target, &other));
    let missing: Vec<_> = missing.cloned().collect();
    other.volumes.extend(missing);
    if ours.name.as_str() == CONSOLE.service {
        other.volumes.retain(|volume| volume.target != PROGRAMS);
        other.volumes.push(programs());
    }
    other.environment.splice(0..0, ours.environment.iter().cloned());
    other.privileged = true;
    other.network = ours.network.clone();
    (other.pid, other.ipc, other.uts) = (ours.pid.clone(), ours.ipc.clone(), ours.uts.clone());
    other.restart = ours.restart;
    // Settings that could keep it from starting, or its owner from logging in.
    other.depends_on = ours.depends_on.clone();
    other.profiles = ours.profiles.clone();
    // It sees the host's /dev.
    other.devices.clear();
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

/// Our programs in a console of another image: these let the owner in.
fn programs() -> Volume {
    Volume {
        source: Source::Path(PROGRAMS.to_owned()),
        target: PROGRAMS.to_owned(),
        read_only: true,
        shared: false,
        must_exist: true,
        optional: false,
    }
}

/// Names the file system that a service keeps across restarts of the machine, if its label requests
/// it.
pub(super) fn keep(root: &Root, service: &mut Service) {
    if service.labels.rebuild != Some(false) {
        return;
    }
    let identity = service.label_map.get("io.rancher.os.console").cloned().unwrap_or_default();
    let rebuilds = match service.name.as_str() {
        "console" => root.text(REBUILDS),
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
            "console: {image: a, command: [ros, console-init], privileged: true, \
             network_mode: host, pid: host, restart: always, \
             volumes: ['/run:/run', '/home:/home'], labels: {io.rancher.os.after: cloud-init}}",
        );
        let other = service(
            "console: {image: b, volumes: ['/data/home:/home'], \
             labels: {io.rancher.os.after: network, io.docker.compose.rebuild: 'false'}}",
        );
        let mut merged = in_place_of(&ours, other);
        assert_eq!((merged.image.as_str(), merged.privileged), ("b", true));
        assert_eq!(merged.entrypoint, ours.command);
        let targets: Vec<&str> = merged.volumes.iter().map(|v| v.target.as_str()).collect();
        assert_eq!(targets, ["/home", "/run", PROGRAMS], "its own /home, our /run and programs");
        assert_eq!(merged.labels.after, ["network", "cloud-init"]);
        keep(&Root::machine(), &mut merged);
        assert!(merged.keep.starts_with("console-"), "{}", merged.keep);
    }

    #[test]
    fn nothing_in_its_file_keeps_another_console_from_being_started_as_root() {
        let ours = service("console: {image: a, command: [ros, console-init], privileged: true}");
        let other = service(
            "services: {console: {image: b, profiles: [never], read_only: true, user: '1000', \
             devices: [/dev/nothing], \
             security_opt: ['no-new-privileges:true'], \
             depends_on: {db: {condition: service_healthy}}, \
             labels: {io.rancher.os.createonly: 'true'}}}",
        );
        assert!(other.labels.create_only && other.read_only && !other.profiles.is_empty());
        let merged = in_place_of(&ours, other);
        assert_eq!(merged.user, "0");
        assert!(!merged.labels.create_only && !merged.read_only && merged.devices.is_empty());
        assert!(
            merged.profiles.is_empty()
                && merged.depends_on.is_empty()
                && merged.security_opt.is_empty()
        );
    }

    /// The services after the console was replaced by that image.
    fn with_replacement(image_id: &str, is_checked: bool) -> Vec<Service> {
        let mut services = vec![
            service("console: {image: ours, command: [ros, console-init]}"),
            service("console-check: {image: none}"),
            service("console-guard: {image: guard}"),
        ];
        let other = service("console: {image: other}");
        let (name, image_id) = ("site".to_owned(), image_id.to_owned());
        let replacement =
            Replacement { name, service: other, image_id, is_checked, is_image: true };
        put(&CONSOLE, &mut services, Some(replacement), None);
        services
    }

    #[test]
    fn a_refused_console_is_not_used_and_another_is() {
        let text = "debian:trixie\nno login worked\n";
        assert_eq!(refusal(text, "debian:trixie"), Some("no login worked"));
        assert_eq!((refusal(text, "debian"), refusal("", "")), (None, None));
        assert!(refused_text("site", "x").contains("ros console switch site"));
    }

    #[test]
    fn ours_stays_until_the_image_of_the_replacement_is_here_and_checked() {
        let seen = |services: &[Service]| -> Vec<(String, String, String)> {
            let seen = |service: &Service| {
                (service.name.to_string(), service.image.clone(), service.image_id.clone())
            };
            services.iter().map(seen).collect()
        };
        let rows = |rows: &[(&str, &str, &str)]| -> Vec<(String, String, String)> {
            rows.iter()
                .map(|(a, b, c)| ((*a).to_owned(), (*b).to_owned(), (*c).to_owned()))
                .collect()
        };
        let fetched = with_replacement("", false);
        assert_eq!(
            seen(&fetched),
            rows(&[("console", "ours", ""), ("console-check", "other", "")])
        );
        assert_eq!(
            fetched[1].command.as_deref().unwrap_or_default(),
            ["image-check", "console", ""]
        );
        let unchecked = with_replacement("sha256:1", false);
        assert_eq!(
            seen(&unchecked),
            rows(&[("console", "ours", ""), ("console-check", "other", "sha256:1")])
        );
        let mark = &unchecked[1].command.as_deref().unwrap_or_default()[2];
        assert_eq!(*mark, catalogue::digest("console login 1 sha256:1"));
        assert_eq!(
            seen(&with_replacement("sha256:1", true)),
            rows(&[("console", "other", "sha256:1"), ("console-guard", "guard", "")])
        );
        let mut services = vec![service("console-check: {image: none}")];
        put(&CONSOLE, &mut services, None, None);
        assert!(services.is_empty(), "without a replacement nothing is checked");
    }
}
