//! What an owner named → the value of `rancher.docker.engine`, and the image, which is then on this
//! machine.

use super::{absent, archive, candidate, of_release};
use crate::cli::repository;
use anyhow::{Context, Result, bail, ensure};
use corral_config::Config;
use corral_docker::{Client, Engine, cli};
use corral_install::release::apart;
use corral_install::upgrade::extras;
use corral_plan::compose::parse_with;
use corral_resolve::catalogue::Role;
use corral_resolve::engines;
use corral_resolve::switchable::ENGINE;
use corral_resolve::{self, catalogue};
use std::fs;
use std::path::Path;

/// The built-in one.
pub(super) const OURS: &str = "default";

/// The repository of engines beside that of the releases: `corral` has `corral-engine`.
const IN_RELEASES: &str = "engine";

/// An engine that can be switched to.
#[derive(Debug)]
pub(super) struct Choice {
    /// The value for the configuration.
    pub(super) name: String,
    /// None for the built-in one.
    pub(super) image: Option<String>,
}

impl Choice {
    /// Does another image have its name?
    pub(super) fn is_candidate(&self) -> bool {
        self.image.as_deref().is_some_and(candidate::is_one)
    }
}

/// Loads or pulls what is not on this machine. Changes no setting.
pub(super) fn prepare(name: &str, pull: bool) -> Result<Choice> {
    if engines::is_built_in(name) {
        return Ok(Choice { name: OURS.to_owned(), image: None });
    }
    if is_archive(name) {
        let (name, id) = archive::load(Path::new(name)).context("nothing was changed")?;
        return Ok(Choice { image: Some(candidate::name(&id, &name)?), name });
    }
    if let Some(image) = candidate::of(name) {
        return Ok(Choice { name: name.to_owned(), image: Some(image) });
    }
    let config = corral_resolve::stored_config();
    let image = match find(name, &config)? {
        Source::Image(image) => image,
        Source::Remote(image) => {
            ensure_pull(name, pull)?;
            fetch(&image, pull)?;
            candidate::name(&image, name)?
        }
        Source::Release(image) => {
            ensure_pull(name, pull)?;
            let signed = find_signed(&image, name).context("nothing was changed")?;
            fetch(&signed, pull)?;
            candidate::name(&signed, name)?
        }
        Source::File => image_of_file(name, &config)?,
        Source::Unlisted => image_of_file(name, &config).with_context(|| absent::text(name))?,
    };
    fetch(&image, pull)?;
    Ok(Choice { name: name.to_owned(), image: Some(image) })
}

/// Where an engine of that name is.
enum Source {
    Image(String),
    /// In a registry that the owner configured for engines.
    Remote(String),
    /// Beside the releases, signed like them.
    Release(String),
    File,
    /// Perhaps a file of a repository whose list does not name it.
    Unlisted,
}

fn find(name: &str, config: &Config) -> Result<Source> {
    absent::refuse_file_without_path(name)?;
    if let Some(image) = engines::image_among(name, is_here) {
        return Ok(Source::Image(image));
    }
    if !engines::is_plain(name) {
        return Ok(Source::File);
    }
    if let Some(image) = engines::in_registry(name, config) {
        return Ok(Source::Remote(image));
    }
    if may_be_a_file(name, config) {
        return Ok(Source::File);
    }
    match extras::beside_releases(&format!("{IN_RELEASES}:{name}")) {
        Ok(image) => Ok(Source::Release(image)),
        Err(_) if !config.rancher.repositories.is_empty() => Ok(Source::Unlisted),
        // A registry that does not answer may have it.
        Err(error) if of_release::has(name) || !config.rancher.upgrade.url.is_empty() => {
            Err(error.context(absent::text(name)))
        }
        Err(_) => bail!("{}", absent::text(name)),
    }
}

fn ensure_pull(name: &str, pull: bool) -> Result<()> {
    ensure!(pull, "the engine {name} is not on this machine, and --no-pull forbids to pull it");
    Ok(())
}

/// The engine of a release by its digest. One that is older than that of this system is signed too.
fn find_signed(image: &str, name: &str) -> Result<String> {
    let signed = apart::find_signed(image, name).map_err(|error| match of_release::has(name) {
        true => error,
        false => error.context(absent::text(name)),
    })?;
    let version = of_release::version(name).unwrap_or_default();
    ensure!(
        !signed.is_older_than(&version),
        "{image} has version {}, which is older than {version} of this system's release. Its \
         complete reference takes it anyway: `ros engine switch {image}`",
        signed.version
    );
    Ok(signed.image)
}

/// Has a repository of the owner's a service file of that name? One that does not answer may have
/// it, and comes before the releases.
fn may_be_a_file(name: &str, config: &Config) -> bool {
    if config.rancher.repositories.is_empty() {
        return false;
    }
    let index = repository::index(config);
    !index.missing.is_empty() || index.engines.iter().any(|listed| listed == name)
}

/// A file that is no service file.
fn is_archive(name: &str) -> bool {
    let is_path = name.starts_with('/') || name.starts_with("./") || name.starts_with("../");
    let is_service = [".yml", ".yaml"].iter().any(|extension| name.ends_with(extension));
    is_path && !is_service
}

fn fetch(image: &str, pull: bool) -> Result<()> {
    if pull && !is_here(image) {
        cli::pull(Engine::System, image).context("nothing was changed")?;
    }
    Ok(())
}

/// Is the image on this machine? Not if the system engine does not answer: then pulling it fails.
fn is_here(image: &str) -> bool {
    Client::of(Engine::System).and_then(|client| client.image(image)).is_ok_and(|it| it.is_some())
}

/// The image of the service `docker` in a file, which is fetched unless it is here.
fn image_of_file(name: &str, config: &Config) -> Result<String> {
    let invalid = || format!("{name} is not a valid {}", ENGINE.what);
    let role = Role::Replacement(&ENGINE);
    let file = repository::fetch(name, role, config).with_context(invalid)?;
    let text = fs::read_to_string(&file).with_context(invalid)?;
    let services = parse_with(name, &text, &corral_resolve::environment(config))
        .with_context(invalid)?
        .services;
    let found = services.into_iter().find(|service| service.name.as_str() == ENGINE.service);
    let Some(service) = found else {
        bail!("{}: it defines no service {}", invalid(), ENGINE.service)
    };
    Ok(service.image)
}

/// The configured one.
pub(super) fn configured(config: &Config) -> String {
    catalogue::other((ENGINE.configured)(config)).unwrap_or(OURS).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_an_archive_or_a_service_file() {
        for (name, expected) in [
            ("/mnt/docker-28.5.tar", true),
            ("./docker-28.5.2.tgz", true),
            ("/opt/engine.yml", false),
            ("docker-28.5", false),
            ("docker:28-dind", false),
            ("https://example.com/x.yml", false),
        ] {
            assert_eq!(is_archive(name), expected, "{name}");
        }
    }

    #[test]
    fn a_name_is_looked_up_in_the_configured_registry() {
        let mut config = Config::default();
        let error = format!("{:#}", find("docker-28.5", &config).err().unwrap());
        assert!(error.contains("/mnt/docker-28.5.tar"), "{error}");
        assert!(error.contains("`ros engine list`") && !error.contains("-i FILE"), "{error}");
        config.rancher.docker.engine_images = "r.example.com/engines".to_owned();
        let Ok(Source::Remote(image)) = find("docker-28.5", &config) else { panic!("not found") };
        assert_eq!(image, "r.example.com/engines:docker-28.5");
    }
}
