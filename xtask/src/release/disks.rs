//! Disks with the system on them, in the formats of the platforms. `ros install` writes them in a
//! machine (`vmtest::installer`), qemu-img converts them.

use super::artifact::key;
use super::identity::Identity;
use super::ovf::{Host, Package};
use super::settle::{self, Settings};
use super::{formats, ova};
use super::{gce, gzip, vagrant, vhd};
use crate::image::VERSION;
use crate::sum::Sum;
use crate::{durable, paths, progress, sh};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use vmtest::installer;
use vmtest::platform::{DISKS, Disk as DiskOfRelease, MEBIBYTES};
use vmtest::release::{DISK_IN_OVA, File, Format};

const BYTES: u64 = MEBIBYTES << 20;

/// The raw disk of this name.
pub(super) fn raw(name: &str) -> PathBuf {
    let name = if name.is_empty() { "any" } else { name };
    paths::cache("publish").join("disks").join(format!("{name}.raw"))
}

/// The disks of an earlier run.
#[derive(Debug, Serialize, Deserialize)]
struct Installed {
    /// What they were made of, as a hash.
    inputs: String,
    /// In the order of `DISKS`.
    sums: Vec<Sum>,
}

impl Installed {
    fn is_there(&self) -> bool {
        let mut all = self.sums.iter().zip(DISKS);
        self.sums.len() == DISKS.len() && all.all(|(sum, disk)| sum.is_of(&raw(disk.name)))
    }
}

/// Installs all disks from a release in one file, unless that was done. Returns what they were made
/// of, as a hash. `stamp` is the image's.
pub(super) fn install(archive: &Path, stamp: &str, settings: Settings<'_>) -> Result<String> {
    let how = format!("{} {} {DISKS:?} {MEBIBYTES}", settle::FORMAT, settings.epoch);
    let inputs = key(&[stamp, &how, &vagrant::document()]);
    let folder = paths::cache("publish").join("disks");
    let record = folder.join("installed.json");
    let is_same = |old: &Installed| old.inputs == inputs && old.is_there();
    if durable::load_record(&record).is_some_and(|old| is_same(&old)) {
        return Ok(inputs);
    }
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let _ = fs::remove_file(&record);
    let disks =
        DISKS.map(|disk| disk.to_install(raw(disk.name), disk.vagrant.then(vagrant::document)));
    progress::step("installing to disks", || {
        installer::install(&vmtest::folder("release")?, archive, &disks)
    })?;
    for (disk, DiskOfRelease { name, .. }) in disks.iter().zip(DISKS) {
        let identity = Identity::new(&format!("disk {name}"), VERSION, settings.epoch);
        progress::step(&format!("settling {}", disk.path.display()), || {
            settle::disk(&disk.path, &identity, settings)
        })
        .with_context(|| format!("settling {}", disk.path.display()))?;
        let mut dig = Command::new("fallocate");
        sh::output(dig.arg("--dig-holes").arg(&disk.path)).context("giving back empty blocks")?;
        durable::sync(&disk.path)?;
    }
    let sums = disks.iter().map(|disk| Sum::of(&disk.path)).collect::<Result<_>>()?;
    let installed = Installed { inputs: inputs.clone(), sums };
    durable::write(&record, &serde_json::to_vec_pretty(&installed)?)?;
    Ok(inputs)
}

/// Writes a file of the release. `part` is the disk of a package that was written before.
pub(super) fn write(file: File, part: Option<&Path>, output: &Path, epoch: u64) -> Result<()> {
    let disk = raw(file.disk);
    match (file.format, part) {
        (Format::Raw, _) => {
            let mut copy = Command::new("cp");
            copy.args(["--reflink=auto", "--sparse=always"]);
            sh::output(copy.arg(&disk).arg(output)).map(drop)
        }
        (Format::RawGz, _) => gzip::write(&disk, output),
        (Format::Gce, _) => gce::write(&disk, output, epoch),
        (Format::VagrantLibvirt, _) => {
            let qcow2 = output.with_extension("qcow2");
            convert(file, Format::Qcow2, (&disk, &qcow2), epoch)?;
            vagrant::libvirt(&qcow2, BYTES, output, epoch)?;
            fs::remove_file(qcow2).context("removing the disk of the box")
        }
        (Format::VagrantVirtualbox, Some(part)) => vagrant::virtualbox(part, BYTES, output, epoch),
        (Format::OvaVmware, Some(part)) => package(Host::Vmware, part, output, epoch),
        (Format::OvaVirtualbox, Some(part)) => package(Host::Virtualbox, part, output, epoch),
        (format, _) => convert(file, format, (&disk, output), epoch),
    }
}

fn package(host: Host, disk: &Path, output: &Path, epoch: u64) -> Result<()> {
    let bytes = fs::metadata(disk).with_context(|| format!("reading {}", disk.display()))?.len();
    let package = Package {
        host,
        name: "corral",
        version: VERSION,
        disk: (DISK_IN_OVA, bytes),
        capacity: BYTES,
    };
    ova::write(&package, disk, output, epoch)
}

/// Writes a disk in another format, for a file of the release, and compares both.
fn convert(file: File, format: Format, paths: (&Path, &Path), epoch: u64) -> Result<()> {
    let (disk, output) = paths;
    let (name, options, packed) = match format {
        Format::Qcow2 => ("qcow2", "cluster_size=65536", true),
        Format::Vmdk => ("vmdk", "adapter_type=lsilogic,subformat=streamOptimized,compat6", false),
        Format::Vhd => ("vpc", "subformat=fixed,force_size=on", false),
        Format::Vhdx => ("vhdx", "subformat=dynamic,block_size=1048576", false),
        other => anyhow::bail!("{other:?} is not a format of qemu-img"),
    };
    let mut convert = Command::new("qemu-img");
    convert.args(["convert", "-f", "raw", "-O", name, "-o", options]);
    if packed {
        convert.arg("-c");
    }
    sh::output(convert.arg(disk).arg(output)).context("converting the disk")?;
    let identity = Identity::new(&file.name(VERSION), VERSION, epoch);
    match format {
        Format::Vhd => vhd::settle(output, &identity, epoch)?,
        Format::Vhdx => formats::settle_vhdx(output, &identity)?,
        Format::Vmdk => formats::settle_vmdk(output, &identity)?,
        _ => {}
    }
    if format != Format::Vhd {
        let mut check = Command::new("qemu-img");
        sh::output(check.args(["check", "-q", "-f", name]).arg(output)).context("checking it")?;
    }
    let mut compare = Command::new("qemu-img");
    compare.args(["compare", "-q", "-f", "raw", "-F", name]).arg(disk).arg(output);
    sh::output(&mut compare).context("comparing it with the disk").map(drop)
}

#[cfg(test)]
mod tests {
    use vmtest::platform::DISKS;

    #[test]
    fn a_disk_looks_for_user_data_only_where_its_platform_has_it() {
        for disk in DISKS.iter().filter(|disk| !disk.sources.is_empty()) {
            let names = disk.sources.trim_matches(['[', ']']).split(',');
            for name in names {
                assert!(name == "configdrive" || name == disk.name, "{disk:?}");
                assert!(name.parse::<corral_config::names::DataSource>().is_ok(), "{name}");
            }
        }
        assert_eq!(DISKS[0].arguments(), "-t hybrid");
        assert_eq!(
            DISKS[2].arguments(),
            "-t amazon-ebs-hvm -a 'rancher.cloud_init.datasources=[ec2]'"
        );
        assert_eq!(
            DISKS[4].arguments(),
            "-t hybrid -a 'rancher.cloud_init.datasources=[azure] console=ttyS0'"
        );
    }
}
