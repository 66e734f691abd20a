//! What registries report about images: indexes, manifests, configurations. What they name stays in
//! its folder of the store.

use corral_daemon::image::manifest::{parse_diff_ids, parse_manifest, parse_named};
use corral_engine::image::digest::is_digest;
use corral_engine::image::layout;
use corral_engine::image::metadata::Config;
use oci_client::manifest::{OciDescriptor, OciImageManifest};
use serde_json::Value;

pub(crate) fn check(bytes: &[u8]) {
    let _ = parse_named(bytes, "linux/amd64");
    if let Ok(manifest) = parse_manifest(bytes) {
        let written = serde_json::to_vec(&manifest).unwrap();
        let again = parse_manifest(&written).expect("a manifest that was written is read");
        assert_eq!(serde_json::to_vec(&again).unwrap(), written);
        for descriptor in manifest.layers.iter().chain([&manifest.config]) {
            let blob = layout::blob(&descriptor.digest);
            assert_eq!(
                blob.parent(),
                Some(layout::folder().join("blobs/sha256").as_path()),
                "{blob:?}"
            );
        }
    }
    for layers in 0..4 {
        let layers = vec![OciDescriptor::default(); layers];
        let manifest = OciImageManifest { layers, ..OciImageManifest::default() };
        for id in parse_diff_ids(bytes, &manifest).unwrap_or_default() {
            assert!(is_digest(&id), "{id}");
            let folder = layout::layer(&id);
            assert_eq!(
                folder.parent(),
                Some(layout::folder().join("layers").as_path()),
                "{folder:?}"
            );
        }
    }
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
    if let Ok(config) = serde_json::from_value::<Config>(value["config"].clone()) {
        let written = serde_json::to_vec(&config).unwrap();
        let again: Config =
            serde_json::from_slice(&written).expect("a configuration that was written is read");
        let kept = |config: &Config| {
            serde_json::to_value(Config { healthcheck: None, ..config.clone() }).unwrap()
        };
        assert_eq!(kept(&again), kept(&config));
    }
}
