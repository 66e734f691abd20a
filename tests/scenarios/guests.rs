//! Machines of hypervisors: which one it is, and its agent. QEMU's own channel, and firmware that
//! names others.

use crate::says_all;
use anyhow::Result;
use serde_json::{Value, json};
use std::ffi::OsString;
use vmtest::agent::{self, Agent};
use vmtest::report::is_left_out;
use vmtest::{Machine, Options, drive, folder};

const NAMES: &str = "sudo system-docker ps --format '{{.Names}}'";

#[test]
fn guests_of_qemu_have_an_agent_that_answers_on_its_channel() -> Result<()> {
    let folder = folder("guest-agent")?;
    let disk = folder.join("state.img");
    drive::blank(&disk, 1024)?;
    let mut extra = agent::channel(&folder);
    // The processor alone names the hypervisor.
    extra.extend(["-smbios", "type=1,manufacturer=Unnamed"].map(OsString::from));
    let append = super::STATE.to_owned();
    let options = Options { append, disks: vec![disk], extra, ..Options::default() };
    let mut machine = super::with_config(&folder, "hostname: guest-1\n", options)?;
    machine.expect_login()?;
    let status = machine.run("ros status")?;
    says_all(&status, &["hypervisor  QEMU (emulation), which talks to qemu-guest-agent"]);
    machine.expect_of_boot(&format!("{NAMES} | grep -qx qemu-guest-agent"))?;
    let listed = machine.run("sudo ros service list | grep qemu-guest-agent")?;
    assert!(listed.starts_with("enabled "), "{listed}");

    let mut agent = Agent::connect(&folder)?;
    assert_eq!(agent.call("guest-ping", json!({}))?, json!({"return": {}}));
    let name = agent.call("guest-get-host-name", json!({}))?;
    assert_eq!(name["return"]["host-name"], "guest-1", "{name}");
    let interfaces = agent.call("guest-network-get-interfaces", json!({}))?.to_string();
    says_all(&interfaces, &["eth0", "10.0.2.15"]);
    says_all(&agent.call("guest-get-osinfo", json!({}))?.to_string(), &["Corral"]);
    what_would_run_programs_is_refused(&mut agent)?;
    iscsi_is_part_of_the_image(&mut machine)?;
    the_state_disk_is_frozen_for_a_snapshot(&mut agent)?;
    machine.run("sudo touch /var/lib/rancher/after-the-snapshot && sudo ros why")?;
    machine.check_alarms()?;
    agent.send("guest-shutdown", json!({"mode": "powerdown"}))?;
    machine.expect_end()
}

fn what_would_run_programs_is_refused(agent: &mut Agent) -> Result<()> {
    let run = json!({"path": "/bin/true"});
    let opened = json!({"path": "/etc/passwd"});
    for (command, arguments) in [("guest-exec", run), ("guest-file-open", opened)] {
        let refused = agent.call(command, arguments)?;
        assert!(refused["error"]["desc"].to_string().contains("disabled"), "{refused}");
    }
    Ok(())
}

fn the_state_disk_is_frozen_for_a_snapshot(agent: &mut Agent) -> Result<()> {
    let disks = agent.call("guest-get-fsinfo", json!({}))?.to_string();
    says_all(&disks, &["/var/lib/rancher", "ext4"]);
    let frozen = agent.call("guest-fsfreeze-freeze", json!({}))?;
    assert!(frozen["return"].as_u64() > Some(0), "{frozen}");
    let status = agent.call("guest-fsfreeze-status", json!({}))?;
    assert_eq!(status["return"], "frozen", "{status}");
    let thawed = agent.call("guest-fsfreeze-thaw", json!({}))?;
    assert_eq!(thawed["error"], Value::Null, "{thawed}");
    let status = agent.call("guest-fsfreeze-status", json!({}))?;
    assert_eq!(status["return"], "thawed", "{status}");
    let trimmed = agent.call("guest-fstrim", json!({}))?;
    says_all(&trimmed.to_string(), &["/var/lib/rancher"]);
    Ok(())
}

/// Only the product's own kernel has iSCSI. There is no server here: the daemon runs, and its
/// client reaches it. A story of `catalogue` logs in to a disk.
fn iscsi_is_part_of_the_image(machine: &mut Machine) -> Result<()> {
    let client = "sudo system-docker exec open-iscsi iscsiadm";
    machine.run("sudo ros service enable open-iscsi && sudo ros service up open-iscsi")?;
    let has_name = "sudo grep -q ^InitiatorName=iqn /var/lib/rancher/iscsi/initiatorname.iscsi";
    machine.run(has_name)?;
    // As a power cut may leave it.
    machine.run(
        "sudo sh -c ': > /var/lib/rancher/iscsi/initiatorname.iscsi' && \
         sudo system-docker restart open-iscsi",
    )?;
    machine.expect(has_name)?;
    let said = machine.run(&format!("! {client} -m discovery -t st -p 127.0.0.1 2>&1"))?;
    says_all(&said, &["Connection refused"]);
    Ok(())
}

/// A processor without the hypervisor's flag, and one that names QEMU as its hypervisor.
const NO_HYPERVISOR: &str = "max,-hypervisor";
const OF_QEMU: &str = "max";

/// A machine whose firmware names a hypervisor.
fn with_firmware(name: &str, processor: &str, firmware: &str) -> Result<Machine> {
    let folder = folder(name)?;
    let smbios = format!("type=1,{firmware}");
    let extra = ["-cpu", processor, "-smbios", &smbios].map(OsString::from).to_vec();
    super::with_config(&folder, "", Options { extra, ..Options::default() })
}

/// Its agent is started. It ends at once, because this is not VMware.
#[test]
fn guests_of_vmware_are_known_by_their_firmware() -> Result<()> {
    if is_left_out("guests") {
        return Ok(());
    }
    let firmware = "manufacturer=VMware,, Inc.,product=VMware Virtual Platform";
    let mut machine = with_firmware("guest-vmware", NO_HYPERVISOR, firmware)?;
    machine.expect_login()?;
    let status = machine.run("ros status --format json")?;
    let status: Value = serde_json::from_str(&status)?;
    assert_eq!(status["hypervisor"], json!({"name": "VMware", "agent": "open-vm-tools"}));
    machine.run("lsmod | grep -q '^vmw_vmci '")?;
    machine.expect_of_boot("sudo system-docker ps -a | grep -q open-vm-tools")?;
    machine.check_alarms()
}

/// Without the device that the agent needs it is not started, and the rest works.
#[test]
fn guests_of_hyper_v_have_an_agent_if_its_device_is_there() -> Result<()> {
    if is_left_out("guests") {
        return Ok(());
    }
    let firmware = "manufacturer=Microsoft Corporation,product=Virtual Machine";
    let mut machine = with_firmware("guest-hyper-v", NO_HYPERVISOR, firmware)?;
    machine.expect_login()?;
    says_all(&machine.run("ros status")?, &["hypervisor  Hyper-V\n"]);
    machine.expect_docker()?;
    machine.run(&format!("! {NAMES} | grep -q hv-"))?;
    machine.run("sudo ros service enable hyperv-daemons && sudo ros service up")?;
    machine.expect("sudo ros why hv-kvp 2>&1 | grep -q 'device /dev/vmbus/hv_kvp'")?;
    machine.check_alarms()
}

/// As each names itself in its firmware: processor, firmware, and the name in `ros status`. Three
/// also report the signature of another hypervisor in their processor.
const NAMED: [(&str, &str, &str); 5] = [
    (OF_QEMU, "manufacturer=innotek GmbH,product=VirtualBox", "VirtualBox"),
    (
        OF_QEMU,
        "manufacturer=Parallels International GmbH.,product=Parallels Virtual Platform",
        "Parallels",
    ),
    (OF_QEMU, "manufacturer=Xen,product=HVM domU", "Xen (HVM)"),
    (NO_HYPERVISOR, "manufacturer=FreeBSD,product=BHYVE", "bhyve"),
    (NO_HYPERVISOR, "manufacturer=Red Hat,product=KVM", "KVM"),
];

#[test]
fn guests_of_other_hypervisors_are_known_by_their_firmware() -> Result<()> {
    if is_left_out("guests") {
        return Ok(());
    }
    for (processor, firmware, name) in NAMED {
        let mut machine = with_firmware("guest-named", processor, firmware)?;
        machine.expect_login()?;
        says_all(&machine.run("ros status")?, &[&format!("hypervisor  {name}\n")]);
        machine.check_alarms()?;
    }
    Ok(())
}
