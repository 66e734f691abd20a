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
use corral_init::boot::state::CONF;
use corral_machine::files::{remove_durably, write_atomic};
use corral_machine::{block, mounts};
use corral_resolve::cloud_init::{AZURE_CD, is_like_azures_cd};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;

/// In the folder of the configuration: the hash of the user data that custom data has replaced.
const REPLACED: &str = "azure-custom-data";

type Winner = Option<(DataSource, InstanceData)>;

/// Copies the file of the CD, if one of the CDs has it.
pub(super) fn copy_from_cd() -> Result<()> {
    let mut unreadable = Ok(());
    for volume in block::load_volumes().iter().filter(|volume| is_like_azures_cd(volume)) {
        if let Err(error) = mount(volume) {
            // Azure's may be another one.
            unreadable = Err(error);
            continue;
        }
        let file = Path::new(MOUNT_POINT).join(provisioning::FILE);
        let copied = if file.is_file() { copy(&file).map(|()| true) } else { Ok(false) };
        mounts::unmount(Path::new(MOUNT_POINT), true)?;
        if copied? {
            return Ok(());
        }
    }
    unreadable
}

/// It may have a password.
fn copy(file: &Path) -> Result<()> {
    write_atomic(Path::new(AZURE_CD), &seed::read_file(file)?, 0o600)
}

/// Completes what the sources gave by what was on the CD, if the list has Azure and this is a
/// machine of Azure's.
pub(super) fn complete(
    sources: &[DataSource],
    winner: Winner,
    problems: &mut Vec<String>,
) -> Winner {
    let Some((source, _)) = service(sources) else { return winner };
    if winner.as_ref().is_some_and(|(other, _)| other != source) {
        return winner;
    }
    let cd = read_copy().unwrap_or_else(|error| {
        problems.push(format!("{source}: the provisioning CD: {error:#}"));
        None
    });
    let found = match (winner, cd) {
        (Some((_, found)), cd) => combined(Path::new(CONF), found, cd, problems),
        // What is stored of the service's keys stays.
        (None, Some(mut cd)) => {
            cd.unread.keys = true;
            cd
        }
        (None, None) => return None,
    };
    Some((source.clone(), found))
}

/// What takes effect of the service and of the CD, which only the first boot has. Custom data stays
/// as long as the service has the same user data that it replaced then.
fn combined(
    conf: &Path,
    mut found: InstanceData,
    cd: Option<InstanceData>,
    problems: &mut Vec<String>,
) -> InstanceData {
    let record = conf.join(REPLACED);
    let of_service = hex::encode(Sha256::digest(found.user_data.as_deref().unwrap_or_default()));
    let Some(cd) = cd else {
        if fs::read_to_string(&record).is_ok_and(|replaced| replaced == of_service) {
            found.user_data = None;
        }
        return found;
    };
    let recorded = match cd.user_data {
        Some(_) => write_atomic(&record, of_service.as_bytes(), 0o600),
        None => remove_durably(&record),
    };
    if let Err(error) = recorded {
        problems.push(format!("custom data may not stay: {error:#}"));
    }
    provisioning::complete(found, cd)
}

/// Reports that the machine is ready, if the sources have Azure and this is a machine of Azure's.
/// `source` is the one that gave its data.
pub(super) fn report(sources: &[DataSource], source: &str, problems: &mut Vec<String>) {
    let Some((service, base)) = service(sources) else { return };
    if service.to_string() == source
        && let Err(error) = azure::report_ready(base)
    {
        problems.push(format!("{source}: reporting that the machine is ready: {error:#}"));
    }
}

/// Azure's service among the sources, and where it is instead of its usual address. Any CD may have
/// a file like Azure's, so without such an address the firmware must name Azure.
fn service(sources: &[DataSource]) -> Option<(&DataSource, Option<&str>)> {
    let found = sources.iter().find_map(|source| match source {
        DataSource::Service(Provider::Azure, base) => Some((source, base.as_deref())),
        _ => None,
    });
    found.filter(|(_, base)| base.is_some() || azure::is_here())
}

fn read_copy() -> Result<Option<InstanceData>> {
    let file = Path::new(AZURE_CD);
    if !file.exists() {
        return Ok(None);
    }
    provisioning::parse(&String::from_utf8_lossy(&seed::read_file(file)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn custom_data_stays_until_the_service_has_other_user_data() {
        let conf = std::env::temp_dir().join(format!("corral-azure-{}", std::process::id()));
        fs::create_dir_all(&conf).unwrap();
        let with = |text: &str| InstanceData {
            user_data: Some(text.as_bytes().to_vec()),
            ..InstanceData::default()
        };
        let mut problems = Vec::new();
        let mut taken = |service: &str, cd: Option<&str>| {
            combined(&conf, with(service), cd.map(with), &mut problems)
                .user_data
                .map(|data| String::from_utf8(data).unwrap())
        };
        assert_eq!(taken("old", None).as_deref(), Some("old"));
        assert_eq!(taken("old", Some("custom")).as_deref(), Some("custom"));
        assert_eq!(taken("old", None), None, "what is stored stays");
        assert_eq!(taken("new", None).as_deref(), Some("new"));
        assert!(problems.is_empty(), "{problems:?}");
        fs::remove_dir_all(conf).unwrap();
    }
}
