//! SHA-256 of files and bytes. By it and by its size a file is recognised that an earlier run has
//! made.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::path::Path;

/// Size and digest of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sum {
    pub(crate) bytes: u64,
    /// SHA-256 in hexadecimal.
    pub(crate) sha256: String,
}

impl Sum {
    pub(crate) fn of(path: &Path) -> Result<Sum> {
        let bytes =
            fs::metadata(path).with_context(|| format!("reading {}", path.display()))?.len();
        Ok(Sum { bytes, sha256: digest(path)? })
    }

    /// Is it that of this file? A file of another size is not read.
    pub(crate) fn is_of(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|data| data.len() == self.bytes)
            && digest(path).is_ok_and(|digest| digest == self.sha256)
    }
}

/// SHA-256 of a file, in hexadecimal.
pub(crate) fn digest(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut hash).with_context(|| format!("reading {}", path.display()))?;
    Ok(hex::encode(hash.finalize()))
}

/// SHA-256 of bytes, in hexadecimal.
pub(crate) fn digest_of_bytes(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::Sum;
    use std::fs;

    #[test]
    fn a_file_of_the_same_size_with_other_bytes_is_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        assert!(Sum::of(&file).is_err());
        fs::write(&file, "one").unwrap();
        let sum = Sum::of(&file).unwrap();
        assert!(sum.is_of(&file));
        fs::write(&file, "two").unwrap();
        assert!(!sum.is_of(&file));
        fs::remove_file(&file).unwrap();
        assert!(!sum.is_of(&file));
    }
}
