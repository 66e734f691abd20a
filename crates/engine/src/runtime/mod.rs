//! Building containers with libcontainer. All of it runs in the creation helper: one thread,
//! re-executed from PID 1's own binary, which exits when its one job is done. libcontainer clones
//! and then allocates. So it must never be called from a process with several threads.

mod account;
mod bundle;
mod capabilities;
pub mod cleanup;
mod devices;
mod files;
pub mod helper;
mod host_dev;
mod kmsg_subscriber;
mod link;
mod mounts;
mod names;
pub mod overlay;
mod private;
mod process;
mod seccomp;

pub use cleanup::sweep;
