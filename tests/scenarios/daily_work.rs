//! The commands of every day: status, logs, network, keys, password, usage, a support bundle. With
//! exit statuses for scripts, and with what a user without root may see.

use anyhow::{Context, Result};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use vmtest::{Machine, Options, drive, folder};

/// Secrets in every place that takes some.
const CONFIG: &str = r#"
hostname: daily
write_files: [{path: /opt/app.conf, content: "value app-secret-4711 end\n"}]
rancher:
  password: clear-secret-0815
  environment: {DB: env-secret-0042}
  registry_auths: {registry.example: {auth: am9lOnJlZ2lzdHJ5LXNlY3JldA==}}
  services:
    well:
      image: corral/os-base
      command: sh -c 'while sleep 1; do echo all is well; done'
      environment: [TOKEN=service-secret-77]
      labels: {io.rancher.os.scope: system}
"#;
/// No file of a support bundle has one of these.
const SECRETS: &str = "app-secret-4711|clear-secret-0815|env-secret-0042|registry-secret|\
    am9lOnJlZ2lzdHJ5LXNlY3JldA|service-secret-77|\
    cmdline-secret-12|typed-secret-34|PRIVATE KEY|[$]6[$]";
const BROKEN: &str = "rancher: {services: {broken: {image: corral/os-base, restart: always, \
    command: sh -c 'echo it breaks; exit 3', labels: {io.rancher.os.scope: system}}}}";

#[test]
fn a_day_with_a_machine() -> Result<()> {
    let folder = folder("daily-work")?;
    let disk = folder.join("state.img");
    drive::blank(&disk, 2048)?;
    let append = format!("{} mine.token=cmdline-secret-12", super::STATE);
    let options = Options { append, disks: vec![disk], ..Options::default() };
    let mut machine = super::with_config(&folder, CONFIG, options)?;
    machine.expect_login()?;
    machine.expect_docker()?;
    a_status_is_one_screen(&mut machine)?;
    the_network_is_shown_with_origins(&machine)?;
    without_root_the_rest_is_named(&machine)?;
    lists_are_for_programs_too(&machine)?;
    keys_and_password_are_changed(&mut machine, &folder)?;
    what_breaks_is_named(&mut machine)?;
    logs_are_in_one_place(&mut machine)?;
    a_bundle_has_no_secret(&machine)?;
    logs_of_the_boot_before_are_kept(&mut machine)?;
    machine.check_alarms()
}

fn json(machine: &Machine, command: &str) -> Result<Value> {
    let text = machine.run(command)?;
    serde_json::from_str(&text).with_context(|| format!("{command}: {text}"))
}

fn a_status_is_one_screen(machine: &mut Machine) -> Result<()> {
    // The exit status is 0 once all services are up.
    machine.expect_of_boot("sudo ros status && sudo ros why")?;
    let status = machine.run("sudo ros status")?;
    super::says_all(
        &status,
        &[
            "on daily, up ",
            "10.0.2.15/24                 DHCP",
            "link-local",
            "SHA256:",
            "(ED25519)",
            "state       /dev/vd",
            "all are well",
            "docker      ",
            "clock       ",
            "runs; it was not started from an installed disk",
        ],
    );
    assert!(!status.contains("unknown"), "{status}");
    // It runs for a moment each hour.
    machine.expect("sudo ros status | grep -q 'on demand: logrotate; all are well'")?;
    let status = json(machine, "sudo ros status --format json")?;
    assert_eq!(status["is_well"], true, "{status}");
    assert_eq!(status["state"]["is_kept"], true, "{status}");
    assert_eq!(status["clock"]["problem"], Value::Null, "{status}");
    machine.run("sudo ros config set --confirm 600s rancher.environment.A b")?;
    let status = machine.run("sudo ros status")?;
    assert!(status.contains("change      waits to be confirmed within 600 s"), "{status}");
    machine.run("sudo ros config confirm").map(drop)
}

fn the_network_is_shown_with_origins(machine: &Machine) -> Result<()> {
    let network = json(machine, "sudo ros net --format json")?;
    let interfaces = network["interfaces"].as_array().context("no interfaces")?;
    let card = interfaces.iter().find(|interface| interface["name"] == "eth0");
    let addresses = card.context("no eth0")?["addresses"].to_string();
    assert!(addresses.contains(r#"{"address":"10.0.2.15/24","origin":"dhcp"}"#), "{addresses}");
    super::says_all(
        &machine.run("ros net status")?,
        &["INTERFACE", "DESTINATION", "default", "10.0.2.2", "DNS servers"],
    );
    Ok(())
}

fn without_root_the_rest_is_named(machine: &Machine) -> Result<()> {
    let status = machine.run("ros status")?;
    super::says_all(
        &status,
        &["10.0.2.15/24", "docker      ", "only root sees: services, ssh host keys"],
    );
    machine.run("ros persist && ros os version")?;
    let list = machine.run("ros os list 2>&1")?;
    assert!(list.contains("running") && list.contains("try sudo"), "{list}");
    for command in ["why", "keys list", "top --once", "config get hostname"] {
        let refused = machine.run(&format!("! ros {command} 2>&1"))?;
        assert!(refused.contains("try sudo"), "{command}: {refused}");
    }
    machine.run("ros completion zsh | grep -q '#compdef ros'")?;
    machine.run("ros completion fish | grep -q 'complete -c ros'")?;
    // As a shell does it for `ros config va<Tab>`.
    let completed = machine.run(
        "bash -lc '_ros_load; COMP_WORDS=(ros config va); COMP_CWORD=2; _ros ros va config; \
         echo \"${COMPREPLY[@]}\"'",
    )?;
    assert_eq!(completed, "validate");
    Ok(())
}

fn lists_are_for_programs_too(machine: &Machine) -> Result<()> {
    let services = json(machine, "sudo ros service ps --format json")?;
    assert!(services.to_string().contains(r#""name":"well""#), "{services}");
    let consoles = json(machine, "sudo ros console list --format json")?;
    let rows = consoles.as_array().context("no rows")?;
    let ours = rows.iter().find(|row| row["name"] == "default").context("no default")?;
    assert_eq!(ours["state"], "current", "{consoles}");
    let explained = json(machine, "sudo ros config explain hostname --format json")?;
    assert_eq!(explained[0]["sources"][0]["value"], "daily", "{explained}");
    let yaml = machine.run("sudo ros persist --format yaml")?;
    assert!(yaml.contains("fate: kept"), "{yaml}");
    let top = json(machine, "sudo ros top --format json")?;
    let rows = top.as_array().context("no rows")?;
    let console = rows.iter().find(|row| row["name"] == "console").context("no console")?;
    assert!(console["memory"].as_u64() > Some(0), "{console}");
    assert!(machine.run("sudo ros top --once")?.starts_with("SERVICE"));
    for (command, has) in [
        ("engine list", "current"),
        ("os list", "running"),
        ("boot", "docker"),
        ("config get hostname", "daily"),
        ("config diff", "["),
        ("config status", "layers"),
        ("config images", "corral/os-base"),
        ("logs -n 5", "["),
    ] {
        let printed = json(machine, &format!("sudo ros {command} --format json"))?;
        assert!(printed.to_string().contains(has), "{command}: {printed}");
    }
    Ok(())
}

fn keys_and_password_are_changed(machine: &mut Machine, folder: &Path) -> Result<()> {
    let other = folder.join("other");
    let arguments = ["-q", "-t", "ed25519", "-N", "", "-C", "other@laptop", "-f"];
    let made = Command::new("ssh-keygen").args(arguments).arg(&other).status()?;
    assert!(made.success());
    let public = std::fs::read_to_string(other.with_extension("pub"))?;
    let added = machine.run(&format!("sudo ros keys add '{}'", public.trim()))?;
    assert!(added.contains("added: 256 SHA256:"), "{added}");
    let authorized = "sudo grep -q other@laptop /run/corral/ssh/authorized_keys.d/rancher";
    machine.expect(authorized)?;
    let keys = json(machine, "sudo ros keys list --format json")?;
    assert_eq!(keys.as_array().map(Vec::len), Some(2), "{keys}");
    machine.run("sudo ros keys remove other@laptop")?;
    machine.expect(&format!("! {authorized}"))?;
    let refused = machine.run("! sudo ros keys remove story 2>&1")?;
    assert!(refused.contains("no user can log in over ssh"), "{refused}");
    machine.run("echo typed-secret-34 | sudo ros password --stdin")?;
    assert!(machine.run("sudo ros config get rancher.password")?.starts_with("$6$"));
    machine.run("! sudo ros password --hash clear 2>&1").map(drop)
}

fn what_breaks_is_named(machine: &mut Machine) -> Result<()> {
    machine.run(&format!("echo \"{BROKEN}\" > /tmp/b.yml && sudo ros config apply /tmp/b.yml"))?;
    machine.expect("sudo ros why broken | grep -q '^broken: keeps exiting'")?;
    machine.expect("sudo ros why broken | grep -q '^  .*it breaks'")?;
    // Between two tries it runs for a moment.
    machine.expect(
        "sudo ros status > /tmp/status; [ $? = 1 ] && grep -q 'not well: broken' /tmp/status && \
         grep -q 'next step: ros why broken; ros logs broken' /tmp/status",
    )?;
    machine.expect("sudo ros why > /tmp/why; [ $? = 1 ]")?;
    let misspelt = machine.run("! sudo ros why netwrok 2>&1")?;
    super::says_all(&misspelt, &["netwrok", "ros service ps"]);
    machine.run("sudo ros why network").map(drop)
}

fn logs_are_in_one_place(machine: &mut Machine) -> Result<()> {
    machine.run("sudo ros logs broken | grep -q 'broken | it breaks'")?;
    machine.run("sudo ros logs -n 3 kernel | grep -q 'kernel | '")?;
    let lines = machine.run("sudo ros logs -n 5 well | wc -l")?;
    assert_eq!(lines, "5");
    machine.run("echo '<6>daily: message-of-this-boot' | sudo tee /dev/kmsg >/dev/null")?;
    machine.expect("sudo ros logs syslog | grep -q 'syslog | .*message-of-this-boot'")?;
    machine.run("sudo ros logs --since 1h | grep -q 'kernel | .*message-of-this-boot'")?;
    machine.run("! sudo ros logs nonsense 2>&1 | grep -v 'ros logs --list'")?;
    // A new line is shown, and a pipe that is closed ends the command.
    machine.run("sudo timeout 60 ros logs -f -n 0 well syslog | grep -m 1 'all is well'")?;
    // The owner's own container, without root.
    machine.run(
        "tar -C / -cf /tmp/i.tar bin/busybox usr/bin/busybox && docker import /tmp/i.tar tiny && \
         docker run -d --name mine tiny /bin/busybox sh -c \
         'echo from-my-container; exec /bin/busybox sleep 10000'",
    )?;
    machine.run("ros logs mine 2>/dev/null | grep -q 'mine | from-my-container'")?;
    machine.run("! sudo ros logs --system mine 2>&1 | grep -v 'ros logs --list'")?;
    machine.run("sudo ros logs --system --list | grep -qx well")?;
    machine.run("! sudo ros logs --system --list | grep -qx mine")?;
    machine.run("sudo ros logs --list | grep -qx mine").map(drop)
}

fn a_bundle_has_no_secret(machine: &Machine) -> Result<()> {
    machine.run("sudo ros support-bundle -o /tmp/bundle.tar.gz")?;
    // It belongs to the user who called sudo.
    machine.run("mkdir /tmp/bundle && tar -C /tmp/bundle -xzf /tmp/bundle.tar.gz")?;
    let listed = machine.run("cd /tmp/bundle/* && ls && wc -c *")?;
    super::says_all(&listed, &["config.yml", "disks.txt", "logs.txt", "network.json", "why.txt"]);
    let found = machine.run(&format!("! grep -rnE '{SECRETS}' /tmp/bundle"))?;
    assert_eq!(found, "");
    // Nor logs and commands of the owner's services.
    machine.run("! grep -rE 'it breaks|while sleep|all is well' /tmp/bundle")?;
    for (file, text) in [
        ("logs.txt", "kernel | "),
        ("services.json", "broken"),
        ("why.txt", "broken: keeps exiting"),
        ("config.yml", "hostname: daily"),
        ("disks.txt", "ext4"),
        ("docker.txt", "mine"),
        ("boot.txt", "critical path"),
    ] {
        machine.run(&format!("grep -q '{text}' /tmp/bundle/*/{file}"))?;
    }
    Ok(())
}

fn logs_of_the_boot_before_are_kept(machine: &mut Machine) -> Result<()> {
    machine.restart()?;
    machine.expect("sudo ros logs --boot -1 | grep -q message-of-this-boot")?;
    machine.run("sudo ros logs --boot -1 | grep -q 'kernel: .*Kernel command line'")?;
    machine.run("! sudo ros logs --boot 0 | grep message-of-this-boot")?;
    let refused = machine.run("! sudo ros logs --boot -7 2>&1")?;
    assert!(refused.contains("not recorded in /var/log/boots"), "{refused}");
    Ok(())
}
