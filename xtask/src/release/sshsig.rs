//! Signatures that `ssh-keygen -Y verify` checks (PROTOCOL.sshsig of OpenSSH), and the line by
//! which it knows who signed.

use crate::signed_release::Key;
use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha512};

const MAGIC: &[u8] = b"SSHSIG";
const VERSION: u32 = 1;
const ALGORITHM: &[u8] = b"ssh-ed25519";
const HASH: &[u8] = b"sha512";
/// What is signed: files. It is the namespace that ssh-keygen's manual recommends for them.
pub(super) const NAMESPACE: &str = "file";
/// Who signs releases.
pub(super) const IDENTITY: &str = "corral-release";
/// Columns of a line in the armour.
const COLUMNS: usize = 70;

/// The signature of a file, armoured.
pub(super) fn sign(key: &Key, content: &[u8]) -> Result<String> {
    let signature = key.sign_bytes(&signed_part(content));
    let blob = [
        MAGIC,
        &VERSION.to_be_bytes(),
        &string(&public_key(key)),
        &string(NAMESPACE.as_bytes()),
        &string(b""),
        &string(HASH),
        &string(&[string(ALGORITHM), string(&signature)].concat()),
    ]
    .concat();
    let text = STANDARD.encode(blob);
    let lines: Vec<&str> =
        text.as_bytes().chunks(COLUMNS).map(std::str::from_utf8).collect::<Result<_, _>>()?;
    Ok(format!(
        "-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n",
        lines.join("\n")
    ))
}

/// The line of `keys/allowed_signers` for a key.
pub(super) fn allowed_signer(key: &Key) -> String {
    let blob = STANDARD.encode(public_key(key));
    format!("{IDENTITY} namespaces=\"{NAMESPACE}\" ssh-ed25519 {blob}")
}

/// What the signature is of: the digest of the content, and what it is for.
fn signed_part(content: &[u8]) -> Vec<u8> {
    let digest = Sha512::digest(content);
    [MAGIC, &string(NAMESPACE.as_bytes()), &string(b""), &string(HASH), &string(&digest)].concat()
}

fn public_key(key: &Key) -> Vec<u8> {
    [string(ALGORITHM), string(key.public_bytes())].concat()
}

/// A string of the SSH protocol: its length, and its bytes.
fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::path::Path;
    use std::process::{Command, Stdio};

    fn verify(folder: &Path) -> bool {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-Y", "verify", "-n", NAMESPACE, "-I", IDENTITY]);
        keygen.arg("-f").arg(folder.join("signers")).arg("-s").arg(folder.join("signature"));
        keygen.stdin(File::open(folder.join("content")).unwrap()).stdout(Stdio::null());
        keygen.stderr(Stdio::null()).status().unwrap().success()
    }

    #[test]
    fn ssh_keygen_accepts_the_signature_and_no_other_content_and_no_other_key() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let (key, stranger) = (Key::stranger().unwrap(), Key::stranger().unwrap());
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        write("content", "digests\n");
        write("signature", &sign(&key, b"digests\n").unwrap());
        write("signers", &format!("# a comment\n{}\n", allowed_signer(&key)));
        assert!(verify(folder));
        write("content", "other digests\n");
        assert!(!verify(folder));
        write("content", "digests\n");
        write("signers", &allowed_signer(&stranger));
        assert!(!verify(folder));
    }
}
