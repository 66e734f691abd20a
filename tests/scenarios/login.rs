//! The first hour of a new user: log in, look around, run a container, publish a port.

use anyhow::Result;
use vmtest::folder;
use vmtest::{Machine, Options, servers};

const CONFIG: &str = "hostname: story-host
write_files:
  - {path: /tmp/written, content: by cloud-config, permissions: \"0600\", owner: rancher}
runcmd:
  - echo from a shell > /tmp/ran
  - [touch, /tmp/touched]
";

/// A password works on terminals only. A key that is removed from the configuration works nowhere.
/// The password of joe is three: `openssl passwd -6 -salt saltsalt three`.
const PASSWORDS: &str = "  - ssh-ed25519 \
    AAAAC3NzaC1lZDI1NTE5AAAAIBFEMcvpCmwCo8TmHT0Y3uVtbCTgPWHG0XaLCiSwGvc4 second
users:
  - {name: joe, groups: [docker], passwd: $6$saltsalt$0ushZ7aRclYWYXvoVMNARkHM0A9uB22/ti8rbbwiIcb0Y3NpaBw6P7ZwHytuhXGxncH6TznnSqrLohWoEFD.b/}
write_files:
  - path: /etc/ssh/sshd_config.d/mine.conf
    content: |
      PasswordAuthentication yes
      UsePAM yes
      MaxAuthTries 4
";

#[test]
fn sshd_takes_keys_only_and_only_those_that_are_configured() -> Result<()> {
    let folder = folder("keys-only")?;
    let append = "rancher.password=three".to_owned();
    let mut machine =
        super::with_config(&folder, PASSWORDS, Options { append, ..Options::default() })?;
    machine.expect_login()?;
    for user in ["rancher", "joe", "root"] {
        assert_eq!(machine.login.methods(user)?, "publickey", "{user}");
    }
    // What the owner's file adds takes effect; what it would weaken does not.
    let said = machine.run("sudo /usr/sbin/sshd -T -f /run/corral/ssh/sshd_config")?;
    for line in [
        "maxauthtries 4",
        "passwordauthentication no",
        "logingracetime 30",
        "permitrootlogin no",
        "usepam no",
    ] {
        assert!(said.lines().any(|other| other == line), "{line} is not in:\n{said}");
    }
    let warned = machine.run("sudo ros config validate; true")?;
    assert!(warned.contains("rancher.password: warning: "), "{warned}");
    machine.run(
        "sudo grep -q '^rancher:[$]6' /etc/shadow && \
         sudo grep -q '^joe:[$]6[$]saltsalt' /etc/shadow",
    )?;

    // A link that a user put in place of a folder is not followed.
    machine.run(
        "sudo ln -s /etc /home/docker/.ssh && \
         grep -q second /run/corral/ssh/authorized_keys.d/rancher",
    )?;
    let key = vmtest::shell::make_key(&folder)?;
    apply(&machine, &format!("ssh_authorized_keys: [\"{key}\"]"))?;
    machine.expect("! grep -q second /run/corral/ssh/authorized_keys.d/rancher")?;
    assert_eq!(machine.run("stat -c '%U %a' /etc")?, "root 755");
    // An owner can allow passwords explicitly.
    apply(&machine, "ssh_pwauth: true")?;
    machine.expect("sudo grep -q '^PasswordAuthentication yes' /run/corral/ssh/sshd_config")?;
    machine.expect_methods("joe", "publickey,password")?;
    machine.check_alarms()
}

fn apply(machine: &Machine, text: &str) -> Result<()> {
    machine
        .run(&format!("echo '{text}' > /tmp/a.yml && sudo ros config apply /tmp/a.yml 2>&1"))
        .map(drop)
}

#[test]
fn a_newcomer_logs_in_and_runs_containers() -> Result<()> {
    let folder = folder("login")?;
    let mut machine = super::with_config(&folder, CONFIG, Options::default())?;
    machine.expect_login()?;
    the_configuration_has_its_effect(&machine)?;
    pid_1_is_the_engine(&machine)?;
    every_service_is_a_container(&mut machine)?;
    machine.expect_docker()?;
    docker_runs_a_container_made_on_the_spot(&machine)?;
    files_can_be_opened(&machine)?;
    a_published_port_answers_from_outside(&mut machine)?;
    nothing_runs_outside_a_container(&machine)?;
    the_system_engine_can_be_looked_into(&machine)?;
    mounts_below_mnt_are_shared(&machine)?;
    machine.check_alarms()
}

fn the_configuration_has_its_effect(machine: &Machine) -> Result<()> {
    assert_eq!(machine.run("hostname")?, "story-host");
    assert_eq!(machine.run("id -nG")?, "rancher docker sudo");
    assert_eq!(
        machine.run("cat /tmp/written; stat -c ' %a %U' /tmp/written")?,
        "by cloud-config 600 rancher"
    );
    assert_eq!(machine.run("sudo ros config get hostname")?, "story-host");
    assert_eq!(
        machine
            .run("sudo ros config set rancher.debug true && sudo ros config get rancher.debug")?,
        "true"
    );
    assert!(
        machine
            .run("sudo ros config set rancher.debug maybe 2>&1; true")?
            .contains("expected true or false")
    );
    assert_eq!(machine.run("sudo ros config get rancher.recovery")?, "false");
    super::says_all(&machine.run("sudo ros config images")?, &["corral/os-console"]);
    assert!(machine.run("sudo ros config export")?.contains("story-host"));
    assert_eq!(machine.run("ros -v")?, format!("ros version v{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(
        machine.run(". /etc/os-release; echo $NAME $VERSION")?,
        format!("Corral v{}", env!("CARGO_PKG_VERSION"))
    );
    Ok(())
}

fn pid_1_is_the_engine(machine: &Machine) -> Result<()> {
    assert_eq!(machine.run("cat /proc/1/comm")?, "system-docker");
    assert_eq!(machine.run("awk '/^Threads/ {print $2}' /proc/1/status")?, "1");
    println!("PID 1: {}", machine.run("grep VmRSS /proc/1/status")?);
    Ok(())
}

fn every_service_is_a_container(machine: &mut Machine) -> Result<()> {
    for name in ["udev", "network", "syslog", "ntp", "acpid", "console", "docker"] {
        machine.expect(&format!(
            "sudo system-docker ps --format '{{{{.Names}}}}' | grep -qx {name}"
        ))?;
    }
    machine.expect("sudo test -s /var/log/messages")?;
    // The certificates that a pull from a registry is verified against.
    machine.run("[ $(grep -c BEGIN /etc/ssl/certs/ca-certificates.crt) -gt 100 ]")?;
    machine.expect("test -f /tmp/touched && grep -q 'from a shell' /tmp/ran")
}

fn docker_runs_a_container_made_on_the_spot(machine: &Machine) -> Result<()> {
    machine.run(
        "mkdir -p /tmp/r/bin && cp /usr/bin/busybox /tmp/r/bin/ && \
         for a in sh echo httpd; do ln -sf busybox /tmp/r/bin/$a; done
         tar -C /tmp/r -c . | docker import --change 'CMD [\"/bin/echo\", \"hello\"]' - hello",
    )?;
    assert_eq!(machine.run("docker run --rm hello")?, "hello");
    Ok(())
}

/// As many open files as the units of Docker's packages allow, in every kind of container and at a
/// login.
fn files_can_be_opened(machine: &Machine) -> Result<()> {
    let limits = "ulimit -Sn; ulimit -Hn";
    for shell in ["sh -c", "sudo system-docker exec syslog sh -c", "docker run --rm hello sh -c"] {
        assert_eq!(machine.run(&format!("{shell} '{limits}'"))?, "1048576\n1048576", "{shell}");
    }
    let others = machine.run("docker run --rm hello sh -c 'ulimit -u; ulimit -c'")?;
    assert_eq!(others, "unlimited\nunlimited");
    Ok(())
}

fn a_published_port_answers_from_outside(machine: &mut Machine) -> Result<()> {
    machine.run(
        "mkdir -p /home/rancher/www && echo it works > /home/rancher/www/index.html
         docker run -d --name web -p 8080:80 -v /home/rancher/www:/www hello \
           /bin/httpd -f -p 80 -h /www",
    )?;
    machine.expect_page("it works")
}

/// A mount below /mnt in the console is visible on the host.
fn mounts_below_mnt_are_shared(machine: &Machine) -> Result<()> {
    machine.run(
        "sudo mkdir /mnt/data && sudo mount -t tmpfs none /mnt/data && sudo touch /mnt/data/here",
    )?;
    let host = machine.run("sudo cat /proc/1/mountinfo")?;
    assert!(host.contains(" /mnt/data "), "{host}");
    assert!(!host.contains("/merged/"), "mounts inside containers show up on the host:\n{host}");
    Ok(())
}

/// Every process but the kernel's threads: PID 1 and its engine processes are in the root cgroup.
/// All others are below /system (the system's) or /docker (the user's).
fn nothing_runs_outside_a_container(machine: &Machine) -> Result<()> {
    let list = machine.run(
        "for p in /proc/[0-9]*; do
           command=$(tr '\\0\\n' '  ' < $p/cmdline) && [ -n \"$command\" ] || continue
           read -r cgroup < $p/cgroup; read -r name < $p/comm; echo \"$cgroup $name $command\"
         done 2>/dev/null",
    )?;
    let outside: Vec<&str> = list
        .lines()
        .filter(|line| !line.starts_with("0::/system/") && !line.starts_with("0::/docker/"))
        .collect();
    for line in &outside {
        let allowed = line.contains(" system-docker init") || line.contains("engine-daemon");
        assert!(allowed, "outside every container: {line}\nall:\n{list}");
    }
    assert!(list.lines().count() > 12, "the walk saw too little:\n{list}");
    assert!(
        list.contains("0::/docker/"),
        "the user's container is not in a cgroup of Docker's:\n{list}"
    );
    Ok(())
}

fn the_system_engine_can_be_looked_into(machine: &Machine) -> Result<()> {
    let images = machine.run("sudo system-docker images --format '{{.Repository}}'")?;
    assert!(images.lines().any(|line| line == "corral/os-console"), "{images}");
    assert_eq!(
        machine.run("sudo system-docker inspect --format '{{.State.Status}}' console")?,
        "running"
    );
    assert!(machine.run("sudo system-docker logs console 2>&1")?.contains("Server listening"));
    assert_eq!(machine.run("sudo system-docker exec ntp cat /proc/1/comm")?, "chronyd");
    assert_eq!(
        machine.run("echo in | sudo system-docker exec -i ntp sh -c 'cat; exit 7'; echo $?")?,
        "in\n7"
    );
    assert_eq!(
        machine.run("sudo system-docker exec -t ntp sh -c 'test -t 1 && echo a terminal'")?,
        "a terminal"
    );
    machine.run("sudo system-docker stop acpid && sudo system-docker start acpid")?;
    assert_eq!(machine.run("sudo system-docker ps -q --filter name=acpid | wc -l")?, "1");
    let path = machine.run("sudo ros boot")?;
    assert!(path.contains("console") && path.contains("docker"), "{path}");
    machine.run("sudo ros boot --trace /tmp/trace.json && grep -q traceEvents /tmp/trace.json")?;
    let refused = machine.run("sudo system-docker plugin ls 2>&1; true")?;
    assert!(refused.contains("not supported"), "{refused}");
    Ok(())
}

/// GitHub's certificate is not valid yet, as a clock that is a day behind has it. The keys are
/// fetched when the clock is set. GitHub is behind a proxy, which leads to the story's own server.
#[test]
fn keys_of_an_account_are_fetched_when_the_clock_is_set() -> Result<()> {
    let folder = folder("late-keys")?;
    let content = folder.join("www");
    std::fs::create_dir_all(&content)?;
    let key = vmtest::shell::make_key(&folder)?;
    std::fs::write(content.join("octocat.keys"), format!("{key}\n"))?;
    let (web, authority) = servers::web_of_tomorrow(&folder, &content, "github.com")?;
    let proxy = servers::proxy(&folder, &[("github.com", web.port)])?;
    let authority: String = authority.lines().map(|line| format!("      {line}\n")).collect();
    let config = format!(
        "users: [default, {{name: joe, groups: [docker], ssh_import_id: [gh:octocat]}}]\n\
         ntp: {{enabled: false}}\n\
         rancher:\n  network:\n    https_proxy: \"http://10.0.2.2:{}\"\n    \
         interfaces: {{eth0: {{address: 10.0.2.15/24, gateway: 10.0.2.2}}}}\n\
         ca_certs:\n  trusted:\n    - |\n{authority}",
        proxy.port
    );
    let mut machine = super::with_config(&folder, &config, Options::default())?;
    machine.expect_login()?;
    machine.expect("sudo system-docker inspect imported-keys > /dev/null")?;
    let why = machine.run("sudo ros why; true")?;
    assert!(why.contains("are not valid at the time of this machine's clock"), "{why}");
    let keys = "sudo cat /run/corral/ssh/authorized_keys.d/joe; true";
    assert!(!machine.run(keys)?.contains("octocat"));
    machine.run("sudo date -s @$(($(date +%s) + 2 * 86400))")?;
    machine.expect_console("the clock was set, and the keys of ssh_import_id were fetched")?;
    machine.expect("sudo grep -q gh:octocat /run/corral/ssh/authorized_keys.d/joe")?;
    assert_eq!(machine.login_as("joe").run("id -un")?, "joe");
    machine.run("! sudo ros why | grep 'are not valid at the time'")?;
    machine.check_alarms()
}
