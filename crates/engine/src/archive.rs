//! Tar archives into a folder and out of it. Whatever an archive says, and whatever a container
//! does to its folders meanwhile, nothing outside the folder is touched (see `root`).

pub mod pack;
mod remove;
pub mod root;
pub mod unpack;
