//! The kernel's events of devices (uevents): a wait for a disk ends when the disk appears, not some
//! time later.

use crate::deadline;
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags};
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// A subscription to the kernel's uevents.
#[derive(Debug)]
pub struct Uevents(OwnedFd);

impl Uevents {
    /// Subscribes.
    pub fn open() -> Result<Uevents> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(KOBJECT_UEVENT))
                .context("subscribing to device events")?;
        bind(&socket, &SocketAddrNetlink::new(0, 1)).context("subscribing to device events")?;
        Ok(Uevents(socket))
    }

    /// Waits until something changed or `until` has come; false at the deadline.
    pub fn wait(&self, until: Instant) -> Result<bool> {
        let now = Instant::now();
        // A device can be there before its partitions are read: look again at least every half
        // second.
        let again = until.min(now + Duration::from_millis(500));
        deadline::poll(&mut [PollFd::new(&self.0, PollFlags::IN)], again)
            .context("waiting for devices")?;
        let mut buffer = [0_u8; 8192];
        while recv(&self.0, &mut buffer, RecvFlags::empty()).is_ok_and(|(length, _)| length > 0) {}
        Ok(now < until)
    }
}
