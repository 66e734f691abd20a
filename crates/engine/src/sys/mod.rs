//! The operating system, wrapped: sockets that carry descriptors, signals as descriptors, reaping.
//!
//! The rules: `unsafe` is allowed here and nowhere else in the workspace, each block with the invariant it relies on
//! and who upholds it.

pub mod packet;
pub mod reap;
pub mod signals;

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// A descriptor that this process was started with, named by its number. None if there is none of that number.
#[expect(unsafe_code, reason = "taking ownership of an inherited descriptor cannot be expressed safely")]
pub fn inherited(number: RawFd) -> Option<OwnedFd> {
    if number < 3 || !std::path::Path::new(&format!("/proc/self/fd/{number}")).exists() {
        return None;
    }
    // SAFETY: the descriptor is open (just looked) and nobody in this process owns it: it was inherited from PID 1 for
    // exactly this use, and the helper asks for it once, as the first thing it does.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}
