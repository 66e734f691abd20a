//! Images that come and go: pulled, pushed, loaded, saved, removed. What the store holds, any
//! process reads by `corral_engine::image`.

pub(crate) mod archive;
pub mod artifact;
pub(crate) mod distribution;
mod download;
pub mod fsck;
pub(crate) mod gc;
pub(crate) mod layer;
pub mod manifest;
mod manifest_request;
pub mod progress;
pub mod pull;
mod push;
pub mod registry;
pub mod spooled;
pub mod store;
