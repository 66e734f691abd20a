//! Encryption of the state (LUKS2). cryptsetup does the work. This module decides where the key
//! comes from: the TPM, a file on a drive, a user at a console, in this order.

mod console;
mod key;
mod secret;

use anyhow::{Result, bail};
pub(crate) use console::prompt_here;
use corral_machine::{block, modules, program};
pub use key::KeyFile;
pub(crate) use secret::Secret;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const CRYPTSETUP: &str = "/usr/sbin/cryptsetup";
const ENROLL: &str = "/usr/bin/systemd-cryptenroll";
/// The TPM releases the key as long as the firmware's Secure Boot policy is the same (PCR 7).
/// Upgrades do not change it.
const TPM_POLICY: &str = "--tpm2-pcrs=7";
const MODULES: [&str; 3] = ["dm-crypt", "xts", "algif_skcipher"];
const TRIES: usize = 3;
/// How long a user may take to type a passphrase. Then the boot continues without it.
const TIMEOUT: Duration = Duration::from_secs(120);

/// How a container is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Method {
    Passphrase,
    Tpm2,
    KeyFile(KeyFile),
}

impl std::str::FromStr for Method {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Method> {
        match text.split_once('=') {
            None if text == "passphrase" => Ok(Method::Passphrase),
            None if text == "tpm2" => Ok(Method::Tpm2),
            Some(("key-file", file)) => Ok(Method::KeyFile(file.parse()?)),
            _ => bail!("{text:?} is not one of passphrase, tpm2, key-file=DRIVE:/PATH"),
        }
    }
}

/// An open container. It is closed when this is dropped, unless `Opened::leave` was called.
#[derive(Debug)]
pub struct Opened {
    /// The device with its content.
    pub(crate) device: PathBuf,
    leave: bool,
}

impl Opened {
    /// Leaves it open.
    pub fn leave(mut self) -> PathBuf {
        self.leave = true;
        self.device.clone()
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if !self.leave {
            let _ = run(program::of_system(CRYPTSETUP).arg("close").arg(&self.device));
        }
    }
}

/// Opens a container with any key that is available.
pub fn unlock(container: &Path, key_file: Option<&KeyFile>) -> Result<Opened> {
    load_modules();
    if has_tpm() && try_open(container, &["--token-only"], None)?.is_none() {
        println!("corral: the TPM opened {}", container.display());
        return opened(container);
    }
    if let Some(file) = key_file {
        match file.read().and_then(|key| try_open(container, &[], Some(&key))) {
            Ok(None) => return opened(container),
            Ok(Some(why)) => {
                println!("corral: {file} does not open {}: {why}", container.display())
            }
            Err(error) => println!("corral: {error:#}"),
        }
    }
    prompt_and_open(container)
}

/// All unattended methods failed.
fn prompt_and_open(container: &Path) -> Result<Opened> {
    let question = format!("Passphrase of {}: ", container.display());
    for _ in 0..TRIES {
        let Some(passphrase) = console::prompt(&question, Instant::now() + TIMEOUT)? else {
            bail!(
                "no passphrase for {} was entered within {} s",
                container.display(),
                TIMEOUT.as_secs()
            );
        };
        match try_open(container, &[], Some(&passphrase))? {
            None => return opened(container),
            Some(why) => console::log(&format!("corral: {why}"))?,
        }
    }
    bail!(
        "{TRIES} wrong passphrases for {}; restart, and enter its passphrase or its recovery key",
        container.display()
    )
}

/// Opens a container with a known key.
pub(crate) fn open(container: &Path, key: &Secret) -> Result<Opened> {
    match try_open(container, &[], Some(key))? {
        None => opened(container),
        Some(why) => bail!("opening {}: {why}", container.display()),
    }
}

/// Formats a container; all that is on the device is lost.
pub(crate) fn format(device: &Path, key: &Secret) -> Result<()> {
    load_modules();
    let mut cryptsetup = program::of_system(CRYPTSETUP);
    cryptsetup
        .args(["luksFormat", "--type", "luks2", "--batch-mode", "--key-file"])
        .arg(key.path());
    // A boot has to derive the key again, perhaps with less memory than this machine has now.
    cryptsetup.args(["--pbkdf-memory", &memory_for_keys().to_string()]).arg(device);
    run(&mut cryptsetup)?.map_or(Ok(()), |why| bail!("encrypting {}: {why}", device.display()))
}

/// Adds a key to the container.
pub(crate) fn add_key(container: &Path, old: &Secret, new: &Secret) -> Result<()> {
    let mut cryptsetup = program::of_system(CRYPTSETUP);
    cryptsetup.args([
        "luksAddKey",
        "--batch-mode",
        "--pbkdf-memory",
        &memory_for_keys().to_string(),
    ]);
    cryptsetup.arg("--key-file").arg(old.path()).arg(container).arg(new.path());
    run(&mut cryptsetup)?
        .map_or(Ok(()), |why| bail!("adding a key to {}: {why}", container.display()))
}

/// Enrolls the TPM of this machine as a key.
pub(crate) fn enroll_tpm(container: &Path, key: &Secret) -> Result<()> {
    let mut enroll = program::of_system(ENROLL);
    enroll.arg("--unlock-key-file").arg(key.path());
    enroll.args(["--tpm2-device=auto", TPM_POLICY]).arg(container);
    run(&mut enroll)?.map_or(Ok(()), |why| bail!("enrolling the TPM: {why}"))
}

/// True if there is a TPM 2.0.
pub(crate) fn has_tpm() -> bool {
    Path::new("/dev/tpmrm0").exists()
}

/// Asks for a new passphrase, twice.
pub(crate) fn prompt_new() -> Result<Secret> {
    let prompt = |question: &str| console::prompt_here(question);
    loop {
        let (first, second) = (prompt("New passphrase: ")?, prompt("Repeat passphrase: ")?);
        if first.bytes()? != second.bytes()? {
            println!("they do not match");
        } else if first.bytes()?.is_empty() {
            println!("an empty passphrase protects nothing");
        } else {
            return Ok(first);
        }
    }
}

/// None if it is open now, else the error.
fn try_open(container: &Path, options: &[&str], key: Option<&Secret>) -> Result<Option<String>> {
    let mut cryptsetup = program::of_system(CRYPTSETUP);
    cryptsetup.args(["open", "--type", "luks", "--batch-mode", "--tries", "1"]).args(options);
    if let Some(key) = key {
        cryptsetup.arg("--key-file").arg(key.path());
    }
    run(cryptsetup.arg(container).arg(name(container)?))
}

fn opened(container: &Path) -> Result<Opened> {
    Ok(Opened { device: Path::new("/dev/mapper").join(name(container)?), leave: false })
}

/// Name of the opened device below /dev/mapper.
fn name(container: &Path) -> Result<String> {
    match block::load_file_system(container)? {
        Some(system) if system.kind == block::LUKS => Ok(format!("luks-{}", system.uuid)),
        found => bail!(
            "{} is not encrypted: it holds {}",
            container.display(),
            found.map_or("nothing", |system| system.kind)
        ),
    }
}

fn load_modules() {
    if let Err(error) = modules::load(&MODULES) {
        println!("corral: {error:#}");
    }
}

/// KiB: a quarter of the memory, as cryptsetup takes at most half, and at most its own default.
fn memory_for_keys() -> u64 {
    const MOST: u64 = 1 << 20;
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let total = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    total.map_or(MOST, |total| (total / 4).min(MOST))
}

/// The error output of a tool, if it fails.
fn run(command: &mut Command) -> Result<Option<String>> {
    // Otherwise cryptsetup would wait for udev, which does not know the device mapper here.
    let ended = program::output(command.env("DM_DISABLE_UDEV", "1"), &[], None)?;
    Ok((!ended.status.success()).then(|| ended.complaint()))
}
