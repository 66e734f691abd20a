//! What services are told besides their compose file: `write_files` for their container, laid out for the creation
//! helper; and a digest of the sections that they read, so that they are made anew when those change.

use super::problem;
use corral_config::Config;
use corral_config::error::Problem;
use corral_config::model::WriteFile;
use corral_engine::paths;
use corral_engine::spec::{FILES_LABEL, PlacedFile};
use corral_machine::files::write_atomic;
use corral_plan::Plan;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::path::Path;

/// The container whose files are written by itself, when its users are there.
const CONSOLE: &str = "console";
const CONFIG_LABEL: &str = "io.corral.config";

/// Lays the files out and labels the services.
pub(super) fn prepare(config: &Config, plan: &mut Plan, problems: &mut Vec<Problem>) {
    for file in config.write_files.iter().filter(|file| file.container != CONSOLE) {
        if plan.get(&file.container).is_none() {
            let message = format!("{}: there is no system container {}", file.path, file.container);
            problems.push(problem::error("write_files", &message));
        }
    }
    for service in &mut plan.services {
        let name = service.name.to_string();
        if let Some(digest) = section_digest(&name, config) {
            service.label_map.insert(CONFIG_LABEL.to_owned(), digest);
        }
        let wanted: Vec<&WriteFile> =
            config.write_files.iter().filter(|file| file.container == name && name != CONSOLE).collect();
        if wanted.is_empty() {
            continue;
        }
        match lay_out(&name, &wanted) {
            Ok(digest) => {
                service.label_map.insert(FILES_LABEL.to_owned(), digest);
            }
            Err(error) => problems.push(problem::error("write_files", &format!("{name}: {error:#}"))),
        }
    }
}

/// What of the configuration a service reads when it starts.
fn section_digest(name: &str, config: &Config) -> Option<String> {
    let rancher = &config.rancher;
    let sections = match name {
        "network" => json!([config.hostname, rancher.network, rancher.defaults, rancher.debug]),
        "docker" => json!([rancher.docker, rancher.network.proxy_environment()]),
        "user-services" => json!([rancher.services, rancher.registry_auths]),
        _ => return None,
    };
    Some(short(&Sha256::digest(sections.to_string())))
}

fn short(digest: &[u8]) -> String {
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Writes index and contents where the helper finds them; returns a digest over all of it.
fn lay_out(name: &str, wanted: &[&WriteFile]) -> anyhow::Result<String> {
    let folder = Path::new(paths::FILES).join(name);
    let mut hash = Sha256::new();
    let mut placed = Vec::new();
    for (number, file) in wanted.iter().enumerate() {
        let content = file.bytes().map_err(|error| anyhow::anyhow!("{}: {error}", file.path))?;
        let mode = file.mode().map_err(|error| anyhow::anyhow!("{}: {error}", file.path))?;
        let blob = folder.join(number.to_string());
        write_atomic(&blob, &content, 0o600)?;
        hash.update(&content);
        let blob = blob.display().to_string();
        placed.push(PlacedFile { path: file.path.clone(), blob, mode, owner: file.owner.clone() });
    }
    let index = serde_json::to_vec(&placed)?;
    hash.update(&index);
    write_atomic(&folder.join("index.json"), &index, 0o600)?;
    Ok(short(&hash.finalize()))
}
