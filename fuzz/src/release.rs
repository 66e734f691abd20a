//! Manifests of releases, indexes of them, and signatures. A version is the name of a folder, and
//! without a key of ours no signature is good.

use corral_install::manifest::{Release, check_signature, parse_index, parse_signature};
use std::path::Path;

pub(crate) fn check(bytes: &[u8]) {
    if let Ok(release) = Release::parse(bytes.to_vec(), String::new()) {
        let folder = Path::new("/boot").join(&release.version);
        assert_eq!(folder.parent(), Some(Path::new("/boot")), "{}", release.version);
        assert!(release.version.len() <= 40 && !release.version.contains(char::is_whitespace));
        assert_eq!(release.files.len(), 3);
        for part in release.parts() {
            assert!(part.digest.len() == 71 && part.size <= release.size(), "{part:?}");
        }
        assert_eq!(Release::parse(bytes.to_vec(), String::new()).unwrap(), release);
        assert!(release.contents.size <= 16 << 20);
    }
    let _ = parse_index(bytes);
    let signature = parse_signature(bytes).or_else(|| String::from_utf8(bytes.to_vec()).ok());
    let Some(signature) = signature else { return };
    if let Ok(bytes) = hex::decode(&signature) {
        let written: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(written, signature.to_ascii_lowercase());
    }
    // The first public key of RFC 8032's tests.
    let key =
        hex::decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a").unwrap();
    assert!(check_signature(b"what was never signed", &signature, &[key]).is_err());
}
