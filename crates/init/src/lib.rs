//! PID 1. `boot` is the boot, a file for each step; `supervise` is what PID 1 does ever after. It
//! reads JSON of the resolver, messages of its own processes and small files that `ros` wrote. It
//! reads no text of an owner or a network.

pub mod boot;
mod launch;
mod lifecycle;
pub mod restart;
mod stop_order;
mod supervise;
pub mod trace;
