//! Networks of system containers: `host` and `none`, the bridge `docker-sys`, and bridges that
//! clients make. An address belongs to a container as long as it is in the network; interfaces are
//! made by the helper that starts it.

pub mod dns;
mod firewall;
mod loopback;
pub(crate) mod networks;
pub(crate) mod ports;
pub(crate) mod record;
pub(crate) mod subnet;
