//! Names of images as people write them: `busybox`, `host:5000/team/app:1`, `app@sha256:…`.

use crate::error::EngineError;
use oci_spec::distribution::Reference;

/// A name in the full form that requests to registries have.
pub fn parse(text: &str) -> Result<Reference, EngineError> {
    text.parse::<Reference>().map_err(|error| {
        EngineError::BadRequest(format!("invalid reference format: {text:?}: {error}"))
    })
}

/// A name with its tag or digest in the short form that people know: without Docker Hub's host.
pub fn familiar(text: &str) -> Result<String, EngineError> {
    let reference = parse(text)?;
    let name = name(&reference);
    Ok(match (reference.digest(), reference.tag()) {
        (Some(digest), _) => format!("{name}@{digest}"),
        (None, tag) => format!("{name}:{}", tag.unwrap_or("latest")),
    })
}

/// The name without tag and digest, in the short form.
pub fn name(reference: &Reference) -> String {
    let repository = reference.repository();
    match reference.registry() {
        "docker.io" | "index.docker.io" => {
            repository.strip_prefix("library/").unwrap_or(repository).to_owned()
        }
        registry => format!("{registry}/{repository}"),
    }
}

#[cfg(test)]
mod tests {
    use super::familiar;

    #[test]
    fn names_are_short_where_docker_shortens_them() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, expected) in [
            ("busybox", "busybox:latest"),
            ("docker.io/library/busybox:1", "busybox:1"),
            ("team/app", "team/app:latest"),
            ("localhost:5000/a/b:c", "localhost:5000/a/b:c"),
            ("corral/os-console:0.1.0", "corral/os-console:0.1.0"),
            (format!("app@{digest}").as_str(), format!("app@{digest}").as_str()),
        ] {
            assert_eq!(familiar(text).unwrap(), expected);
        }
        assert!(familiar("UPPER/Case").is_err() && familiar("").is_err());
    }
}
