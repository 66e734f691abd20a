//! The command line of QEMU for a machine of ours.

use crate::image::Image;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

/// How the guest's instructions are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    Kvm,
    /// Software emulation with a thread for each processor: works everywhere.
    Tcg,
    /// Software emulation in one thread. QEMU 7.2 may translate code in one thread while another one patches it, and
    /// a guest kernel that patches its jump labels then dies of an `int3`: about one boot in some hundreds, which is
    /// too many for stories that boot dozens of machines, two at a time.
    TcgInOneThread,
}

/// What the machine boots from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// Kernel and initrd given to QEMU, the system image as a disk: the quickest way.
    Direct,
    /// The ISO in a CD drive, by the firmware.
    Iso,
    /// The ISO as a USB stick, by the firmware.
    UsbStick,
    /// The first disk, by the firmware.
    Disk,
}

/// A machine to boot.
#[derive(Debug, Clone)]
pub struct Options {
    pub medium: Medium,
    pub accelerator: Accelerator,
    /// UEFI firmware instead of BIOS.
    pub uefi: bool,
    /// Where that firmware keeps its variables; made if it is not there. Without it they are lost with the machine.
    pub variables: Option<PathBuf>,
    /// MiB.
    pub memory: u32,
    /// Network cards; the first one has the forwarded ports.
    pub nics: u32,
    /// What the first card's network is, in QEMU's words; empty for the usual one.
    pub network: String,
    /// Kernel parameters besides the usual ones; only for `Medium::Direct`.
    pub append: String,
    /// More disks, in order: raw image files.
    pub disks: Vec<PathBuf>,
    /// Where every write to the first of them is kept, in its order: see `write_log`.
    pub write_log: Option<PathBuf>,
    /// One more disk after these, which nobody writes to: several machines may have it.
    pub stick: Option<PathBuf>,
    /// A config drive.
    pub config_drive: Option<PathBuf>,
    /// (port of this machine on loopback, port of the guest)
    pub forwards: Vec<(u16, u16)>,
    /// Arguments of QEMU that nobody here knows of.
    pub extra: Vec<OsString>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            medium: Medium::Direct,
            accelerator: Accelerator::TcgInOneThread,
            uefi: false,
            variables: None,
            memory: 1024,
            nics: 1,
            network: String::new(),
            append: String::new(),
            disks: Vec::new(),
            write_log: None,
            stick: None,
            config_drive: None,
            forwards: Vec::new(),
            extra: Vec::new(),
        }
    }
}

/// Debian's build of the UEFI firmware for QEMU.
pub const UEFI_FIRMWARE: &str = "/usr/share/ovmf/OVMF.fd";
const UEFI_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const UEFI_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// The usual kernel parameters of a machine whose console is its first serial line.
pub const APPEND: &str = "console=ttyS0 printk.devkmsg=on loglevel=4";

impl Options {
    /// QEMU, ready to be started; how the serial line and the monitor are connected is the caller's business.
    pub fn command(&self, image: &Image) -> Command {
        let mut command = Command::new("qemu-system-x86_64");
        let (accelerator, processor) = match self.accelerator {
            Accelerator::Kvm => ("kvm", "host"),
            Accelerator::Tcg => ("tcg,thread=multi", "max"),
            Accelerator::TcgInOneThread => ("tcg,thread=single", "max"),
        };
        command.args([
            "-accel",
            accelerator,
            "-cpu",
            processor,
            "-smp",
            "2",
            "-display",
            "none",
            "-nodefaults",
        ]);
        command.args(["-vga", "std", "-device", "virtio-rng-pci"]);
        command.args(["-m", &self.memory.to_string()]);
        self.add_firmware(&mut command);
        match self.medium {
            Medium::Direct => self.boot_directly(&mut command, image),
            Medium::Iso => {
                command.arg("-boot").arg("d").arg("-cdrom").arg(&image.iso);
            }
            Medium::UsbStick => {
                let stick = format!("file={},format=raw,if=none,id=stick,readonly=on", image.iso.display());
                command.arg("-drive").arg(stick);
                command.args(["-device", "qemu-xhci", "-device", "usb-storage,drive=stick,bootindex=0"]);
            }
            Medium::Disk => {}
        }
        for (number, disk) in self.disks.iter().enumerate() {
            let disk = disk.display();
            command.arg("-drive").arg(match &self.write_log {
                Some(log) if number == 0 => format!(
                    "if=virtio,driver=blklogwrites,file.driver=file,file.filename={disk},log.driver=file,log.filename={}",
                    log.display()
                ),
                _ => format!("file={disk},format=raw,if=virtio"),
            });
        }
        for drive in self.stick.iter().chain(&self.config_drive) {
            command.arg("-drive").arg(format!("file={},format=raw,if=virtio,readonly=on", drive.display()));
        }
        self.connect(&mut command);
        command.args(&self.extra);
        command
    }

    fn add_firmware(&self, command: &mut Command) {
        match &self.variables {
            _ if !self.uefi => {}
            None => {
                command.args(["-bios", UEFI_FIRMWARE]);
            }
            Some(variables) => {
                if !variables.exists() {
                    // A copy that fails leaves QEMU without its file, and it says so.
                    let _ = std::fs::copy(UEFI_VARIABLES, variables);
                }
                command
                    .arg("-drive")
                    .arg(format!("if=pflash,format=raw,unit=0,readonly=on,file={UEFI_CODE}"))
                    .arg("-drive")
                    .arg(format!("if=pflash,format=raw,unit=1,file={}", variables.display()));
            }
        }
    }

    fn boot_directly(&self, command: &mut Command, image: &Image) {
        command.arg("-kernel").arg(&image.kernel).arg("-initrd").arg(&image.initrd);
        command.arg("-append").arg(format!("{APPEND} {}", self.append));
        command
            .arg("-drive")
            .arg(format!("file={},format=raw,if=virtio,readonly=on", image.system.display()));
    }

    fn connect(&self, command: &mut Command) {
        for number in 0..self.nics {
            let forwards = if number == 0 { self.forwards.as_slice() } else { &[] };
            let rules: Vec<String> = forwards
                .iter()
                .map(|(ours, theirs)| format!(",hostfwd=tcp:127.0.0.1:{ours}-:{theirs}"))
                .collect();
            // No option ROM: the firmware has nothing to look for on the network.
            let network = match self.network.as_str() {
                special if number == 0 && !special.is_empty() => special.to_owned(),
                _ => format!("net=10.0.{}.0/24", number + 2),
            };
            command.arg("-netdev").arg(format!("user,id=net{number},{network}{}", rules.concat()));
            command.arg("-device").arg(format!("virtio-net-pci,netdev=net{number},romfile="));
        }
    }
}
