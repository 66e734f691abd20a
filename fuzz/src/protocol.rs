//! Messages between PID 1, its helpers and its clients, and what the resolver hands over.

use corral_engine::protocol::{Answer, Call, HelperRequest, Report};
use corral_engine::sys::packet::{self, Received};
use corral_plan::resolved::Resolved;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) fn check(bytes: &[u8]) {
    check_kind::<Call>(bytes);
    check_kind::<Answer>(bytes);
    check_kind::<HelperRequest>(bytes);
    check_kind::<Report>(bytes);
    check_kind::<Resolved>(bytes);
    check_socket(bytes);
}

/// A message that is read is written and read again as the same.
fn check_kind<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Ok(message) = packet::decode::<T>(bytes) else { return };
    // Escapes may make it larger than a packet.
    let Ok(written) = packet::encode(&message) else { return };
    let again: T = packet::decode(&written).expect("a message that was written is read");
    let again = packet::encode(&again).expect("a message that was read is written");
    assert_eq!(String::from_utf8(again), String::from_utf8(written));
}

/// A socket gives what was sent, or an error; the next message comes all the same.
fn check_socket(bytes: &[u8]) {
    if bytes.is_empty() || bytes.len() > packet::MAX_MESSAGE {
        return;
    }
    let (left, right) = packet::pair().unwrap();
    assert!(packet::send_bytes(&left, bytes, &[]).unwrap());
    packet::send(&left, &Report::Done, &[]).unwrap();
    let came = packet::receive::<Call>(&right);
    assert_eq!(matches!(came, Ok(Received::Message(..))), packet::decode::<Call>(bytes).is_ok());
    assert!(matches!(packet::receive::<Report>(&right), Ok(Received::Message(Report::Done, _))));
}
