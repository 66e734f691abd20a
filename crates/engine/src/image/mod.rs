//! Images as every process reads them, in two tiers. Embedded images are in the system image. The
//! others are in the store on the state disk, which the engine daemon writes. `lookup` finds an
//! image in either.

pub mod digest;
mod embedded;
pub mod layout;
pub mod lookup;
pub mod metadata;
pub mod reference;
