//! The catalogue of the system image: service files by name, which need no repository. An entry may
//! instead be one sentence that says why there is no such service here, and what to use.

use super::root::Root;
use corral_config::yaml::{self, Node};
use std::path::{Path, PathBuf};

/// `images/catalog` of the sources.
const FOLDER: &str = "/usr/share/ros/catalog";
/// Keys of an entry: what it is for, and why it cannot be enabled.
const ABOUT: &str = "x-about";
const NOT_AVAILABLE: &str = "x-not-available";

/// An entry of the catalogue.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub file: PathBuf,
    /// What it is for.
    pub about: String,
    /// Why it cannot be enabled, and what to use instead.
    pub not_available: Option<String>,
}

/// All entries, by name.
pub fn entries(root: &Root) -> Vec<Entry> {
    root.list(FOLDER).into_iter().filter_map(|file| load(root, file)).collect()
}

/// The entry of that name.
pub fn find(root: &Root, name: &str) -> Option<Entry> {
    if name.is_empty() || name.contains('/') {
        return None;
    }
    let file = Path::new(FOLDER).join(format!("{name}.yml"));
    if root.exists(&file) { load(root, file) } else { None }
}

/// The file of a service that can be enabled.
pub(super) fn file(root: &Root, name: &str) -> Option<PathBuf> {
    find(root, name).filter(|entry| entry.not_available.is_none()).map(|entry| entry.file)
}

/// Why a name of the catalogue cannot be enabled.
pub fn why_not(root: &Root, name: &str) -> Option<String> {
    find(root, name)?.not_available
}

fn load(root: &Root, file: PathBuf) -> Option<Entry> {
    let name = file.file_name()?.to_str()?.strip_suffix(".yml")?.to_owned();
    let tree = yaml::parse(&root.text(&file)).unwrap_or_else(|_| Node::null());
    let text = |key: &str| tree.get(key)?.to_value().as_str().map(str::to_owned);
    Some(Entry {
        name,
        about: text(ABOUT).unwrap_or_default(),
        not_available: text(NOT_AVAILABLE),
        file,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_plan::compose::parse_with;
    use corral_plan::resolved::Environment;
    use corral_plan::service::{Pull, Source};
    use std::fs;

    /// All optional services of RancherOS 1.1, and of its later versions those that a machine may
    /// have enabled.
    const OF_RANCHEROS: [&str; 18] = [
        "amazon-ecs-agent",
        "amazon-metadata",
        "crontab",
        "hyperv-vm-tools",
        "kernel-extras",
        "kernel-headers",
        "kernel-headers-system-docker",
        "modem-manager",
        "open-iscsi",
        "open-vm-tools",
        "qemu-guest-agent",
        "rancher-server",
        "rancher-server-stable",
        "volume-cifs",
        "volume-efs",
        "volume-nfs",
        "waagent",
        "zfs",
    ];

    fn texts() -> Vec<(String, String)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images/catalog");
        let mut files: Vec<(String, String)> = fs::read_dir(folder)
            .unwrap()
            .map(|item| {
                let path = item.unwrap().path();
                let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                (name, fs::read_to_string(path).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn every_file_is_a_service_or_says_what_to_use_instead() {
        let files = texts();
        for name in OF_RANCHEROS {
            assert!(files.iter().any(|(found, _)| found == name), "{name}");
        }
        for (name, text) in files {
            let tree = yaml::parse(&text).unwrap();
            let value = |key: &str| tree.get(key).map(|node| node.to_value());
            assert!(value(ABOUT).is_some_and(|about| about.is_string()), "{name}: {ABOUT}");
            if let Some(why) = value(NOT_AVAILABLE) {
                let why = why.as_str().unwrap().to_owned();
                assert!(!why.contains(". ") && !why.contains('\n'), "{name}: {why}");
                assert!(tree.get("services").is_none(), "{name}");
                continue;
            }
            let file = parse_with(&name, &text, &Environment::new()).unwrap();
            assert!(file.warnings.is_empty(), "{name}: {:?}", file.warnings);
            assert!(!file.services.is_empty(), "{name}");
        }
    }

    #[test]
    fn a_service_of_the_system_has_few_rights_and_says_why() {
        for (name, text) in texts() {
            let tree = yaml::parse(&text).unwrap();
            let Some(services) = tree.get("services") else { continue };
            for service in parse_with(&name, &text, &Environment::new()).unwrap().services {
                let definition = services.get(service.name.as_str()).unwrap();
                if !service.labels.system {
                    assert!(!service.image.starts_with("corral/"), "{name}");
                    continue;
                }
                assert!(definition.get("x-why").is_some(), "{name}: x-why");
                let is_ours = |prefix| service.image.starts_with(prefix);
                let is_of_release = is_ours("corral/kernel-") && service.pull == Pull::Never;
                assert!(is_ours("corral/os-") || is_of_release, "{name}: {}", service.image);
                assert!(!service.privileged && service.cap_drop == ["ALL"], "{name}");
                assert!(service.security_opt.iter().any(|o| o == "no-new-privileges"), "{name}");
                assert!(!service.volumes.iter().any(|volume| is_docker(&volume.source)), "{name}");
            }
        }
    }

    fn is_docker(source: &Source) -> bool {
        matches!(source, Source::Path(path) if path.contains("docker.sock"))
    }
}
