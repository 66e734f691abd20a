//! Config drives and disks for machines.

use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How a config drive is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// ISO9660, label `config-2`, OpenStack's layout.
    ConfigDriveIso,
    /// vfat, label `config-2`, OpenStack's layout.
    ConfigDriveVfat,
    /// ISO9660, label `cidata`, NoCloud's layout.
    NoCloud,
    /// ISO9660, label `OVF ENV`: the user data is the OVF environment.
    OvfTransport,
}

/// Makes a drive with this user data in `folder`.
pub fn make(folder: &Path, kind: Kind, user_data: &[u8]) -> Result<PathBuf> {
    let content = folder.join("drive");
    let _ = fs::remove_dir_all(&content);
    let (label, file) = match kind {
        Kind::NoCloud => ("cidata", "user-data"),
        Kind::OvfTransport => ("OVF ENV", "ovf-env.xml"),
        _ => ("config-2", "openstack/latest/user_data"),
    };
    let target = content.join(file);
    fs::create_dir_all(target.parent().context("no parent")?)?;
    fs::write(&target, user_data)?;
    if kind == Kind::NoCloud {
        fs::write(content.join("meta-data"), "instance-id: one\nlocal-hostname: from-metadata\n")?;
    }
    let drive = folder.join("config.img");
    let _ = fs::remove_file(&drive);
    match kind {
        Kind::ConfigDriveVfat => {
            write_vfat(label, &content.join("openstack"), &drive)?;
        }
        _ => {
            write_iso(label, &content, &drive)?;
        }
    }
    Ok(drive)
}

fn write_vfat(label: &str, content: &Path, drive: &Path) -> Result<()> {
    blank(drive, 16)?;
    run(Command::new("/sbin/mkfs.vfat").args(["-n", label]).arg(drive))?;
    run(Command::new("mcopy").arg("-s").arg("-i").arg(drive).arg(content).arg("::"))
}

fn write_iso(label: &str, content: &Path, drive: &Path) -> Result<PathBuf> {
    let _ = fs::remove_file(drive);
    run(Command::new("xorriso")
        .args(["-as", "mkisofs", "-quiet", "-J", "-R", "-V", label, "-o"])
        .arg(drive)
        .arg(content))?;
    Ok(drive.to_path_buf())
}

/// `network_data.json` of a machine whose network has no DHCP server: the addresses are those that
/// the networks of stories give.
pub const STATIC_NETWORK: &str = r#"{
  "links": [{"id": "interface0", "type": "phy", "ethernet_mac_address": "52:54:00:12:34:56"}],
  "networks": [{"id": "network0", "type": "ipv4", "link": "interface0",
    "ip_address": "10.0.2.15", "netmask": "255.255.255.0",
    "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.2.2"}]}],
  "services": [{"type": "dns", "address": "10.0.2.3"}]
}"#;

/// `meta_data.json` with a name and a key.
pub fn openstack_metadata(hostname: &str, key: &str) -> String {
    let uuid = "d8e02d56-2648-49a3-bf97-6be8f1204f38";
    format!(
        r#"{{"uuid": "{uuid}", "hostname": "{hostname}", "name": "{hostname}",
            "public_keys": {{"me": "{key}"}}}}"#
    )
}

/// Makes a config drive (vfat) of these files of `openstack/latest`.
pub fn make_of_openstack(folder: &Path, files: &[(&str, &str)]) -> Result<PathBuf> {
    let latest = folder.join("drive/openstack/latest");
    make(folder, Kind::ConfigDriveVfat, b"")?;
    for (name, text) in files {
        fs::write(latest.join(name), text).with_context(|| format!("writing {name}"))?;
    }
    let drive = folder.join("config.img");
    write_vfat("config-2", &folder.join("drive/openstack"), &drive)?;
    Ok(drive)
}

/// Makes Azure's provisioning CD.
pub fn make_azure_cd(folder: &Path, environment: &str) -> Result<PathBuf> {
    let content = folder.join("cd");
    fs::create_dir_all(&content)?;
    fs::write(content.join("ovf-env.xml"), environment)?;
    write_iso("CDROM", &content, &folder.join("cd.iso"))
}

/// Makes a config drive with `meta_data.json` beside the user data.
pub fn make_with_metadata(folder: &Path, user_data: &[u8], metadata: &str) -> Result<PathBuf> {
    let latest = folder.join("drive/openstack/latest");
    make(folder, Kind::ConfigDriveIso, user_data)?;
    fs::write(latest.join("meta_data.json"), metadata)?;
    write_iso("config-2", &folder.join("drive"), &folder.join("config.img"))
}

/// Makes a NoCloud drive with vendor data beside the user data.
pub fn make_with_vendor_data(
    folder: &Path,
    user_data: &[u8],
    vendor_data: &str,
) -> Result<PathBuf> {
    make(folder, Kind::NoCloud, user_data)?;
    fs::write(folder.join("drive/vendor-data"), vendor_data)?;
    write_iso("cidata", &folder.join("drive"), &folder.join("config.img"))
}

/// Makes a NoCloud drive of these files.
pub fn make_of_nocloud(folder: &Path, files: &[(&str, &str)]) -> Result<PathBuf> {
    let content = folder.join("drive");
    let _ = fs::remove_dir_all(&content);
    fs::create_dir_all(&content)?;
    for (name, text) in files {
        fs::write(content.join(name), text).with_context(|| format!("writing {name}"))?;
    }
    write_iso("cidata", &content, &folder.join("config.img"))
}

/// An OVF environment: the properties of an appliance of a release, as a hypervisor passes them. In
/// the user data is no character that XML reserves.
pub fn ovf_environment(hostname: &str, user_data: &str) -> String {
    let user_data = user_data.replace('\n', "&#10;");
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1"
 xmlns:oe="http://schemas.dmtf.org/ovf/environment/1">
<PropertySection><Property oe:key="guestinfo.hostname" oe:value="{hostname}"/>
<Property oe:key="guestinfo.cloud-init.config.data" oe:value="{user_data}"/>
<Property oe:key="guestinfo.cloud-init.config.url" oe:value=""/></PropertySection></Environment>"#
    )
}

/// Makes an ext4 disk of 64 MiB with a label and one file in it.
pub fn make_ext4(path: &Path, label: &str, file: (&str, &str)) -> Result<()> {
    let content = path.with_extension("content");
    fs::create_dir_all(&content)?;
    fs::write(content.join(file.0), file.1)?;
    blank(path, 64)?;
    run(Command::new("/sbin/mkfs.ext4").args(["-q", "-L", label, "-d"]).arg(&content).arg(path))
}

/// Makes a disk of so many MiB with one ext4 partition, which begins at 1 MiB and ends before the
/// end of the disk.
pub fn make_partitioned(path: &Path, disk: u64, partition: u64, label: &str) -> Result<()> {
    blank(path, disk)?;
    run(Command::new("/sbin/mkfs.ext4")
        .args(["-q", "-F", "-L", label, "-E", "offset=1048576"])
        .arg(path)
        .arg(format!("{}k", partition << 10)))?;
    write_first_partition(path, partition, 0)
}

/// The MBR of a disk with one partition of so many MiB, which begins at 1 MiB.
fn write_first_partition(path: &Path, partition: u64, active: u8) -> Result<()> {
    // The first entry: Linux, from sector 2048 on; the signature.
    let mut entry = vec![active, 0, 0, 0, 0x83, 0, 0, 0];
    entry.extend(2048_u32.to_le_bytes());
    entry.extend(u32::try_from(partition << 11)?.to_le_bytes());
    let file = File::options().write(true).open(path)?;
    file.write_all_at(&entry, 446)?;
    file.write_all_at(&[0x55, 0xaa], 510)?;
    Ok(())
}

/// Makes a disk of so many MiB as RancherOS and BurmillaOS install it: an MBR, and one partition
/// from 1 MiB to the end, with these files in its file system.
pub fn make_rancheros(path: &Path, mebibytes: u64, content: &Path) -> Result<()> {
    blank(path, mebibytes)?;
    let partition = mebibytes - 1;
    // As `formatdevice` of their `ros install`.
    let mkfs = ["-q", "-F", "-i", "4096", "-O", "^64bit", "-L", "RANCHER_STATE"];
    run(Command::new("/sbin/mkfs.ext4")
        .args(mkfs)
        .args(["-E", "offset=1048576,root_owner=0:0", "-d"])
        .arg(content)
        .arg(path)
        .arg(format!("{}k", partition << 10)))?;
    write_first_partition(path, partition, 0x80)
}

/// Makes a disk that requests formatting as Docker Machine's disks do: a tar archive with an ssh
/// key at its start.
pub fn make_boot2docker(path: &Path, mebibytes: u64, key: &str) -> Result<()> {
    let content = path.with_extension("content");
    fs::create_dir_all(content.join(".ssh"))?;
    fs::write(content.join("boot2docker, please format-me"), "boot2docker, please format-me")?;
    fs::write(content.join(".ssh/authorized_keys"), format!("{key}\n"))?;
    let archive = path.with_extension("tar");
    run(Command::new("tar")
        .args(["--format=ustar", "-C"])
        .arg(&content)
        .arg("-cf")
        .arg(&archive)
        .args(["boot2docker, please format-me", ".ssh"]))?;
    blank(path, mebibytes)?;
    File::options().write(true).open(path)?.write_all_at(&fs::read(archive)?, 0)?;
    Ok(())
}

/// Makes an empty disk of so many MiB; it takes no space.
pub fn blank(path: &Path, mebibytes: u64) -> Result<()> {
    File::create(path)?
        .set_len(mebibytes << 20)
        .with_context(|| format!("making {}", path.display()))
}

/// Copies a disk; what is empty in it takes no space. The copy is there once it is complete.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let fresh = to.with_extension("new");
    run(Command::new("cp").arg("--sparse=always").arg(from).arg(&fresh))?;
    fs::rename(&fresh, to).with_context(|| format!("renaming {}", fresh.display()))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
