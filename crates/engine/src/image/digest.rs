//! Digests, as images, blobs and layers are named by them: `sha256:` and 64 hexadecimal digits.

use sha2::{Digest, Sha256};
use std::io::{self, Read};

/// `sha256:` and the hexadecimal digest of bytes.
pub fn digest(bytes: &[u8]) -> String {
    digest_text(Sha256::new_with_prefix(bytes))
}

/// The digest of all that can be read.
pub fn digest_of(mut reader: impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut reader, &mut hasher)?;
    Ok(digest_text(hasher))
}

/// The digest that a hasher came to.
pub fn digest_text(hasher: Sha256) -> String {
    format!("sha256:{}", hex::encode(hasher.finalize()))
}

/// The digits of a digest; of anything else, what cannot be a path.
pub fn hex(digest: &str) -> &str {
    if is_digest(digest) {
        digest.strip_prefix("sha256:").unwrap_or(digest)
    } else {
        "not-a-digest"
    }
}

/// Is it one that can be checked? It may be without its `sha256:`.
pub fn is_digest(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Its first twelve digits, for people.
pub fn short(digest: &str) -> &str {
    hex(digest).get(..12).unwrap_or(digest)
}
