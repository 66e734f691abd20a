//! Compose services of the owner that the system engine runs: images from a registry, networks,
//! volumes, health checks and conditions. Also the least privilege of the built-in services.

use super::consoles::stock;
use anyhow::Result;
use std::fs;
use std::path::Path;
use vmtest::folder;
use vmtest::{Machine, Options, servers};

const COMPOSE: &str = r#"
services:
  store:
    image: corral/os-base
    command: busybox httpd -f -p 80 -h /data
    volumes: [data:/data]
    env_file: [/var/lib/rancher/conf/store.env]
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
    command: ["/bin/busybox", "sh", "-c",
              "/bin/busybox wget -qO /greeting http://warehouse/greeting &&
              exec /bin/busybox httpd -f -p 80 -h /"]
    depends_on:
      store: {condition: service_healthy}
      setup: {condition: service_completed_successfully}
    networks: [inner]
    ports: ["8077:80"]
    restart: on-failure
  page:
    image: ${REGISTRY}/team/page:1
    command: busybox httpd -f -p 80 -h /
    networks: [inner]
    healthcheck: {test: [CMD, /bin/busybox, test, -e, /good], interval: 1s, retries: 2}
    restart: always
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
  made:
    image: corral/os-base
    command: echo started by hand
    labels: {io.rancher.os.createonly: "true"}
volumes: {data: }
networks: {inner: {ipam: {config: [{subnet: 10.77.0.0/16}]}}}
"#;

const FILE: &str = "/var/lib/rancher/conf/site.yml";

#[test]
fn a_compose_file_becomes_services_of_the_system() -> Result<()> {
    let folder = folder("services")?;
    let registry = servers::registry(&folder)?;
    let host = format!("10.0.2.2:{}", registry.port);
    servers::push_files(&registry, &stock("musl")?, "team/at-boot", &folder)?;
    let config = format!(
        "rancher:\n  system_docker: {{insecure_registry: [\"{host}\"]}}\n  \
         environment: {{REGISTRY: \"{host}\"}}\n  \
         services:\n    at-boot:\n      image: {host}/team/at-boot:1\n      \
         command: echo pulled in the boot\n      labels: {{io.rancher.os.scope: system}}\n"
    );
    let mut machine = super::with_config(&folder, &config, Options::default())?;
    machine.expect_login()?;
    machine.expect("sudo system-docker logs at-boot | grep -qx 'pulled in the boot'")?;
    built_in_services_have_the_least(&machine)?;
    push_page(&machine, &host, "good", "one")?;
    machine.run(&format!(
        "tar -C / -cf /tmp/i.tar bin/busybox usr/bin/busybox && \
         sudo system-docker import /tmp/i.tar {host}/team/web:1 && \
         sudo system-docker push {host}/team/web:1 && sudo system-docker rmi {host}/team/web:1"
    ))?;
    machine.run("echo 'OF_FILE=\"two words\"' | sudo tee /var/lib/rancher/conf/store.env")?;
    let apply = format!("rancher:\n  services_include: {{{FILE}: true}}\n");
    machine.run(&format!(
        "sudo tee {FILE} >/dev/null <<'END'\n{COMPOSE}END\n\
         printf '{apply}' > /tmp/apply.yml && sudo ros config apply /tmp/apply.yml"
    ))?;
    let names = "sudo system-docker ps -a --format '{{.Names}}'";
    machine.expect(&format!(
        "{names} | grep -qx store && {names} | grep -qx setup && {names} | grep -qx broken"
    ))?;
    // Three services must not run: one waits for a health check, one has a failed dependency, one
    // has an inactive profile.
    let found = machine.run(names)?;
    assert!(!found.lines().any(|name| ["web", "idle", "orphan"].contains(&name)), "{found}");
    // Created only: a client starts it.
    let status = "sudo system-docker inspect -f '{{.State.Status}}' made";
    assert_eq!(machine.run(status)?, "created");
    machine.run("sudo system-docker start made")?;
    machine.expect("sudo system-docker logs made | grep -qx 'started by hand'")?;
    machine.expect_console("orphan: not started: broken has failed")?;
    let of_file = machine.run("sudo system-docker exec store sh -c 'echo $OF_FILE'")?;
    assert_eq!(of_file, "two words");
    machine.run("sudo system-docker exec store touch /data/ready")?;
    machine.expect("wget -T 5 -qO- http://10.77.0.1:8077/greeting | grep -qx hello")?;
    let shown = machine.run(
        "sudo system-docker inspect -f '{{.Config.Image}} \
         {{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}' web",
    )?;
    assert_eq!(shown, format!("{host}/team/web:1 system_inner"));
    a_newer_image_is_tried_before_it_takes_effect(&mut machine, &host)?;
    files_come_from_a_repository_and_by_url(&mut machine, &folder)?;
    a_change_recreates_only_what_changed(&mut machine)
}

fn files_come_from_a_repository_and_by_url(machine: &mut Machine, folder: &Path) -> Result<()> {
    let content = folder.join("www");
    fs::create_dir_all(content.join("n"))?;
    // In the format of RancherOS's repository.
    fs::write(
        content.join("n/nap.yml"),
        "nap:\n  image: corral/os-base\n  command: sleep 1000\n  net: host\n  \
         labels: [io.rancher.os.scope=system]\n",
    )?;
    let compose =
        "services: {doze: {image: corral/os-base, command: sleep 1000, network_mode: none}}\n";
    fs::write(content.join("doze.yml"), compose)?;
    let web = servers::web(folder, &content)?;
    let url = format!("http://10.0.2.2:{}", web.port);
    let config = format!(
        "rancher:\n  repositories: {{mine: {{url: {url}}}}}\n  \
         services_include: {{nap: true, missing: true}}\n"
    );
    let apply = |config: &str| {
        format!("printf '{config}' > /tmp/more.yml && sudo ros config apply /tmp/more.yml")
    };
    machine.run(&apply(&config))?;
    machine.expect_console("m/missing.yml: not found")?;
    let names = "sudo system-docker ps --format '{{.Names}}'";
    machine.expect(&format!("{names} | grep -qx nap"))?;
    machine.run(&apply(&format!("rancher: {{services_include: {{\"{url}/doze.yml\": true}}}}")))?;
    machine.expect(&format!("{names} | grep -qx doze"))?;
    drop(web);
    // Fetched files are kept: nothing is fetched again.
    let other = "rancher: {services_include: {missing: false}}";
    machine.run(&apply(other))?;
    machine.run(&format!("{names} | grep -qx nap && {names} | grep -qx doze")).map(drop)
}

/// An image that is healthy only if `file` is `good`; the file holds a version. Afterwards only the
/// registry has the image.
fn push_page(machine: &Machine, host: &str, file: &str, version: &str) -> Result<()> {
    let image = format!("{host}/team/page:1");
    machine
        .run(&format!(
            "echo {version} | sudo tee /{file} >/dev/null && \
         tar -C / -cf /tmp/page.tar bin/busybox usr/bin/busybox {file} && sudo rm /{file} && \
         sudo system-docker import /tmp/page.tar {image} && sudo system-docker push {image} && \
         sudo system-docker rmi {image}"
        ))
        .map(drop)
}

fn a_newer_image_is_tried_before_it_takes_effect(machine: &mut Machine, host: &str) -> Result<()> {
    let upgrade = "sudo ros service upgrade page 2>&1";
    let version = "sudo system-docker exec page /bin/busybox cat /good";
    machine.expect(&format!("{version} | grep -qx one"))?;
    push_page(machine, host, "good", "two")?;
    let said = machine.run(upgrade)?;
    assert!(
        said.contains("beside the old container") && said.contains("runs the newest"),
        "{said}"
    );
    assert_eq!(machine.run(version)?, "two");
    assert!(machine.run(upgrade)?.contains("is up to date"));

    push_page(machine, host, "bad", "three")?;
    let id = "sudo system-docker inspect -f '{{.Id}}' page";
    let before = machine.run(id)?;
    let said = machine.run(&format!("! {upgrade}"))?;
    assert!(said.contains("page is unchanged") && said.contains("unhealthy"), "{said}");
    assert_eq!(machine.run(id)?, before, "it was not touched");

    // A container that writes to a volume must stop before the new one starts, and is rolled back.
    let volumes = "s|networks: \\[inner\\]$|&\\n    volumes: [data:/data]|";
    machine.run(&format!(
        "sudo sed -i '/team.page/,/restart/{{{volumes}}}' {FILE} && \
         sudo ros config apply /tmp/apply.yml"
    ))?;
    machine.expect(&format!("{id} | grep -vqx {before} && {version} | grep -qx two"))?;
    let said = machine.run(&format!("! {upgrade}"))?;
    assert!(
        said.contains("writes to volumes") && said.contains("was rolled back to its old image"),
        "{said}"
    );
    assert_eq!(machine.run(version)?, "two");
    let said = machine.run("! sudo ros service upgrade console 2>&1")?;
    assert!(said.contains("ros os upgrade"), "{said}");
    Ok(())
}

fn a_change_recreates_only_what_changed(machine: &mut Machine) -> Result<()> {
    let id =
        |name: &str| machine.run(&format!("sudo system-docker inspect -f '{{{{.Id}}}}' {name}"));
    let (web, setup) = (id("web")?, id("setup")?);
    machine.run(&format!(
        "sudo sed -i 's/GREETING:-hello/GREETING:-good day/' {FILE} && \
         sudo ros config apply /tmp/apply.yml"
    ))?;
    machine.expect(&format!(
        "sudo system-docker inspect -f '{{{{.Id}}}}' setup | grep -vqx {setup}"
    ))?;
    machine.expect("sudo system-docker exec store cat /data/greeting | grep -qx 'good day'")?;
    assert_eq!(
        machine.run("sudo system-docker inspect -f '{{.Id}}' web")?,
        web,
        "it did not change"
    );
    machine.check_alarms()
}

/// Only the console and Docker are privileged, because they let the owner do everything.
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
        let status =
            machine.run(&format!("sudo grep -E '^(CapEff|Seccomp):' /proc/{pid}/status"))?;
        assert!(status.contains("Seccomp:\t2"), "{name}: {status}");
        assert!(!status.contains("CapEff:\t000001ffffffffff"), "{name}: {status}");
    }
    Ok(())
}
