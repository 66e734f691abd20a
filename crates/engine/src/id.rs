//! Ids of containers and of processes in them.

/// 64 hexadecimal digits from the kernel's generator.
pub fn new_id() -> String {
    let mut bytes = [0_u8; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(more) => filled += more,
            Err(_) => break,
        }
    }
    hex::encode(bytes)
}
