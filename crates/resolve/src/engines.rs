//! Replacement engines that are images, by a name or by a reference, and what is known of them: the
//! image check and the trial leave marks, by the id of the image.
//!
//! An engine is on trial until it has run a container. One that fails is not used again before its
//! owner requests it; until then the engine before it runs.

use super::root::Root;
use anyhow::{Context, Result};
use corral_config::Config;
use corral_engine::image::lookup;
use corral_machine::files::{remove_durably, write_atomic};
use corral_plan::Service;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Marks of images, by image id. An empty one passed the check of a console. That of an engine has
/// the version that its program printed, and the name of the program.
pub const MARKS: &str = "/var/lib/rancher/cache/images";
/// What trials found. An image check cannot write here: it runs programs of the image.
pub(super) const TRIALS: &str = "/var/lib/rancher/cache/engines";
/// The service that tries an engine.
pub const TRIAL: &str = "engine-trial";
/// Engines are loaded and pulled under this name, each with its own tag.
pub const REPOSITORY: &str = "corral/engine";
/// The same for an image whose name belongs to another one until it has proved itself.
pub const CANDIDATES: &str = "corral/engine-candidate";
/// The image of the built-in one.
pub const BUILT_IN: &str = "corral/os-docker";
/// Labels of the images of engines.
pub const NAME_LABEL: &str = "dev.corral.engine";
pub const VERSION_LABEL: &str = "org.opencontainers.image.version";

/// An engine that failed its trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub mark: String,
    /// As it is configured.
    pub name: String,
    pub reason: String,
}

impl Failure {
    fn file() -> PathBuf {
        Path::new(TRIALS).join("failed.json")
    }

    /// The last one, unless another engine was requested since.
    pub fn load(root: &Root) -> Option<Failure> {
        serde_json::from_slice(&root.read(Failure::file()).ok()?).ok()
    }

    pub fn store(&self) -> Result<()> {
        write_atomic(&Failure::file(), &serde_json::to_vec(self)?, 0o644)
    }

    /// Lets an engine be tried again.
    pub fn forget() -> Result<()> {
        remove_durably(&Failure::file())
    }
}

/// The engine that was configured before the one on trial.
pub fn before(root: &Root) -> String {
    root.text(before_file()).trim().to_owned()
}

/// Keeps its name for a boot in which the engine on trial fails.
pub fn keep_before(name: &str) -> Result<()> {
    write_atomic(&before_file(), name.as_bytes(), 0o644)
}

fn before_file() -> PathBuf {
    Path::new(TRIALS).join("before")
}

/// Marks an engine that has run a container.
pub fn keep_proof(mark: &str) -> Result<()> {
    write_atomic(&proof(mark), b"", 0o644)
}

/// Has the engine with this mark run a container?
pub fn has_proof(root: &Root, mark: &str) -> bool {
    root.exists(proof(mark))
}

fn proof(mark: &str) -> PathBuf {
    Path::new(TRIALS).join(format!("{mark}.works"))
}

/// An error if the engine with this mark failed. True if it is still to be tried.
pub fn is_on_trial(root: &Root, mark: &str) -> Result<bool> {
    match Failure::load(root).filter(|failure| failure.mark == mark) {
        Some(failure) => anyhow::bail!(
            "the engine {0} failed its trial: {1}. `ros engine switch {0}` tries it again",
            failure.name,
            failure.reason
        ),
        None => Ok(!has_proof(root, mark)),
    }
}

/// Keeps the service that tries the engine with this mark, or removes it if there is none to try.
pub(super) fn arrange_trial(services: &mut Vec<Service>, name: &str, mark: Option<&str>) {
    let Some(mark) = mark else {
        return services.retain(|service| service.name.as_str() != TRIAL);
    };
    for trial in services.iter_mut().filter(|service| service.name.as_str() == TRIAL) {
        trial.command = Some(["ros", TRIAL, mark, name].map(str::to_owned).to_vec());
    }
}

/// Is it a name of the built-in engine: `default`, or that with its version (`docker-26.1`)?
pub fn is_built_in(name: &str) -> bool {
    ["", "default"].contains(&name) || built_in_name().is_some_and(|own| own == name)
}

/// `docker-26.1`, by the version that the system image records.
pub fn built_in_name() -> Option<String> {
    named_by_version(lookup::find(BUILT_IN).ok()?.config.labels.get(VERSION_LABEL)?)
}

fn named_by_version(version: &str) -> Option<String> {
    let mut parts = version.split('.');
    Some(format!("docker-{}.{}", parts.next()?, parts.next()?))
}

/// The image of an engine of that name or reference; None if the name is that of a service file.
pub fn image(name: &str, config: &Config) -> Option<String> {
    let stored = image_among(name, |stored| lookup::find(stored).is_ok());
    stored.or_else(|| in_registry(name, config))
}

/// The image of that name in the registry that `rancher.docker.engine_images` names.
pub fn in_registry(name: &str, config: &Config) -> Option<String> {
    let images = &config.rancher.docker.engine_images;
    (!images.is_empty() && is_plain(name)).then(|| format!("{images}:{name}"))
}

/// The image of an engine that was loaded, or of a reference. `is_here` finds an image by its name,
/// also for a program that does not see the image store.
pub fn image_among(name: &str, is_here: impl Fn(&str) -> bool) -> Option<String> {
    if name.starts_with('/') || name.contains("://") {
        return None;
    }
    if !is_plain(name) {
        return Some(name.to_owned());
    }
    let stored = format!("{REPOSITORY}:{name}");
    is_here(&stored).then_some(stored)
}

/// A name, and not the reference of an image, a path or a URL.
pub fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// The compose file for such an image.
pub(super) fn compose(image: &str) -> Result<String> {
    let image = serde_json::to_string(image).context("writing the name of an image")?;
    Ok(format!("services: {{docker: {{image: {image}, labels: {{io.rancher.os.scope: system}}}}}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_path_and_no_url_is_an_image() {
        for (name, expected) in [
            ("docker:28-dind", Some("docker:28-dind")),
            ("registry.example.com:5000/engines/x", Some("registry.example.com:5000/engines/x")),
            ("/opt/engine.yml", None),
            ("https://example.com/docker.yml", None),
            // Not loaded here: perhaps the name of a file in a repository.
            ("docker-28.5", None),
        ] {
            assert_eq!(image(name, &Config::default()).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn only_a_name_is_a_tag_of_the_configured_registry() {
        let mut config = Config::default();
        config.rancher.docker.engine_images = "r.example.com/engines".to_owned();
        for (name, expected) in [
            ("docker-28.5", Some("r.example.com/engines:docker-28.5")),
            ("docker:28-dind", Some("docker:28-dind")),
            ("/opt/engine.yml", None),
            ("https://example.com/docker.yml", None),
        ] {
            assert_eq!(image(name, &config).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn the_built_in_engine_has_its_version_in_its_name() {
        assert_eq!(named_by_version("26.1.5").as_deref(), Some("docker-26.1"));
        assert_eq!(named_by_version("26"), None);
        assert!(is_built_in("default") && is_built_in("") && !is_built_in("podman"));
    }

    #[test]
    fn the_name_of_an_image_is_only_a_name_in_its_file() {
        let text = compose("a/b: {privileged: true}").unwrap();
        let file = corral_plan::compose::parse("f", &text).unwrap();
        assert_eq!(file.services[0].image, "a/b: {privileged: true}");
    }

    #[test]
    fn an_engine_is_tried_until_it_has_run_a_container_or_failed() {
        let root = Root::at("/nonexistent");
        assert!(is_on_trial(&root, "a").unwrap());
        let works = super::super::file_change::FileChange::write(proof("a"), "", 0o644);
        assert!(!is_on_trial(&root.after(&[works]), "a").unwrap());
        let failure = Failure { mark: "a".into(), name: "bad".into(), reason: "no".into() };
        let text = serde_json::to_vec(&failure).unwrap();
        let failed = super::super::file_change::FileChange::write(Failure::file(), text, 0o644);
        let root = root.after(&[failed]);
        let error = is_on_trial(&root, "a").unwrap_err().to_string();
        assert!(error.contains("engine bad failed its trial: no"), "{error}");
        assert!(is_on_trial(&root, "b").unwrap(), "another image under that name");
    }
}
