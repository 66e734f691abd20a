//! PID 1. `boot` is its story, a file for each step; `supervise` is what it does ever after. It reads
//! JSON from the resolver and messages of its own processes, and nothing that an owner or a network wrote.

pub mod boot;
mod launch;
mod supervise;
pub mod trace;
