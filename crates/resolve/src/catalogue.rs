//! Service files that are added to the system's: by path, by URL, or by name. A name is looked up
//! in the catalogue of the system image, then in the repositories (`rancher.repositories`, at
//! `<url>/<first letter>/<name>.yml`). A fetched file is cached, and used from then on.

use super::root::Root;
use super::switchable::{SWITCHABLE, Switchable};
use super::{built_in, engines, shipped, user_file};
use anyhow::{Result, bail};
use corral_config::Config;
use corral_config::schema::did_you_mean;
use corral_config::yaml::{self, Kind, Node};
use corral_machine::hypervisor::Facts;
use corral_plan::labels::{self, Scope};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Cached files, named by the digest of their URL, in a folder that RancherOS had as well. A
/// deleted file is fetched again.
const CACHE: &str = "/var/lib/rancher/cache";
/// The service that fetches missing files.
pub(crate) const FETCHER: &str = "service-files";
/// RancherOS's service for schedules of the user's Docker. `system-cron` does that here.
pub const CRONTAB: &str = "crontab";
/// Services of RancherOS's catalogue that are part of the system here.
pub const IS_BUILT_IN: [&str; 1] = [CRONTAB];
/// Names of the built-in console and engine.
const OURS: [&str; 2] = ["", "default"];

/// What a service file is for: messages about its name show where such names are listed.
#[derive(Debug, Clone, Copy)]
pub enum Role<'a> {
    /// It is added to the system's services.
    Service,
    /// It replaces the built-in console or engine.
    Replacement(&'a Switchable),
}

impl Role<'_> {
    /// The command that lists such names.
    pub fn list(self) -> String {
        match self {
            Role::Service => "`ros service list`".to_owned(),
            Role::Replacement(switchable) => format!("`ros {} list`", switchable.what),
        }
    }

    /// What to add to the message about a name: the one that was probably meant.
    pub fn near(self, root: &Root, name: &str) -> String {
        let names: Vec<String> = match self {
            Role::Service => shipped::entries(root).into_iter().map(|entry| entry.name).collect(),
            Role::Replacement(switchable) => {
                let stock = switchable.stock.iter().map(|(name, _)| *name);
                stock.chain(["default"]).map(str::to_owned).collect()
            }
        };
        did_you_mean(name, names.iter().map(String::as_str))
    }

    /// About a name that this machine does not know, and that no repository can have.
    fn unknown(self, root: &Root, name: &str) -> String {
        let what = match self {
            Role::Service => "not in the catalogue of the system".to_owned(),
            Role::Replacement(switchable) => format!("no {} of this system", switchable.what),
        };
        let (list, near) = (self.list(), self.near(root, name));
        format!("{name} is {what} ({list}), and rancher.repositories names no other source{near}")
    }
}

/// Files whose services are added to the system's.
pub(super) fn included(root: &Root, config: &Config) -> Vec<String> {
    let rancher = &config.rancher;
    let enabled = rancher
        .services_include
        .iter()
        .filter(|(place, enabled)| **enabled && !IS_BUILT_IN.contains(&place.as_str()));
    let mut places: Vec<String> = enabled.map(|(place, _)| place.clone()).collect();
    places.extend(agent(root, config).map(str::to_owned));
    places
}

/// The agent that the hypervisor of this machine talks to. The owner's word about a service of that
/// name comes first.
pub fn agent(root: &Root, config: &Config) -> Option<&'static str> {
    let rancher = &config.rancher;
    if !rancher.hypervisor_service {
        return None;
    }
    let is_named = |agent: &&str| {
        rancher.services_include.contains_key(*agent) || rancher.services.contains_key(*agent)
    };
    Facts::load(&root.path("/")).agent().filter(|agent| !is_named(agent))
}

/// The services of a compose file for the user's Docker, not for the system engine. These are the
/// services that declare it. In files of compose version 1 (RancherOS's own) also the services that
/// declare nothing.
fn of_user(file: &Node) -> impl Iterator<Item = &(String, Node)> {
    let services = file.get("services");
    let unsaid = if services.is_some() { Scope::System } else { Scope::User };
    let items = match &services.unwrap_or(file).kind {
        Kind::Mapping(items) => items.as_slice(),
        _ => &[],
    };
    items.iter().filter(move |(_, definition)| {
        labels::scope(&definition.to_value()).unwrap_or(unsaid) == Scope::User
    })
}

/// Their names.
pub fn names_of_user(file: &str) -> Vec<String> {
    let tree = yaml::parse(file).unwrap_or_else(|_| Node::null());
    of_user(&tree).map(|(name, _)| name.clone()).collect()
}

/// Adds those of the included files to the services of the configuration. Unreadable files are
/// reported elsewhere.
pub(super) fn add_of_user(root: &Root, config: &mut Config) {
    let places = included(root, config);
    if places.is_empty() {
        return;
    }
    let built_in = built_in::names(root);
    for place in places {
        let Ok(Some(file)) = find(root, &place, Role::Service, config) else { continue };
        let Ok(text) = user_file::read(root, &file) else { continue };
        let Ok(tree) = yaml::parse(&text) else { continue };
        for (name, definition) in of_user(&tree).filter(|(name, _)| !built_in.contains(name)) {
            config.rancher.services.entry(name.clone()).or_insert_with(|| definition.to_value());
        }
    }
}

/// The file of a replacement console or engine; None for the built-in one.
pub fn other(name: &str) -> Option<&str> {
    Some(name).filter(|name| !OURS.contains(name))
}

/// Where the file of that name is on this machine; None if it has to be fetched first.
pub fn find(root: &Root, place: &str, role: Role<'_>, config: &Config) -> Result<Option<PathBuf>> {
    if place.starts_with('/') {
        return Ok(Some(PathBuf::from(place)));
    }
    // What an owner has fetched stays what it is after an upgrade that ships the same name.
    if let Some(file) = cached(root, place, config).or_else(|| shipped::file(root, place)) {
        return Ok(Some(file));
    }
    if config.rancher.repositories.is_empty() && engines::is_plain(place) {
        match shipped::why_not(root, place) {
            Some(why) => bail!("{place}: {why}"),
            None => bail!("{}", role.unknown(root, place)),
        }
    }
    urls(place, config).map(|_| None)
}

/// The file of that name or URL that was fetched before.
pub(super) fn cached(root: &Root, place: &str, config: &Config) -> Option<PathBuf> {
    let urls = urls(place, config).ok()?;
    urls.iter().map(|url| kept(url)).find(|file| root.exists(file))
}

/// URLs of a file that is not on this machine, in order.
pub fn urls(place: &str, config: &Config) -> Result<Vec<String>> {
    if place.starts_with("http://") || place.starts_with("https://") {
        return Ok(vec![place.to_owned()]);
    }
    let Some(first) = place.chars().next().filter(|_| engines::is_plain(place)) else {
        bail!(
            "{place:?} is not an absolute path, a URL or a name (letters, digits, `.`, `_`, `-`)"
        );
    };
    let repositories = &config.rancher.repositories;
    if repositories.is_empty() {
        bail!("rancher.repositories names no source that may have {place}");
    }
    let url = |base: &str| format!("{}/{first}/{place}.yml", base.trim_end_matches('/'));
    Ok(repositories.values().map(|repository| url(&repository.url)).collect())
}

/// The cached file of a URL.
pub fn kept(url: &str) -> PathBuf {
    Path::new(CACHE).join(digest(url)).with_extension("yml")
}

/// A file name for any text.
pub(super) fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// All files that have to be fetched, each with its possible URLs.
pub(super) fn remote(root: &Root, config: &Config) -> Vec<Vec<String>> {
    let mut places = included(root, config);
    for switchable in SWITCHABLE {
        // An image has no file.
        let name = (switchable.configured)(config);
        if !(switchable.is_built_in)(name) && (switchable.image)(name, config).is_none() {
            places.push(name.to_owned());
        }
    }
    places.retain(|place| !place.starts_with('/') && shipped::file(root, place).is_none());
    places.iter().filter_map(|place| urls(place, config).ok()).collect()
}

/// Those that are not on this machine yet.
pub fn missing(root: &Root, config: &Config) -> Vec<Vec<String>> {
    let is_here = |urls: &Vec<String>| urls.iter().any(|url| root.exists(kept(url)));
    remote(root, config).into_iter().filter(|urls| !is_here(urls)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::switchable::{CONSOLE, ENGINE};
    use super::*;
    use corral_config::model::Repository;

    #[test]
    fn a_name_is_looked_for_in_every_repository_and_a_url_where_it_says() -> Result<()> {
        let mut config = Config::default();
        assert!(urls("web", &config).is_err(), "there is no repository");
        for (name, url) in [("b", "http://two/"), ("a", "http://one")] {
            config.rancher.repositories.insert(name.to_owned(), Repository { url: url.to_owned() });
        }
        assert_eq!(urls("web", &config)?, ["http://one/w/web.yml", "http://two/w/web.yml"]);
        assert_eq!(urls("https://host/x.yml", &config)?, ["https://host/x.yml"]);
        assert!(urls("../etc/passwd", &config).is_err());
        assert!(urls("", &config).is_err());
        Ok(())
    }

    fn named((place, enabled): (&str, bool)) -> (String, bool) {
        (place.to_owned(), enabled)
    }

    #[test]
    fn another_console_and_engine_come_from_there_too() {
        let mut config = Config::default();
        config
            .rancher
            .repositories
            .insert("a".to_owned(), Repository { url: "http://one".to_owned() });
        config
            .rancher
            .services_include
            .extend([("off", false), ("/here.yml", true), ("crontab", true)].map(named));
        config.rancher.console = "site".to_owned();
        config.rancher.docker.engine = "default".to_owned();
        assert_eq!(remote(&Root::at("/no-such"), &config), [["http://one/s/site.yml"]]);
    }

    /// A folder that represents a machine with these files.
    fn machine(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("corral-{name}-{}", std::process::id()));
        for (path, text) in files {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn the_catalogue_of_the_system_comes_before_repositories() {
        let folder = machine(
            "catalogue",
            &[
                ("usr/share/ros/catalog/web.yml", "x-about: w\nservices: {web: {image: i}}\n"),
                ("usr/share/ros/catalog/zfs.yml", "x-about: z\nx-not-available: use ext4\n"),
            ],
        );
        let root = Root::at(&folder);
        let mut config = Config::default();
        let web = Path::new("/usr/share/ros/catalog/web.yml");
        let find = |name, config: &Config| find(&root, name, Role::Service, config);
        assert_eq!(find("web", &config).unwrap().as_deref(), Some(web));
        assert_eq!(find("zfs", &config).unwrap_err().to_string(), "zfs: use ext4");
        // An owner may have what the system has not.
        let ours = Repository { url: "http://one".to_owned() };
        config.rancher.repositories.insert("ours".to_owned(), ours);
        config.rancher.services_include.extend([("web", true), ("zfs", true)].map(named));
        assert_eq!(find("web", &config).unwrap().as_deref(), Some(web));
        assert_eq!(remote(&root, &config), [["http://one/z/zfs.yml"]]);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_list_of_what_was_requested() {
        let catalogue = [("usr/share/ros/catalog/registry.yml", "services: {r: {image: i}}\n")];
        let folder = machine("unknown", &catalogue);
        let (root, config) = (Root::at(&folder), Config::default());
        let (console, engine) = (Role::Replacement(&CONSOLE), Role::Replacement(&ENGINE));
        for (role, name, start, end) in [
            (
                Role::Service,
                "registri",
                "registri is not in the catalogue of the system (`ros service list`)",
                "; did you mean registry?",
            ),
            (Role::Service, "something", "something is not in the catalogue", "no other source"),
            (
                console,
                "debain",
                "debain is no console of this system (`ros console list`)",
                "; did you mean debian?",
            ),
            (console, "registri", "registri is no console", "no other source"),
            (
                engine,
                "defualt",
                "defualt is no engine of this system (`ros engine list`)",
                "; did you mean default?",
            ),
        ] {
            let error = find(&root, name, role, &config).unwrap_err().to_string();
            assert!(error.starts_with(start) && error.ends_with(end), "{error}");
        }
        let error = find(&root, "./x.yml", console, &config).unwrap_err().to_string();
        assert!(error.starts_with("\"./x.yml\" is not an absolute path"), "{error}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_agent_of_the_hypervisor_is_included_unless_the_owner_decides() {
        let port = ("sys/class/virtio-ports/vport1p1/name", "org.qemu.guest_agent.0\n");
        let folder = machine("agent", &[("sys/class/dmi/id/sys_vendor", "QEMU\n"), port]);
        let root = Root::at(&folder);
        let mut config = Config::default();
        config.rancher.hypervisor_service = true;
        assert_eq!(included(&root, &config), ["qemu-guest-agent"]);
        assert_eq!(agent(&Root::at("/no-such"), &config), None);
        config.rancher.services_include.extend([named(("qemu-guest-agent", false))]);
        assert_eq!(included(&root, &config), [""; 0]);
        config.rancher.services_include.clear();
        config.rancher.hypervisor_service = false;
        assert_eq!(included(&root, &config), [""; 0]);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn without_the_label_services_of_the_first_version_are_the_users() {
        let cases = [
            ("a: {image: i}", vec!["a"]),
            ("a: {image: i, labels: {io.rancher.os.scope: system}}", vec![]),
            (
                "a: {image: i, labels: [io.rancher.os.scope=system]}\nb: {image: i, labels: [x=y]}",
                vec!["b"],
            ),
            (
                "services: {a: {image: i}, b: {image: i, labels: {io.rancher.os.scope: user}}}",
                vec!["b"],
            ),
            ("[no, mapping]", vec![]),
            ("{", vec![]),
        ];
        for (file, expected) in cases {
            assert_eq!(names_of_user(file), expected, "{file}");
        }
    }
}
