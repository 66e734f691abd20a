//! The service files of RancherOS's catalogue, rewritten from what is known of them: built-in
//! and optional services, consoles, engines. Also some in the language of today. All of them are
//! read, and nothing in them is lost.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends at what is wrong"
)]

use corral_plan::compose::{ServiceFile, parse_with};
use corral_plan::resolved::Environment;
use corral_plan::{Plan, Service};
use std::fs;
use std::path::Path;

/// Service files of RancherOS, all versions together.
const CATALOGUE: usize = 63;

fn files(folder: &str) -> Vec<(String, ServiceFile)> {
    let table: Environment =
        [("ECS_AGENT_VERSION", ":v1.14.1"), ("KERNEL_VERSION", "4.9.45-rancher")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut files: Vec<(String, ServiceFile)> = fs::read_dir(folder)
        .unwrap()
        .map(|item| {
            let path = item.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let parsed = parse_with(&name, &fs::read_to_string(&path).unwrap(), &table);
            (name, parsed.unwrap_or_else(|error| panic!("{error}")))
        })
        .collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

fn service(folder: &str, file: &str) -> Service {
    let found = files(folder).into_iter().find(|(name, _)| name == file).expect("the file");
    found.1.services.into_iter().next().expect("a service")
}

#[test]
fn every_file_of_the_catalogue_is_read_without_a_word() {
    let files = files("catalogue");
    assert_eq!(files.len(), CATALOGUE);
    for (name, file) in &files {
        assert!(file.warnings.is_empty(), "{name}: {:?}", file.warnings);
        assert!(!file.services.is_empty(), "{name}");
        let users = ["amazon-ecs-agent", "rancher-server", "rancher-server-stable"]
            .contains(&name.as_str());
        assert!(file.services.iter().all(|service| service.labels.system != users), "{name}");
    }
}

#[test]
fn services_of_the_original_become_one_plan_with_the_volumes_of_its_volume_containers() {
    let names = [
        "console",
        "docker",
        "network",
        "ntp",
        "udev",
        "udev-cold",
        "cloud-init-execute",
        "volumes",
        "zfs",
    ];
    let all = files("catalogue").into_iter().filter(|(name, _)| names.contains(&name.as_str()));
    let plan = Plan::new(all.flat_map(|(_, file)| file.services).collect()).0;
    assert!(plan.missing().is_empty(), "{:?}", plan.missing());
    let order: Vec<&str> = plan.services.iter().map(|service| service.name.as_str()).collect();
    let place = |name: &str| order.iter().position(|other| *other == name).unwrap();
    assert!(place("udev-cold") < place("udev") && place("udev") < place("network"), "{order:?}");
    assert!(place("console") < place("zfs") && place("zfs") < place("docker"), "{order:?}");
    let zfs = plan.get("zfs").unwrap();
    let sees = |target: &str| zfs.volumes.iter().any(|volume| volume.target == target);
    assert!(
        sees("/home") && sees("/media") && sees("/usr/bin/ros") && sees("/host/dev"),
        "{:?}",
        zfs.volumes
    );
    assert!(zfs.volumes.iter().any(|volume| volume.target == "/media" && volume.shared));
}

#[test]
fn variables_ports_and_labels_of_the_catalogue_are_kept() {
    let agent = service("catalogue", "amazon-ecs-agent");
    assert_eq!(agent.image, "amazon/amazon-ecs-agent:v1.14.1");
    assert_eq!((agent.ports.len(), agent.ports[0].host_ip.as_str()), (2, "127.0.0.1"));
    assert_eq!(service("catalogue", "kernel-extras").image, "rancher/os-extras:4.9.45-rancher");
    assert_eq!(service("catalogue", "docker-dind").image, "docker.io/docker:18.03.1-dind");
    let logrotate = service("catalogue", "logrotate");
    assert!(logrotate.labels.create_only && logrotate.label_map["cron.schedule"] == "@hourly");
    assert!(logrotate.is_startable_by_others());
}

#[test]
fn files_of_today_are_read_without_a_word() {
    for (name, file) in files("today") {
        assert!(file.warnings.is_empty(), "{name}: {:?}", file.warnings);
    }
    let shipper = files("today").into_iter().find(|(name, _)| name == "log-shipper").unwrap().1;
    let debug = shipper.services.iter().find(|service| service.name.as_str() == "debug").unwrap();
    assert_eq!(
        (debug.image.as_str(), debug.profiles.join(" ").as_str()),
        ("fluent/fluent-bit", "debug")
    );
    let plan = Plan::new(shipper.services).0;
    assert_eq!(plan.waits_for["shipper"], ["store".to_owned()].into());
}
