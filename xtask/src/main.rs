//! The project's tasks: builds the image, boots it, tests and measures it. `cargo xtask --help`
//! lists them.
//!
//! This file only dispatches. A step installs what it needs from the host itself (`setup`), or
//! names it.

mod accel;
mod arrows;
mod bench;
mod binaries;
mod cargo_tools;
mod components;
mod console;
mod debian;
mod dependencies;
mod docs;
mod drivers;
mod durable;
mod elf;
mod elsewhere;
mod engines;
mod erofs;
mod fuzz;
mod image;
mod initrd;
mod iso;
mod kernel;
mod kernel_build;
mod kernel_headers;
mod layers;
mod lean_engine;
mod licences;
mod lock;
mod manifest;
mod module_graph;
mod modules;
mod oci_layout;
mod packages;
mod parts;
mod paths;
mod peers;
mod private_loader;
mod progress;
mod recipe;
mod release;
mod run;
mod setup;
mod sh;
mod signed_release;
mod stock_images;
mod stories;
mod stub;
mod sum;
mod test;
mod test_kernel;
mod tidy;
mod tools;
mod tree;
mod uml_image;
mod variants;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Build, boot, test and measure Corral.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    after_help = "Examples:
  cargo xtask run                                   build what changed and boot it here
  cargo xtask run --cloud-config my.yml --disk 10G  with a configuration and a state disk
  cargo xtask test                                  everything that must pass
  cargo xtask image --release                       the dense image, in target/image/
  cargo xtask release                               all that is published"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what building and testing need from the host's package manager; fetch the tools of
    /// the tests
    Setup,
    /// Build vmlinuz, initrd, system.erofs, the ISO and manifest.json into target/image/
    #[command(after_help = "Examples:
  cargo xtask image
  cargo xtask image --full                  also the ISO with all drivers and firmware
  cargo xtask image --release               as it is released: smaller, takes minutes longer")]
    Image(image::Options),
    /// Write target/release-VERSION/ with everything that a person downloads: ISO, disks for each
    /// platform, netboot, Vagrant boxes, registry images, SBOM, licences, digests, signature
    #[command(after_help = "Examples:
  cargo xtask release --signing-key key.pk8
  cargo xtask release --sources             with the sources of the parts under the GPL
  cargo xtask release --quick               to try it out: the image is not packed densely
  cargo xtask release --verify              twice, in different folders, and compares both")]
    Release(release::Options),
    /// Fetch the Debian packages that packages.lock lists
    #[command(after_help = "Examples:
  cargo xtask packages
  cargo xtask packages --refresh            the newest, and shows what changes
  cargo xtask packages --refresh --docker   also the sources of the Docker of a release")]
    Packages(packages::command::Options),
    /// Build replacement engines for the user's Docker into target/engines/
    Engines(engines::Options),
    /// Build the image of the service kernel-headers: target/services/kernel-headers.tar
    KernelHeaders(kernel_headers::Options),
    /// Build the kernel of the small ISO from Debian's source, unless it is there, and print its
    /// sizes. Takes 40 minutes of a processor
    Kernel(kernel::Options),
    /// Build the Docker of a release from its sources, unless it is there, and print its sizes
    LeanEngine(lean_engine::Options),
    /// Build what changed, then boot it in QEMU with the console in this terminal
    #[command(after_help = "Examples:
  cargo xtask run --quick                   under User-Mode Linux: up in a second
  cargo xtask run --cloud-config my.yml --disk 10G
  cargo xtask run --iso --uefi --disk 8G    by UEFI, with a disk for `ros install`")]
    Run(run::Options),
    /// Formatting, lints, house rules, unit tests, then the stories in virtual machines
    #[command(after_help = "Examples:
  cargo xtask test                          everything, as root
  cargo xtask test --no-machines            formatting, lints, house rules, unit tests
  cargo xtask test --story login --keep     leaves the machine on, and prints how to log in")]
    Test(test::Options),
    /// Measure size, boot times and memory; prints medians
    #[command(after_help = "Examples:
  cargo xtask bench                         sizes, boot times, memory
  cargo xtask bench engine                  the system engine beside other engines
  cargo xtask bench upgrade                 how long an upgrade takes")]
    Bench(bench::Options),
    /// Check the house rules: arrows, purity, sizes, words, compose files, documentation
    #[command(after_help = "Examples:
  cargo xtask tidy
  cargo xtask tidy --words docs             each word in docs/ that the house style replaces
  cargo xtask tidy --measures               sizes of files, functions and crates")]
    Tidy(tidy::Options),
    /// Write the tables of the manual that come from the code, and build the manual as a book
    #[command(after_help = "Examples:
  cargo xtask docs                          the book, in target/book/
  cargo xtask docs --tables                 the tables of keys and services only
  cargo xtask docs --pictures               the pictures of the screen, by a story
  cargo xtask docs --check                  what is wrong with the pages; writes nothing")]
    Docs(docs::Options),
    /// Run a fuzz target (or all) for some time each; --list names them
    #[command(after_help = "Examples:
  cargo xtask fuzz --list
  cargo xtask fuzz dns --seconds 60")]
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    match dispatch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn set_up() -> Result<()> {
    setup::install()?;
    let _building = lock::Building::begin()?;
    tools::prepare()
}

fn dispatch() -> Result<()> {
    match Cli::parse().command {
        Command::Setup => set_up(),
        Command::Image(options) => image::run(&options),
        Command::Release(options) => release::run(&options),
        Command::Packages(options) => packages::command::run(&options),
        Command::Engines(options) => engines::run(&options),
        Command::KernelHeaders(options) => kernel_headers::run(&options),
        Command::Kernel(options) => kernel::run(&options),
        Command::LeanEngine(options) => lean_engine::run(&options),
        Command::Run(options) => run::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Tidy(options) => tidy::run(&options),
        Command::Docs(options) => docs::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
    }
}
