//! Disk images as `cargo xtask release` publishes them: made for machines of which nothing is known
//! yet. Each becomes a machine of its own where it is started. `cargo xtask test --release-folder`
//! boots the disk of a release.

use anyhow::{Context, Result, ensure};
use std::ffi::OsString;
use std::process::Command;
use vmtest::platform::MEBIBYTES as PUBLISHED;
use vmtest::release::{File, Format};
use vmtest::report::is_left_out;
use vmtest::{Machine, Medium, Options, drive, folder, shell};

/// MiB of the disk that its owner makes of the one that is published.
const ENLARGED: u64 = 6144;

#[test]
fn a_published_disk_starts_by_uefi_grows_and_lets_its_owner_in() -> Result<()> {
    if is_left_out("disk_images") {
        return Ok(());
    }
    let folder = folder("published")?;
    let raw = folder.join("raw.img");
    File::find("", Format::Raw)?.make_disk(&raw)?;
    let qcow2 = folder.join("disk.qcow2");
    qemu_img(&["convert", "-f", "raw", "-O", "qcow2"], [raw.as_os_str(), qcow2.as_os_str()])?;
    let size = OsString::from(format!("{ENLARGED}M"));
    qemu_img(&["resize", "-q", "-f", "qcow2"], [qcow2.as_os_str(), &size])?;

    let key = shell::make_key(&folder)?;
    let user_data = format!("#cloud-config\nssh_authorized_keys: [{key}]\n");
    let config_drive = Some(drive::make(&folder, drive::Kind::NoCloud, user_data.as_bytes())?);
    let file = format!("if=virtio,format=qcow2,cache=unsafe,file={}", qcow2.display());
    let extra = vec![OsString::from("-drive"), OsString::from(file)];
    let options =
        Options { medium: Medium::Disk, uefi: true, config_drive, extra, ..Options::default() };
    let mut machine = Machine::start(&folder, options)?;
    machine.expect_login()?;
    assert_eq!(machine.run("hostname")?, "from-metadata");
    let mebibytes = "df -m /home | awk 'END {print $2}'";
    machine.expect(&format!("[ $({mebibytes}) -gt {} ]", PUBLISHED + 2000))?;
    // The only key is its owner's.
    assert_eq!(machine.run("cat /run/corral/ssh/authorized_keys.d/rancher | wc -l")?, "1");
    machine.power_off()
}

fn qemu_img(arguments: &[&str], files: [&std::ffi::OsStr; 2]) -> Result<()> {
    let mut command = Command::new("qemu-img");
    let output = command.args(arguments).args(files).output().context("starting qemu-img")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
