//! `cargo xtask run`: builds what changed and boots it here, the console in this terminal.

use crate::console::{self, Terminal};
use crate::image::{self, Ingredients, KernelChoice};
use crate::test_kernel::{self, Availability};
use crate::{accel, lock, paths, setup, sh, tools, uml_image};
use anyhow::{Context, Result};
use clap::Args;
use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
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
    /// State disk of this size (such as 10G), kept in target/corral/run over runs; without it the
    /// machine runs from memory
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
    /// kvm or tcg; without it, what works here is detected
    #[arg(long)]
    accel: Option<String>,
    /// Pack the image as densely as a release
    #[arg(long)]
    release: bool,
    /// Whose kernel the machine boots
    #[arg(long, value_enum, default_value_t, value_name = "WHOSE", conflicts_with = "quick")]
    kernel: KernelChoice,
    /// More arguments for QEMU
    #[arg(last = true, value_name = "QEMU ARGS")]
    qemu: Vec<OsString>,
}

/// Builds, boots, and returns when the machine has exited.
pub(crate) fn run(options: &Options) -> Result<()> {
    let lock = lock::alone_now("run.lock")?;
    let _folder =
        lock.context("target/corral/run is another machine's: one `cargo xtask run` at a time")?;
    let ingredients = build(options)?;
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
        append.push_str(
            " rancher.state.dev=LABEL=RANCHER_STATE rancher.state.autoformat=[/dev/vda,/dev/vdb]",
        );
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
    greet(&machine, &folder, options);
    if options.quick {
        let uml =
            image.uml.as_ref().context("a file of the image for User-Mode Linux is missing")?;
        let (line, theirs) = UnixStream::pair()?;
        let mut uml = Uml::start(&folder, &machine, uml, Line::Stream(theirs))?;
        return console::attend(line, &mut uml.child);
    }
    let mut qemu = machine.command(&image, &folder);
    qemu.args(["-chardev", "stdio,id=console,mux=on,signal=off", "-serial", "chardev:console"]);
    qemu.args(["-mon", "chardev=console,mode=readline"]);
    let _terminal = Terminal::save()?;
    sh::run(&mut qemu).context("running the machine")
}

/// Builds what is booted.
fn build(options: &Options) -> Result<Ingredients> {
    let Options { release, kernel, .. } = *options;
    let wanted = image::Options { release, kernel, ..image::Options::default() };
    setup::install()?;
    let ingredients = image::gather(&wanted)?;
    tools::prepare_emulators()?;
    if options.quick {
        match test_kernel::prepare()? {
            Availability::Kernel(kernel) => uml_image::prepare(&ingredients, &kernel)?,
            Availability::Unavailable(why) => {
                return Err(why.context(
                    "the test kernel is not there; without --quick the machine is QEMU's",
                ));
            }
        }
    } else {
        image::write(&ingredients, &wanted)?;
    }
    Ok(ingredients)
}

fn greet(machine: &Machine, folder: &Path, options: &Options) {
    let (ssh_port, web_port) = (machine.forwards[0].0, machine.forwards[1].0);
    let emulator = match options.quick {
        true => "User-Mode Linux".to_owned(),
        false => format!("{:?}", machine.accelerator),
    };
    eprintln!(
        "\nbooting ({emulator}, {} MiB); the console is this terminal, user rancher is \
         logged in by itself",
        machine.memory
    );
    if options.cloud_config.is_some() {
        eprintln!(
            "  log in:   ssh -p {ssh_port} rancher@127.0.0.1          \
             (with a key of your cloud-config)"
        );
    } else {
        eprintln!(
            "  log in:   ssh -p {ssh_port} -i {} rancher@127.0.0.1",
            folder.join("key").display()
        );
    }
    eprintln!("  port {web_port} of this machine is port 8080 of the guest");
    eprintln!("  leave:    sudo poweroff in the machine, or Ctrl-A then X here\n");
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
        sh::output(
            Command::new("qemu-img").args(["create", "-q", "-f", "raw"]).arg(&disk).arg(size),
        )?;
    }
    Ok(disk)
}

/// The usual port if it is free, else any free port.
fn free_port(usual: u16) -> Result<u16> {
    let listener =
        TcpListener::bind(("127.0.0.1", usual)).or_else(|_| TcpListener::bind(("127.0.0.1", 0)))?;
    Ok(listener.local_addr()?.port())
}
