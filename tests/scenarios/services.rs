//! Services of the owner's in the words of compose, run by the engine of the system: images from a registry, networks,
//! volumes, checks and conditions; and the least that the built-in ones get.

use anyhow::Result;
use vmtest::folder;
use vmtest::{Machine, Options, servers};

const COMPOSE: &str = r#"
services:
  store:
    image: corral/os-base
    command: busybox httpd -f -p 80 -h /data
    volumes: [data:/data]
    networks: {inner: {aliases: [warehouse]}}
    healthcheck: {test: [CMD, test, -e, /data/ready], interval: 1s, start_period: 5m}
    restart: always
  setup:
    image: corral/os-base
    command: ["sh", "-c", "echo ${GREETING:-hello} > /data/greeting"]
    network_mode: none
    volumes: [data:/data]
  web:
    image: ${REGISTRY}/team/web:1
    pull_policy: always
    command: ["/bin/busybox", "sh", "-c", "/bin/busybox wget -qO /greeting http://warehouse/greeting && exec /bin/busybox httpd -f -p 80 -h /"]
    depends_on:
      store: {condition: service_healthy}
      setup: {condition: service_completed_successfully}
    networks: [inner]
    ports: ["8077:80"]
    restart: on-failure
  idle:
    image: corral/os-base
    command: sleep 1000
    profiles: [never]
  orphan:
    image: corral/os-base
    command: sleep 1000
    depends_on: {broken: {condition: service_completed_successfully}}
  broken:
    image: corral/os-base
    command: "false"
volumes: {data: }
networks: {inner: {ipam: {config: [{subnet: 10.77.0.0/16}]}}}
"#;

const FILE: &str = "/var/lib/rancher/conf/site.yml";

#[test]
fn a_compose_file_becomes_services_of_the_system() -> Result<()> {
    let folder = folder("services")?;
    let registry = servers::registry(&folder)?;
    let host = format!("10.0.2.2:{}", registry.port);
    let config = format!(
        "rancher:\n  system_docker: {{insecure_registry: [\"{host}\"]}}\n  environment: {{REGISTRY: \"{host}\"}}\n"
    );
    let mut machine = super::with_config(&folder, &config, Options::default())?;
    machine.expect_login()?;
    built_in_services_have_the_least(&machine)?;
    machine.run(&format!(
        "tar -C / -cf /tmp/i.tar bin/busybox usr/bin/busybox && \
         sudo system-docker import /tmp/i.tar {host}/team/web:1 && \
         sudo system-docker push {host}/team/web:1 && sudo system-docker rmi {host}/team/web:1"
    ))?;
    let apply = format!("rancher:\n  services_include: {{{FILE}: true}}\n");
    machine.run(&format!(
        "sudo tee {FILE} >/dev/null <<'END'\n{COMPOSE}END\n\
         printf '{apply}' > /tmp/apply.yml && sudo ros config apply /tmp/apply.yml"
    ))?;
    let names = "sudo system-docker ps -a --format '{{.Names}}'";
    machine.expect(&format!(
        "{names} | grep -qx store && {names} | grep -qx setup && {names} | grep -qx broken"
    ))?;
    // Neither what waits for a check, nor what waits in vain, nor what nobody asked for.
    let found = machine.run(names)?;
    assert!(!found.lines().any(|name| ["web", "idle", "orphan"].contains(&name)), "{found}");
    machine.expect_console("orphan: not started: broken has failed")?;
    machine.run("sudo system-docker exec store touch /data/ready")?;
    machine.expect("wget -T 5 -qO- http://10.77.0.1:8077/greeting | grep -qx hello")?;
    let shown = machine.run("sudo system-docker inspect -f '{{.Config.Image}} {{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}' web")?;
    assert_eq!(shown, format!("{host}/team/web:1 system_inner"));
    a_change_makes_only_what_changed_anew(&mut machine)
}

fn a_change_makes_only_what_changed_anew(machine: &mut Machine) -> Result<()> {
    let id = |name: &str| machine.run(&format!("sudo system-docker inspect -f '{{{{.Id}}}}' {name}"));
    let (web, setup) = (id("web")?, id("setup")?);
    machine.run(&format!(
        "sudo sed -i 's/GREETING:-hello/GREETING:-good day/' {FILE} && sudo ros config apply /tmp/apply.yml"
    ))?;
    machine.expect(&format!("sudo system-docker inspect -f '{{{{.Id}}}}' setup | grep -vqx {setup}"))?;
    machine.expect("sudo system-docker exec store cat /data/greeting | grep -qx 'good day'")?;
    assert_eq!(machine.run("sudo system-docker inspect -f '{{.Id}}' web")?, web, "it did not change");
    machine.check_alarms()
}

/// Only those that let the owner do everything may do everything.
fn built_in_services_have_the_least(machine: &Machine) -> Result<()> {
    let format = "{{.Name}} {{.HostConfig.Privileged}}";
    let list = format!("sudo system-docker inspect -f '{format}' $(sudo system-docker ps -aq)");
    let mut privileged: Vec<String> = machine
        .run(&list)?
        .lines()
        .filter_map(|line| Some(line.strip_suffix(" true")?.trim_start_matches('/').to_owned()))
        .collect();
    privileged.sort();
    assert_eq!(privileged, ["console", "docker"]);
    for name in ["network", "udev", "syslog", "ntp", "acpid"] {
        let pid = format!("$(sudo system-docker inspect -f '{{{{.State.Pid}}}}' {name})");
        let status = machine.run(&format!("sudo grep -E '^(CapEff|Seccomp):' /proc/{pid}/status"))?;
        assert!(status.contains("Seccomp:\t2"), "{name}: {status}");
        assert!(!status.contains("CapEff:\t000001ffffffffff"), "{name}: {status}");
    }
    Ok(())
}
