//! The flags of `ros install`.

use super::access::Access;
use super::kind::Kind;
use crate::luks::Method;
use crate::release::drivers::When;
use corral_terminal::output::Output;
use std::path::PathBuf;

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Disk to erase and install to, or disks for raid. With `-t noformat`: the state partition
    #[arg(short, long, value_name = "DISK", value_delimiter = ',')]
    pub(super) device: Vec<PathBuf>,
    /// Partition layout and boot method
    #[arg(short = 't', long, value_enum, default_value = "hybrid")]
    pub(super) install_type: Kind,
    /// Boot partition to use, with `-t noformat`
    #[arg(short, long, value_name = "PARTITION")]
    pub(super) partition: Option<PathBuf>,
    /// cloud-config of the machine: a file or a URL
    #[arg(short, long, value_name = "FILE|URL")]
    pub(super) cloud_config: Option<String>,
    #[command(flatten)]
    pub(super) access: Access,
    /// More kernel parameters, kept over upgrades
    #[arg(short, long, default_value = "", value_name = "PARAMETERS")]
    pub(super) append: String,
    /// Release to install instead of the running one: a file, or the folder of a mounted ISO
    #[arg(short, long, value_name = "FILE")]
    pub(super) image: Option<PathBuf>,
    /// Install all drivers and firmware (drivers.erofs)
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    pub(super) drivers: When,
    /// Folder of the state partition that holds the state, if several systems share it
    #[arg(long, default_value = "", value_name = "FOLDER")]
    pub(super) statedir: String,
    /// Take over RancherOS or BurmillaOS on the disk, with its configuration, data and containers
    #[arg(
        long,
        conflicts_with_all = [
            "install_type", "partition", "cloud_config", "statedir", "encrypt", "kexec", "ssh_key",
            "password", "password_stdin", "hostname", "address", "dns",
        ]
    )]
    pub(super) adopt: bool,
    /// Only show what --adopt would keep and change; nothing is written
    #[arg(long, requires = "adopt")]
    pub(super) plan: bool,
    /// Encrypt the state (LUKS2) with keys, comma-separated: passphrase, tpm2, key-file=DRIVE:/PATH
    #[arg(long, value_name = "HOW", value_delimiter = ',')]
    pub(super) encrypt: Vec<Method>,
    /// Do not ask for confirmation
    #[arg(short, long, visible_alias = "yes", visible_short_alias = 'y')]
    pub force: bool,
    /// Do not restart afterwards
    #[arg(long)]
    pub(super) no_reboot: bool,
    /// Start the new system by kexec, without the firmware
    #[arg(short, long)]
    pub kexec: bool,
    #[command(flatten)]
    pub(super) output: Output,
    /// Accept a release whose signature is missing or unknown
    #[arg(long)]
    pub(super) insecure: bool,
    /// A flag of RancherOS
    #[arg(long, hide = true)]
    pub(super) debug: bool,
}
