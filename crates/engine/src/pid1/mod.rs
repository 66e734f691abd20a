//! What of the engine runs inside PID 1: starting helpers and holding the ends of their sockets and
//! of log pipes. The table of containers and all decisions are the crate `init`'s (`supervise`).

pub mod cgroup;
mod helper;

pub use helper::{HELPER_NAME, Helper, Streams};
