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
pub mod terminals;
pub mod upgrade;
