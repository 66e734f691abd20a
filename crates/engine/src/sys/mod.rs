//! The operating system, wrapped: sockets that carry descriptors, signals as descriptors, reaping.
//!
//! The rules: `unsafe` is allowed here and nowhere else in the workspace, each block with the
//! invariant it relies on and who upholds it.

pub mod loop_devices;
pub mod packet;
pub mod reap;
pub mod signals;
pub mod unread;

use std::ffi::CString;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor that this process was started with, by its number. None if there is no such one.
#[expect(
    unsafe_code,
    reason = "taking ownership of an inherited descriptor cannot be expressed safely"
)]
pub fn inherited(number: RawFd) -> Option<OwnedFd> {
    if number < 3 || !std::path::Path::new(&format!("/proc/self/fd/{number}")).exists() {
        return None;
    }
    // SAFETY: the descriptor is open (just checked) and no value in this process owns it. It was
    // inherited from PID 1 for exactly this use. The helper takes it once, as the first thing it
    // does.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A descriptor for reading and writing without blocking a thread.
#[expect(unsafe_code, reason = "tokio requires that the descriptor stays the same")]
pub fn open_async(descriptor: OwnedFd, interest: Interest) -> Option<AsyncFd<OwnedFd>> {
    rustix::io::ioctl_fionbio(&descriptor, true).ok()?;
    // SAFETY: an OwnedFd names one descriptor for as long as it lives, and closes it only when it
    // is dropped. That is when the AsyncFd that owns it is dropped.
    unsafe { AsyncFd::register_with_interest(descriptor, interest) }.ok()
}

/// Executes this process' own binary again. It gets a document of what it is to go on with, and the
/// descriptors that the document names by number. Returns only if it could not.
pub fn execute_again(name: &str, document: &[u8], kept: &[RawFd]) -> std::io::Error {
    match prepare(document, kept) {
        Ok(memory) => {
            let arguments = [name.to_owned(), format!("{RESUME}{}", memory.as_raw_fd())];
            let arguments: Vec<CString> =
                arguments.into_iter().filter_map(|text| CString::new(text).ok()).collect();
            let environment: Vec<CString> = std::env::vars()
                .filter_map(|(key, value)| CString::new(format!("{key}={value}")).ok())
                .collect();
            // Unlike std's, nix' exec leaves blocked signals blocked: none is lost on the way.
            let error = match nix::unistd::execve(c"/proc/self/exe", &arguments, &environment) {
                Ok(never) => match never {},
                Err(error) => error.into(),
            };
            // This process starts others again, which are to inherit none of them.
            let _ = set_inherited(kept, nix::fcntl::FdFlag::FD_CLOEXEC);
            error
        }
        Err(error) => error,
    }
}

/// The argument with which a process goes on with what an earlier one began.
const RESUME: &str = "--resume=";

fn prepare(document: &[u8], kept: &[RawFd]) -> std::io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create("state", rustix::fs::MemfdFlags::empty())?;
    let mut file = std::fs::File::from(memory);
    file.write_all(document)?;
    file.rewind()?;
    set_inherited(kept, nix::fcntl::FdFlag::empty())?;
    Ok(file.into())
}

fn set_inherited(kept: &[RawFd], flag: nix::fcntl::FdFlag) -> std::io::Result<()> {
    for number in kept {
        nix::fcntl::fcntl(*number, nix::fcntl::FcntlArg::F_SETFD(flag))?;
    }
    Ok(())
}

/// Is this a lack of descriptors, of this process or of the machine? It is temporary.
pub fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Do the arguments say that an earlier process left something for this one?
pub fn has_document(arguments: &[String]) -> bool {
    number_of_document(arguments).is_some()
}

fn number_of_document(arguments: &[String]) -> Option<RawFd> {
    arguments.first()?.strip_prefix(RESUME)?.parse().ok()
}

/// What an earlier process left for this one, if its arguments say that there is something.
pub fn take_document(arguments: &[String]) -> Option<Vec<u8>> {
    let number = number_of_document(arguments)?;
    let mut document = Vec::new();
    std::fs::File::from(inherited(number)?).read_to_end(&mut document).ok()?;
    Some(document)
}

/// A descriptor that came through [`execute_again`], closed on the next execution again.
pub fn take_kept(number: RawFd) -> Option<OwnedFd> {
    let descriptor = inherited(number)?;
    let _ = rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC);
    Some(descriptor)
}
