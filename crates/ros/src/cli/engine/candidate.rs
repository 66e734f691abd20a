//! The name of an image that was loaded. If another image has the name of its engine, the new one
//! is a candidate: it takes the name when it runs and has run a container. Until then a roll-back
//! finds the other image under the name, also after a power cut.

use anyhow::{Context, Result};
use corral_docker::{Client, Engine};
use corral_resolve::engine_switch::Candidate;
use corral_resolve::engines::{CANDIDATES, Failure, REPOSITORY};
use corral_resolve::replacement::mark;
use corral_resolve::root::Root;
use corral_resolve::switchable::ENGINE;

/// Gives an image the name of an engine, or that of a candidate; returns it.
pub(super) fn name(id: &str, engine: &str) -> Result<String> {
    let client = Client::of(Engine::System)?;
    let taken = client.image_id(&format!("{REPOSITORY}:{engine}"))?.is_some_and(|of| of != id);
    let repository = if taken { CANDIDATES } else { REPOSITORY };
    client.tag(id, repository, engine).with_context(|| format!("naming the engine {engine}"))?;
    Ok(format!("{repository}:{engine}"))
}

/// Is it the name of a candidate?
pub(super) fn is_one(image: &str) -> bool {
    image.strip_prefix(CANDIDATES).is_some_and(|rest| rest.starts_with(':'))
}

/// The image that waits for the name of this engine, by the name that it has meanwhile.
pub(super) fn of(engine: &str) -> Option<String> {
    let candidate = Candidate::load(&Root::machine()).filter(|it| it.name == engine)?;
    let name = format!("{CANDIDATES}:{engine}");
    let found = Client::of(Engine::System).ok()?.image_id(&name).ok()??;
    (found == candidate.image_id).then_some(name)
}

/// Removes a candidate that does not take the name: its own name, and the image if it has no other.
pub(super) fn remove(image: &str) -> Result<()> {
    let client = Client::of(Engine::System)?;
    let Some(found) = client.image(image)? else { return Ok(()) };
    let (candidates, others): (Vec<&String>, Vec<&String>) =
        found.repo_tags.iter().partition(|name| is_one(name));
    for name in candidates {
        client.untag(name).with_context(|| format!("removing the image {name}"))?;
    }
    // The name may have been removed while the engine still ran. An image that came by its digest
    // never was a candidate.
    if others.is_empty() && found.repo_digests.is_empty() {
        client.untag(&found.id).with_context(|| format!("removing the image {}", found.id))?;
    }
    Ok(())
}

/// Removes what failed in a boot: it was in use then.
fn remove_failed(root: &Root) -> Result<()> {
    let Some(failure) = Failure::load(root) else { return Ok(()) };
    let waiting = Candidate::load(root).map(|candidate| candidate.image_id);
    let client = Client::of(Engine::System)?;
    let failed = |id: &String| mark(&ENGINE, id) == failure.mark && Some(id) != waiting.as_ref();
    let images = client.images()?.into_iter().map(|image| image.id);
    images.filter(failed).try_for_each(|id| remove(&id))
}

/// Moves the name to a candidate that runs and has proved itself, and removes one that failed.
pub(super) fn settle() -> Result<()> {
    let root = Root::machine();
    if let Err(error) = remove_failed(&root) {
        eprintln!("warning: {error:#}; `ros gc` removes it");
    }
    let Some(candidate) = Candidate::load(&root).filter(|candidate| candidate.has_proof(&root))
    else {
        return Ok(());
    };
    let client = Client::of(Engine::System)?;
    let runs = client.container(ENGINE.service)?.unwrap_or_default();
    if runs.image != candidate.image_id {
        return Ok(());
    }
    client
        .tag(&candidate.image_id, REPOSITORY, &candidate.name)
        .with_context(|| format!("giving its name to the engine {}", candidate.name))?;
    Candidate::forget()?;
    Ok(client.untag(&format!("{CANDIDATES}:{}", candidate.name))?)
}

#[cfg(test)]
mod tests {
    use super::is_one;

    #[test]
    fn a_candidate_is_known_by_its_repository() {
        assert!(is_one("corral/engine-candidate:docker-28.5"));
        assert!(!is_one("corral/engine:docker-28.5") && !is_one("corral/engine-candidates:x"));
    }
}
