//! The host: facts read from it, effects applied to it. Most modules are one interface of the
//! kernel each; others are files and disks (`files`, `boot_partition`) and programs (`program`).
//!
//! Nothing in here knows of containers. The engine mounts the file systems of containers by itself.

pub mod block;
pub mod boot_partition;
pub mod cgroup;
pub mod clock;
pub mod cmdline;
pub mod console;
pub mod deadline;
pub mod device_nodes;
pub mod docker_machine;
pub mod drivers;
pub mod efi;
pub mod files;
pub mod growth;
pub mod hypervisor;
pub mod inotify;
pub mod kmsg;
pub mod modules;
pub mod mount_table;
pub mod mounts;
pub mod os_release;
pub mod power;
pub mod proc_stat;
pub mod program;
pub mod switch_root;
pub mod sysctl;
pub mod trusted;
pub mod uevent;
pub mod watchdog;
