//! The hypervisor that a machine runs under: what it reports about itself → a row of one table,
//! with the modules of the guest and the agent that the hypervisor's own tools talk to.
//!
//! Three interfaces name it: CPUID leaf 0x40000000 and the leaves above it
//! (<https://lwn.net/Articles/301888/>), /sys/hypervisor of the kernel's Xen drivers, and the DMI
//! strings of the firmware. Loading modules and starting agents is done by others.

use std::fs;
use std::path::Path;

/// A hypervisor, or another program that imitates a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hypervisor {
    VMware,
    Kvm,
    /// QEMU without KVM: it emulates every instruction.
    Qemu,
    XenHvm,
    XenPv,
    VirtualBox,
    Parallels,
    Bhyve,
    HyperV,
    /// The test machines of Corral itself.
    UserModeLinux,
    /// The processor reports a hypervisor that no row knows.
    Unknown,
}

/// What is known of a hypervisor.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    pub hypervisor: Hypervisor,
    /// As people write it.
    pub name: &'static str,
    /// Of CPUID, without spaces and zeros at both ends.
    pub signatures: &'static [&'static str],
    /// DMI: (file below /sys/class/dmi/id, beginning of its text).
    pub dmi: &'static [(&'static str, &'static str)],
    /// It also reports the signature of another hypervisor, so its DMI strings come first.
    pub imitates: bool,
    /// Modules of the guest. Those that drive a device are also loaded for the device.
    pub modules: &'static [&'static str],
    pub agent: Option<Agent>,
}

/// A service of the system's catalogue that the hypervisor's tools talk to.
#[derive(Debug, PartialEq, Eq)]
pub struct Agent {
    pub service: &'static str,
    /// The channel that it needs: the name of a virtio port, or a device below /dev. Empty: none.
    pub channel: &'static str,
}

/// The port that libvirt, Proxmox and others give a machine for the agent.
const QEMU_PORT: &str = "org.qemu.guest_agent.0";
const QEMU_AGENT: Option<Agent> = Some(Agent { service: "qemu-guest-agent", channel: QEMU_PORT });
const XEN_MODULES: &[&str] =
    &["xen-blkfront", "xen-netfront", "xen-evtchn", "xen-gntdev", "xen-gntalloc", "xenfs"];

/// All of them. Of several signatures the first row wins: Hyper-V is last, because KVM and Xen
/// report its signature first when they imitate it for Windows.
pub const TABLE: [Row; 11] = [
    Row {
        name: "VMware",
        signatures: &["VMwareVMware"],
        dmi: &[("sys_vendor", "VMware")],
        modules: &["vmw_vmci", "vmw_vsock_vmci_transport", "vmw_balloon", "vmw_pvscsi", "vmxnet3"],
        agent: Some(Agent { service: "open-vm-tools", channel: "" }),
        ..row(Hypervisor::VMware)
    },
    Row {
        name: "VirtualBox",
        signatures: &["VBoxVBoxVBox"],
        dmi: &[("product_name", "VirtualBox"), ("sys_vendor", "innotek GmbH")],
        imitates: true,
        modules: &["vboxguest", "vboxsf"],
        ..row(Hypervisor::VirtualBox)
    },
    Row {
        name: "Parallels",
        signatures: &["prl hyperv", "lrpepyh vr"],
        dmi: &[("sys_vendor", "Parallels"), ("product_name", "Parallels")],
        imitates: true,
        ..row(Hypervisor::Parallels)
    },
    Row {
        name: "Xen (HVM)",
        signatures: &["XenVMMXenVMM"],
        dmi: &[("sys_vendor", "Xen"), ("product_name", "HVM domU")],
        imitates: true,
        modules: XEN_MODULES,
        ..row(Hypervisor::XenHvm)
    },
    Row { name: "Xen (PV)", modules: XEN_MODULES, ..row(Hypervisor::XenPv) },
    Row {
        name: "KVM",
        signatures: &["KVMKVMKVM", "Linux KVM Hv"],
        dmi: &[
            ("product_name", "KVM"),
            ("sys_vendor", "Amazon EC2"),
            ("product_name", "Google Compute Engine"),
            ("product_name", "OpenStack"),
        ],
        modules: &["virtio_console", "virtio_balloon", "virtio_rng"],
        agent: QEMU_AGENT,
        ..row(Hypervisor::Kvm)
    },
    Row {
        name: "QEMU (emulation)",
        signatures: &["TCGTCGTCGTCG"],
        dmi: &[("sys_vendor", "QEMU")],
        modules: &["virtio_console", "virtio_balloon", "virtio_rng"],
        agent: QEMU_AGENT,
        ..row(Hypervisor::Qemu)
    },
    Row {
        name: "bhyve",
        signatures: &["bhyve bhyve"],
        dmi: &[("product_name", "BHYVE"), ("bios_vendor", "BHYVE")],
        modules: &["virtio_console", "virtio_rng"],
        agent: QEMU_AGENT,
        ..row(Hypervisor::Bhyve)
    },
    Row {
        name: "Hyper-V",
        signatures: &["Microsoft Hv"],
        dmi: &[("product_name", "Virtual Machine")],
        modules: &["hv_vmbus", "hv_utils", "hv_balloon", "hv_netvsc", "hv_storvsc", "hv_sock"],
        agent: Some(Agent { service: "hyperv-daemons", channel: "vmbus/hv_kvp" }),
        ..row(Hypervisor::HyperV)
    },
    Row { name: "User-Mode Linux", ..row(Hypervisor::UserModeLinux) },
    Row { name: "unknown", ..row(Hypervisor::Unknown) },
];

/// A row without a name.
const fn row(hypervisor: Hypervisor) -> Row {
    Row {
        hypervisor,
        name: "",
        signatures: &[],
        dmi: &[],
        imitates: false,
        modules: &[],
        agent: None,
    }
}

/// What the machine reports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The processor says that there is a hypervisor.
    pub is_guest: bool,
    pub is_user_mode_linux: bool,
    /// Of every CPUID leaf that has one.
    pub signatures: Vec<String>,
    /// Files below /sys/class/dmi/id that the table names, and their text.
    pub dmi: Vec<(&'static str, String)>,
    /// /sys/hypervisor/guest_type if the type is Xen: `HVM`, `PV`, `PVH`.
    pub xen: Option<String>,
    /// Names of virtio ports, and of devices of the agents below /dev.
    pub channels: Vec<String>,
}

impl Facts {
    /// Those of the machine whose files are below `root`.
    pub fn load(root: &Path) -> Facts {
        let text = |path: &str| {
            fs::read_to_string(root.join(path)).map(|text| text.trim().to_owned()).ok()
        };
        let processor = text("proc/cpuinfo").unwrap_or_default();
        let is_user_mode_linux = processor.contains("User Mode Linux");
        let is_guest = has_flag(&processor, "hypervisor") && !is_user_mode_linux;
        let xen = text("sys/hypervisor/type")
            .filter(|kind| kind == "xen")
            .map(|_| text("sys/hypervisor/guest_type").unwrap_or_default());
        let names = TABLE.iter().flat_map(|row| row.dmi).map(|(name, _)| *name);
        let mut dmi: Vec<(&str, String)> = names
            .filter_map(|name| Some((name, text(&format!("sys/class/dmi/id/{name}"))?)))
            .collect();
        dmi.sort();
        dmi.dedup();
        Facts {
            is_guest,
            is_user_mode_linux,
            signatures: if is_guest { read_signatures() } else { Vec::new() },
            dmi,
            xen,
            channels: load_channels(root),
        }
    }

    /// The row of the hypervisor; None on a real machine.
    pub fn row(&self) -> Option<&'static Row> {
        if self.is_user_mode_linux {
            return find(Hypervisor::UserModeLinux);
        }
        if let Some(kind) = &self.xen {
            return find(if kind == "PV" { Hypervisor::XenPv } else { Hypervisor::XenHvm });
        }
        let unknown = || self.is_guest.then(|| find(Hypervisor::Unknown)).flatten();
        TABLE
            .iter()
            .find(|row| row.imitates && self.has_dmi(row))
            .or_else(|| TABLE.iter().find(|row| self.has_signature(row)))
            .or_else(|| TABLE.iter().find(|row| self.has_dmi(row)))
            .or_else(unknown)
    }

    /// The service that the hypervisor's tools talk to, if its channel is there.
    pub fn agent(&self) -> Option<&'static str> {
        let agent = self.row()?.agent.as_ref()?;
        let is_reachable =
            agent.channel.is_empty() || self.channels.iter().any(|name| name == agent.channel);
        is_reachable.then_some(agent.service)
    }

    fn has_signature(&self, row: &Row) -> bool {
        self.signatures.iter().any(|found| row.signatures.contains(&found.as_str()))
    }

    fn has_dmi(&self, row: &Row) -> bool {
        // Microsoft's own computers are not virtual machines.
        let is_of = |name: &str, beginning: &str| {
            self.dmi.iter().any(|(found, text)| *found == name && text.starts_with(beginning))
        };
        let is_named = row.dmi.iter().any(|(name, beginning)| is_of(name, beginning));
        is_named && (row.hypervisor != Hypervisor::HyperV || is_of("sys_vendor", "Microsoft"))
    }
}

fn find(hypervisor: Hypervisor) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.hypervisor == hypervisor)
}

/// Is the flag among those of the first processor?
fn has_flag(processor: &str, flag: &str) -> bool {
    let flags = processor.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|line| line.split_whitespace().any(|word| word == flag))
}

fn load_channels(root: &Path) -> Vec<String> {
    let ports = fs::read_dir(root.join("sys/class/virtio-ports")).into_iter().flatten().flatten();
    let mut channels: Vec<String> = ports
        .filter_map(|port| fs::read_to_string(port.path().join("name")).ok())
        .map(|name| name.trim().to_owned())
        .collect();
    let devices = TABLE.iter().filter_map(|row| row.agent.as_ref()).map(|agent| agent.channel);
    let is_there = |name: &&str| !name.is_empty() && root.join("dev").join(name).exists();
    channels.extend(devices.filter(is_there).map(str::to_owned));
    channels
}

/// The first leaf of a hypervisor. One that imitates another has its own signature 0x100 or more
/// above it.
const FIRST_LEAF: u32 = 0x4000_0000;
const STEP: u32 = 0x100;
const LEAVES: u32 = 16;

#[cfg(target_arch = "x86_64")]
fn read_signatures() -> Vec<String> {
    let leaf = |number: u32| {
        let found = core::arch::x86_64::__cpuid(FIRST_LEAF + number * STEP);
        parse_signature([found.ebx, found.ecx, found.edx])
    };
    (0..LEAVES).filter_map(leaf).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn read_signatures() -> Vec<String> {
    Vec::new()
}

/// Twelve letters in three registers. None if they are not printable: the leaf does not exist.
fn parse_signature(registers: [u32; 3]) -> Option<String> {
    let bytes = registers.map(u32::to_le_bytes).concat();
    let text = std::str::from_utf8(&bytes).ok()?.trim_matches(['\0', ' ']).to_owned();
    let is_text = text.chars().all(|letter| letter.is_ascii_graphic() || letter == ' ');
    (is_text && text.len() > 3).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page of the manual that shows the table.
    const PAGE: &str = "../../docs/service-catalogue.md";

    fn named(signatures: &[&str], dmi: &[(&'static str, &str)]) -> Option<&'static str> {
        let facts = Facts {
            is_guest: !signatures.is_empty(),
            signatures: signatures.iter().map(|text| (*text).to_owned()).collect(),
            dmi: dmi.iter().map(|(name, text)| (*name, (*text).to_owned())).collect(),
            ..Facts::default()
        };
        facts.row().map(|row| row.name)
    }

    #[test]
    fn every_row_is_found_by_each_of_its_marks() {
        for row in &TABLE {
            for signature in row.signatures {
                assert_eq!(named(&[signature], &[]), Some(row.name), "{signature}");
            }
            for (name, beginning) in row.dmi {
                let text = format!("{beginning}, Inc.");
                let dmi = [(*name, text.as_str()), ("sys_vendor", "Microsoft Corporation")];
                let dmi = if row.hypervisor == Hypervisor::HyperV { &dmi[..] } else { &dmi[..1] };
                assert_eq!(named(&[], dmi), Some(row.name), "{name} {beginning}");
            }
        }
        assert_eq!(named(&["ACRNACRNACRN"], &[]), Some("unknown"));
        assert_eq!(named(&[], &[("sys_vendor", "Dell Inc.")]), None);
        assert_eq!(named(&[], &[("product_name", "Virtual Machine")]), None, "not Microsoft's");
        for (kind, expected) in [("PV", "Xen (PV)"), ("HVM", "Xen (HVM)"), ("PVH", "Xen (HVM)")] {
            let facts = Facts { xen: Some(kind.to_owned()), ..Facts::default() };
            assert_eq!(facts.row().map(|row| row.name), Some(expected));
        }
        let facts = Facts { is_user_mode_linux: true, ..Facts::default() };
        assert_eq!(facts.row().map(|row| row.name), Some("User-Mode Linux"));
    }

    #[test]
    fn one_that_imitates_another_is_found_under_its_own_name() {
        for (signatures, dmi, expected) in [
            // KVM and Xen with Hyper-V's interface for Windows.
            (&["Microsoft Hv", "KVMKVMKVM"][..], &[][..], "KVM"),
            (&["Microsoft Hv", "XenVMMXenVMM"], &[], "Xen (HVM)"),
            (&["Microsoft Hv"], &[("sys_vendor", "Xen")], "Xen (HVM)"),
            // VirtualBox offers KVM's clock to Linux.
            (&["KVMKVMKVM"], &[("product_name", "VirtualBox")], "VirtualBox"),
            (&["KVMKVMKVM"], &[("sys_vendor", "Parallels International GmbH.")], "Parallels"),
            (&["KVMKVMKVM"], &[("sys_vendor", "QEMU")], "KVM"),
            (&["TCGTCGTCGTCG"], &[("sys_vendor", "VMware, Inc.")], "QEMU (emulation)"),
        ] {
            assert_eq!(named(signatures, dmi), Some(expected), "{signatures:?} {dmi:?}");
        }
    }

    #[test]
    fn an_agent_needs_its_channel() {
        let facts = |signature: &str, channels: &[&str]| Facts {
            is_guest: true,
            signatures: vec![signature.to_owned()],
            channels: channels.iter().map(|name| (*name).to_owned()).collect(),
            ..Facts::default()
        };
        for (signature, channels, expected) in [
            ("KVMKVMKVM", &[QEMU_PORT][..], Some("qemu-guest-agent")),
            ("KVMKVMKVM", &["com.redhat.spice.0"], None),
            ("TCGTCGTCGTCG", &[QEMU_PORT], Some("qemu-guest-agent")),
            ("VMwareVMware", &[], Some("open-vm-tools")),
            ("Microsoft Hv", &[], None),
            ("Microsoft Hv", &["vmbus/hv_kvp"], Some("hyperv-daemons")),
            ("XenVMMXenVMM", &[QEMU_PORT], None),
        ] {
            assert_eq!(facts(signature, channels).agent(), expected, "{signature} {channels:?}");
        }
    }

    #[test]
    fn a_signature_is_twelve_letters_in_three_registers() {
        for (text, expected) in [
            (b"KVMKVMKVM\0\0\0", Some("KVMKVMKVM")),
            (b"bhyve bhyve ", Some("bhyve bhyve")),
            (b" lrpepyh vr\0", Some("lrpepyh vr")),
            (b"\0\0\0\0\0\0\0\0\0\0\0\0", None),
            (b"\x07\0\0\0@\0\0\0\0\0\0\0", None),
        ] {
            let word = |at: usize| {
                u32::from_le_bytes([text[at], text[at + 1], text[at + 2], text[at + 3]])
            };
            let found = parse_signature([word(0), word(4), word(8)]);
            assert_eq!(found.as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn facts_are_read_from_files() {
        let root = std::env::temp_dir().join(format!("corral-hypervisor-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(Facts::load(&root), Facts::default());
        write("proc/cpuinfo", "processor : 0\nflags\t\t: fpu sse\n");
        write("sys/class/dmi/id/sys_vendor", "QEMU\n");
        write("sys/class/virtio-ports/vport1p1/name", "org.qemu.guest_agent.0\n");
        let facts = Facts::load(&root);
        assert_eq!(facts.row().map(|row| row.name), Some("QEMU (emulation)"));
        assert_eq!(facts.agent(), Some("qemu-guest-agent"));
        write("sys/hypervisor/type", "xen\n");
        write("sys/hypervisor/guest_type", "PV\n");
        assert_eq!(Facts::load(&root).row().map(|row| row.name), Some("Xen (PV)"));
        write("proc/cpuinfo", "vendor_id : User Mode Linux\nflags : hypervisor\n");
        assert_eq!(Facts::load(&root).row().map(|row| row.name), Some("User-Mode Linux"));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn the_manual_shows_the_table() {
        let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE)).unwrap();
        let marked = |names: &[&str]| match names {
            [] => "none".to_owned(),
            _ => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        };
        for row in &TABLE {
            let agent: Vec<&str> = row.agent.iter().map(|agent| agent.service).collect();
            let (signatures, modules) = (marked(row.signatures), marked(row.modules));
            let line = format!("| {} | {signatures} | {modules} | {} |", row.name, marked(&agent));
            assert!(page.contains(&line), "not in {PAGE}:\n{line}");
        }
    }
}
