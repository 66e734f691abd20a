//! The operating system, wrapped: sockets that carry descriptors, signals as descriptors, reaping.
//!
//! The rules: `unsafe` is allowed here and nowhere else in the workspace, each block with the invariant it relies on
//! and who upholds it. So far rustix and nix offer everything safely, and there is none.

pub mod packet;
pub mod reap;
pub mod signals;
