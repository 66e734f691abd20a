//! What a person finds in the image: Docker's plug-ins, the tools of the console, a terminal that
//! works, the identity of the machine, and what a login shows.

use super::{says_all, second_boot, with_config};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use vmtest::{Image, Machine, Options, folder};

const GREETING: &str = "hostname: web-1
write_files:
  - {path: /etc/motd, permissions: \"0644\", content: \"welcome to web-1\\n\"}
";
const COMPOSE: &str = "services:
  web:
    image: busybox
    command: [httpd, -f, -p, '80', -h, /www]
    ports: ['8081:80']
    volumes: [/home/rancher/www:/www]
";
/// Only BuildKit knows `--mount`.
const DOCKERFILE: &str = "FROM scratch
COPY busybox /busybox
RUN --mount=type=tmpfs,target=/t [\"/busybox\", \"touch\", \"/made\"]
CMD [\"/busybox\", \"ls\", \"/made\"]
";

#[test]
fn a_docker_host_has_its_usual_tools() -> Result<()> {
    let folder = folder("tools")?;
    let mut machine = with_config(&folder, GREETING, Options::default())?;
    machine.expect_login()?;
    the_console_has_its_tools(&machine)?;
    pam_knows_the_programs_that_use_it(&mut machine)?;
    each_part_has_its_licence(&machine)?;
    a_terminal_works(&machine)?;
    nothing_is_kept_and_the_machine_says_so(&mut machine)?;
    a_toolbox_sees_the_machine(&machine)?;
    machine.expect_docker()?;
    docker_has_its_plug_ins(&machine)?;
    a_client_elsewhere_reaches_docker_over_ssh(&machine, &folder)?;
    downloads_are_verified(&machine)?;
    machine.check_alarms()
}

fn the_console_has_its_tools(machine: &Machine) -> Result<()> {
    let versions = "tar --version; rsync --version; jq --version; less --version; nano --version
        curl --version; wget --version; bash -c 'letters=äöü; echo $LANG has ${#letters} letters'";
    says_all(
        &machine.run(versions)?,
        &[
            "GNU tar",
            "rsync  version",
            "jq-",
            "less 6",
            "GNU nano",
            "OpenSSL",
            "GNU Wget",
            "C.UTF-8 has 3 letters",
        ],
    );
    // 12:00 UTC on the first of July.
    let time = "TZ=America/New_York date -d @1782907200 +%H:%M; cat /etc/timezone";
    assert_eq!(machine.run(time)?, "08:00\nEtc/UTC");
    machine.run(
        "mkdir -p /tmp/a && echo x > /tmp/a/x && rsync -a /tmp/a/ /tmp/b && cmp /tmp/a/x /tmp/b/x",
    )?;
    machine.run("tar -C /tmp/a -czf /tmp/a.tgz . && tar -tzf /tmp/a.tgz | grep -q x")?;
    let release = machine.run("cat /etc/os-release")?;
    says_all(&release, &["ID=corral\n", "ID_LIKE=rancheros\n", "BUILD_ID=", "IMAGE_ID=corral\n"]);
    // Several modules, and one with parameters.
    machine
        .run("sudo ros modprobe -a tun loop && sudo ros modprobe tun zram num_devices=3 loop")?;
    assert_eq!(machine.run("ls /sys/block | grep -c zram")?, "3");
    let said = machine.run("sudo ros modprobe -r zram 2>&1; true")?;
    says_all(&said, &["no option -r"]);
    says_all(&machine.run("sudo ros modprobe no-such 2>&1; true")?, &["no-such"]);
    Ok(())
}

/// A program without a file of its own in /etc/pam.d may do nothing.
fn pam_knows_the_programs_that_use_it(machine: &mut Machine) -> Result<()> {
    let names =
        machine.run("sudo id -un; sudo -s id -un; sudo -i id -un; sudo -iu docker id -un")?;
    assert_eq!(names, "root\nroot\nroot\ndocker");
    machine
        .run("echo docker:by-hand | sudo chpasswd && sudo grep -q '^docker:[$]6' /etc/shadow")?;
    machine.run("sudo usermod -p '*' docker")?;
    machine.expect("sudo grep -q 'sudo: .*COMMAND=' /var/log/secure")?;
    machine.run("! sudo grep '[n]o default config' /var/log/secure").map(drop)
}

/// For every user, and from the image.
fn each_part_has_its_licence(machine: &Machine) -> Result<()> {
    let parts: Vec<Value> = serde_json::from_str(&machine.run("ros licenses --format json")?)?;
    let of_kind = |kind: &str| parts.iter().filter(|part| part["kind"] == kind).count();
    let counts = ["debian", "crate", "linked", "corral"].map(of_kind);
    ensure!(counts[0] > 80 && counts[1] > 200 && counts[2] >= 3 && counts[3] == 1, "{counts:?}");
    let without = parts.iter().find(|part| {
        ["name", "version", "license"]
            .iter()
            .any(|key| part[*key].as_str().is_none_or(str::is_empty))
    });
    ensure!(without.is_none(), "{without:?}");
    says_all(&machine.run("ros licenses")?, &["NAME ", "libcontainer ", "linux-image-"]);
    // Of a package, with the text that it refers to; of a crate whose source has no text.
    let bash = machine.run("ros licenses bash")?;
    says_all(&bash, &["bash ", "GNU GENERAL PUBLIC LICENSE", "---- copyright ----"]);
    says_all(&machine.run("ros licenses libcontainer")?, &["Apache License"]);
    says_all(&machine.run("ros licenses corral")?, &["Apache-2.0", "---- NOTICE ----"]);
    let refused = machine.run("! ros licenses no-such-part 2>&1")?;
    says_all(&refused, &["no part of the system is named no-such-part"]);
    machine.run("sudo test -s /proc/1/root/usr/share/licenses/licenses.json.zst").map(drop)
}

/// A login, `bash` and `sudo -s` on a terminal.
fn a_terminal_works(machine: &Machine) -> Result<()> {
    let terminals = ["xterm-256color", "screen", "tmux-256color", "linux", "vt100", "vt220"];
    for terminal in terminals {
        machine.run(&format!("test -e /usr/share/terminfo/{}/{terminal}", &terminal[..1]))?;
    }
    let look = "alias ls; _comp_load docker; complete -p docker; exit 0";
    let said = machine.login.answer("", &[("]$ ", look)])?;
    says_all(
        &said,
        &["welcome to web-1", "nothing is kept. `sudo ros install`", "[rancher@web-1 ~]$ "],
    );
    says_all(&said, &["ls --color=auto", "complete -F _docker docker"]);
    machine.login.answer("", &[("]$ ", "exec bash"), ("web-1 ~]$ ", "exit 0")])?;
    let said = machine.login.answer("", &[("]$ ", "exec sudo -s"), ("]# ", "exit 0")])?;
    says_all(&said, &["[root@web-1 rancher]# "]);
    // Scripts get no titles, and people do.
    let list = "sudo ros console list";
    says_all(&machine.login.answer(list, &[])?, &["STATE", "current  default"]);
    machine.run(&format!("! {list} | grep STATE"))?;
    let validate = "echo 'hostname: a' > g.yml; ros config validate g.yml";
    says_all(&machine.login.answer(validate, &[])?, &["g.yml: no problems"]);
    Ok(())
}

fn nothing_is_kept_and_the_machine_says_so(machine: &mut Machine) -> Result<()> {
    let id = machine.run("cat /etc/machine-id")?;
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    machine.expect("grep -q 'ssh host key: SHA256:' /etc/issue")?;
    let issue = machine.run("cat /etc/issue")?;
    says_all(
        &issue,
        &["Corral v", "10.0.2.15/24", "(ED25519)", "ssh rancher@10.0.2.15", "nothing is kept"],
    );
    machine.expect_console("ssh host key: SHA256:")
}

/// From the image that is here; on a terminal, and with commands from a pipe.
fn a_toolbox_sees_the_machine(machine: &Machine) -> Result<()> {
    let count = "sudo system-docker ps -aq | wc -l";
    let before = machine.run(count)?;
    let script = "pwd; cat /proc/1/comm; hostname; ls -d /host/usr/bin/ros /dev/vda; \
                  ip -4 -o addr show eth0; grep CapEff /proc/self/status";
    let said = machine.run(&format!("echo '{script}' | sudo ros toolbox"))?;
    let of_console = machine.run("sudo grep CapEff /proc/self/status")?;
    says_all(
        &said,
        &["/host\n", "web-1\n", "/usr/bin/ros\n", "/dev/vda", "10.0.2.15", &of_console],
    );
    machine.login.answer("sudo ros toolbox", &[("# ", "exit 0")])?;
    machine.run("sudo ros toolbox corral/os-base test -e /host/usr/share/ros/os.yml")?;
    assert_eq!(machine.run(count)?, before, "they are removed");
    says_all(&machine.run("! ros toolbox 2>&1")?, &["try sudo"]);
    Ok(())
}

fn docker_has_its_plug_ins(machine: &Machine) -> Result<()> {
    for user in ["", "sudo "] {
        let said =
            machine.run(&format!("{user}docker compose version; {user}docker buildx version"))?;
        says_all(&said, &["Docker Compose version", "github.com/docker/buildx"]);
    }
    says_all(&machine.run("docker-compose version")?, &["Docker Compose version"]);
    machine.run(
        "mkdir -p r/bin www build app && cp /usr/bin/busybox r/bin/ && cp /usr/bin/busybox build/
         for name in sh httpd; do ln -s busybox r/bin/$name; done
         tar -C r -c . | docker import --change 'ENV PATH=/bin' - busybox >/dev/null
         echo by compose > www/index.html",
    )?;
    machine.run(&format!("cat > app/compose.yml <<'END'\n{COMPOSE}END"))?;
    machine.run(&format!("cat > build/Dockerfile <<'END'\n{DOCKERFILE}END"))?;
    machine.run("cd app && docker compose up -d")?;
    assert_eq!(
        machine.run("curl -s --retry 9 --retry-connrefused http://127.0.0.1:8081/")?,
        "by compose"
    );
    says_all(&machine.run("cd app && docker compose ps")?, &["app-web-1"]);
    machine.run("cd app && docker compose down && docker build --quiet --tag built ../build")?;
    assert_eq!(machine.run("docker run --rm built")?, "/made");
    // As a VPN in a container wants it.
    let vpn =
        "docker run --rm --device /dev/net/tun --cap-add NET_ADMIN busybox busybox tunctl -t vpn0";
    says_all(&machine.run(vpn)?, &["vpn0"]);
    Ok(())
}

/// `docker -H ssh://`: the machine needs nothing but its client.
fn a_client_elsewhere_reaches_docker_over_ssh(machine: &Machine, folder: &Path) -> Result<()> {
    let programs = folder.join("bin");
    fs::create_dir_all(&programs)?;
    let script = format!(
        "#!/bin/sh\nexec /usr/bin/ssh -F none -i {} -o IdentitiesOnly=yes \\
         -o IdentityAgent=none -o LogLevel=ERROR -o StrictHostKeyChecking=no \\
         -o UserKnownHostsFile=/dev/null \"$@\"\n",
        folder.join("key").display()
    );
    fs::write(programs.join("ssh"), script)?;
    fs::set_permissions(programs.join("ssh"), fs::Permissions::from_mode(0o755))?;
    let address = format!("ssh://rancher@127.0.0.1:{}", machine.login.port);
    let docker = |arguments: &[&str]| client_elsewhere(folder, &programs, arguments);
    assert_eq!(docker(&["-H", &address, "info", "--format", "{{.Name}}"])?, "web-1");
    docker(&["context", "create", "web-1", "--docker", &format!("host={address}")])?;
    assert_eq!(docker(&["--context", "web-1", "info", "--format", "{{.Name}}"])?, "web-1");
    Ok(())
}

/// Docker's client of the test host; returns what it prints.
fn client_elsewhere(folder: &Path, programs: &Path, arguments: &[&str]) -> Result<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(Image::find()?.tools.join("docker"))
        .args(arguments)
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("DOCKER_CONFIG", folder.join("client"))
        .output()
        .context("starting docker")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// dockerd has a certificate of an authority that only its owner knows.
fn downloads_are_verified(machine: &Machine) -> Result<()> {
    machine.run(
        "sudo ros config set rancher.docker.tls true && sudo ros tls gen -s -H 127.0.0.1 &&
         sudo ros tls gen && sudo system-docker restart docker && wait-for-docker",
    )?;
    let url = "https://127.0.0.1:2376/version";
    assert_eq!(machine.run(&format!("curl -s {url}; echo $?"))?, "60");
    assert_eq!(machine.run(&format!("wget -qO- {url}; echo $?"))?, "5");
    let pair = "--cacert ~/.docker/ca.pem --cert ~/.docker/cert.pem --key ~/.docker/key.pem";
    says_all(&machine.run(&format!("curl -s {pair} {url} | jq -r .Os"))?, &["linux"]);
    Ok(())
}

/// The DUID of DHCPv6, and the address that dhcpcd makes of its secret.
fn identity_on_the_network(machine: &mut Machine) -> Result<String> {
    const ADDRESS: &str = "ip -6 -o address show dev eth0 scope link | grep -o 'fe80[^ ]*'";
    machine.expect(ADDRESS)?;
    machine.run(&format!("sudo system-docker exec network cat /var/lib/dhcpcd/duid; {ADDRESS}"))
}

#[test]
fn a_machine_keeps_its_identity() -> Result<()> {
    const IDS: &str = "cat /etc/machine-id; sudo cat /proc/1/root/etc/machine-id
        sudo system-docker exec syslog cat /etc/machine-id
        sudo system-docker info --format '{{.ID}}'
        sudo ssh-keygen -lf /var/lib/rancher/conf/ssh/ssh_host_ed25519_key | cut -d ' ' -f 2";
    let folder = folder("identity")?;
    let (mut machine, _) = second_boot::configured(&folder, "")?;
    let ids = machine.run(IDS)?;
    let lines: Vec<&str> = ids.lines().collect();
    let [of_console, of_host, of_syslog, of_engine, host_key] = lines[..] else { bail!("{ids}") };
    assert!(of_console.len() == 32 && of_console == of_host && of_host == of_syslog, "{ids}");
    assert!(of_engine.len() == 36 && !of_engine.contains(of_console), "{ids}");
    let on_the_network = identity_on_the_network(&mut machine)?;
    assert!(on_the_network.starts_with("00:03:00:01:52:54:00:12:34:56\n"), "{on_the_network}");
    machine.restart()?;
    assert_eq!(machine.run(IDS)?, ids);
    assert_eq!(identity_on_the_network(&mut machine)?, on_the_network);
    machine.expect(&format!("grep -qF '{host_key} (ED25519)' /etc/issue"))?;
    machine.run("! grep -q 'nothing is kept' /etc/issue")?;
    // A problem is named at a login.
    machine.run("echo '{' | sudo tee /var/lib/rancher/conf/cloud-config.d/broken.yml")?;
    let said = machine.login.answer("", &[("]$ ", "exit 0")])?;
    says_all(&said, &["problem", "sudo ros why"]);
    machine.check_alarms()
}
