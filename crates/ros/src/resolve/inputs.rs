//! What the plan of a machine is made from, besides what its layers say word for word.

use super::root::Root;
use corral_config::Config;
use corral_plan::resolved::Environment;

/// The files of the machine, its configuration, and what services may ask for by name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub(super) root: &'a Root,
    pub(super) config: &'a Config,
    pub(super) environment: &'a Environment,
}
