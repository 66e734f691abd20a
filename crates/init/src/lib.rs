//! PID 1. `boot` is the boot, a file for each step; `supervise` is the loop after it. PID 1 reads
//! JSON of the resolver, messages of Corral's processes and small files that `ros` wrote. It parses
//! no text of an owner and none from a network.

pub mod boot;
mod container_spec;
mod lifecycle;
pub mod restart;
mod stop_order;
mod supervise;
pub mod trace;
