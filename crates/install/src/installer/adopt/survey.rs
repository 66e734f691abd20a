//! What is on the state of RancherOS: its configuration as Corral reads it, and what of it behaves
//! differently. Reads a mounted partition, and changes nothing.

use super::difference::Difference;
use super::docker::{self, Graph};
use super::inside;
use super::old_system::OldSystem;
use crate::installer::login::{self, Known, Way, Ways};
use crate::release::drivers;
use anyhow::{Context, Result};
use corral_cloud::url_on_command_line;
use corral_config::ssh_key::{SshKey, parse_list};
use corral_config::{Config, Layer, Source};
use corral_machine::files::{read_at_most, read_complete};
use corral_resolve::root::Root;
use corral_resolve::shipped;
use std::path::{Path, PathBuf};

pub(super) const CONF: &str = "var/lib/rancher/conf";
/// The provider's network configuration: all other files override it, as at a boot.
const NETWORK_FILE: &str = "network.yml";
/// As the boot reads them.
const LARGEST: u64 = 16 << 20;
const LARGEST_LIST: u64 = 1 << 20;
/// All files of the configuration together, in bytes.
const LARGEST_IN_ALL: u64 = 64 << 20;
/// Keys that RancherOS and its users have put there.
const KEYS: [(&str, &str); 2] = [
    ("rancher", "home/rancher/.ssh/authorized_keys"),
    ("docker", "home/docker/.ssh/authorized_keys"),
];

/// The state of the old system.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) differences: Vec<Difference>,
    pub(super) ways: Ways,
    pub(super) docker: Vec<Graph>,
    /// Named volumes of Docker.
    pub(super) volumes: usize,
    /// Is `kernel-extras` enabled?
    pub(super) has_extras: bool,
}

impl Survey {
    /// `base` is the root of the state. `parameters` is the kernel command line that Corral will
    /// have.
    pub(super) fn load(base: &Path, system: &OldSystem, parameters: &str) -> Result<Survey> {
        let mut layers = load_layers(base)?;
        layers.push(Layer::from_command_line(&system.owners_parameters()));
        let mut all = vec![corral_config::defaults()];
        all.extend(layers.iter().cloned());
        let config = corral_config::resolve(&all);
        let mut differences: Vec<Difference> =
            layers.iter().flat_map(|layer| &layer.problems).map(Difference::of_problem).collect();
        differences.extend(of_config(&config, &layers));
        differences.extend(docker::of_daemon_file(base));
        let (docker, volumes) = docker::load(base, &config.rancher.docker.graph);
        differences.extend(docker.iter().filter_map(Graph::difference));
        let mut ways = ways(&layers, parameters);
        if config.rancher.ssh.daemon {
            add_keys_of_homes(base, &mut ways);
        }
        let has_extras = drivers::are_enabled(&config);
        Ok(Survey { differences, ways, docker, volumes, has_extras })
    }
}

/// The files of the configuration, in the order in which later ones win.
fn load_layers(base: &Path) -> Result<Vec<Layer>> {
    let folder = Path::new(CONF).join("cloud-config.d");
    let mut files: Vec<PathBuf> = inside::names(base, &folder)
        .into_iter()
        .filter(|name| !name.starts_with('.'))
        .map(|name| folder.join(name))
        .collect();
    files.sort_by_key(|path| (!path.ends_with(NETWORK_FILE), path.clone()));
    files.push(Path::new(CONF).join("cloud-config.yml"));
    let mut rest = LARGEST_IN_ALL;
    let mut layers = Vec::new();
    for path in files {
        let Ok(found) = inside::find(base, &path) else { continue };
        if !found.is_file() {
            continue;
        }
        let name = format!("/{}", path.display());
        let bytes = read_complete(&found, LARGEST.min(rest)).with_context(|| name.clone())?;
        rest -= bytes.len() as u64;
        layers.push(Layer::parse_bytes(Source::File(name), &bytes));
    }
    Ok(layers)
}

/// What is valid, and nevertheless not the same.
fn of_config(config: &Config, layers: &[Layer]) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut add = |key: &str, what: String| {
        let pointer = format!("/{}", key.replace('.', "/"));
        let layer = layers.iter().rev().find(|layer| layer.value.pointer(&pointer).is_some());
        if let Some(layer) = layer {
            found.push(Difference::of(&layer.source.to_string(), key, what));
        }
    };
    let console = &config.rancher.console;
    if !["", "default"].contains(&console.as_str()) {
        add(
            "rancher.console",
            format!(
                "the console {console} is created again from its image; what was installed in the \
                 old one stays with the old system"
            ),
        );
    }
    let engine = &config.rancher.docker.engine;
    if !["", "default"].contains(&engine.as_str()) {
        add(
            "rancher.docker.engine",
            format!(
                "Corral has its own Docker; {engine} is used only if you add it: docs/engines.md"
            ),
        );
    }
    let root = Root::machine();
    for name in config.rancher.services_include.iter().filter(|(_, on)| **on).map(|(name, _)| name)
    {
        let why = shipped::why_not(&root, name).or_else(|| {
            let is_known = name.contains('/') || shipped::find(&root, name).is_some();
            let has_repository = !config.rancher.repositories.is_empty();
            (!is_known && !has_repository).then(|| "there is no such service".to_owned())
        });
        if let Some(why) = why {
            add("rancher.services_include", format!("{name}: {why}"));
        }
    }
    found
}

/// The ways to log in that the configuration has.
fn ways(layers: &[Layer], parameters: &str) -> Ways {
    let url = url_on_command_line(parameters).map(|url| (url, Source::CommandLine.to_string()));
    let fetched: Vec<(String, String)> = url.into_iter().collect();
    let terminals = login::terminals(parameters);
    Known { layers, keys: &[], fetched: &fetched, terminals: &terminals }.judge()
}

fn add_keys_of_homes(base: &Path, ways: &mut Ways) {
    for (user, file) in KEYS {
        let text = inside::find(base, file)
            .and_then(|path| read_at_most(&path, LARGEST_LIST))
            .unwrap_or_default();
        for key in parse_list(&String::from_utf8_lossy(&text)).into_iter().flatten() {
            if login::has_key(&key.line) && !is_known(ways, &key) {
                let (user, origin) = (user.to_owned(), format!("/{file}"));
                ways.ways.push(Way::Ssh { user, key, origin });
            }
        }
    }
}

fn is_known(ways: &Ways, key: &SshKey) -> bool {
    let is_it = |way: &Way| matches!(way, Way::Ssh { key: known, .. } if known.blob == key.blob);
    ways.ways.iter().any(is_it)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const KEY: &str = "ssh-ed25519 \
        AAAAC3NzaC1lZDI1NTE5AAAAIHsyjdVi98mjmXXXl0Gwtdy5VQlPfWMr1rl626GfrojO me";

    fn write(base: &Path, path: &str, text: &str) {
        let file = base.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn system(line: &str) -> OldSystem {
        OldSystem {
            title: "RancherOS".to_owned(),
            kernel: PathBuf::new(),
            initrd: PathBuf::new(),
            command_line: line.to_owned(),
        }
    }

    #[test]
    fn what_differs_and_who_may_log_in_is_found() {
        let base = std::env::temp_dir().join(format!("corral-survey-{}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        let stored = format!("{CONF}/cloud-config.yml");
        write(
            &base,
            &stored,
            "hostname: a\nrancher:\n  console: ubuntu\n  docker:\n    \
            storage_driver: overlay\n    engine: docker-17.03.2-ce\n\
            write_files:\n- {path: /a}\n- {path: /etc/ntp.conf, container: ntp}\n",
        );
        write(&base, &format!("{CONF}/cloud-config.d/init.yml"), "EXTRA_CMDLINE: /init\n");
        write(&base, &format!("{CONF}/cloud-config.d/.hidden"), "[");
        let line = "console=ttyS0 rancher.state.lvm_scan=true";
        let survey = Survey::load(&base, &system(line), line).unwrap();
        let found: Vec<String> = survey
            .differences
            .iter()
            .map(|found| format!("{}:{}: {}", found.source, found.line, found.key))
            .collect();
        let stored = format!("/{stored}");
        for expected in [
            format!("{stored}:5: rancher.docker.storage_driver"),
            format!("{stored}:0: rancher.console"),
            format!("{stored}:0: rancher.docker.engine"),
            format!("{stored}:9: write_files"),
        ] {
            assert!(found.contains(&expected), "{expected} is not in {found:?}");
        }
        assert!(found.iter().any(|found| found.ends_with("rancher.state.lvm_scan")), "{found:?}");
        assert!(survey.ways.ways.is_empty());
        for (file, text) in [
            ("home/rancher/.ssh/authorized_keys", format!("{KEY}\n{KEY}\n")),
            ("home/docker/.ssh/authorized_keys", format!("command=\"ls\" {KEY}\n")),
        ] {
            write(&base, file, &text);
        }
        let survey = Survey::load(&base, &system(line), line).unwrap();
        assert_eq!(survey.ways.ways.len(), 1);
        let closed = "rancher.ssh.daemon=false";
        assert!(Survey::load(&base, &system(closed), closed).unwrap().ways.ways.is_empty());
        // Links are those of the old system: they lead to no file of the running one.
        let outside = base.with_extension("outside");
        write(&outside, "keys", KEY);
        for (link, target) in [
            ("home/rancher/.ssh/authorized_keys", outside.join("keys")),
            (format!("{CONF}/cloud-config.d/init.yml").as_str(), outside.join("keys")),
        ] {
            fs::remove_file(base.join(link)).unwrap();
            symlink(target, base.join(link)).unwrap();
        }
        let survey = Survey::load(&base, &system(line), line).unwrap();
        assert!(survey.ways.ways.is_empty());
        assert_eq!(load_layers(&base).unwrap().len(), 1);
        fs::remove_dir_all(outside).unwrap();
        fs::remove_dir_all(base).unwrap();
    }
}
