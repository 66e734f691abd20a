//! What a data source hands over: it is taken apart; every document becomes a layer that resolves;
//! and what is exported of it is read again as the same.

use corral_config::ssh_key::SshKey;
use corral_config::user_data::{self, Part};
use corral_config::{Layer, Source, export, resolve};

pub(crate) fn check(bytes: &[u8]) {
    let (parts, _) = user_data::split(bytes);
    for part in &parts {
        if let Part::CloudConfig(text) = part {
            check_document(text);
        }
    }
    check_document(bytes);
}

fn check_document(bytes: &[u8]) {
    let source = || Source::File("fuzz".to_owned());
    let layer = Layer::parse_bytes(source(), bytes);
    layer.problems.iter().for_each(|problem| drop(problem.to_string()));
    let config = resolve(&[corral_config::defaults(), layer.clone()]);
    let _ = config.rancher.docker.arguments();
    config.ssh_authorized_keys.iter().for_each(|key| drop(SshKey::parse(key)));
    config.write_files.iter().for_each(|file| drop(file.bytes()));
    if let Ok(text) = export::to_yaml(&layer.value, true) {
        let again = Layer::parse(source(), &text);
        assert_eq!(again.value, layer.value, "an export that is read again is another:\n{text}");
    }
}
