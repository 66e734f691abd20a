//! User data and vendor data as platforms and tools generate them, by their documentation: none
//! gives a warning, and each has its effect.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by a panic")]

use corral_config::model::Secret;
use corral_config::user_data::{self, Part};
use corral_config::{Config, Layer, Source, defaults, resolve_with_problems};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBFEMcvpCmwCo8TmHT0Y3uVtbCTgPWHG0XaLCiSwGvc4 me@desk";

fn layers(source: &Source, bytes: &[u8]) -> Vec<Layer> {
    let (parts, problems) = user_data::split(bytes);
    assert_eq!(problems, [""; 0], "{source}");
    parts
        .into_iter()
        .filter_map(|part| match part {
            Part::CloudConfig(text) => Some(Layer::parse_bytes(source.clone(), &text)),
            Part::Script(_) => None,
            part => panic!("{source}: {part:?}"),
        })
        .collect()
}

/// What vendor data and user data mean together. There must be no problem, but for keys of vendor
/// data that only the owner may set.
fn config(name: &str, vendor: &str, user: &[u8]) -> Config {
    let mut all = vec![defaults()];
    all.extend(layers(&Source::Vendor(format!("{name}-vendor")), vendor.as_bytes()));
    all.extend(layers(&Source::File(name.to_owned()), user));
    let problems: Vec<String> =
        all.iter().flat_map(|layer| &layer.problems).map(ToString::to_string).collect();
    let is_owners = |said: &&String| {
        said.starts_with(&format!("{name}-vendor:")) && said.contains(": warning: only the owner")
    };
    let problems: Vec<&String> = problems.iter().filter(|said| !is_owners(said)).collect();
    assert_eq!(problems, [""; 0], "{name}");
    let resolution = resolve_with_problems(&all);
    assert_eq!(resolution.problems, [], "{name}");
    resolution.config
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn account(config: &Config, name: &str) -> (Vec<String>, Vec<String>) {
    let user = config.accounts().into_iter().find(|user| user.name == name).unwrap();
    (user.groups, user.ssh_authorized_keys)
}

#[test]
fn proxmox() {
    let config = config("proxmox", "", include_bytes!("platforms/proxmox.yml"));
    assert_eq!(config.host_names(), ["vm-100.lab.example", "vm-100"]);
    let (groups, keys) = account(&config, "ops");
    assert_eq!(
        (groups, keys),
        (vec!["docker".to_owned(), "sudo".to_owned()], vec![KEY.to_owned()])
    );
    assert_eq!(config.ssh_authorized_keys, [KEY], "rancher keeps its keys");
    assert!(matches!(&config.passwords()["ops"], Secret::Hash(hash) if hash.starts_with("$5$")));
}

#[test]
fn terraform() {
    for bytes in [
        include_bytes!("platforms/terraform.txt").to_vec(),
        gzip(include_str!("platforms/terraform.txt")),
    ] {
        let config = config("terraform", "", &bytes);
        assert_eq!(config.effective_hostname(), "web-1.example.com");
        assert_eq!(account(&config, "deploy"), (vec!["docker".to_owned()], vec![KEY.to_owned()]));
        assert_eq!(config.write_files[0].bytes().unwrap(), b"hi");
    }
}

#[test]
fn digitalocean() {
    let vendor = include_str!("platforms/digitalocean-vendor.yml");
    let config = config("digitalocean", vendor, include_bytes!("platforms/digitalocean.yml"));
    let groups = vec!["sudo".to_owned(), "docker".to_owned()];
    assert_eq!(account(&config, "example"), (groups, vec![KEY.to_owned()]));
}

#[test]
fn hetzner() {
    let vendor = include_str!("platforms/hetzner-vendor.yml");
    let config = config("hetzner", vendor, include_bytes!("platforms/hetzner.yml"));
    assert_eq!(account(&config, "holu").0, ["users", "admin", "docker"]);
    assert_eq!(config.timezone, "UTC");
    assert!(!config.ssh_pwauth);
}

#[test]
fn vultr() {
    let config = config("vultr", include_str!("platforms/vultr-vendor.yml"), b"");
    assert_eq!(config.ssh_authorized_keys, [KEY]);
    assert!(matches!(config.passwords()["root"], Secret::Hash(_)));
    assert!(!config.ssh_pwauth, "only the owner allows passwords");
}

#[test]
fn aws() {
    let bytes = include_bytes!("platforms/aws.txt");
    config("aws", "", bytes);
    let (parts, _) = user_data::split(bytes);
    assert!(matches!(&parts[1], Part::Script(text) if text.starts_with(b"#!/bin/bash")));
}

#[test]
fn gce() {
    let config = config("gce", "", include_bytes!("platforms/gce.yml"));
    assert_eq!(config.users[0].uid, Some(2000));
    assert_eq!(config.write_files[0].mode(), Ok(0o644));
}

#[test]
fn azure() {
    let config = config("azure", "", include_bytes!("platforms/azure.yml"));
    assert_eq!((config.effective_hostname(), &*config.timezone), ("myVM", "Europe/Berlin"));
    assert_eq!(config.swap.bytes(1 << 30, 1 << 40), 2 << 30);
}

#[test]
fn multipass() {
    let vendor = include_str!("platforms/multipass-vendor.yml");
    let config = config("multipass", vendor, include_bytes!("platforms/multipass.yml"));
    assert_eq!(
        (&*config.timezone, config.ssh_authorized_keys),
        ("Europe/Vienna", vec![KEY.to_owned()])
    );
}

#[test]
fn lxd() {
    let config = config("lxd", "", include_bytes!("platforms/lxd.yml"));
    assert!(matches!(config.passwords()["user"], Secret::Hash(_)));
    assert_eq!(config.accounts()[0].ssh_import_id, ["gh:octocat"]);
    assert!(config.ntp.chrony_lines().starts_with("server 0.de.pool.ntp.org iburst\n"));
    assert_eq!(corral_config::model::certificates(&config.ca_certs.trusted[0]).len(), 1);
}

#[test]
fn libvirt() {
    let config = config("libvirt", "", include_bytes!("platforms/libvirt.yml"));
    assert_eq!(config.ssh_authorized_keys, [KEY]);
    assert!(matches!(config.passwords()["root"], Secret::Hash(_)));
}

#[test]
fn openstack() {
    let config = config("openstack", "", include_bytes!("platforms/openstack.yml"));
    assert_eq!(account(&config, "cloud").1, [KEY]);
    assert_eq!(
        (config.power_state.mode.as_str(), config.keyboard.layout.as_str()),
        ("reboot", "us")
    );
}

#[test]
fn user_data_wins_over_vendor_data() {
    let vendor = "#cloud-config\ntimezone: UTC\nhostname: a\nunknown: 1\ndisable_root: false\n";
    let config = config("both", vendor, b"#cloud-config\nhostname: b\n");
    assert_eq!((config.effective_hostname(), &*config.timezone), ("b", "UTC"));
}

/// What is wrong is a warning or an error at its place, and costs nothing else.
#[test]
fn wrong_values_are_reported_where_they_are() {
    let text = "hostname: good\ntimezone: Europe/Berln\nuser: a/b\npassword: \"x\\ny\"\n\
                users: [{name: joe, hashed_passwd: clear, groups: docker}]\n\
                chpasswd: {expire: true, list: [nonsense]}\nswap: {size: large}\n\
                packages: [nginx]\nssh_import_id: [\"gh:a/b\"]\nkeyboard: {layout: xx}\n";
    let layer = Layer::parse(Source::File("f".to_owned()), text);
    let said: Vec<String> = layer.problems.iter().map(ToString::to_string).collect();
    for (line, start) in [
        (2, "timezone: warning: unknown time zone"),
        (3, "user.name: \"a/b\" is not a user name"),
        (4, "password: a password must not contain line breaks"),
        (5, "users[0].hashed_passwd: expected a hash"),
        (6, "chpasswd.expire: warning: passwords do not expire"),
        (6, "chpasswd.list: warning: a line here is not user:password"),
        (7, "swap.size: \"large\" is not a size"),
        (8, "packages: warning: has no effect: there are no packages"),
        (9, "ssh_import_id[0]: \"gh:a/b\" is not a name of an account"),
        (10, "keyboard.layout: warning: no keymap"),
    ] {
        let found = said.iter().any(|said| {
            said.starts_with(&format!("f:{line}:")) && said.contains(&format!(": {start}"))
        });
        assert!(found, "{line}: {start} is not in {said:#?}");
    }
    let config = resolve_with_problems(&[defaults(), layer]).config;
    assert_eq!(config.effective_hostname(), "good");
    assert_eq!(config.accounts()[0].groups, ["docker"]);
    assert!(config.passwords().is_empty());
}
