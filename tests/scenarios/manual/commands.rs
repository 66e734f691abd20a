//! The commands of the manual, run line by line on one machine, in the order of the pages. Each
//! ends with status 0, unless a row of the table says otherwise.

use super::stage::Stage;
use anyhow::{Result, ensure};
use vmtest::Machine;
use vmtest::manual::{Block, Command};

/// What is done with a command instead of running it as it is.
enum Rule {
    /// This stands in for it.
    As(&'static str),
    /// It runs until it is interrupted.
    Follows,
    /// It cannot succeed on this machine, but its words are right: it ends with this message, and
    /// not as a wrong command line.
    Fails(&'static str),
    /// It is not run, for this reason.
    Elsewhere(&'static str),
}
use Rule::{As, Elsewhere, Fails, Follows};

const README: &str = "README.md";
const CONFIGURATION: &str = "docs/configuration.md";
const CONSOLE: &str = "docs/console.md";
const DAILY: &str = "docs/daily-work.md";
const DEBUGGING: &str = "docs/debugging.md";
const INSTALLING: &str = "docs/installing.md";
const MIGRATING: &str = "docs/migrating-from-rancheros.md";
const API: &str = "docs/system-docker-api.md";
const SERVICES: &str = "docs/system-services.md";
const CATALOGUE: &str = "docs/service-catalogue.md";
const ENGINES: &str = "docs/engines.md";
const BARE_METAL: &str = "docs/bare-metal.md";
const DOCKER: &str = "docs/docker.md";
const FAQ: &str = "docs/faq.md";
const LOGS: &str = "docs/logs-and-monitoring.md";
const NETWORK: &str = "docs/network.md";
const PLATFORMS: &str = "docs/platforms.md";
const QUICK_START: &str = "docs/quick-start.md";
const STORAGE: &str = "docs/storage.md";
const TROUBLE: &str = "docs/troubleshooting.md";
const UPGRADES: &str = "docs/upgrades.md";
const VERIFYING: &str = "docs/verifying.md";

/// `ros install` finds no release: this machine was not started from a medium.
const NO_MEDIUM: Rule = Fails("this system was not started from a medium");
const NO_REGISTRY: Rule = Fails("registry.example.com");
const NOT_INSTALLED: Rule = Fails("not started from an installed disk");
/// Commands before it may have left something that is wrong.
const WHY: Rule = As("sudo ros why || [ $? = 1 ]");
const STATUS: Rule = As("sudo ros status || [ $? = 1 ]");
const FROM_ELSEWHERE: Rule = Elsewhere("the story of `tools` does it from another machine");
const CHECKED: Rule = Elsewhere(
    "not by busybox's sha256sum; a unit test of xtask checks such a file with coreutils'",
);
const OF_PLATFORM: Rule = Elsewhere("for a host or a cloud of another project");
const OF_DOCKER_MACHINE: Rule =
    Elsewhere("for the host; stories of `docker_machine` do to a machine what it does");
const RECOVERY: Rule = Elsewhere("for the recovery console, in which stories of `power` type");

/// Page, the beginning of the command, and the rule.
const ROWS: [(&str, &str, Rule); 101] = [
    (README, "sha256sum --check", CHECKED),
    (README, "docker run ...", As("docker run --rm nginx true")),
    (
        README,
        "sudo ros config apply",
        As("sudo ros config apply --confirm 2m net.yml && sudo ros config confirm"),
    ),
    (README, "sudo ros logs -f docker", Follows),
    (README, "sudo ros install -d /dev/sda", NO_MEDIUM),
    (README, "sudo ros os upgrade", NO_REGISTRY),
    (README, "sudo reboot", Elsewhere("many stories restart their machine")),
    (CONFIGURATION, "openssl passwd", Elsewhere("for any other machine: it is not in the console")),
    (CONSOLE, "docker -H ssh://", FROM_ELSEWHERE),
    (CONSOLE, "TZ=Europe/Berlin date", As("TZ=Europe/Berlin date +%Z | grep -Ex 'CES?T'")),
    (
        CONSOLE,
        "sudo ros toolbox nicolaka/netshoot",
        As("sudo ros toolbox alpine test -e /host/usr/bin/ros"),
    ),
    (DAILY, "sudo ros logs -f", Follows),
    (DAILY, "ros logs web", As("docker run -d --name own nginx && ros logs own")),
    (DAILY, "sudo ros keys add gh:octocat", Fails("github.com")),
    (DAILY, "sudo ros keys add 'ssh-ed25519", As("sudo ros keys add \"$(cat .ssh/laptop.pub)\"")),
    (DAILY, "sudo ros keys add ~/.ssh/other.pub", Fails("github.com")),
    (DAILY, "sudo ros password --stdin", As("sudo ros password --stdin < file")),
    (DAILY, "sudo ros password", Fails("terminal")),
    (DEBUGGING, "docker logs NAME", As("docker logs rancher-web-1")),
    (DEBUGGING, "blkid", RECOVERY),
    (DEBUGGING, "e2fsck", RECOVERY),
    (DEBUGGING, "udhcpc", RECOVERY),
    (DEBUGGING, "exit", RECOVERY),
    (DEBUGGING, "sudo ros os panic", Elsewhere("stories of `resilience` do it")),
    (MIGRATING, "sudo ros install --adopt", NO_MEDIUM),
    (INSTALLING, "qm ", OF_PLATFORM),
    (INSTALLING, "sudo ros install -d /dev/sda", NO_MEDIUM),
    (INSTALLING, "echo \"$PASSWORD\"", NO_MEDIUM),
    (INSTALLING, "sudo ros os upgrade -i registry", NO_REGISTRY),
    (INSTALLING, "sudo ros os upgrade -i /mnt", Fails("/mnt/corral-1.2.0-amd64.oci.tar")),
    (INSTALLING, "sudo ros reset", Fails("terminal")),
    (INSTALLING, "sudo ros config syslinux", Fails("not started from an installed disk")),
    (
        API,
        "sudo system-docker run -d --name web",
        As("sudo system-docker run -d --name v6 --network six --ip6 fd00:77::80 -p 8080:80 nginx"),
    ),
    // A clean-up of images has removed what no container uses.
    (
        API,
        "sudo system-docker run --rm busybox grep",
        As("sudo system-docker run --rm nginx grep Cap /proc/self/status"),
    ),
    (
        API,
        "sudo system-docker run --rm --ulimit",
        As("sudo system-docker run --rm --ulimit nofile=1024 nginx sh -c 'ulimit -n' | grep 1024"),
    ),
    (
        API,
        "sudo system-docker run -d --restart unless-stopped --name web",
        As("sudo system-docker run -d --restart unless-stopped --name kept nginx"),
    ),
    (SERVICES, "sudo tail -f", Follows),
    (SERVICES, "sudo ros service logs --follow", Follows),
    (SERVICES, "sudo ros service upgrade web", Fails("nginx")),
    (SERVICES, "sudo ros console switch debian", Fails("debian:stable-slim")),
    (SERVICES, "sudo ros console switch registry", NO_REGISTRY),
    (CATALOGUE, "sudo ros service enable node-exporter", Fails("prom/node-exporter")),
    (CATALOGUE, "sudo ros service up node-exporter", Fails("node-exporter")),
    (CATALOGUE, "sudo ros service enable kernel-extras", NOT_INSTALLED),
    (CATALOGUE, "sudo reboot", Elsewhere("many stories restart their machine")),
    (CATALOGUE, "sudo ros service enable kernel-headers", Fails("/mnt/kernel-headers.tar")),
    (CATALOGUE, "sudo ros service up --foreground kernel-headers", Fails("kernel-headers")),
    (CATALOGUE, "docker run --rm -v /var/lib/rancher/kernel-headers", Fails("debian:trixie")),
    (CATALOGUE, "sudo insmod hello.ko", Fails("hello.ko")),
    (CATALOGUE, "virsh", Elsewhere("for the host; the story of `guests` calls the agent")),
    (
        CATALOGUE,
        "sudo system-docker exec open-iscsi iscsiadm -m discovery",
        As("! sudo system-docker exec open-iscsi iscsiadm -m discovery -t st -p 127.0.0.1"),
    ),
    (
        CATALOGUE,
        "sudo system-docker exec open-iscsi iscsiadm -m",
        Elsewhere("the test kernel has no iSCSI; a story of `catalogue` logs in to a disk"),
    ),
    (ENGINES, "sudo ros engine switch /mnt/docker-28.5.tar", Fails("/mnt/docker-28.5.tar")),
    (ENGINES, "sudo ros engine switch default", Fails("no terminal")),
    (BARE_METAL, "sudo dd", Elsewhere("for the PC that writes the stick; stories boot the ISO so")),
    (BARE_METAL, "sudo ros install", NO_MEDIUM),
    (BARE_METAL, "sudo ros status", STATUS),
    (BARE_METAL, "sudo ros why", WHY),
    (DOCKER, "docker login", Fails("interactive login")),
    (DOCKER, "docker -H ssh://", FROM_ELSEWHERE),
    (DOCKER, "docker context", FROM_ELSEWHERE),
    (DOCKER, "docker --context", FROM_ELSEWHERE),
    (FAQ, "sudo ros why", WHY),
    (
        LOGS,
        "ssh rancher@",
        Elsewhere("for another machine; the story of `daily_work` runs it here"),
    ),
    (
        NETWORK,
        "sudo ros config apply",
        As("sudo ros config apply --confirm 2m net.yml && sudo ros config confirm"),
    ),
    (NETWORK, "sudo ros why network", As("sudo ros why network || [ $? = 1 ]")),
    (PLATFORMS, "xorriso ", Elsewhere("for the host; the stories make their drives so")),
    (PLATFORMS, "qemu-img ", Elsewhere("for the host; a story of `disk_images` enlarges a disk")),
    (PLATFORMS, "virt-install ", OF_PLATFORM),
    (PLATFORMS, "virsh ", OF_PLATFORM),
    (PLATFORMS, "qm ", OF_PLATFORM),
    (PLATFORMS, "govc ", OF_PLATFORM),
    (PLATFORMS, "VBoxManage ", OF_PLATFORM),
    (PLATFORMS, "ssh ", OF_PLATFORM),
    (PLATFORMS, "aws ", OF_PLATFORM),
    (PLATFORMS, "gcloud ", OF_PLATFORM),
    (PLATFORMS, "az ", OF_PLATFORM),
    (PLATFORMS, "doctl ", OF_PLATFORM),
    (PLATFORMS, "openstack ", OF_PLATFORM),
    (PLATFORMS, "vagrant ", OF_PLATFORM),
    (PLATFORMS, "docker-machine ", OF_DOCKER_MACHINE),
    (PLATFORMS, "eval ", OF_DOCKER_MACHINE),
    (
        PLATFORMS,
        "sudo cloud-init-execute",
        As("sudo cloud-init-execute; grep -qx ID=rancheros /etc/os-release"),
    ),
    (PLATFORMS, "docker context", FROM_ELSEWHERE),
    (PLATFORMS, "docker --context", FROM_ELSEWHERE),
    (
        QUICK_START,
        "qemu-img ",
        Elsewhere("for the host; a story of `disk_images` boots such a disk"),
    ),
    (QUICK_START, "xorriso ", Elsewhere("for the host; the stories make their drives so")),
    (QUICK_START, "qemu-system-x86_64 ", Elsewhere("for the host; stories start it so")),
    (QUICK_START, "ssh ", Elsewhere("for the host; every story logs in so")),
    (STORAGE, "sudo ros status", STATUS),
    // The pages after it run containers of these images.
    (STORAGE, "sudo ros gc --all", As("sudo ros gc")),
    (STORAGE, "sudo ros reset", Fails("terminal")),
    (STORAGE, "sudo ros install", NO_MEDIUM),
    (TROUBLE, "sudo ros why web", As("sudo ros why web || [ $? = 1 ]")),
    (TROUBLE, "sudo ros why docker", As("sudo ros why docker || [ $? = 1 ]")),
    (TROUBLE, "sudo ros why", WHY),
    (UPGRADES, "sudo ros os upgrade", NO_REGISTRY),
    (UPGRADES, "sudo ros why", WHY),
    (UPGRADES, "sudo ros os rollback", NOT_INSTALLED),
    (UPGRADES, "sudo ros status", STATUS),
    (VERIFYING, "sha256sum --check", CHECKED),
];

/// Programs whose commands are run without a row, also with sudo.
const PROGRAMS: [&str; 22] = [
    "ros",
    "docker",
    "system-docker",
    "wait-for-docker",
    "curl",
    "tar",
    "ls",
    "less",
    "cat",
    "rm",
    "mkdir",
    "cp",
    "dmesg",
    "df",
    "free",
    "id",
    "ip",
    "lsblk",
    "lsmod",
    "/usr/sbin/sshd",
    "ssh-keygen",
    "touch",
];

/// What the commands find: a service `web`, and files in the home folder, among them digests that
/// are signed as those of a release are.
const MACHINE: &str = "hostname: web-1
rancher:
  services:
    web: {image: nginx, net: none, restart: always, labels: {io.rancher.os.scope: system}}
";
const HOME: &str = "set -e; mkdir -p .ssh
for name in laptop other; do ssh-keygen -q -t ed25519 -N '' -C you@$name -f .ssh/$name; done
echo 'corral-release namespaces=\"file\"' $(cat .ssh/laptop.pub) > allowed_signers
echo digests > SHA256SUMS; ssh-keygen -q -Y sign -f .ssh/laptop -n file SHA256SUMS
echo 'rancher: {network: {dns: {search: [example.com]}}}' > net.yml
echo 'hostname: new' > my.yml; cp my.yml my-cloud-config.yml; echo secret > file
printf 'FROM nginx\\n' > Dockerfile
echo 'services: {web: {image: nginx, ports: [\"8081:80\"]}}' > compose.yml";

/// The commands for a machine. What is for a checkout has a command of cargo.
fn commands(blocks: &[Block]) -> impl Iterator<Item = (&Block, Command)> {
    let is_of_checkout =
        |block: &Block| block.commands().iter().any(|command| command.text.contains("cargo "));
    let of_machine = move |block: &&Block| block.language == "sh" && !is_of_checkout(block);
    blocks
        .iter()
        .filter(of_machine)
        .flat_map(|block| block.commands().into_iter().map(move |command| (block, command)))
}

fn row(block: &Block, command: &Command) -> Option<&'static Rule> {
    let is_it = |(file, begin, _): &&(&str, &str, Rule)| {
        *file == block.file && command.text.starts_with(begin)
    };
    ROWS.iter().find(is_it).map(|(_, _, rule)| rule)
}

/// What is missing in the table, and what it has in vain.
pub(super) fn without_row(blocks: &[Block]) -> Vec<String> {
    let is_plain = |command: &Command| {
        let words = command.text.trim_start_matches("sudo ");
        PROGRAMS.contains(&words.split(' ').next().unwrap_or_default())
    };
    let mut missing: Vec<String> = commands(blocks)
        .filter(|(block, command)| row(block, command).is_none() && !is_plain(command))
        .map(|(_, Command { place, text })| {
            format!("{place}: {text:?}: add a row to tests/scenarios/manual/commands.rs")
        })
        .collect();
    for (file, begin, _) in &ROWS {
        let is_it = |(block, command): (&Block, Command)| {
            block.file == *file && command.text.starts_with(begin)
        };
        if !commands(blocks).any(is_it) {
            missing.push(format!("{file}: no command begins with {begin:?}; remove its row"));
        }
    }
    missing
}

/// Runs them all; reports all that do not do what they should.
pub(super) fn run(stage: &Stage<'_>, blocks: &[Block]) -> Result<()> {
    let mut machine = stage.start("commands", 1, &[MACHINE.to_owned()])?;
    machine.expect_docker()?;
    machine.run(HOME)?;
    machine.expect_of_boot("sudo ros status && sudo ros why")?;
    let mut failures = Vec::new();
    for (block, command) in commands(blocks) {
        println!("{}: {}", command.place, command.text);
        // Docker restarts when `ros config apply` puts an earlier change of its keys into effect.
        if ["docker", "ros service"].iter().any(|name| command.text.contains(name)) {
            machine.expect_docker()?;
        }
        if let Err(error) = run_one(stage, &machine, &command, row(block, &command)) {
            println!("FAILED: {error:#}");
            failures.push(format!("{}: {error:#}", command.place));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    machine.check_alarms()
}

fn run_one(
    stage: &Stage<'_>,
    machine: &Machine,
    command: &Command,
    rule: Option<&Rule>,
) -> Result<()> {
    let text = stage.filled(&command.text);
    match rule {
        None => machine.run(&text).map(drop),
        Some(As(other)) => machine.run(other).map(drop),
        Some(Follows) => {
            // busybox's timeout ends as what it has ended: by SIGTERM.
            let check = format!("timeout 10 {text}; code=$?; [ $code = 124 ] || [ $code = 143 ]");
            machine.run(&check).map(drop)
        }
        Some(Fails(with)) => {
            let said = machine
                .run(&format!("{{ {text}\n}} 2>&1; code=$?; [ $code != 0 ] && [ $code != 2 ]"))?;
            ensure!(said.contains(with), "{text}: {with:?} is not in: {said}");
            Ok(())
        }
        Some(Elsewhere(reason)) => {
            println!("not run: {reason}");
            Ok(())
        }
    }
}
