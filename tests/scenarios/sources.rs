//! Data sources, on the disk and on the network: the first one of the list that has data wins. One
//! that does not answer costs its timeout, never a login; the same without a network. The list, and
//! the network itself, may come from a source.

use super::says_all;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use vmtest::folder;
use vmtest::metadata::Service;
use vmtest::{Machine, Network, Options, drive, servers, shell};

/// What the second boot fetches: a cloud-config and a script in one document.
const PARTS: &str = "Content-Type: multipart/mixed; boundary=\"part\"\nMIME-Version: 1.0\n\n\
    --part\nContent-Type: text/cloud-config\n\n\
    #cloud-config\nhostname: from-list\nssh_authorized_keys: [\"@KEY@\"]\n\
    --part\nContent-Type: text/x-shellscript\n\n\
    #!/bin/sh\ntouch /run/by-script\ndocker ps > /run/of-docker\n\
    --part--\n";

/// What a machine of Azure's reports on.
pub(super) const AZURE_GOAL_STATE: &str =
    include_str!("../../crates/cloud/src/fixtures/azure/machine/index");
/// Of Azure's provisioning CD: `HostName` is web-1.
const AZURE_ENVIRONMENT: &str = include_str!("../../crates/cloud/src/fixtures/azure/ovf-env.xml");
const CUSTOM_DATA: &str = "I2Nsb3VkLWNvbmZpZwpob3N0bmFtZTogY3VzdG9tCg==";

#[test]
fn a_url_is_fetched_while_a_dead_source_delays_no_login() -> Result<()> {
    let folder = folder("url")?;
    let content = folder.join("www");
    fs::create_dir_all(&content)?;
    fs::write(
        content.join("user-data"),
        "#cloud-config\nhostname: from-url\nwrite_files: [{path: /etc/from-url, content: here}]\n\
         runcmd: [touch /run/from-url]\n\
         rancher: {log: true, sysctl: {kernel.domainname: from-url}, \
         network: {no_proxy: from-url, interfaces: {eth0: {dhcp: true, vlans: \"100\"}, \
         eth0.100: {bridge: br0}, br0: {bridge: \"true\", address: 10.9.0.1/24}}}}\n",
    )?;
    let parts = PARTS.replace("@KEY@", &shell::make_key(&folder)?);
    fs::write(content.join("parts"), parts)?;
    let web = servers::web(&folder, &content)?;
    let dead = servers::free_port()?;
    let sources = format!(
        "hostname: local\nrancher:\n  cloud_init:\n    timeout: 25\n    datasources:\n      \
         - configdrive\n      - ec2:http://10.0.2.2:{dead}\n      \
         - url:http://10.0.2.2:{}/user-data\n",
        web.port
    );
    let disk = folder.join("disk.img");
    drive::blank(&disk, 512)?;
    let append = super::STATE.to_owned();
    let options = Options { append, disks: vec![disk], ..Options::default() };
    let mut machine = super::with_config(&folder, &sources, options)?;
    machine.expect_login()?;
    // The user is logged in while the machine still waits for the dead source: the console reports
    // it.
    machine.expect_console("cloud-init: querying ec2:http://10.0.2.2:")?;
    assert_eq!(machine.run("hostname")?, "local");
    machine.expect_console("cloud-init: waiting for ec2:http://10.0.2.2:")?;
    machine.expect("[ $(hostname) = from-url ] && test -e /run/from-url")?;
    assert_eq!(machine.run("cat /etc/from-url /proc/sys/kernel/domainname")?, "herefrom-url");
    assert_eq!(machine.run("sudo ros config get rancher.log")?, "true");
    let status = machine.run("sudo ros config status")?;
    assert!(status.contains("configdrive on this machine, url:http://10.0.2.2:"), "{status}");
    machine.expect_docker()?;
    // Its proxies changed by what it fetched itself: it runs once more, with them, and not again.
    machine.expect("[ $(sudo dmesg | grep -c 'cloud-init: querying') = 2 ]")?;
    machine.expect("! sudo system-docker ps | grep -q cloud-init-network")?;
    assert_eq!(machine.run("sudo dmesg | grep -c 'cloud-init: querying'")?, "2");
    machine.expect(
        "ip -4 -o address show dev br0 | grep -q 10.9.0.1/24 && \
         ip -o link show dev eth0.100 | grep -q 'master br0'",
    )?;
    a_file_on_the_disk_names_the_sources(&mut machine, web.port)?;
    machine.check_alarms()
}

/// The drive is there, and is not in the list any more.
fn a_file_on_the_disk_names_the_sources(machine: &mut Machine, port: u16) -> Result<()> {
    machine.run(&format!(
        "echo 'rancher: {{cloud_init: {{datasources: [\"url:http://10.0.2.2:{port}/parts\"]}}}}' | \
         sudo tee /var/lib/rancher/conf/cloud-config.d/sources.yml"
    ))?;
    machine.restart()?;
    machine.expect("[ $(hostname) = from-list ] && test -e /run/by-script")?;
    // Docker starts after the owner's scripts, or when one of them calls it.
    machine.expect("grep -q '^CONTAINER ID' /run/of-docker")?;
    assert_eq!(machine.run("sudo ros config get rancher.log")?, "false", "no longer of the drive");
    Ok(())
}

/// moto (Python) answers at Amazon's own address. The machine reaches it in the network that DHCP
/// gives, and uses IMDSv2.
#[test]
fn ec2_is_queried_at_its_own_address() -> Result<()> {
    let folder = folder("ec2")?;
    let moto = servers::moto(&folder)?;
    let relay = servers::relay(&folder, moto.port)?;
    let network = Network::metadata(relay);
    let key = shell::make_key(&folder)?;
    let append = format!(
        "rancher.cloud_init.datasources=[ec2] rancher.cloud_init.timeout=15 \
         cc.ssh_authorized_keys=\"[{key}]\""
    );
    let mut machine = Machine::start(&folder, Options { network, append, ..Options::default() })?;
    machine.expect_login()?;
    machine.expect("[ $(hostname) = moto-instance.ec2.internal ]")?;
    let log = fs::read_to_string(folder.join("moto.log"))?;
    assert!(log.contains("PUT /latest/api/token"), "no token was requested:\n{log}");
    let metadata = machine.run("sudo cat /var/lib/rancher/conf/metadata")?;
    assert!(metadata.contains("198.51.100.1"), "{metadata}");
    machine.check_alarms()
}

/// Custom data is on a CD, keys are in the metadata service, and the platform waits for a report.
/// The stage that mounts the CD has no network, the one on the network mounts nothing.
#[test]
fn azure_is_read_from_its_cd_and_its_service_and_gets_its_report() -> Result<()> {
    let folder = folder("azure")?;
    let key = shell::make_key(&folder)?;
    let service = Service::start(
        &folder,
        &[("metadata/instance", &azure_instance(&key)), ("machine/index", AZURE_GOAL_STATE)],
        &["/metadata=Metadata: true", "/machine=x-ms-version: 2012-11-30"],
    )?;
    let config_drive = Some(azure_cd(
        &folder,
        "#cloud-config\nwrite_files: [{path: /etc/custom, content: data}]\n",
    )?);
    let append =
        format!("rancher.cloud_init.datasources=[azure:http://10.0.2.2:{}]", service.server.port);
    let mut machine =
        Machine::start(&folder, Options { config_drive, append, ..Options::default() })?;
    machine.expect_console("corral: started")?;
    machine.expect_login()?;
    machine.expect("[ $(hostname) = web-1 ] && [ $(cat /etc/custom) = data ]")?;
    azure_got_its_report(&service)?;
    says_all(&machine.run("sudo ros config status")?, &["azure:http://10.0.2.2:"]);
    machine.check_alarms()
}

/// The answer of Azure's metadata service to a machine without user data.
pub(super) fn azure_instance(key: &str) -> String {
    format!(
        r#"{{"compute": {{"name": "web-1", "osProfile": {{"computerName": "web-1"}}, "userData": "",
            "publicKeys": [{{"keyData": "{key}", "path": "/home/rancher/.ssh/authorized_keys"}}]}},
            "network": {{"interface": []}}}}"#
    )
}

/// Azure's provisioning CD with this custom data.
pub(super) fn azure_cd(folder: &Path, custom_data: &str) -> Result<PathBuf> {
    let encoded = base64(custom_data)?;
    drive::make_azure_cd(folder, &AZURE_ENVIRONMENT.replace(CUSTOM_DATA, &encoded))
}

fn base64(text: &str) -> Result<String> {
    let mut command = Command::new("base64");
    command.args(["-w", "0"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().context("starting base64")?;
    child.stdin.take().context("no standard input")?.write_all(text.as_bytes())?;
    let ended = child.wait_with_output()?;
    ensure!(ended.status.success(), "base64: {}", ended.status);
    Ok(String::from_utf8(ended.stdout)?)
}

/// The report names what the goal state names.
pub(super) fn azure_got_its_report(service: &Service) -> Result<()> {
    let requests = service.requests()?;
    let report = requests.lines().find(|line| line.starts_with("POST /machine?comp=health "));
    let report = report.with_context(|| format!("there is no report in:\n{requests}"))?;
    let instance = "<InstanceId>f6cd1d7ef1644557b9059345e5ba890c.web-1<";
    says_all(report, &["<State>Ready<", "<GoalStateIncarnation>1<", instance]);
    Ok(())
}

#[test]
fn without_network_a_url_costs_nothing_but_its_deadline() -> Result<()> {
    let folder = folder("url-no-nic")?;
    let append = "rancher.autologin=ttyS0 rancher.cloud_init.timeout=10 \
                  cloud-config-url=http://10.0.2.2/never";
    let options = Options { nics: 0, append: append.to_owned(), ..Options::default() };
    let mut machine = Machine::start(&folder, options)?;
    machine.expect_console("[rancher@rancher ~]$")?;
    machine.expect_console("no data source has data; continuing with what is known")?;
    machine.expect_console("corral: started")?;
    machine.check_alarms()
}
