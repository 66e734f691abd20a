//! Messages with descriptors over a SEQPACKET unix socket: one message is one packet of JSON.

use corral_machine::deadline::pause;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    accept_with, bind, connect, listen, recv, recvmsg, sendmsg, socket_with, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{Error, ErrorKind, IoSlice, IoSliceMut, Result};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// The largest message, in bytes.
pub const MAX_MESSAGE: usize = 160 * 1024;
/// The most descriptors in one message.
const MAX_DESCRIPTORS: usize = 8;
/// Until it is tried again whether there is room for descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Two connected ends.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// A listening socket at a path; what stood there before is replaced.
pub fn listen_at(path: &Path) -> Result<OwnedFd> {
    let _ = std::fs::remove_file(path);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, 128)?;
    Ok(socket)
}

/// A connection to a listening socket.
pub fn connect_to(path: &Path) -> Result<OwnedFd> {
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// The next connection, which does not block; None when there is none.
pub fn accept_from(listener: impl AsFd) -> Result<Option<OwnedFd>> {
    match accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Ok(socket) => Ok(Some(socket)),
        Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The bytes of a message.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MAX_MESSAGE {
        return Err(Error::new(
            ErrorKind::InvalidData,
            format!("a message of {} bytes is too large", bytes.len()),
        ));
    }
    Ok(bytes)
}

/// The message of a packet.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    Ok(serde_json::from_slice(bytes)?)
}

/// Sends the bytes of a message with descriptors. False if the socket is full at the moment and
/// does not block.
pub fn send_bytes(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<bool> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Error::new(ErrorKind::InvalidInput, "too many descriptors in one message"));
    }
    loop {
        match sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends a message with descriptors, waiting if need be.
pub fn send(
    socket: impl AsFd,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> Result<()> {
    send_bytes(socket, &encode(message)?, descriptors).map(|_| ())
}

/// The result of receiving a packet.
#[derive(Debug)]
pub enum Received<T> {
    Message(T, Vec<OwnedFd>),
    /// A message whose descriptors are lost: this process has no room for them.
    Stripped(T),
    /// The other end is gone.
    Closed,
    /// Nothing at the moment, on a socket that does not block.
    Nothing,
}

/// Receives one message.
pub fn receive<T: DeserializeOwned>(socket: impl AsFd) -> Result<Received<T>> {
    take(&socket, RecvFlags::CMSG_CLOEXEC)
}

/// Receives one message with all its descriptors. As long as this process has no room for them, it
/// waits, and the message stays in the socket. Otherwise the kernel would drop the descriptors that
/// do not fit.
pub(crate) fn receive_complete<T: DeserializeOwned>(socket: impl AsFd) -> Result<Received<T>> {
    loop {
        match take(&socket, RecvFlags::CMSG_CLOEXEC | RecvFlags::PEEK)? {
            // The kernel does not report when there is room for descriptors again.
            Received::Stripped(_) => pause(PAUSE),
            Received::Message(message, descriptors) => {
                // Message and descriptors are copies: the originals go without taking room again.
                recv(&socket, &mut [0_u8; 1], RecvFlags::empty())?;
                return Ok(Received::Message(message, descriptors));
            }
            other => return Ok(other),
        }
    }
}

fn take<T: DeserializeOwned>(socket: impl AsFd, flags: RecvFlags) -> Result<Received<T>> {
    let mut buffer = vec![0_u8; MAX_MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(&mut buffer)], &mut control, flags) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(Received::Nothing),
            Err(Errno::CONNRESET) => return Ok(Received::Closed),
            other => break other?,
        }
    };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Ok(Received::Closed);
    }
    let message = decode(&buffer[..received.bytes])?;
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Ok(Received::Stripped(message));
    }
    Ok(Received::Message(message, descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_borders_and_carry_descriptors() {
        let (left, right) = pair().unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        send(&left, &"one", &[]).unwrap();
        send(&left, &"two", &[read.as_fd(), write.as_fd()]).unwrap();
        drop(left);
        let Received::Message(first, none) = receive::<String>(&right).unwrap() else { panic!() };
        let Received::Message(second, two) = receive::<String>(&right).unwrap() else { panic!() };
        assert_eq!((first.as_str(), none.len(), second.as_str(), two.len()), ("one", 0, "two", 2));
        assert!(matches!(receive::<String>(&right).unwrap(), Received::Closed));
    }
    #[test]
    fn a_message_that_is_looked_at_first_comes_once_with_its_descriptors() {
        let (left, right) = pair().unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        send(&left, &"one", &[read.as_fd(), write.as_fd()]).unwrap();
        send(&left, &"two", &[]).unwrap();
        drop((left, write));
        let Received::Message(first, mut ends) = receive_complete::<String>(&right).unwrap() else {
            panic!()
        };
        let Received::Message(second, none) = receive_complete::<String>(&right).unwrap() else {
            panic!()
        };
        assert_eq!((first.as_str(), ends.len(), second.as_str(), none.len()), ("one", 2, "two", 0));
        assert!(matches!(receive_complete::<String>(&right).unwrap(), Received::Closed));
        // No copy is left behind: with the last writer gone the pipe is at its end.
        drop(ends.pop());
        assert_eq!(rustix::io::read(&read, &mut [0_u8; 1]).unwrap(), 0);
    }
}
