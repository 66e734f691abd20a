//! `/sbin/modprobe` of the system image: the kernel calls it when it needs a module.

use anyhow::Result;
use corral_machine::modules::Index;

/// Loads the module (or alias) that the kernel names: `modprobe -q -- NAME`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let Some(name) = arguments.iter().find(|argument| !argument.starts_with('-')) else {
        return Ok(());
    };
    Index::running()?.load_alias(name)
}
