//! `ros kernel-extras`, in the container of the catalogue's service of that name: checks that the
//! machine runs with all drivers. `ros service enable` adds them to the boot partition.

use anyhow::{Result, bail};
use corral_machine::drivers;
use corral_machine::modules::Index;
use corral_machine::os_release::running_version;

pub(crate) fn run() -> Result<()> {
    if drivers::are_here(&Index::running()?)? {
        println!("all drivers of version {} are here", running_version());
        return Ok(());
    }
    bail!(
        "version {} runs without drivers.erofs: `sudo ros service enable kernel-extras` adds it, \
         and a restart makes it take effect",
        running_version()
    )
}
