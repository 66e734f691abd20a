//! The kernel of an image, and its modules: Debian's with two tiers of them, or our own with those
//! of the first tier.

use super::own_kernel::OwnKernel;
use crate::drivers::Tiers;
use crate::modules::{self, Kernel};
use crate::packages::Package;
use crate::recipe::ModuleList;
use crate::tree::Tree;
use anyhow::Result;

pub(super) struct Kernels {
    debian: Kernel,
    /// Instead of Debian's.
    own: Option<Kernel>,
}

impl Kernels {
    pub(super) fn open(packages: &[Package], own: Option<&OwnKernel>) -> Result<Kernels> {
        let own = own.map(|own| Kernel::built(&own.built)).transpose()?;
        Ok(Kernels { debian: Kernel::open(packages)?, own })
    }

    /// The modules of the initrd and of the system image.
    pub(super) fn select(&self, list: &ModuleList) -> Result<(Tree, Tree)> {
        match &self.own {
            Some(own) => modules::select_own(own, &self.debian, list),
            None => modules::select(&self.debian, list),
        }
    }

    /// Adds to the system image what it has to know of the second tier.
    pub(super) fn describe(&self, list: &ModuleList, system: &mut Tree) -> Result<()> {
        let tiers = match &self.own {
            Some(own) => Tiers::of_own(own, &self.debian, list)?,
            None => Tiers::choose(&self.debian, list)?,
        };
        tiers.describe(&self.debian, &list.drivers, system)
    }

    /// The one that boots.
    pub(super) fn booted(self) -> Kernel {
        self.own.unwrap_or(self.debian)
    }
}
