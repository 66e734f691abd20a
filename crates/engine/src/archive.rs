//! Tar archives into a folder and out of it. Nothing outside the folder is touched (see `root`).
//! This holds also for malicious input, and if a container changes its folders meanwhile.

pub mod entries;
pub mod pack;
mod remove;
pub mod root;
pub mod unpack;
