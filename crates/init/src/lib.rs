//! PID 1. `boot` is its story, a file for each step; `supervise` is what it does ever after. It reads JSON of the resolver,
//! messages of its own processes and small files that `ros` wrote: no text of an owner or a network.

pub mod boot;
mod launch;
mod lifecycle;
pub mod restart;
mod stop_order;
mod supervise;
pub mod trace;
