//! Deciding changes nothing on the machine, and returns the changes to make. A folder with the
//! files of a machine represents it.

mod of_cloud_init;
mod of_confirm;

use super::confirm::Fate;
use super::lost_files::LostFiles;
use super::*;
use corral_engine::spec::{FILES_LABEL, PlacedFile};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

/// Files of every machine: the services of the system, and an owner's configuration.
const FILES: [(&str, &str); 8] = [
    ("/proc/cmdline", "quiet"),
    ("/proc/sys/kernel/random/boot_id", "second\n"),
    ("/usr/share/ros/os.yml", "services: [console, docker, ntp]\n"),
    (
        "/usr/share/ros/services/console/compose.yml",
        "services:\n  console: {image: c, command: [ros, console-init]}\n  \
         console-check: {image: c}\n",
    ),
    (
        "/usr/share/ros/services/docker/compose.yml",
        "services:\n  docker: {image: d, command: [ros, user-docker]}\n  \
         engine-check: {image: d}\n",
    ),
    ("/usr/share/ros/services/ntp/compose.yml", "services:\n  ntp: {image: t}\n"),
    (BOOT, "hostname: from-boot\n"),
    (STORE, "hostname: stored\n"),
];
const BOOT: &str = "/var/lib/rancher/conf/cloud-config.d/boot.yml";
const STORE: &str = "/var/lib/rancher/conf/cloud-config.yml";
const COPY_OF_BOOT: &str = "/var/lib/rancher/conf/last-good/boot.yml";
const COPY_OF_STORE: &str = "/var/lib/rancher/conf/last-good/cloud-config.yml";
const WAY_IN: &str = "/var/lib/rancher/conf/last-good/way-in.json";
const PREVIOUS: &str = "/var/lib/rancher/conf/confirm/previous.yml";
const PENDING: &str = "/var/lib/rancher/conf/confirm/pending.json";
/// A change that was made in the boot before, and in the one before that.
const ONCE: &str = r#"{"id":"one","within":60,"boot_id":"first","restarted":false}"#;
const TWICE: &str = r#"{"id":"one","within":60,"boot_id":"first","restarted":true}"#;
const NOW: &str = r#"{"id":"one","within":60,"boot_id":"second","restarted":false}"#;

/// That change, as PID 1 knows it.
fn one() -> Unconfirmed {
    Unconfirmed { id: "one".to_owned(), within: 60 }
}

/// The files of a machine, in a folder that is removed with it.
struct Machine(PathBuf);

impl Machine {
    fn new(name: &str, files: &[(&str, &str)]) -> Machine {
        let folder =
            std::env::temp_dir().join(format!("corral-resolve-{name}-{}", std::process::id()));
        let machine = Machine(folder);
        FILES.iter().chain(files).for_each(|(path, text)| machine.write(path, text));
        machine
    }

    fn root(&self) -> Root {
        Root::at(&self.0)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root().path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.root().path(path)).unwrap();
    }

    /// Everything in it: path, inode, mode, both times of change, content.
    fn snapshot(&self) -> Vec<(PathBuf, [i64; 6], Vec<u8>)> {
        let mut all = Vec::new();
        let mut waiting = vec![self.0.clone()];
        while let Some(path) = waiting.pop() {
            let data = fs::symlink_metadata(&path).unwrap();
            if data.is_dir() {
                waiting.extend(fs::read_dir(&path).unwrap().map(|item| item.unwrap().path()));
            }
            let identity = [data.ino().cast_signed(), i64::from(data.mode())];
            let times = [data.mtime(), data.mtime_nsec(), data.ctime(), data.ctime_nsec()];
            let facts = [identity[0], identity[1], times[0], times[1], times[2], times[3]];
            let content = if data.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            all.push((path, facts, content));
        }
        all.sort();
        all
    }

    fn set_modes(&self, folder: u32, file: u32) {
        for (path, ..) in self.snapshot().into_iter().rev() {
            let mode = if path.is_dir() { folder } else { file };
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// All functions that read-only commands call here.
fn show_everything(root: &Root) -> Resolution {
    load_config(root);
    layers::load_rejected(root);
    confirm::Pending::load(root);
    CloudInitMark::load(root);
    catalogue::missing(root, &Config::default());
    built_in::check(root, &Layer::from_setting("hostname", "a"));
    resolve(root)
}

/// What PID 1's resolver decides, and commands that change something.
fn decide_everything(root: &Root) {
    drop(lost_files::decide(root));
    let fate = confirm::decide(root);
    resolve_built_in(root, &fate.at_boot(), "why", true);
    resolve_after(root, fate.at_boot());
    drop(confirm::roll_back(root, "one"));
    drop(confirm::prepare(root, one()));
    confirm::confirm(root);
}

fn hostname(resolution: &Resolution) -> &str {
    resolution.resolved.config.hostname.as_deref().unwrap_or_default()
}

/// Service and image of the plan, by service name.
fn images(resolution: &Resolution) -> Vec<(String, String)> {
    let services = resolution.resolved.plan.services.iter();
    let mut images: Vec<_> =
        services.map(|service| (service.name.to_string(), service.image.clone())).collect();
    images.sort();
    images
}

#[test]
fn deciding_changes_nothing_on_the_machine() {
    let replaced =
        "rancher: {console: /opt/console.yml, docker: {engine: https://host/engine.yml}}\n";
    let kept = catalogue::kept("https://host/engine.yml").display().to_string();
    let files = "write_files: [{path: /etc/ntp.conf, container: ntp, content: x}]\n";
    let cases: [(&str, &[(&str, &str)]); 12] = [
        ("as-it-is", &[]),
        ("copied", &[(COPY_OF_BOOT, "hostname: old\n"), (COPY_OF_STORE, "hostname: stored\n")]),
        ("wrong", &[(BOOT, "hostname: [a]\n"), (COPY_OF_BOOT, "hostname: old\n")]),
        ("empty", &[(STORE, ""), (COPY_OF_STORE, "hostname: old\n")]),
        ("waits", &[(PENDING, NOW), (PREVIOUS, "hostname: before\n")]),
        ("waits-again", &[(PENDING, ONCE), (PREVIOUS, "hostname: before\n")]),
        ("rolled-back", &[(PENDING, TWICE), (PREVIOUS, "hostname: before\n")]),
        (
            "rolled-back-to-nothing",
            &[(PENDING, TWICE), (PREVIOUS, ""), (COPY_OF_STORE, "hostname: a\n")],
        ),
        ("cannot-be-rolled-back", &[(PENDING, TWICE)]),
        (
            "replaced",
            &[
                (STORE, replaced),
                ("/opt/console.yml", "services: {console: {image: other}}\n"),
                (kept.as_str(), "services: {docker: {image: other}}\n"),
            ],
        ),
        ("files", &[(STORE, files), ("/var/lib/rancher/preload/docker/a.tar", "a")]),
        ("repaired", &[("/run/corral/state-repaired", ""), (COPY_OF_BOOT, "hostname: a\n")]),
    ];
    for (name, files) in cases {
        let machine = Machine::new(&format!("unchanged-{name}"), files);
        if name == "repaired" {
            machine.remove(BOOT);
        }
        let before = machine.snapshot();
        show_everything(&machine.root());
        assert_eq!(machine.snapshot(), before, "{name}: showing it");
        decide_everything(&machine.root());
        assert_eq!(machine.snapshot(), before, "{name}: deciding it");
    }
}

#[test]
fn good_files_are_copied_and_who_may_log_in_is_kept() {
    let machine = Machine::new("copies", &[(COPY_OF_BOOT, "hostname: old\n")]);
    let expected = Effects {
        last_good: vec![
            FileChange::write(COPY_OF_BOOT, "hostname: from-boot\n", 0o600),
            FileChange::write(COPY_OF_STORE, "hostname: stored\n", 0o600),
        ],
        way_in: Some(FileChange::write(WAY_IN, json!({"hostname": "stored"}).to_string(), 0o600)),
        ..Effects::default()
    };
    let resolution = resolve(&machine.root());
    assert_eq!(resolution.effects, expected);
    resolution.apply(&machine.root());
    assert_eq!(machine.root().text(COPY_OF_BOOT), "hostname: from-boot\n");
    assert_eq!(resolve(&machine.root()).effects, Effects::default(), "now they are there");
}

#[test]
fn files_for_containers_are_laid_out_contents_first() {
    let machine = Machine::new(
        "files",
        &[(
            STORE,
            "write_files: [{path: /etc/ntp.conf, container: ntp, content: x, owner: ntp}]\n",
        )],
    );
    let index = [PlacedFile {
        path: "/etc/ntp.conf".to_owned(),
        blob: "/run/corral/files/ntp/0".to_owned(),
        mode: 0o644,
        owner: "ntp".to_owned(),
    }];
    let index = serde_json::to_vec(&index).unwrap();
    let expected = ServiceFiles {
        service: "ntp".to_owned(),
        changes: vec![
            FileChange::write("/run/corral/files/ntp/0", "x", 0o600),
            FileChange::write("/run/corral/files/ntp/index.json", index, 0o600),
        ],
    };
    let label = |resolved: &Resolved| {
        let service = resolved.plan.get("ntp").unwrap();
        service.label_map.get(FILES_LABEL).cloned()
    };
    let resolution = resolve(&machine.root());
    assert_eq!(resolution.effects.service_files, [expected]);
    assert!(label(&resolution.resolved).is_some());
    assert!(label(&resolution.apply(&machine.root())).is_some());
    // If they cannot be written, the container does not look for them.
    machine.remove("/run/corral/files/ntp/0");
    machine.write("/run/corral/files/ntp/0/in-the-way", "");
    let resolved = resolve(&machine.root()).apply(&machine.root());
    assert_eq!(label(&resolved), None);
    assert!(resolved.problems.iter().any(|problem| problem.to_string().contains("ntp: writing")));
}

#[test]
fn a_replacement_is_checked_before_it_is_used() {
    let machine = Machine::new(
        "replaced",
        &[
            (
                STORE,
                "rancher: {console: /opt/console.yml, docker: {engine: https://host/engine.yml}}\n",
            ),
            ("/opt/console.yml", "services: {console: {image: other}}\n"),
        ],
    );
    let expected = [("console", "c"), ("console-check", "other"), ("docker", "d"), ("ntp", "t")];
    let expected = expected.map(|(name, image)| (name.to_owned(), image.to_owned()));
    let resolution = resolve(&machine.root());
    assert_eq!(images(&resolution), expected, "the engine's file is not here yet");
    let missing = catalogue::missing(&machine.root(), &resolution.resolved.config);
    assert_eq!(missing, [["https://host/engine.yml"]]);
}

#[test]
fn the_name_of_an_engine_is_pulled_from_the_configured_registry() {
    let engine = "docker: {engine: docker-28.5, engine_images: r.example.com/engines}";
    let repositories = "repositories: {ours: {url: http://one}}";
    let registry_only = format!("rancher: {{{engine}}}\n");
    let with_repository = format!("rancher: {{{engine}, {repositories}}}\n");
    for (name, stored) in [("alone", registry_only), ("repository", with_repository)] {
        let machine = Machine::new(&format!("engine-{name}"), &[(STORE, stored.as_str())]);
        let resolution = resolve(&machine.root());
        let image = "r.example.com/engines:docker-28.5";
        let expected = [("console", "c"), ("docker", "d"), ("engine-check", image), ("ntp", "t")];
        let expected = expected.map(|(name, image)| (name.to_owned(), image.to_owned()));
        assert_eq!(images(&resolution), expected, "{name}: it is checked first");
        let missing = catalogue::missing(&machine.root(), &resolution.resolved.config);
        assert!(missing.is_empty(), "{name}: an image has no file: {missing:?}");
    }
}

#[test]
fn without_the_owners_files_the_keys_of_the_provider_open_a_first_boot() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsyjdVi98mjmXXXl0Gwtdy5VQlPfWMr1rl626GfrojO";
    let metadata = format!("SSHPublicKeys: {{one: {key}}}\n");
    let metadata = ("/var/lib/rancher/conf/metadata", metadata.as_str());
    let machine = Machine::new("first-boot", &[metadata]);
    let resolution = resolve_built_in(&machine.root(), &AtBoot::default(), "why", true);
    assert_eq!(resolution.resolved.config.ssh_authorized_keys, [key]);
    assert!(resolution.resolved.config.has_remote_login());
    assert_ne!(hostname(&resolution), "from-boot");
}

#[test]
fn lost_files_come_back_after_a_repair_and_removed_ones_are_forgotten() {
    const REPAIRED: &str = "/run/corral/state-repaired";
    let machine = Machine::new(
        "lost",
        &[(COPY_OF_BOOT, "a"), (COPY_OF_STORE, "b"), (WAY_IN, r#"{"hostname":"a"}"#)],
    );
    assert_eq!(lost_files::decide(&machine.root()), LostFiles::Removed(Vec::new()));
    [BOOT, STORE].into_iter().for_each(|path| machine.remove(path));
    let copies = [COPY_OF_BOOT, COPY_OF_STORE].map(FileChange::remove).to_vec();
    assert_eq!(lost_files::decide(&machine.root()), LostFiles::Removed(copies));
    machine.write(REPAIRED, "");
    let last_resort = "/var/lib/rancher/conf/cloud-config.d/way-in.yml";
    let expected = LostFiles::TakenAway {
        put_back: vec![FileChange::write(BOOT, "a", 0o600), FileChange::write(STORE, "b", 0o600)],
        last_resort: Some(FileChange::write(last_resort, r#"{"hostname":"a"}"#, 0o600)),
        unreadable: None,
    };
    assert_eq!(lost_files::decide(&machine.root()), expected);
    apply::settle_lost(&machine.root(), &expected).unwrap();
    assert_eq!(
        (machine.root().text(BOOT), machine.root().exists(last_resort)),
        ("a".to_owned(), false)
    );
    assert_eq!(machine.root().text("/run/corral/put-back"), format!("{BOOT}\n{STORE}\n"));
    assert!(!machine.root().exists(REPAIRED), "once in a boot");
}

#[test]
fn what_is_published_says_what_applies_and_what_is_wrong() {
    let machine = Machine::new(
        "published",
        &[(BOOT, "hostname: [a]\n"), (STORE, "rancher: {debug: true}\n")],
    );
    let resolved = resolve(&machine.root()).resolved;
    let changes = apply::publication(&resolved, true).unwrap();
    let shown: Vec<String> = changes
        .iter()
        .map(|change| match change {
            FileChange::Write { path, mode, .. } => format!("{} {mode:o}", path.display()),
            FileChange::Remove { path } => format!("{} is gone", path.display()),
        })
        .collect();
    let expected = ["config.json 600", "show-logs 644", "notice 644", "applied.json 600"];
    assert_eq!(shown, expected.map(|name| format!("/run/corral/{name}")));
    let resolved = resolve(&Machine::new("published-good", &[]).root()).resolved;
    let changes = apply::publication(&resolved, false).unwrap();
    let gone = ["/run/corral/show-logs", "/run/corral/notice"].map(FileChange::remove);
    assert_eq!(changes[1..], gone);
}

/// Runs it without root's right to bypass file permissions.
fn without_rights<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let work = || {
        let mut sets = capabilities(None).unwrap();
        sets.effective.remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
        set_capabilities(None, sets).unwrap();
        work()
    };
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

#[test]
fn without_the_right_to_write_the_configuration_is_shown_all_the_same() {
    let machine = Machine::new("read-only", &[(PENDING, TWICE), (PREVIOUS, "hostname: before\n")]);
    let root = machine.root();
    machine.set_modes(0o555, 0o444);
    let (shown, written) = without_rights(|| {
        let shown = show_everything(&root);
        (shown, apply::settle_unconfirmed(&root, &confirm::decide(&root)))
    });
    machine.set_modes(0o755, 0o644);
    assert_eq!(hostname(&shown), "before");
    let problem = written.problem.map(|problem| problem.to_string()).unwrap_or_default();
    assert!(problem.contains("rolling back an unconfirmed change: writing"), "{problem}");
    assert!(root.exists(PENDING));
}
