//! The types of an installation, by RancherOS's names and ours.

use anyhow::{Result, bail};
use clap::ValueEnum;

/// Kernel parameters of an installed system, besides its consoles and partitions.
pub(super) const PARAMETERS: &str = "printk.devkmsg=on panic=10 quiet rancher.state.wait";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// GPT; BIOS and UEFI
    Hybrid,
    /// GPT; UEFI
    Efi,
    /// GPT; BIOS
    Gptsyslinux,
    /// MBR; BIOS
    #[value(alias = "syslinux")]
    Generic,
    /// As hybrid, on two disks (-d A,B), the state mirrored
    Raid,
    /// Existing partitions: CORRAL_BOOT (FAT) and RANCHER_STATE
    Noformat,
    /// As hybrid, console on the first serial line
    #[value(alias = "amazon-ebs", alias = "amazon-ebs-hvm")]
    AmazonEbsHvm,
    /// As hybrid, console on the first serial line
    Googlecompute,
    #[value(hide = true)]
    AmazonEbsPv,
    #[value(hide = true)]
    Arm,
    #[value(hide = true)]
    Bootstrap,
    #[value(hide = true, alias = "upgrade")]
    RancherUpgrade,
}

impl Kind {
    /// An error for types of RancherOS that are not supported any more. It names what to use
    /// instead.
    pub(super) fn supported(self) -> Result<Kind> {
        match self {
            Kind::AmazonEbsPv => bail!(
                "-t amazon-ebs-pv: machines without hardware virtualisation are not supported; use \
                 hybrid"
            ),
            Kind::Arm => bail!("-t arm: this is a system for amd64, there is none for ARM"),
            Kind::Bootstrap => bail!(
                "-t bootstrap: it does not exist any more; use amazon-ebs-hvm or \
                 googlecompute, with -a 'rancher.cloud_init.datasources=[ec2]' or [gce]"
            ),
            Kind::RancherUpgrade => {
                bail!("-t rancher-upgrade: an installed system is upgraded by `ros os upgrade`")
            }
            other => Ok(other),
        }
    }

    pub(super) fn about(self) -> &'static str {
        match self {
            Kind::Efi => "GPT, started by UEFI",
            Kind::Gptsyslinux => "GPT, started by BIOS",
            Kind::Generic => "MBR, started by BIOS",
            Kind::Raid => {
                "GPT on each disk, started by BIOS and by UEFI, the state mirrored (md RAID1)"
            }
            Kind::Noformat => "partitions as they are, started by BIOS or UEFI",
            _ => "GPT, started by BIOS and by UEFI",
        }
    }

    pub(super) fn has_gpt(self) -> bool {
        self != Kind::Generic
    }

    pub(super) fn has_bios(self) -> bool {
        self != Kind::Efi
    }

    pub(super) fn has_uefi(self) -> bool {
        !matches!(self, Kind::Gptsyslinux | Kind::Generic)
    }

    /// The last console is /dev/console.
    pub(super) fn consoles(self) -> &'static str {
        match self {
            Kind::AmazonEbsHvm | Kind::Googlecompute => "console=tty1 console=ttyS0",
            _ => "console=ttyS0 console=tty1",
        }
    }
}
