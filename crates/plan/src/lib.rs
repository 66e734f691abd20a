//! Which containers, in which order. Pure: compose files and configuration go in, a plan comes out; no I/O, no clock.

pub mod amend;
pub mod compose;
pub mod graph;
pub mod labels;
pub mod lifecycle;
pub mod resolved;
pub mod restart;
pub mod service;
pub mod user_service;

pub use compose::{ComposeError, ServiceFile};
pub use graph::Plan;
pub use service::Service;
