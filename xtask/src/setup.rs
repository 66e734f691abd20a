//! What building, booting and testing need from the host, and why. Installs what is missing with
//! apt.

use crate::{progress, sh};
use anyhow::{Result, bail, ensure};
use std::path::Path;
use std::process::Command;

/// A package of the host, what it is for, and a file that shows that it is there.
pub(crate) struct Need {
    pub(crate) package: &'static str,
    why: &'static str,
    proof: &'static str,
}

pub(crate) const fn need(package: &'static str, why: &'static str, proof: &'static str) -> Need {
    Need { package, why, proof }
}

/// The list. Programs that must be newer than the host's come from the image's own packages instead
/// (see `erofs` and `tools`).
const NEEDS: &[Need] = &[
    need("gcc", "linking Rust programs", "/usr/bin/gcc"),
    need("make", "building libbpf for the device rules of containers", "/usr/bin/make"),
    need("pkgconf", "finding C libraries", "/usr/bin/pkg-config"),
    need("libseccomp-dev", "system call filters", "/usr/lib/x86_64-linux-gnu/libseccomp.a"),
    need("libelf-dev", "device rules of containers (libbpf)", "/usr/lib/x86_64-linux-gnu/libelf.a"),
    need("zlib1g-dev", "device rules of containers (libbpf)", "/usr/lib/x86_64-linux-gnu/libz.a"),
    need(
        "libzstd-dev",
        "device rules of containers (libbpf)",
        "/usr/lib/x86_64-linux-gnu/libzstd.a",
    ),
    need("kmod", "indexing kernel modules (depmod)", "/sbin/depmod"),
    need("xz-utils", "unpacking kernel modules", "/usr/bin/xz"),
    need("xorriso", "writing the ISO, and config drives for tests", "/usr/bin/xorriso"),
    need("dosfstools", "vfat config drives for tests", "/sbin/mkfs.vfat"),
    need("mtools", "filling vfat config drives without mounting them", "/usr/bin/mcopy"),
    need("e2fsprogs", "looking into state disks after tests", "/sbin/e2fsck"),
    need("swtpm", "stories with a TPM", "/usr/bin/swtpm"),
    need("ovmf", "UEFI firmware for QEMU", vmtest::qemu::UEFI_FIRMWARE),
    need("qemu-utils", "making disks", "/usr/bin/qemu-img"),
    need("python3", "a mock of EC2's metadata service for tests", "/usr/bin/python3"),
    need("python3-pip", "fetching that mock from PyPI", "/usr/bin/pip3"),
    need("iptables", "ports of containers in tests of the engine", "/usr/sbin/iptables-restore"),
    need("iproute2", "a loopback in the namespaces of tests of the engine", "/sbin/ip"),
    need("curl", "following a thousand logs in tests of the engine", "/usr/bin/curl"),
    need("openssl", "certificates for test registries", "/usr/bin/openssl"),
    need(
        "libnfsidmap1",
        "a plug-in that the NFS server of a story looks for on the host",
        "/usr/lib/x86_64-linux-gnu/libnfsidmap/nsswitch.so",
    ),
    need("apache2-utils", "passwords for test registries", "/usr/bin/htpasswd"),
    need("zstd", "layers packed by zstd in tests of the engine", "/usr/bin/zstd"),
    need("openssh-client", "logging in to the machine", "/usr/bin/ssh"),
    need(
        "debian-archive-keyring",
        "checking Debian's signatures",
        "/usr/share/keyrings/debian-archive-keyring.gpg",
    ),
];

/// Installs what is missing, after printing what and why.
pub(crate) fn install() -> Result<()> {
    install_missing(NEEDS)
}

pub(crate) fn install_missing(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !Path::new(need.proof).exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("These packages are missing and will be installed with apt:");
    for need in &missing {
        eprintln!("  {:<24} {}", need.package, need.why);
    }
    let names: Vec<&str> = missing.iter().map(|need| need.package).collect();
    update_lists()?;
    let arguments =
        [&["install", "-y", "-q", "--no-install-recommends"], names.as_slice()].concat();
    progress::step("apt-get install", || apt(&arguments))?;
    match missing.iter().find(|need| !Path::new(need.proof).exists()) {
        Some(need) => {
            bail!("package {} was installed, but {} is still missing", need.package, need.proof)
        }
        None => Ok(()),
    }
}

/// What the benchmark of upgrades and the stories of consoles need.
pub(crate) fn need_mmdebstrap() -> Result<()> {
    install_missing(&[need(
        "mmdebstrap",
        "a plain Debian, as an image and to compare with",
        "/usr/bin/mmdebstrap",
    )])
}

/// What only fuzzing needs, besides the rest.
pub(crate) fn need_fuzzing() -> Result<()> {
    install_missing(&[need("g++", "building libFuzzer", "/usr/bin/g++")])
}

/// Fails unless this process is root. Namespaces and mounts of this machine need it.
pub(crate) fn need_root(what: &str) -> Result<()> {
    ensure!(is_root()?, "{what}: run it as root");
    Ok(())
}

/// Is this process root?
pub(crate) fn is_root() -> Result<bool> {
    Ok(sh::output(Command::new("id").arg("-u"))?.trim() == "0")
}

/// Updates the lists of the host's apt.
pub(crate) fn update_lists() -> Result<()> {
    progress::step("apt-get update", || apt(&["update", "-q"]))
}

fn apt(arguments: &[&str]) -> Result<()> {
    let root = is_root()?;
    let mut command = if root { Command::new("apt-get") } else { Command::new("sudo") };
    if !root {
        command.arg("apt-get");
    }
    sh::output(command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments)).map(|_| ())
}
