//! `cargo xtask run`: builds what changed and boots it here, the console in this terminal.

use crate::test_kernel::{self, Found};
use crate::{accel, image, paths, setup, sh, tools, uml_image};
use anyhow::{Context, Result};
use clap::Args;
use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use vmtest::uml::{Line, Uml};
use vmtest::{Accelerator, Image, Medium, Options as Machine, drive, shell};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// cloud-config to give to the machine
    #[arg(long, value_name = "FILE")]
    cloud_config: Option<PathBuf>,
    /// Memory in MiB
    #[arg(long, default_value_t = 1024)]
    memory: u32,
    /// State disk of this size (such as 10G), kept in target/corral/run over runs; without it the machine runs from memory
    #[arg(long, value_name = "SIZE")]
    disk: Option<String>,
    /// Boot under User-Mode Linux: up in seconds, on the test kernel, without firmware
    #[arg(long, conflicts_with_all = ["iso", "uefi", "accel", "release", "qemu"])]
    quick: bool,
    /// Boot the ISO instead of kernel and initrd
    #[arg(long)]
    iso: bool,
    /// UEFI instead of BIOS
    #[arg(long)]
    uefi: bool,
    /// More kernel parameters
    #[arg(long, default_value = "", value_name = "PARAMETERS")]
    append: String,
    /// Number of network cards
    #[arg(long, default_value_t = 1, value_name = "N")]
    nic: u32,
    /// kvm or tcg; what works here is found out otherwise
    #[arg(long)]
    accel: Option<String>,
    /// Pack the image as densely as a release
    #[arg(long)]
    release: bool,
    /// More arguments for QEMU
    #[arg(last = true, value_name = "QEMU ARGS")]
    qemu: Vec<OsString>,
}

/// Builds, boots, and returns when the machine has ended.
pub(crate) fn run(options: &Options) -> Result<()> {
    let wanted = image::Options { release: options.release, ..image::Options::default() };
    setup::install()?;
    let ingredients = image::gather(&wanted)?;
    tools::prepare_emulators()?;
    if options.quick {
        match test_kernel::prepare()? {
            Found::Kernel(kernel) => uml_image::prepare(&ingredients, &kernel)?,
            Found::Unavailable(why) => {
                return Err(
                    why.context("the test kernel is not there; without --quick the machine is QEMU's")
                );
            }
        }
    } else {
        image::write(&ingredients, &wanted)?;
    }
    let folder = paths::cache("run");
    fs::create_dir_all(&folder)?;
    let image = Image::find()?;
    let key = shell::make_key(&folder)?;
    let ssh_port = free_port(2222)?;
    let web_port = free_port(8080)?;
    let mut append = format!("rancher.autologin=ttyS0 {}", options.append);
    let mut disks = Vec::new();
    if let Some(size) = &options.disk {
        disks.push(state_disk(&folder, size)?);
        append
            .push_str(" rancher.state.dev=LABEL=RANCHER_STATE rancher.state.autoformat=[/dev/vda,/dev/vdb]");
    }
    let accelerator = match options.quick {
        true => Accelerator::Tcg,
        false => accel::choose(options.accel.as_deref(), &image)?,
    };
    let _in_use = ingredients.building.done()?;
    let machine = Machine {
        medium: if options.iso { Medium::Iso } else { Medium::Direct },
        uefi: options.uefi,
        variables: options.uefi.then(|| folder.join("uefi-variables")),
        accelerator,
        memory: options.memory,
        nics: options.nic,
        append,
        disks,
        config_drive: Some(config_drive(&folder, options.cloud_config.as_deref(), &key)?),
        forwards: vec![(ssh_port, 22), (web_port, 8080)],
        extra: options.qemu.clone(),
        ..Machine::default()
    };
    let uml = image.uml.as_ref().filter(|_| options.quick);
    greet(&machine, &folder, options, uml.is_some());
    if let Some(uml) = uml {
        let status = Uml::start(&folder, &machine, uml, Line::Terminal)?.child.wait()?;
        anyhow::ensure!(status.success(), "the machine ended: {status}");
        return Ok(());
    }
    let mut qemu = machine.command(&image, &folder);
    qemu.args(["-chardev", "stdio,id=console,mux=on,signal=off", "-serial", "chardev:console"]);
    qemu.args(["-mon", "chardev=console,mode=readline"]);
    sh::run(&mut qemu).context("running the machine")
}

fn greet(machine: &Machine, folder: &Path, options: &Options, is_uml: bool) {
    let (ssh_port, web_port) = (machine.forwards[0].0, machine.forwards[1].0);
    let emulator = if is_uml { "User-Mode Linux".to_owned() } else { format!("{:?}", machine.accelerator) };
    eprintln!(
        "\nbooting ({emulator}, {} MiB); the console is this terminal, user rancher is logged in by itself",
        machine.memory
    );
    if options.cloud_config.is_some() {
        eprintln!(
            "  log in:   ssh -p {ssh_port} rancher@127.0.0.1          (with a key of your cloud-config)"
        );
    } else {
        eprintln!("  log in:   ssh -p {ssh_port} -i {} rancher@127.0.0.1", folder.join("key").display());
    }
    eprintln!("  port {web_port} of this machine is port 8080 of the guest");
    let keys = if is_uml { "" } else { ", or Ctrl-A then X here" };
    eprintln!("  leave:    sudo poweroff in the machine{keys}\n");
}

/// The owner's cloud-config, or one with the key in `target/corral/run`.
fn config_drive(folder: &Path, file: Option<&Path>, key: &str) -> Result<PathBuf> {
    let text = match file {
        Some(file) => fs::read(file).with_context(|| format!("reading {}", file.display()))?,
        None => format!("#cloud-config\nssh_authorized_keys:\n  - {key}\n").into_bytes(),
    };
    drive::make(folder, drive::Kind::ConfigDriveIso, &text)
}

fn state_disk(folder: &Path, size: &str) -> Result<PathBuf> {
    let disk = folder.join("state.img");
    if !disk.exists() {
        sh::output(Command::new("qemu-img").args(["create", "-q", "-f", "raw"]).arg(&disk).arg(size))?;
    }
    Ok(disk)
}

/// The usual port if it is free, else any.
fn free_port(usual: u16) -> Result<u16> {
    let listener =
        TcpListener::bind(("127.0.0.1", usual)).or_else(|_| TcpListener::bind(("127.0.0.1", 0)))?;
    Ok(listener.local_addr()?.port())
}
