//! What a machine is made of. Only this file decides which kind of machine that needs.

use crate::image::Image;
use std::ffi::OsString;
use std::path::PathBuf;

/// How a machine is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// User-Mode Linux: the system image on a test kernel, as processes of this machine. It boots
    /// in seconds.
    Uml,
    /// QEMU: a PC with its firmware, and the product's own kernel.
    Qemu,
}

impl Kind {
    /// The word for it on command lines and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Uml => "uml",
            Kind::Qemu => "qemu",
        }
    }
}

/// How the guest's instructions are run by QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    Kvm,
    /// Software emulation with a thread for each processor: works everywhere.
    Tcg,
    /// Software emulation in one thread: faster where as many machines run as there are cores.
    TcgInOneThread,
}

/// What the machine boots from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// Kernel and initrd passed to the machine directly, the system image as a disk: the fastest
    /// way.
    Direct,
    /// The ISO in a CD drive, by the firmware.
    Iso,
    /// The same with the ISO that has all drivers.
    FullIso,
    /// The ISO as a USB stick, by the firmware.
    UsbStick,
    /// The first disk, by the firmware.
    Disk,
}

/// The network of the first card, besides its addresses, its DHCP server and its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    Usual,
    /// The DHCP server gives this host name.
    HostName(String),
    /// The machine has to be configured with this address: the DHCP server, which QEMU's network
    /// always has, would give another one.
    Static(&'static str),
    /// The ROM of the card, which is iPXE, starts the machine: by the script at this URL, which the
    /// DHCP server names.
    Boot(String),
    /// A provider's: these addresses, and programs that answer at some of them.
    Provider {
        addresses: &'static str,
        services: Vec<(&'static str, PathBuf)>,
    },
}

impl Network {
    /// This program answers requests at the address of most metadata services.
    pub fn metadata(program: PathBuf) -> Network {
        let services = vec![("169.254.169.254:80", program)];
        Network::Provider { addresses: "169.254.0.0/16", services }
    }
}

/// A machine to boot.
#[derive(Debug, Clone)]
pub struct Options {
    pub medium: Medium,
    /// The story is about a PC's hardware, or about the product's own kernel.
    pub needs_qemu: bool,
    pub accelerator: Accelerator,
    /// UEFI firmware instead of BIOS.
    pub uefi: bool,
    /// Where that firmware stores its variables; created if missing. Without it they are lost with
    /// the machine.
    pub variables: Option<PathBuf>,
    /// MiB.
    pub memory: u32,
    /// Network cards; the first one has the forwarded ports.
    pub nics: u32,
    /// Models of the first ones, as QEMU calls them; the rest are virtio's.
    pub cards: Vec<&'static str>,
    pub network: Network,
    /// Cards whose packets are kept: see `Machine::packets`. In User-Mode Linux they get no
    /// answers, so the first card cannot be one of them.
    pub recorded: Vec<u32>,
    /// Kernel parameters besides the usual ones; only for `Medium::Direct`.
    pub append: String,
    /// More disks, in order: raw image files.
    pub disks: Vec<PathBuf>,
    /// Where every write to the first disk is recorded, in order: see `write_log`.
    pub write_log: Option<PathBuf>,
    /// More disks after these, which are read-only: several machines may share them.
    pub sticks: Vec<PathBuf>,
    /// A config drive.
    pub config_drive: Option<PathBuf>,
    /// (port of this machine on loopback, port of the guest)
    pub forwards: Vec<(u16, u16)>,
    /// Hardware that only QEMU has, as QEMU arguments.
    pub extra: Vec<OsString>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            medium: Medium::Direct,
            needs_qemu: false,
            accelerator: Accelerator::TcgInOneThread,
            uefi: false,
            variables: None,
            memory: 1024,
            nics: 1,
            cards: Vec::new(),
            network: Network::Usual,
            recorded: Vec::new(),
            append: String::new(),
            disks: Vec::new(),
            write_log: None,
            sticks: Vec::new(),
            config_drive: None,
            forwards: Vec::new(),
            extra: Vec::new(),
        }
    }
}

/// If it is `qemu`, every machine runs in QEMU.
pub const KIND_VARIABLE: &str = "CORRAL_MACHINES";

/// The usual kernel parameters of a machine whose console is its first serial line.
pub const APPEND: &str = "console=ttyS0 printk.devkmsg=on loglevel=4";

impl Options {
    /// The fastest kind of machine that has all of this.
    pub fn kind(&self, image: &Image) -> Kind {
        let needs_a_pc = self.medium != Medium::Direct
            || self.needs_qemu
            || self.uefi
            || self.network != Network::Usual
            || self.write_log.is_some()
            || !self.cards.is_empty()
            || !self.extra.is_empty();
        let wanted = std::env::var_os(KIND_VARIABLE).is_some_and(|kind| kind == Kind::Qemu.name());
        if needs_a_pc || wanted || image.uml.is_none() { Kind::Qemu } else { Kind::Uml }
    }
}
