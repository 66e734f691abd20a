//! Images, in two tiers: those embedded in the system image, and those pulled or loaded, in the
//! store on the state disk. `lookup` finds one in either.

pub(crate) mod archive;
pub mod artifact;
pub(crate) mod digest;
mod download;
mod embedded;
pub mod fsck;
pub(crate) mod gc;
pub(crate) mod layer;
pub(crate) mod layout;
pub mod lookup;
pub mod metadata;
pub mod progress;
pub mod pull;
mod push;
pub(crate) mod reference;
pub mod registry;
pub mod store;
