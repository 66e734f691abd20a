//! Makes an installed disk depend on its content only: the same release gives the same bytes.
//!
//! The machine that runs `ros install` draws identifiers at random, and its clock and its kernel
//! leave traces in the file systems. Here each identifier is replaced by one of the release, the
//! times on the boot partition become that of the last commit, and the state's file system is
//! written again from its files, by the program that made the first one.

mod ext4;
mod fat;
mod gpt;
mod raw;

pub(super) use self::raw::Settings;
use self::raw::open;
use super::identity::{Identity, text};
use anyhow::{Context, Result};
use std::path::Path;

/// To be raised with each change of what is done here.
pub(super) const FORMAT: u32 = 2;
/// Partitions of a disk that `ros install` writes, counted from zero.
const STATE: usize = 0;
const BOOT: usize = 1;

/// Settles a disk; `identity` is what its identifiers are made from.
pub(super) fn disk(path: &Path, identity: &Identity, settings: Settings<'_>) -> Result<()> {
    let file = open(path)?;
    let partitions = gpt::settle(&file, identity).context("its partition table")?;
    let partition = |number: usize| {
        let found = partitions.get(number).copied().flatten();
        found.with_context(|| format!("it has no partition {}", number + 1))
    };
    let (boot, state) = (partition(BOOT)?, partition(STATE)?);
    let old = ext4::uuid(&file, state.start)?;
    let changes = fat::Changes {
        serial: identity.word("boot"),
        epoch: settings.epoch,
        state: (text(old), text(identity.uuid("state"))),
    };
    fat::settle(path, boot.start, &changes).context("its boot partition")?;
    ext4::settle(path, state, identity, settings).context("its state partition")?;
    file.sync_all().with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests;
