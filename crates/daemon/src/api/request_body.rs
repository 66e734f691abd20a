//! Request bodies that are read to their end, also where their handler has no use for it.
//!
//! A connection that is closed with bytes unread is reset by the kernel, and the client loses the
//! response. Docker's CLI sends the body after the head, so every handler that answers from the
//! head alone would run into this.

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;

/// Bytes read of a body after its handler dropped it: an archive has padding behind its end.
const MOST_DRAINED: usize = 1 << 20;
/// A client that does not send the rest by then loses its connection.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// The same request, whose body is read to its end.
pub(super) async fn drained(request: Request) -> Request {
    request.map(|body| Body::new(DrainedBody(body)))
}

/// A body whose rest is read and dropped in the background when its handler is done with it.
struct DrainedBody(Body);

impl HttpBody for DrainedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.0).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl Drop for DrainedBody {
    fn drop(&mut self) {
        let body = std::mem::take(&mut self.0);
        if body.is_end_stream() {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(tokio::time::timeout(DRAIN_TIME, drain(body)));
        }
    }
}

async fn drain(mut body: Body) {
    let mut left = MOST_DRAINED;
    while let Some(Ok(frame)) = body.frame().await {
        match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
