//! What services get besides their compose file. First, `write_files` for their container, which
//! `apply` writes for the creation helper. Second, a digest of the sections that they read, so that
//! they are recreated when those change.

use super::catalogue::CRONTAB;
use super::file_change::FileChange;
use super::problem;
use corral_config::Config;
use corral_config::error::Problem;
use corral_config::model::{CaCerts, Docker, Ntp, WriteFile};
use corral_engine::paths;
use corral_engine::spec::{FILES_LABEL, PlacedFile};
use corral_plan::Plan;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::path::Path;

/// The console writes its own files, once its users exist.
const CONSOLE: &str = "console";
const CONFIG_LABEL: &str = "io.corral.config";

/// The files of one service to write: their contents, then the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceFiles {
    pub(super) service: String,
    pub(super) changes: Vec<FileChange>,
}

/// Labels the services, and returns the files for these labels.
pub(super) fn decide(
    config: &Config,
    plan: &mut Plan,
    certificates: Option<&str>,
    problems: &mut Vec<Problem>,
) -> Vec<ServiceFiles> {
    for file in config.write_files.iter().filter(|file| file.container != CONSOLE) {
        if plan.get(&file.container).is_none() {
            let message = format!("{}: there is no system container {}", file.path, file.container);
            problems.push(problem::error("write_files", &message));
        }
    }
    let ours = of_keys(config, certificates);
    let mut all = Vec::new();
    for service in &mut plan.services {
        let name = service.name.to_string();
        if let Some(digest) = section_digest(&name, config) {
            service.label_map.insert(CONFIG_LABEL.to_owned(), digest);
        }
        // A file of the owner's replaces ours.
        let wanted: Vec<&WriteFile> = ours
            .iter()
            .chain(&config.write_files)
            .filter(|file| file.container == name && name != CONSOLE)
            .collect();
        if wanted.is_empty() {
            continue;
        }
        match lay_out(&name, &wanted) {
            Ok((digest, changes)) => {
                service.label_map.insert(FILES_LABEL.to_owned(), digest);
                all.push(ServiceFiles { service: name, changes });
            }
            Err(error) => {
                problems.push(problem::error("write_files", &format!("{name}: {error:#}")))
            }
        }
    }
    all
}

/// Where services find the authorities that they trust.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The services that fetch something over TLS.
const FETCHERS: [&str; 3] = ["cloud-init-network", "imported-keys", "service-files"];
/// The image has the default servers in this file.
const SERVERS: &str = "/etc/chrony/conf.d/00-servers.conf";

/// Files that other keys stand for.
fn of_keys(config: &Config, certificates: Option<&str>) -> Vec<WriteFile> {
    let file = |container: &str, path: &str, content: String| WriteFile {
        container: container.to_owned(),
        path: path.to_owned(),
        content,
        ..WriteFile::default()
    };
    let mut files = Vec::new();
    if config.ntp != Ntp::default() {
        files.push(file("ntp", SERVERS, config.ntp.chrony_lines()));
    }
    if let Some(bundle) = certificates {
        files.extend(FETCHERS.map(|service| file(service, CERTIFICATES, bundle.to_owned())));
    }
    files
}

/// Removes the label: a container must not look for files that could not be written.
pub(super) fn unlabel(plan: &mut Plan, name: &str) {
    for service in plan.services.iter_mut().filter(|service| service.name.as_str() == name) {
        service.label_map.remove(FILES_LABEL);
    }
}

/// The configuration that a service reads when it starts.
fn section_digest(name: &str, config: &Config) -> Option<String> {
    let rancher = &config.rancher;
    let sections = match name {
        "network" => {
            let names = json!([config.given_hostname(), config.fqdn]);
            json!([names, rancher.network, rancher.defaults, rancher.debug])
        }
        // dockerd reads the certificates once.
        "docker" => {
            let trusted = json!([config.ca_certs.trusted, config.ca_certs.remove_defaults]);
            let trusted = (config.ca_certs != CaCerts::default()).then_some(trusted);
            // Which engine runs is decided by its image: a choice may wait for the next boot.
            let (engine, engine_images) = Default::default();
            let options = Docker { engine, engine_images, ..rancher.docker.clone() };
            json!([options, rancher.network.proxy_environment(), trusted])
        }
        "system-cron" => json!(rancher.services_include.get(CRONTAB)),
        "user-services" => json!([rancher.services, rancher.registry_auths]),
        _ => return None,
    };
    Some(short(&Sha256::digest(sections.to_string())))
}

fn short(digest: &[u8]) -> String {
    hex::encode(digest.get(..8).unwrap_or(digest))
}

/// Contents and index for the creation helper, and a digest of all of it.
fn lay_out(name: &str, wanted: &[&WriteFile]) -> anyhow::Result<(String, Vec<FileChange>)> {
    let folder = Path::new(paths::FILES).join(name);
    let mut hash = Sha256::new();
    let (mut placed, mut changes) = (Vec::new(), Vec::new());
    for (number, file) in wanted.iter().enumerate() {
        let content = file.bytes().map_err(|error| anyhow::anyhow!("{}: {error}", file.path))?;
        let mode = file.mode().map_err(|error| anyhow::anyhow!("{}: {error}", file.path))?;
        let blob = folder.join(number.to_string());
        hash.update(&content);
        placed.push(PlacedFile {
            path: file.path.clone(),
            blob: blob.display().to_string(),
            mode,
            owner: file.owner.clone(),
        });
        changes.push(FileChange::write(blob, content, 0o600));
    }
    let index = serde_json::to_vec(&placed)?;
    hash.update(&index);
    changes.push(FileChange::write(folder.join("index.json"), index, 0o600));
    Ok((short(&hash.finalize()), changes))
}
