//! Whether the other end of a Unix socket has read what was written. See SIOCOUTQ in unix(7).

use rustix::ioctl::{Getter, Opcode, ioctl};
use std::os::fd::AsFd;

/// The request SIOCOUTQ.
const QUEUED: Opcode = 0x5411;

/// True until the other end has read all of it.
#[expect(unsafe_code, reason = "rustix has no function for this request")]
pub fn has_unread(socket: impl AsFd) -> rustix::io::Result<bool> {
    // SAFETY: the kernel writes one C integer, and `Getter` has room for it. On what is neither a
    // socket nor a terminal the request is an error.
    let bytes = unsafe { ioctl(socket, Getter::<QUEUED, i32>::new()) }?;
    // While the kernel reports that the last piece was read, its own reference counts as one.
    Ok(bytes > 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_is_read_in_part_is_still_unread() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        assert!(!has_unread(&ours).unwrap());
        ours.write_all(b"head").unwrap();
        assert!(has_unread(&ours).unwrap());
        theirs.read_exact(&mut [0; 2]).unwrap();
        assert!(has_unread(&ours).unwrap());
        theirs.read_exact(&mut [0; 2]).unwrap();
        assert!(!has_unread(&ours).unwrap());
        assert!(!has_unread(&theirs).unwrap(), "only what this end wrote");
    }
}
