//! Images as every process reads them, in two tiers: those embedded in the system image, and those in
//! the store on the state disk, which the engine daemon writes. `lookup` finds one in either.

pub mod digest;
mod embedded;
pub mod layout;
pub mod lookup;
pub mod metadata;
pub mod reference;
