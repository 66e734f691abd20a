//! How an installation encrypts its state: all keys are ready before the first byte is written.

use crate::luks::{self, KeyFile, Method, Opened, Secret};
use anyhow::{Result, bail};
use std::path::Path;

/// Keys of the new state. The first one formats the container, the others are added.
#[derive(Debug)]
pub(super) struct Encryption {
    keys: Vec<Secret>,
    key_file: Option<KeyFile>,
    tpm: bool,
    /// Shown once, if only the TPM could open the state otherwise.
    recovery: Option<String>,
}

impl Encryption {
    /// Collects the keys. None if nothing is to be encrypted.
    pub(super) fn plan(methods: &[Method]) -> Result<Option<Encryption>> {
        if methods.is_empty() {
            return Ok(None);
        }
        let mut plan = Encryption { keys: Vec::new(), key_file: None, tpm: false, recovery: None };
        for method in methods {
            match method {
                Method::Passphrase => plan.keys.push(luks::prompt_new()?),
                Method::KeyFile(file) => {
                    plan.keys.push(file.read()?);
                    plan.key_file = Some(file.clone());
                }
                Method::Tpm2 if luks::has_tpm() => plan.tpm = true,
                Method::Tpm2 => bail!(
                    "--encrypt tpm2: this machine has no TPM 2.0; use passphrase or \
                     key-file=DRIVE:/PATH"
                ),
            }
        }
        if plan.keys.is_empty() {
            let (key, text) = Secret::recovery()?;
            plan.keys.push(key);
            plan.recovery = Some(text);
        }
        Ok(Some(plan))
    }

    /// Formats the container, and opens it.
    pub(super) fn apply(&self, device: &Path) -> Result<Opened> {
        println!("encrypting {}", device.display());
        let [first, others @ ..] = self.keys.as_slice() else { bail!("no key to encrypt with") };
        luks::format(device, first)?;
        others.iter().try_for_each(|key| luks::add_key(device, first, key))?;
        if self.tpm {
            luks::enroll_tpm(device, first)?;
        }
        luks::open(device, first)
    }

    /// Kernel parameters, besides the one that names the container.
    pub(super) fn parameters(&self) -> String {
        let file = self.key_file.as_ref();
        file.map(|file| format!(" rancher.state.encryption.key_file={file}")).unwrap_or_default()
    }

    /// In words, for the owner to confirm.
    pub(super) fn describe(&self) -> String {
        let file = self.key_file.as_ref().map(|file| format!("the key file {file}"));
        let typed = self.keys.len()
            - usize::from(self.key_file.is_some())
            - usize::from(self.recovery.is_some());
        let ways = [
            self.tpm.then(|| "the TPM of this machine".to_owned()),
            file,
            (typed > 0).then(|| "a passphrase".to_owned()),
            self.recovery.is_some().then(|| "a recovery key, shown at the end".to_owned()),
        ];
        format!("LUKS2, opened by {}", ways.into_iter().flatten().collect::<Vec<_>>().join(", or "))
    }

    /// Prints, after the installation, the key that cannot be shown again.
    pub(super) fn print_recovery_key(&self) {
        if let Some(key) = &self.recovery {
            println!("Recovery key of the encrypted state, shown this once. Keep it: {key}");
        }
    }
}
