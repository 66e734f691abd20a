//! Test machines for the stories in `scenarios/`, for `cargo xtask run` and for the benchmark.
//! [`Machine`] hides User-Mode Linux and QEMU. Also the image that `cargo xtask image` made, config
//! drives, and a shell over ssh.
//!
//! Machines reach only their own user network; ports are forwarded from loopback.

pub mod agent;
pub mod busybox;
pub mod cgroup;
mod console;
mod cpu;
mod disk_logs;
pub mod docker_py;
pub mod drive;
pub mod folder;
pub mod image;
pub mod installer;
pub mod machine;
pub mod manual;
pub mod metadata;
pub mod netboot;
pub mod options;
mod pc;
pub mod pictures;
pub mod platform;
pub mod process;
pub mod qemu;
pub mod release;
pub mod report;
pub mod sandbox;
pub mod screen;
pub mod servers;
pub mod shell;
mod slirp;
pub mod tpm;
pub mod uml;
pub mod vagrant;
pub mod write_log;

pub use folder::folder;
pub use image::Image;
pub use machine::Machine;
pub use options::{Accelerator, Kind, Medium, Network, Options};
