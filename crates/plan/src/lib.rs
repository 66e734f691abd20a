//! Which containers, in which order. Pure: compose files and configuration go in, a plan comes out;
//! no I/O, no clock.

#[cfg(feature = "compose")]
pub mod amend;
#[cfg(feature = "compose")]
pub mod compose;
#[cfg(feature = "compose")]
pub mod cron;
pub mod graph;
pub mod labels;
pub mod resolved;
pub mod service;
#[cfg(feature = "compose")]
pub mod user_service;

#[cfg(feature = "compose")]
pub use compose::{ComposeError, ServiceFile};
pub use graph::Plan;
pub use service::Service;
