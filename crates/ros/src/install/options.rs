//! What the flags of `ros install` say.

use super::access::Access;
use super::kind::Kind;
use crate::luks::Method;
use std::path::PathBuf;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Disk to install to, or disks for raid; all that is on it is lost. With `-t noformat` the partition of the state
    #[arg(short, long, value_name = "DISK", value_delimiter = ',')]
    pub(super) device: Vec<PathBuf>,
    /// How the disk is laid out and started
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
    /// Release to install instead of the one that runs: a file
    #[arg(short, long, value_name = "FILE")]
    pub(super) image: Option<PathBuf>,
    /// Folder of the state partition that holds the state, where several systems share it
    #[arg(long, default_value = "", value_name = "FOLDER")]
    pub(super) statedir: String,
    /// Encrypt the state (LUKS2), to be opened by: passphrase, tpm2, key-file=DRIVE:/PATH; or by several, with commas
    #[arg(long, value_name = "HOW", value_delimiter = ',')]
    pub(super) encrypt: Vec<Method>,
    /// Ask nothing
    #[arg(short, long)]
    pub(super) force: bool,
    /// Do not restart afterwards
    #[arg(long)]
    pub(super) no_reboot: bool,
    /// Start the new system by kexec, without the firmware
    #[arg(short, long)]
    pub(super) kexec: bool,
    /// Take a release whose signature is missing or unknown
    #[arg(long)]
    pub(super) insecure: bool,
    /// Say more
    #[arg(long, hide = true)]
    pub(super) debug: bool,
}
