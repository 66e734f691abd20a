//! Fuzz targets for parsers of untrusted input. A target is a function of bytes that panics if an
//! invariant of the parser does not hold. `cargo xtask fuzz` runs the targets under libFuzzer
//! (`libfuzzer/`, which is built with other flags). The test below feeds every seed to every
//! target.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a target fails by a panic"
)]

mod api_create;
mod api_query;
mod api_stream;
mod checksums;
mod cloud_config;
mod command_line;
mod compose;
mod dns;
mod fence;
mod image_archive;
mod image_manifest;
mod instance_data;
mod layer;
mod metadata;
mod ovf;
mod protocol;
mod release;
mod superblock;

/// The name of a target, which is that of its folder in `seeds`, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 15] = [
    ("api_create", api_create::check),
    ("api_query", api_query::check),
    ("api_stream", api_stream::check),
    ("cloud_config", cloud_config::check),
    ("command_line", command_line::check),
    ("compose", compose::check),
    ("dns", dns::check),
    ("image_archive", image_archive::check),
    ("image_manifest", image_manifest::check),
    ("layer", layer::check),
    ("metadata", metadata::check),
    ("ovf", ovf::check),
    ("protocol", protocol::check),
    ("release", release::check),
    ("superblock", superblock::check),
];

/// The target of a name.
pub fn find(name: &str) -> Option<fn(&[u8])> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, check)| *check)
}

#[cfg(test)]
mod tests {
    use super::TARGETS;
    use std::fs;
    use std::path::{Path, PathBuf};

    fn items(folder: &Path) -> Vec<PathBuf> {
        let mut items: Vec<PathBuf> =
            fs::read_dir(folder).unwrap().map(|item| item.unwrap().path()).collect();
        items.sort();
        items
    }

    #[test]
    fn every_seed_passes_every_target() {
        let folders = items(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/seeds")));
        let names: Vec<&str> =
            folders.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, TARGETS.map(|(name, _)| name), "each target has a folder of seeds");
        for seed in folders.iter().flat_map(|folder| items(folder)) {
            let bytes = fs::read(&seed).unwrap();
            for (name, check) in TARGETS {
                let result = std::panic::catch_unwind(|| check(&bytes));
                assert!(result.is_ok(), "{name} fails with {}", seed.display());
            }
        }
    }
}
