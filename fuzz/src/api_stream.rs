//! Streams of the Docker API: keys that detach are found however the input is cut, and frames are
//! taken apart again.

use corral_daemon::api::attach::{detach_keys, find_keys};
use corral_daemon::api::stream::frame;

/// The first line names the keys, the rest is the input.
pub(crate) fn check(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let Ok(text) = std::str::from_utf8(&bytes[..end]) else { return };
    let input = bytes.get(end + 1..).unwrap_or_default();
    let keys = detach_keys(text);
    assert!(!keys.is_empty());
    let at_once = type_in(input.chunks(usize::MAX), &keys);
    let size = usize::from(bytes.first().copied().unwrap_or(0) % 7) + 1;
    assert_eq!(type_in(input.chunks(size), &keys), at_once, "in pieces of {size}");
    check_frames(input.chunks(size));
}

/// What is passed on and how many keys are held back; None if the client detaches.
fn type_in<'a>(pieces: impl Iterator<Item = &'a [u8]>, keys: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut passed, mut seen) = (Vec::new(), 0);
    for piece in pieces {
        let mut bytes = piece.to_vec();
        if find_keys(&mut bytes, keys, &mut seen) {
            return None;
        }
        passed.extend(bytes);
    }
    Some((passed, seen))
}

fn check_frames<'a>(pieces: impl Iterator<Item = &'a [u8]> + Clone) {
    let stream: Vec<u8> = pieces.clone().flat_map(|piece| frame(1, piece).to_vec()).collect();
    let mut rest = stream.as_slice();
    for piece in pieces {
        let (head, data) = rest.split_at(8);
        let length =
            usize::try_from(u32::from_be_bytes([head[4], head[5], head[6], head[7]])).unwrap();
        assert_eq!((&head[..4], &data[..length]), (&[1, 0, 0, 0][..], piece));
        rest = &data[length..];
    }
    assert!(rest.is_empty());
}
