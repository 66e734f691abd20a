//! A file as the body of a request. It is read in pieces, as the engine takes them: an archive of
//! images may have gigabytes.

use hyper::body::{Body, Bytes, Frame};
use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Bytes of one piece.
const PIECE: usize = 256 << 10;

#[derive(Debug)]
pub(super) struct Upload(pub(super) File);

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    /// Reading blocks. That delays no other request: a client has a runtime of its own.
    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut piece = vec![0; PIECE];
        Poll::Ready(match self.get_mut().0.read(&mut piece) {
            Ok(0) => None,
            Ok(count) => {
                piece.truncate(count);
                Some(Ok(Frame::data(Bytes::from(piece))))
            }
            Err(error) => Some(Err(error)),
        })
    }
}
