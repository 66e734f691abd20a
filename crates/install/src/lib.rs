//! Versions on disks: the installer, upgrades, and restarts into a version. Releases come in from
//! media, files and registries; boot partitions and state disks come out. It does not decide what a
//! configuration means (crate `resolve`), nor how a boot partition is laid out (crate `machine`).

pub mod installer;
mod kexec;
pub mod luks;
pub mod manifest;
pub mod power;
pub mod registries;
pub mod release;
mod system_docker;
pub mod terminals;
pub mod upgrade;

/// `--debug` of `ros install` and `ros os upgrade`: scripts of RancherOS have it.
fn warn_of_debug(is_given: bool) {
    if is_given {
        eprintln!(
            "warning: --debug has no effect: every step is printed, and an error names its cause; \
             `rancher.debug` sets what services log"
        );
    }
}
