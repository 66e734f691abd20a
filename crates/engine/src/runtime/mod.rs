//! Building containers with libcontainer. All of it runs in the creation helper: one thread, re-executed from PID 1's
//! own binary, gone when its one job is done. libcontainer clones and then allocates, so it must never be called from
//! a process with several threads.

mod bundle;
mod cleanup;
mod device_tree;
mod files;
pub mod helper;
mod overlay;
mod process;
mod witness;
