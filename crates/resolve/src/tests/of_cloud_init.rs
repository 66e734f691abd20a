//! What cloud-init brings: vendor data, time servers, keys that are fetched late.

use super::*;

#[test]
fn vendor_data_is_below_the_owners_files_unless_they_want_none() {
    const VENDOR: &str = "/var/lib/rancher/conf/vendor-data.yml";
    let vendor = "#cloud-config\nhostname: vendor\ntimezone: UTC\nunknown: 1\ndisable_root: 0\n";
    for (name, store, zone) in [
        ("vendor", "hostname: stored\n", "UTC"),
        ("no-vendor", "hostname: stored\nvendor_data: {enabled: false}\n", ""),
    ] {
        let machine = Machine::new(name, &[(VENDOR, vendor), (STORE, store)]);
        let resolution = resolve(&machine.root());
        assert_eq!(hostname(&resolution), "stored");
        assert_eq!(resolution.resolved.config.timezone, zone, "{name}");
        assert_eq!(resolution.resolved.problems, [], "{name}");
    }
    let line = ("/proc/cmdline", "quiet cc.vendor_data.enabled=false");
    let machine = Machine::new("no-vendor-on-line", &[(VENDOR, vendor), line]);
    assert_eq!(resolve(&machine.root()).resolved.config.timezone, "");
}

#[test]
fn time_servers_become_a_file_of_the_time_service() {
    let machine = Machine::new("ntp-servers", &[(STORE, "ntp: {servers: [10.0.0.1]}\n")]);
    let resolution = resolve(&machine.root());
    let files = &resolution.effects.service_files;
    assert_eq!(files.len(), 1, "{files:?}");
    let text = b"server 10.0.0.1 iburst\n";
    let blob = FileChange::write("/run/corral/files/ntp/0", &text[..], 0o600);
    assert_eq!(files[0].changes[0], blob);
    let machine = Machine::new("ntp-off", &[(STORE, "ntp: {enabled: false}\n")]);
    assert!(resolve(&machine.root()).resolved.plan.get("ntp").is_none());
}

#[test]
fn keys_are_fetched_again_only_where_the_clock_was_wrong() {
    const COMPOSE: &str = "services:\n  imported-keys: {image: b, command: [ros, import-keys]}\n";
    let files = [
        ("/usr/share/ros/os.yml", "services: [cloud-init, console]\n"),
        ("/usr/share/ros/services/cloud-init/compose.yml", COMPOSE),
    ];
    let machine = Machine::new("late-keys", &files);
    for (late, expected) in [(true, true), (false, false)] {
        let mark = CloudInitMark { keys_are_late: late, ..CloudInitMark::default() };
        machine.write(cloud_init::MARK, &serde_json::to_string(&mark).unwrap());
        let plan = resolve(&machine.root()).resolved.plan;
        assert_eq!(plan.get("imported-keys").is_some(), expected);
    }
}
