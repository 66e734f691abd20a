//! An encrypted state: created by the installer, unlocked by the TPM, by a key file on a USB stick,
//! or by a passphrase typed on the console.

use super::install::{SERIAL, write_config};
use anyhow::Result;
use std::fs::File;
use std::path::{Path, PathBuf};
use vmtest::folder;
use vmtest::report::is_left_out;
use vmtest::tpm::Tpm;
use vmtest::{Machine, Medium, Options, drive, shell};

const PASSPHRASE: &str = "open sesame";

#[test]
fn an_encrypted_state_is_opened_by_tpm_key_file_and_passphrase() -> Result<()> {
    if is_left_out("encryption") {
        return Ok(());
    }
    let folder = folder("encrypted")?;
    let (disk, keys) = (folder.join("disk.img"), folder.join("keys.img"));
    drive::blank(&disk, 4096)?;
    drive::make_ext4(&keys, "KEYS", ("state.key", "a long random secret"))?;
    install(&folder, vec![disk.clone(), keys.clone()])?;

    let tpm = Tpm::start(&folder)?;
    let mut machine = start(&folder, vec![disk.clone()], tpm.arguments())?;
    machine.expect_console("the TPM opened")?;
    check(&mut machine, "touch /home/rancher/data && sync")?;
    drop(tpm);

    File::options().write(true).open(&disk)?.set_len(8 << 30)?;
    let mut machine = start(&folder, vec![disk.clone(), keys], Vec::new())?;
    machine.expect_login()?;
    machine.expect("[ $(df -m /home | awk 'END {print $2}') -gt 6000 ]")?;
    check(&mut machine, "[ -e /home/rancher/data ]")?;
    assert!(!machine.console().contains("Passphrase of"));

    let mut machine = start(&folder, vec![disk], Vec::new())?;
    machine.expect_console("Passphrase of")?;
    machine.type_line("wrong")?;
    machine.expect_console("No key available with this passphrase")?;
    machine.type_line(PASSPHRASE)?;
    check(&mut machine, "[ -e /home/rancher/data ]")?;
    assert!(!machine.console().contains(PASSPHRASE), "what is typed is not shown");
    Ok(())
}

fn install(folder: &Path, disks: Vec<PathBuf>) -> Result<()> {
    let tpm = Tpm::start(folder)?;
    let options =
        Options { medium: Medium::Iso, disks, extra: tpm.arguments(), ..Options::default() };
    let mut machine = super::with_config(folder, "", options)?;
    machine.expect_login()?;
    machine.run(&write_config(&shell::make_key(folder)?))?;
    let said =
        machine.run("! sudo ros install -d /dev/vda --encrypt key-file=LABEL=NONE:/key -f 2>&1")?;
    assert!(said.contains("the drive does not exist"), "{said}");
    let said = machine.login.answer(
        &format!(
            "sudo ros install -d /dev/vda --encrypt passphrase,tpm2,key-file=LABEL=KEYS:/state.key \
             -c /tmp/my.yml -a {SERIAL} --no-reboot -f"
        ),
        &[("New passphrase: ", PASSPHRASE), ("Repeat passphrase: ", PASSPHRASE)],
    )?;
    assert!(
        said.contains("opened by the TPM of this machine, or the key file LABEL=KEYS:/state.key"),
        "{said}"
    );
    // No part of it is readable, and no part of it is unlocked any more.
    machine.run(
        "[ \"$(sudo blkid -s TYPE -o value /dev/vda1)\" = crypto_LUKS ] && ! ls /dev/mapper/luks-*",
    )?;
    machine.power_off()
}

fn start(folder: &Path, disks: Vec<PathBuf>, extra: Vec<std::ffi::OsString>) -> Result<Machine> {
    Machine::start(folder, Options { medium: Medium::Disk, disks, extra, ..Options::default() })
}

/// The machine has what was installed, on the encrypted disk.
fn check(machine: &mut Machine, script: &str) -> Result<()> {
    machine.expect_login()?;
    assert_eq!(machine.run("hostname")?, "installed");
    assert!(machine.run("grep ' /home ' /proc/1/mountinfo")?.contains("/dev/dm-"));
    machine.run(script)?;
    machine.power_off()
}
