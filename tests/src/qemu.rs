//! A QEMU machine: its command line and its monitor.

use crate::image::Image;
use crate::options::{APPEND, Accelerator, Medium, Network, Options};
use crate::process::tied_unless_kept;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Debian's build of the UEFI firmware for QEMU.
pub const UEFI_FIRMWARE: &str = "/usr/share/ovmf/OVMF.fd";
const UEFI_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const UEFI_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// An emulated processor has everything but virtualization: patching the module KVM into the kernel
/// takes seconds of an emulated boot, and no story runs a machine in a machine.
const EMULATED: &str = "max,svm=off";

/// Of QEMU's monitor.
const PROMPT: &str = "(qemu)";
const MONITOR_TIMEOUT: Duration = Duration::from_secs(30);

/// A running QEMU.
#[derive(Debug)]
pub struct Qemu {
    pub child: Child,
    folder: PathBuf,
    late_disks: usize,
}

impl Qemu {
    /// Starts a machine whose first serial line is the socket `console.sock`.
    pub fn start(folder: &Path, options: &Options, image: &Image) -> Result<Qemu> {
        let child = options
            .command(image, folder)
            .arg("-chardev")
            .arg(format!(
                "socket,id=console,path={},server=on,wait=off,logfile={}",
                folder.join("console.sock").display(),
                folder.join("console.log").display()
            ))
            .args(["-serial", "chardev:console"])
            .arg("-monitor")
            .arg(format!("unix:{},server,nowait", folder.join("monitor.sock").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.join("machine.log"))?)
            .spawn()
            .context("starting qemu-system-x86_64")?;
        Ok(Qemu { child, folder: folder.to_path_buf(), late_disks: 0 })
    }

    /// Connects to the first serial line; its output is in its log.
    pub fn line(&self) -> Result<UnixStream> {
        let line = UnixStream::connect(self.folder.join("console.sock"))
            .context("reaching the serial console")?;
        let mut output = line.try_clone()?;
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Ok(line)
    }

    /// Plugs in a disk while the machine runs.
    pub fn plug_in(&mut self, disk: &Path) -> Result<()> {
        let id = format!("late{}", self.late_disks);
        self.late_disks += 1;
        self.monitor(&format!("drive_add 0 if=none,id={id},format=raw,file={}", disk.display()))?;
        self.monitor(&format!("device_add virtio-blk-pci,drive={id}")).map(drop)
    }

    /// Sends a command to QEMU's monitor; returns its answer. Most commands answer nothing unless
    /// they fail.
    pub fn monitor(&self, command: &str) -> Result<String> {
        let mut monitor = UnixStream::connect(self.folder.join("monitor.sock"))
            .context("reaching QEMU's monitor")?;
        monitor.write_all(format!("{command}\n").as_bytes())?;
        // The prompt is shown again when the command is done.
        monitor.set_read_timeout(Some(MONITOR_TIMEOUT))?;
        let mut seen = String::new();
        let mut buffer = [0_u8; 1024];
        while seen.matches(PROMPT).count() < 2 {
            let count = monitor
                .read(&mut buffer)
                .with_context(|| format!("waiting for QEMU's monitor: {command}"))?;
            if count == 0 {
                break;
            }
            seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        Ok(answer(&seen).to_owned())
    }
}

/// What the monitor has printed between the echo of a command and its next prompt.
fn answer(seen: &str) -> &str {
    let command = seen.split_once(PROMPT).map_or("", |(_, rest)| rest);
    let printed = command.split_once('\n').map_or("", |(_, rest)| rest);
    printed.trim_end().trim_end_matches(PROMPT).trim()
}

impl Options {
    /// QEMU, ready to be started. The caller connects the serial line and the monitor. Packets of
    /// recorded cards are kept in `folder`.
    pub fn command(&self, image: &Image, folder: &Path) -> Command {
        let mut command = tied_unless_kept(&image.tools.join("qemu-system-x86_64"));
        let (accelerator, processor) = match self.accelerator {
            Accelerator::Kvm => ("kvm", "host"),
            Accelerator::Tcg => ("tcg,thread=multi", EMULATED),
            Accelerator::TcgInOneThread => ("tcg,thread=single", EMULATED),
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
        self.add_medium(&mut command, image);
        self.add_drives(&mut command);
        self.connect(&mut command, folder);
        command.args(&self.extra);
        command
    }

    /// What the machine starts from, apart from its disks.
    fn add_medium(&self, command: &mut Command, image: &Image) {
        match self.medium {
            Medium::Direct => self.boot_directly(command, image),
            Medium::Iso => {
                command.arg("-boot").arg("d").arg("-cdrom").arg(&image.iso);
            }
            Medium::FullIso => {
                // Without one, QEMU reports that there is no such file.
                let iso = image.full_iso.as_deref().unwrap_or(Path::new("full.iso"));
                command.arg("-boot").arg("d").arg("-cdrom").arg(iso);
            }
            Medium::UsbStick => {
                let stick =
                    format!("file={},format=raw,if=none,id=stick,readonly=on", image.iso.display());
                command.arg("-drive").arg(stick);
                command.args([
                    "-device",
                    "qemu-xhci",
                    "-device",
                    "usb-storage,drive=stick,bootindex=0",
                ]);
            }
            Medium::Disk => {}
        }
    }

    fn add_drives(&self, command: &mut Command) {
        for (number, disk) in self.disks.iter().enumerate() {
            let disk = disk.display();
            command.arg("-drive").arg(match &self.write_log {
                Some(log) if number == 0 => format!(
                    "if=virtio,driver=blklogwrites,file.driver=file,file.filename={disk},log.driver=file,log.filename={}",
                    log.display()
                ),
                // A flush would wait for this machine's disk, whose power no story cuts.
                _ => format!("file={disk},format=raw,if=virtio,cache=unsafe,discard=unmap,detect-zeroes=unmap"),
            });
        }
        for drive in self.sticks.iter().chain(&self.config_drive) {
            // User-Mode Linux locks all of a file that it reads, which QEMU takes for a writer.
            command.arg("-drive").arg(format!(
                "file={},file.locking=off,format=raw,if=virtio,readonly=on",
                drive.display()
            ));
        }
    }

    fn add_firmware(&self, command: &mut Command) {
        match &self.variables {
            _ if !self.uefi => {}
            None => {
                command.args(["-bios", UEFI_FIRMWARE]);
            }
            Some(variables) => {
                if !variables.exists() {
                    // If the copy fails, QEMU has no such file and reports it.
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

    fn connect(&self, command: &mut Command, folder: &Path) {
        for number in 0..self.nics {
            let forwards = if number == 0 { self.forwards.as_slice() } else { &[] };
            // Without an address it is that which DHCP gives.
            let guest = match &self.network {
                Network::Static(address) => *address,
                _ => "",
            };
            let rules: Vec<String> = forwards
                .iter()
                .map(|(ours, theirs)| format!(",hostfwd=tcp:127.0.0.1:{ours}-{guest}:{theirs}"))
                .collect();
            let network = match &self.network {
                Network::HostName(name) if number == 0 => {
                    format!("net=10.0.2.0/24,hostname={name}")
                }
                // By IPv6 it would be the name of a file on a TFTP server.
                Network::Boot(script) if number == 0 => {
                    format!("net=10.0.2.0/24,ipv6=off,bootfile={script}")
                }
                Network::Provider { addresses, services } if number == 0 => {
                    let forward = |(address, program): &(&str, PathBuf)| {
                        format!(",guestfwd=tcp:{address}-cmd:{}", program.display())
                    };
                    let forwards: String = services.iter().map(forward).collect();
                    format!("net={addresses}{forwards}")
                }
                _ => format!("net=10.0.{}.0/24", number + 2),
            };
            command.arg("-netdev").arg(format!("user,id=net{number},{network}{}", rules.concat()));
            let card = self.cards.get(number as usize).copied().unwrap_or("virtio-net-pci");
            let rom = match &self.network {
                Network::Boot(_) if number == 0 => "bootindex=0",
                // Without an option ROM the firmware does not try to boot from the network.
                _ => "romfile=",
            };
            command.arg("-device").arg(format!("{card},netdev=net{number},{rom}"));
            if self.recorded.contains(&number) {
                let file = folder.join(format!("net{number}.packets"));
                let dump = format!(
                    "filter-dump,id=dump{number},netdev=net{number},file={}",
                    file.display()
                );
                command.arg("-object").arg(dump);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::answer;

    #[test]
    fn an_answer_is_what_stands_between_echo_and_prompt() {
        let start = "QEMU 10.0.13 monitor - type 'help'\r\n(qemu) sst\u{1b}[K\u{1b}[Dstop\r\n";
        assert_eq!(answer(&format!("{start}(qemu) ")), "");
        let error = "Error: failed to open file '/none/x.png'";
        assert_eq!(answer(&format!("{start}{error}\r\n(qemu) ")), error);
        // It has exited.
        assert_eq!(answer(start), "");
        assert_eq!(answer(""), "");
    }
}
