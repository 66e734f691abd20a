//! The inputs of a machine's plan, besides the text of its layers.

use super::root::Root;
use corral_config::Config;
use corral_plan::resolved::Environment;

/// The files of the machine, its configuration, and the variables that services may use by name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub(super) root: &'a Root,
    pub(super) config: &'a Config,
    pub(super) environment: &'a Environment,
}
