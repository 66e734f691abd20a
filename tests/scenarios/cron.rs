//! Containers that start at the times of their labels, log files that are rotated, and the logs of
//! the boot.

use super::{STATE, says_all, with_config};
use anyhow::Result;
use vmtest::{Machine, Options, drive, folder};

const CONFIG: &str = r#"
rancher:
  services:
    tick:
      image: corral/os-base
      command: sh -c 'echo tick >> /var/log/tick'
      volumes: [/var/log:/var/log]
      labels:
        io.rancher.os.scope: system
        io.rancher.os.createonly: 'true'
        cron.schedule: '*/2 * * * * ?'
    slow:
      image: corral/os-base
      command: sh -c 'echo run >> /var/log/slow; exec sleep 1000'
      volumes: [/var/log:/var/log]
      labels:
        io.rancher.os.scope: system
        io.rancher.os.createonly: 'true'
        cron.schedule: '@every 2s'
    minutely:
      image: corral/os-base
      command: sh -c 'echo run >> /var/log/minutely'
      volumes: [/var/log:/var/log]
      labels:
        io.rancher.os.scope: system
        io.rancher.os.createonly: 'true'
        cron.schedule: '* * * * *'
    again:
      image: corral/os-base
      command: sh -c 'echo run >> /var/log/again; exec sleep 1000'
      volumes: [/var/log:/var/log]
      labels:
        io.rancher.os.scope: system
        io.rancher.os.createonly: 'true'
        cron.schedule: '@every 10s'
        cron.overlap: allow-restart
        cron.restart_timeout: '1'
    queued:
      image: corral/os-base
      command: sh -c 'echo run >> /var/log/queued; exec sleep 10'
      volumes: [/var/log:/var/log]
      labels:
        io.rancher.os.scope: system
        io.rancher.os.createonly: 'true'
        cron.schedule: '@every 4s'
        cron.overlap: queue
    yearly:
      image: corral/os-base
      command: sh -c 'echo run >> /var/log/yearly'
      volumes: [/var/log:/var/log]
      labels:
        io.rancher.os.scope: system
        io.rancher.os.createonly: 'true'
        cron.schedule: '@yearly'
        cron.missed: run
    wrong:
      image: corral/os-base
      command: sleep 1000
      labels:
        io.rancher.os.scope: system
        io.rancher.os.createonly: 'true'
        cron.schedule: '0 99 * * *'
write_files:
  - path: /etc/logrotate.d/mine
    container: logrotate
    permissions: "0644"
    content: |
      /var/log/mine.log {
        size 1k
        rotate 2
        missingok
      }
"#;

/// Logs that the system writes without logrotate, and their limits in bytes.
const BOUNDED: [(&str, u64); 3] = [
    ("/var/log/boot/netconf.log", 1 << 20),
    ("/var/log/docker.log", 10 << 20),
    ("/var/log/syslog", 10 << 20),
];

#[test]
fn cron_starts_containers_and_logs_are_kept_and_rotated() -> Result<()> {
    let folder = folder("cron")?;
    let disk = folder.join("state.img");
    drive::blank(&disk, 2048)?;
    let options = Options { append: STATE.to_owned(), disks: vec![disk], ..Options::default() };
    let mut machine = with_config(&folder, CONFIG, options)?;
    machine.expect_login()?;
    containers_of_the_system_start(&mut machine)?;
    one_that_still_runs_is_restarted_or_queued(&mut machine)?;
    a_file_of_the_owner_is_rotated(&mut machine)?;
    machine.expect_docker()?;
    machine.expect("grep -qx run /var/log/minutely")?;
    containers_of_docker_start_until_that_is_disabled(&mut machine)?;
    logs_of_the_boot_are_there(&machine, 1)?;
    the_machine_was_off_for_more_than_a_year(&machine)?;
    for (log, limit) in BOUNDED {
        let more = limit + limit / 20;
        machine.run(&format!("head -c {more} /dev/zero | sudo tee -a {log} >/dev/null"))?;
    }
    machine.restart()?;
    machine.expect_docker()?;
    logs_that_are_full_begin_again(&mut machine)?;
    machine.expect("grep -qx run /var/log/yearly")?;
    logs_of_the_boot_are_there(&machine, 2)?;
    machine.check_alarms()
}

fn containers_of_the_system_start(machine: &mut Machine) -> Result<()> {
    machine.expect("[ $(wc -l < /var/log/tick) -ge 3 ]")?;
    machine
        .expect("sudo system-docker logs system-cron | grep -q 'slow: it still runs: skipped'")?;
    assert_eq!(machine.run("cat /var/log/slow")?, "run", "it runs once at a time");
    machine.expect_console("cron: wrong: label cron.schedule: \"0 99 * * *\": hour: \"99\"")?;
    let hint = "\"99\" is not 0 to 23; cron leaves it alone, fix the label";
    says_all(&machine.run("! sudo ros why")?, &["wrong: label cron.schedule", hint]);
    says_all(&machine.run("! sudo ros why wrong")?, &[hint]);
    assert!(!machine.run("sudo ros why slow")?.contains("cron.schedule"));
    Ok(())
}

fn one_that_still_runs_is_restarted_or_queued(machine: &mut Machine) -> Result<()> {
    let log = "sudo system-docker logs system-cron";
    machine.expect(&format!(
        "{log} | grep -qx 'again: restart' && [ $(wc -l < /var/log/again) -ge 2 ]"
    ))?;
    let waits = "queued: it still runs: it starts again when it has ended";
    machine.expect(&format!("{log} | grep -qx '{waits}' && [ $(wc -l < /var/log/queued) -ge 2 ]"))
}

fn a_file_of_the_owner_is_rotated(machine: &mut Machine) -> Result<()> {
    machine.run("head -c 5000 /dev/zero | tr '\\0' x | sudo tee /var/log/mine.log >/dev/null")?;
    machine.run("sudo ros service start logrotate")?;
    machine.expect("[ $(sudo stat -c %s /var/log/mine.log.1) = 5000 ]")?;
    let state = "sudo system-docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' logrotate";
    machine.expect(&format!("{state} | grep -qx 'exited 0'"))?;
    // The console sees the same folder.
    machine
        .run("grep -q mine.log /etc/logrotate.d/mine && sudo touch /etc/logrotate.d/other")
        .map(drop)
}

fn containers_of_docker_start_until_that_is_disabled(machine: &mut Machine) -> Result<()> {
    machine.run(
        "mkdir -p /tmp/r/bin /tmp/out && cp /usr/bin/busybox /tmp/r/bin/ && \
         ln -s busybox /tmp/r/bin/sh && tar -C /tmp/r -c . | docker import - tiny && \
         docker create --name mine --network none -v /tmp/out:/out \
         --label cron.schedule='@every 2s' tiny /bin/sh -c 'echo run >> /out/runs'",
    )?;
    machine.expect("[ $(wc -l < /tmp/out/runs) -ge 2 ]")?;
    assert!(machine.run("sudo ros service enable crontab")?.contains("is part of the system"));
    machine.run("sudo ros service disable crontab && sudo ros service up system-cron")?;
    machine.expect(
        "sudo system-docker logs system-cron | grep -q 'labels in your Docker have no effect'",
    )
}

/// As far as cron knows, which noted when it saw the container first.
fn the_machine_was_off_for_more_than_a_year(machine: &Machine) -> Result<()> {
    let records = "/var/lib/rancher/cron/last-runs.json";
    machine.run("! test -e /var/log/yearly && sudo system-docker stop system-cron")?;
    let script = format!(
        "sudo grep -q yearly {records} && past=$(($(date +%s) - 400 * 86400)) && \
         sudo sed -Ei 's/(\"last\": ?)[0-9]+/\\1'$past'/' {records}"
    );
    machine.run(&script).map(drop)
}

/// The first line after a start of the program that writes them is too much.
fn logs_that_are_full_begin_again(machine: &mut Machine) -> Result<()> {
    machine.run("logger one more")?;
    for (log, limit) in BOUNDED {
        let size = |file: &str| format!("$(sudo stat -c %s {file})");
        let (new, old) = (size(log), size(&format!("{log}.1")));
        machine.expect(&format!("[ {old} -ge {limit} ] && [ {new} -lt {limit} ]"))?;
    }
    Ok(())
}

/// Each boot adds to them.
fn logs_of_the_boot_are_there(machine: &Machine, boots: usize) -> Result<()> {
    let folder = machine.run("sudo ls /var/log/boot")?;
    let names = ["init", "cloud-init-save", "netconf", "udev", "console-init", "syslog"];
    says_all(&folder, &names.map(|name| format!("{name}.log")).each_ref().map(String::as_str));
    let count = machine.run("sudo grep -c '^--- boot' /var/log/boot/init.log")?;
    assert_eq!(count, boots.to_string());
    machine.run("sudo grep -q '\\] corral: state: ' /var/log/boot/init.log")?;
    machine.run("sudo grep -q 'API listen on' /var/log/docker.log")?;
    let modes = machine.run("sudo stat -c %a /var/log/boot/init.log /var/log/docker.log")?;
    assert_eq!(modes, "600\n600");
    Ok(())
}
