//! What Azure has besides its metadata service: the CD of a machine that is being provisioned, and
//! the wireserver, which waits for the report that the machine is ready.
//!
//! The stage that may mount drives copies the file of the CD. The stage on the network, which may
//! not, parses it.

use super::drives::{MOUNT_POINT, mount};
use anyhow::Result;
use corral_cloud::InstanceData;
use corral_cloud::azure::{self, provisioning};
use corral_cloud::seed;
use corral_config::names::{DataSource, Provider};
use corral_machine::files::write_atomic;
use corral_machine::{block, mounts};
use corral_resolve::cloud_init::{AZURE_CD, is_like_azures_cd};
use std::path::Path;

type Winner = Option<(DataSource, InstanceData)>;

/// Copies the file of the CD, if one of the CDs has it.
pub(super) fn copy_from_cd() -> Result<()> {
    for volume in block::load_volumes().iter().filter(|volume| is_like_azures_cd(volume)) {
        mount(volume)?;
        let file = Path::new(MOUNT_POINT).join(provisioning::FILE);
        let copied = if file.is_file() { copy(&file).map(|()| true) } else { Ok(false) };
        mounts::unmount(Path::new(MOUNT_POINT), true)?;
        if copied? {
            break;
        }
    }
    Ok(())
}

/// It may have a password.
fn copy(file: &Path) -> Result<()> {
    write_atomic(Path::new(AZURE_CD), &seed::read_file(file)?, 0o600)
}

/// Completes what the sources gave by what was on the CD, if the list has Azure and this is a
/// machine of Azure's. Reports that the machine is ready: so it is, even without user data.
pub(super) fn complete(
    sources: &[DataSource],
    winner: Winner,
    problems: &mut Vec<String>,
) -> Winner {
    let service = sources.iter().find_map(|source| match source {
        DataSource::Service(Provider::Azure, base) => Some((source, base.as_deref())),
        _ => None,
    });
    let Some((source, base)) = service else { return winner };
    if winner.as_ref().is_some_and(|(other, _)| other != source) {
        return winner;
    }
    let cd = read_copy().unwrap_or_else(|error| {
        problems.push(format!("{source}: the provisioning CD: {error:#}"));
        None
    });
    let found = match (winner, cd) {
        (Some((_, found)), Some(cd)) => provisioning::complete(found, cd),
        (Some((_, found)), None) => found,
        (None, Some(cd)) => cd,
        (None, None) => return None,
    };
    if let Err(error) = azure::report_ready(base) {
        problems.push(format!("{source}: reporting that the machine is ready: {error:#}"));
    }
    Some((source.clone(), found))
}

fn read_copy() -> Result<Option<InstanceData>> {
    let file = Path::new(AZURE_CD);
    if !file.exists() {
        return Ok(None);
    }
    provisioning::parse(&String::from_utf8_lossy(&seed::read_file(file)?))
}
