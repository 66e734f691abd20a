//! What an owner reads whose engine is nowhere: which engines there are, and how to name a file.

use super::{archive, of_release};
use crate::cli::file_here;
use anyhow::{Result, bail};
use corral_config::schema::did_you_mean;
use corral_docker::{Client, Engine};
use corral_resolve::engines::{self, REPOSITORY};
use corral_resolve::switchable::ENGINE;
use std::collections::BTreeSet;
use std::path::Path;

/// About a name that no image of this machine has, and no registry.
pub(super) fn text(name: &str) -> String {
    if of_release::has(name) {
        return format!(
            "the engine {name} is not on this machine. Name its file (`ros engine switch \
             /mnt/{name}.tar`), or the registry that has it: `ros config set \
             {}_images REGISTRY/REPOSITORY`",
            ENGINE.key
        );
    }
    match file_here::any(name) {
        Some(hint) => of_file(name, &hint),
        None => unknown(name, &known()),
    }
}

/// An error for a file of the current folder that is named without its path: an archive, or a
/// service file.
pub(super) fn refuse_file_without_path(name: &str) -> Result<()> {
    let is_of_file = archive::is_named_as_one(name) || file_here::is_of_services(name);
    match file_here::any(name).filter(|_| is_of_file) {
        Some(hint) => bail!("{}", of_file(name, &hint)),
        None => Ok(()),
    }
}

fn of_file(name: &str, hint: &str) -> String {
    format!("{name} is no engine of this release; {hint}")
}

fn unknown(name: &str, known: &BTreeSet<String>) -> String {
    // `podman` of `podman.tar`.
    let bare = archive::name_of(Path::new(name)).unwrap_or_else(|| name.to_owned());
    let near = did_you_mean(&bare, known.iter().map(String::as_str).chain(["default"]));
    let end = if near.is_empty() { "." } else { "" };
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    format!(
        "{name} is no engine of this release{near}{end} There are {} (`ros engine list`). A file \
         is named by its path: `ros engine switch /mnt/{bare}.tar`",
        known.join(", ")
    )
}

/// The engines of this release, and those that were loaded.
fn known() -> BTreeSet<String> {
    let own = engines::built_in_name().unwrap_or_else(|| "default".to_owned());
    let images = Client::of(Engine::System).and_then(|client| client.images()).unwrap_or_default();
    let tags = images.into_iter().flat_map(|image| image.repo_tags);
    let prefix = format!("{REPOSITORY}:");
    let loaded = tags.filter_map(|tag| tag.strip_prefix(&prefix).map(str::to_owned));
    of_release::load().into_iter().map(|known| known.name).chain(loaded).chain([own]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_engine_is_answered_with_those_that_there_are() {
        let known = BTreeSet::from(["docker-26.1", "docker-28.5", "podman"].map(str::to_owned));
        let there_are = "There are docker-26.1, docker-28.5, podman (`ros engine list`). A file is \
                         named by its path: `ros engine switch /mnt/";
        for (name, near, bare) in [
            ("nosuch", ".", "nosuch"),
            ("podmann", "; did you mean podman?", "podmann"),
            ("docker-28", "; did you mean docker-28.5?", "docker-28"),
            ("defalt", "; did you mean default?", "defalt"),
            ("podman.tar", "; did you mean podman?", "podman"),
        ] {
            let expected =
                format!("{name} is no engine of this release{near} {there_are}{bare}.tar`");
            assert_eq!(unknown(name, &known), expected);
        }
    }

    #[test]
    fn only_a_name_of_a_file_is_refused_at_once() {
        // Tests run in the folder of their crate.
        assert!(refuse_file_without_path("Cargo.toml").is_ok());
        assert!(refuse_file_without_path("podman.tar").is_ok(), "it is not here");
        let said = text("Cargo.toml");
        assert!(said.ends_with("a file of this name is here: write ./Cargo.toml"), "{said}");
    }
}
