//! The commands of RancherOS for services and for Docker over TLS: local services of both scopes,
//! TLS from a cloud-config, `ros env`, `ros tls gen`.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;
use vmtest::{Machine, Options, folder, servers};

/// In RancherOS's terms: without the label a service belongs to the user's Docker.
const FILE: &str = r#"
theirs:
  image: tiny
  command: /bin/sh -c 'echo "hello from $$NAME"; exec sleep 1000'
  environment: {NAME: docker}
  restart: always
ours:
  image: corral/os-base
  command: sh -c 'echo "hello from the system"; exec sleep 1000'
  labels: {io.rancher.os.scope: system}
"#;
const PLACE: &str = "/var/lib/rancher/conf/local.yml";

#[test]
fn services_and_tls_are_managed_as_they_were() -> Result<()> {
    let folder = folder("commands")?;
    let config = format!(
        "rancher:\n  environment: {{A: '1', FLASK: full}}\n  docker:\n    tls: true\n{}",
        pems(&folder)?
    );
    let mut machine = super::with_config(&folder, &config, Options::default())?;
    machine.expect_login()?;
    assert_eq!(
        machine.run("sudo ros env printenv A FLASK; sudo A=2 ros env printenv A")?,
        "1\nfull\n2"
    );
    machine.expect_docker()?;
    docker_answers_over_tls(&machine)?;
    services_of_both_engines(&mut machine)?;
    repositories_are_listed(&mut machine, &folder)?;
    machine.check_alarms()
}

/// CA and server certificate as RancherOS made them (RSA keys in PKCS #1 form), in a cloud-config.
fn pems(folder: &Path) -> Result<String> {
    let script = "openssl genrsa -traditional -out ca_key 2048 &&
        openssl genrsa -traditional -out server_key 2048 &&
        openssl req -new -x509 -key ca_key -subj /O=rancher -days 9 \
          -addext keyUsage=keyCertSign -out ca_cert &&
        openssl req -new -key server_key -subj /O=rancher -out request &&
        printf 'subjectAltName=DNS:localhost' > names &&
        openssl x509 -req -in request -CA ca_cert -CAkey ca_key -CAcreateserial -days 9 \
          -extfile names -out server_cert";
    let output = Command::new("sh").args(["-c", script]).current_dir(folder).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut text = String::new();
    for key in ["ca_key", "ca_cert", "server_key", "server_cert"] {
        let pem = fs::read_to_string(folder.join(key)).context(key)?;
        let lines: Vec<String> = pem.lines().map(|line| format!("      {line}\n")).collect();
        text.push_str(&format!("    {key}: |\n{}", lines.concat()));
    }
    Ok(text)
}

fn docker_answers_over_tls(machine: &Machine) -> Result<()> {
    let version = "docker -H tcp://localhost:2376 --tlsverify version --format '{{.Server.Os}}'";
    machine.run(&format!("! {version}"))?;
    machine.run("sudo ros tls gen")?;
    assert_eq!(
        machine.run(version)?,
        "linux",
        "the client's pair is signed by the authority of the cloud-config"
    );
    assert_eq!(machine.run("stat -c '%U %a' ~rancher/.docker/key.pem")?, "rancher 600");
    // Another server certificate, and then another CA.
    let restart = "sudo system-docker restart docker >/dev/null && sudo wait-for-docker";
    machine.run(&format!(
        "sudo ros tls generate --server -H other.example -H 127.0.0.1 && {restart}"
    ))?;
    let version = version.replace("localhost", "127.0.0.1");
    assert_eq!(machine.run(&version)?, "linux");
    let forget = "sudo ros config set rancher.docker.ca_key ''; \
                  sudo ros config set rancher.docker.ca_cert ''";
    machine.run(&format!(
        "{forget}; sudo ros tls gen -s && {restart}; ! {version} && sudo ros tls gen"
    ))?;
    assert_eq!(machine.run(&version)?, "linux");
    let secret = "sudo ros config export | grep -c 'PRIVATE KEY'; \
                  sudo ros config export --private | grep -c 'PRIVATE KEY'";
    assert_ne!(machine.run(secret)?.lines().collect::<Vec<_>>(), ["0", "0"]);
    assert!(machine.run(secret)?.starts_with("0\n"));
    Ok(())
}

fn services_of_both_engines(machine: &mut Machine) -> Result<()> {
    machine.run(&format!(
        "mkdir -p /tmp/r/bin && cp /usr/bin/busybox /tmp/r/bin/ && ln -s busybox /tmp/r/bin/sh && \
         ln -s busybox /tmp/r/bin/sleep && tar -C /tmp/r -c . | docker import - tiny && \
         sudo tee {PLACE} >/dev/null <<'END'\n{FILE}END"
    ))?;
    let refused = machine
        .run("! sudo ros service enable missing 2>&1; ! sudo ros service up missing 2>&1")?;
    assert!(
        refused.contains("missing is not a valid service")
            && refused.contains("No such service: missing"),
        "{refused}"
    );
    let said = machine
        .run(&format!("sudo ros service enable {PLACE} && sudo ros service up theirs ours"))?;
    assert!(said.ends_with("theirs: up\nours: up"), "{said}");
    machine.expect("sudo ros service logs ours | grep -qx 'ours_1 | hello from the system'")?;
    machine.expect("sudo ros service logs theirs | grep -qx 'theirs_1 | hello from docker'")?;
    machine.run("docker ps --format '{{.Names}}' | grep -qx theirs")?;
    machine.run("sudo system-docker ps --format '{{.Names}}' | grep -qx ours")?;
    let shown = machine.run("sudo ros service ps theirs ours")?;
    assert_eq!(shown.lines().filter(|line| line.contains("  Up ")).count(), 2, "{shown}");
    machine.run(
        "sudo ros service stop theirs ours && sudo ros service up ours && \
         sudo ros service start theirs",
    )?;
    assert_eq!(machine.run("sudo ros service ps -q ours theirs | wc -l")?, "2");
    assert!(machine.run("sudo ros service list")?.contains(&format!("enabled   {PLACE}")));
    // A container that a user made by hand is not a service.
    machine.run("docker run -d --name mine tiny /bin/sleep 1000")?;
    assert!(machine.run("! sudo ros service rm -f mine 2>&1")?.contains("No such service: mine"));
    // A disabled service is removed permanently.
    machine
        .run(&format!("sudo ros service disable {PLACE} && sudo ros service rm -f theirs ours"))?;
    machine.run(
        "! sudo ros service ps ours 2>&1 | grep -q Up && ! docker inspect theirs >/dev/null 2>&1",
    )?;
    machine
        .run(&format!(
            "sudo ros service delete {PLACE} && ! sudo ros service list | grep -q local.yml"
        ))
        .map(drop)
}

fn repositories_are_listed(machine: &mut Machine, folder: &Path) -> Result<()> {
    let content = folder.join("www");
    fs::create_dir_all(content.join("w"))?;
    fs::write(
        content.join("index.yml"),
        "services: [web]\nconsoles: [site]\nengines: [docker-29]\n",
    )?;
    fs::write(
        content.join("w/web.yml"),
        "web: {image: corral/os-base, labels: {io.rancher.os.scope: system}}\n",
    )?;
    let web = servers::web(folder, &content)?;
    let repositories = format!("{{ours: {{url: \"http://10.0.2.2:{}\"}}}}", web.port);
    machine.run(&format!("sudo ros config set rancher.repositories '{repositories}'"))?;
    machine.run("sudo ros service enable web")?;
    machine.run("sudo ros service list | grep -qx 'enabled   web'")?;
    let list = "sudo ros console list | grep -e site -e default";
    assert_eq!(machine.run(list)?, "current  default\ndisabled site");
    machine.run("sudo ros engine list | grep -q '^disabled *docker-29 '")?;
    let no_console = "invalid is not a valid console";
    let hint = "(`ros console list` shows what there is)";
    let no_engine = "invalid is no engine of this release";
    let refusals: [(&str, &[&str]); 3] = [
        ("console switch -f", &[no_console, hint]),
        ("console enable", &[no_console, hint]),
        ("engine enable", &[no_engine]),
    ];
    for (command, reasons) in refusals {
        super::says_all(&machine.run(&format!("! sudo ros {command} invalid 2>&1"))?, reasons);
    }
    // Nothing is stored for the next boot.
    assert_eq!(machine.run("sudo ros config get rancher.console")?, "");
    Ok(())
}
