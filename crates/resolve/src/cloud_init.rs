//! The stages of cloud-init: which data sources they read, and what those gave in this boot.

use super::root::Root;
use crate::imported_keys;
use corral_cloud::{url_on_command_line, vmware};
use corral_config::Config;
use corral_config::explain;
use corral_config::layer::Layer;
use corral_config::names::{DataSource, Provider};
use corral_machine::block::{self, Volume};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Volume labels of config drives: OpenStack's, and NoCloud's.
pub const CONFIG_DRIVE: &str = "config-2";
pub const NOCLOUD_DRIVE: &str = "cidata";
/// What this boot's data sources gave, for the resolver and for `ros config status`.
pub const MARK: &str = "/run/corral/cloud-init/mark.json";

/// A copy of the file on Azure's provisioning CD.
pub const AZURE_CD: &str = "/run/corral/cloud-init/ovf-env.xml";

/// What the stages of cloud-init did in this boot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CloudInitMark {
    /// The local source that was used, and the one on the network.
    pub local: Option<String>,
    pub network: Option<String>,
    /// URLs that local user data includes.
    pub includes: Vec<String>,
    /// What went wrong.
    pub problems: Vec<String>,
    /// The keys of `ssh_import_id` are fetched again when the clock is set.
    #[serde(default)]
    pub keys_are_late: bool,
}

impl CloudInitMark {
    /// What is known in this boot so far.
    pub fn load(root: &Root) -> CloudInitMark {
        root.read(MARK).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }
}

/// The sources of the list that are on this machine, or of which a part is: Azure's CD. On VMware
/// machines, VMware's is added.
pub fn local_sources(config: &Config) -> Vec<DataSource> {
    let mut sources = config.rancher.cloud_init.sources();
    if vmware::is_here() && !sources.iter().any(|source| matches!(source, DataSource::Vmware(_))) {
        sources.push(DataSource::Vmware(None));
    }
    sources.retain(is_here);
    sources
}

/// May this be the CD that Azure provisions a machine by? It has no label of its own.
pub fn is_like_azures_cd(volume: &Volume) -> bool {
    ["udf", "iso9660"].contains(&volume.system.kind)
}

fn is_here(source: &DataSource) -> bool {
    let has_volume = |label: &str| {
        block::load_volumes().iter().any(|volume| volume.system.label.eq_ignore_ascii_case(label))
    };
    match source {
        DataSource::ConfigDrive(Some(path)) if path != "/media/config-2" => {
            Path::new(path).exists()
        }
        DataSource::ConfigDrive(_) => {
            has_volume(CONFIG_DRIVE) || block::has_shared_folder(CONFIG_DRIVE)
        }
        DataSource::NoCloud(Some(path)) => Path::new(path).exists(),
        DataSource::NoCloud(None) => has_volume(NOCLOUD_DRIVE),
        DataSource::Vmware(None) => {
            vmware::is_here() || vmware::CDS.iter().any(|label| has_volume(label))
        }
        DataSource::File(_) | DataSource::Vmware(Some(_)) => true,
        DataSource::Service(Provider::Azure, _) => {
            block::load_volumes().iter().any(is_like_azures_cd)
        }
        DataSource::Url(_) | DataSource::CommandLine | DataSource::Service(..) => false,
    }
}

/// The sources on the network, in order. A URL on the command line is used even if the list does
/// not have `cmdline`.
pub fn network_sources(config: &Config) -> Vec<DataSource> {
    let mut sources = config.rancher.cloud_init.sources();
    let line = corral_machine::cmdline::load().unwrap_or_default();
    if !sources.contains(&DataSource::CommandLine) && url_on_command_line(&line).is_some() {
        sources.push(DataSource::CommandLine);
    }
    sources.retain(|source| !source.is_local());
    sources
}

/// After a local source gave something, the network is read only if that user data requests it.
pub(super) fn needs_network(root: &Root, config: &Config, layers: &[Layer]) -> bool {
    let mark = CloudInitMark::load(root);
    if !mark.includes.is_empty() {
        return true;
    }
    let has_imports = !imported_keys::wanted(config).is_empty();
    if network_sources(config).is_empty() && !has_imports {
        return false;
    }
    if !root.exists(MARK) && !local_sources(config).is_empty() {
        // The local sources have not been read yet.
        return false;
    }
    has_imports || reads_sources(&mark, config, layers)
}

/// Are the sources on the network read in this boot?
pub fn reads_sources(mark: &CloudInitMark, config: &Config, layers: &[Layer]) -> bool {
    if network_sources(config).is_empty() {
        return false;
    }
    let said = explain::explain(layers, "rancher.cloud_init.datasources");
    let winner = said.first().and_then(|explanation| explanation.assignments.last());
    mark.local.is_none() || winner.is_some_and(|said| said.place.contains("/boot.yml"))
}
