//! What a service of the catalogue needs of a release besides the system image: all drivers, or an
//! image that belongs to one kernel. It comes from the registry that has the releases
//! (`rancher.upgrade.image`, `rancher.upgrade.url`), or from what `--from` names.

use anyhow::{Context, Result, bail, ensure};
use corral_docker::{Client, Engine, cli};
use corral_install::release::{apart, own_kernel};
use corral_install::upgrade::{extras, list};
use std::fs::File;
use std::path::Path;

/// Images of the system have names in it; no registry has those of a release.
const NAMESPACE: &str = "corral/";
/// What the name of an image of a release begins with.
const PREFIX: &str = "corral/kernel-";
/// The label with the version of the kernel that the image belongs to.
const KERNEL_LABEL: &str = "dev.corral.kernel";

/// Is it an image of a release? They are for the system engine: it runs as root.
pub(super) fn is_one(image: &str, engine: Engine) -> bool {
    engine == Engine::System && image.starts_with(PREFIX)
}

/// Makes the image of a service known by its name. One that is here already is replaced only by
/// that of a named source.
pub(super) fn provide(service: &str, image: &str, from: Option<&str>) -> Result<()> {
    let client = Client::of(Engine::System)?;
    if from.is_none() && client.image_id(image)?.is_some() {
        return Ok(());
    }
    let id = match (from, from.and_then(list::as_file)) {
        (_, Some(file)) => load(&client, &file)?,
        (Some(remote), None) => pull(&client, remote)?,
        (None, None) => {
            own_kernel::refuse(service)?;
            let kernel = own_kernel::running_kernel();
            pull(&client, &signed(image).with_context(|| refusal(service, &kernel))?)?
        }
    };
    if let Err(error) = check_kernel(&client, service, &id) {
        remove_unnamed(&client, &id)?;
        return Err(error);
    }
    let (repository, tag) = image.rsplit_once(':').context("an image without a tag")?;
    client.tag(&id, repository, tag).with_context(|| format!("naming the image {image}"))
}

/// Loads an archive; returns the id of its image.
fn load(client: &Client, file: &Path) -> Result<String> {
    let shown = file.display();
    println!("loading {shown}");
    let archive = File::open(file).with_context(|| format!("opening {shown}"))?;
    let loaded = client.load_unnamed(archive).with_context(|| format!("loading {shown}"))?;
    loaded.into_iter().next_back().with_context(|| format!("{shown}: it has no image"))
}

fn pull(client: &Client, remote: &str) -> Result<String> {
    cli::pull(Engine::System, remote)?;
    client.image_id(remote)?.with_context(|| format!("{remote} was pulled, and is not here"))
}

/// The image beside the releases, by its digest. With `host/corral:1.2`,
/// `corral/kernel-headers:6.12` is `host/corral-kernel-headers:6.12`.
fn signed(image: &str) -> Result<String> {
    let name = image.strip_prefix(NAMESPACE).unwrap_or(image);
    let title = name.split(':').next().unwrap_or(name);
    Ok(apart::find_signed(&extras::beside_releases(name)?, title)?.image)
}

fn refusal(service: &str, kernel: &str) -> String {
    format!(
        "{service} for the kernel {kernel} was not enabled. `ros service enable {service} --from \
         FILE` takes it from an image archive, `--from IMAGE` from a registry that you name"
    )
}

fn check_kernel(client: &Client, service: &str, id: &str) -> Result<()> {
    let image = client.image(id)?.unwrap_or_default();
    let Some(kernel) = image.label(KERNEL_LABEL) else {
        bail!("the image has no label {KERNEL_LABEL}: it is not of a release; nothing was changed");
    };
    let running = own_kernel::running_kernel();
    ensure!(kernel == running, "{}", of_another_kernel(service, kernel, &running));
    Ok(())
}

fn of_another_kernel(service: &str, kernel: &str, running: &str) -> String {
    let instead = own_kernel::why_not(service, running).unwrap_or_else(|| {
        format!("{running} runs; take it from the release that runs (`ros os version`)")
    });
    format!("the image belongs to the kernel {kernel}, and {instead}. Nothing was changed")
}

/// Removes an image that has no other name.
fn remove_unnamed(client: &Client, id: &str) -> Result<()> {
    let image = client.image(id)?.unwrap_or_default();
    if image.repo_tags.is_empty() && image.repo_digests.is_empty() {
        client.untag(id).with_context(|| format!("removing the image {id}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_a_release_has_no_registry_in_its_name() {
        for (image, expected) in [
            ("corral/kernel-headers:6.12", true),
            ("registry.example.com/corral/kernel-headers:6.12", false),
            ("corral/mine:1", false),
            ("nginx", false),
        ] {
            assert_eq!(is_one(image, Engine::System), expected, "{image}");
            assert!(!is_one(image, Engine::User), "{image}");
        }
    }

    #[test]
    fn a_refusal_is_about_the_service_and_the_kernel_that_runs() {
        let debians = "6.12.57+deb13-amd64";
        let said = refusal("kernel-headers", debians);
        for text in [debians, "`ros service enable kernel-headers --from FILE`", "--from IMAGE"] {
            assert!(said.contains(text), "{text} is not in: {said}");
        }
        for (running, expected) in [
            ("6.12.63+deb13-amd64", "take it from the release that runs (`ros os version`)"),
            ("6.12.57-corral", "this release brings no kernel-headers for it"),
        ] {
            let said = of_another_kernel("kernel-headers", debians, running);
            assert!(said.contains(debians) && said.contains(running), "{said}");
            assert!(said.contains(expected), "{said}");
        }
    }
}
