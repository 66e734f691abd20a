//! What commands print and ask: listings, progress, errors, sizes and durations. It knows nothing
//! of machines or containers.

pub mod duration;
pub mod output;
pub mod progress;
pub mod prompt;
pub mod report;
pub mod size;
