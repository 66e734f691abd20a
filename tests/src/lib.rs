//! Virtual machines for the stories in `scenarios/`, for `cargo xtask run` and for the benchmark: QEMU hidden behind
//! [`Machine`], the image that `cargo xtask image` made, config drives, a shell over ssh.
//!
//! Machines talk to nothing but QEMU's user network; ports are forwarded from loopback.

pub mod drive;
pub mod folder;
pub mod image;
pub mod machine;
pub mod qemu;
pub mod sandbox;
pub mod servers;
pub mod shell;
pub mod tpm;
pub mod write_log;

pub use folder::folder;
pub use image::Image;
pub use machine::Machine;
pub use qemu::{Accelerator, Medium, Options};
