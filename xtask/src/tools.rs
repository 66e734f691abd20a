//! Programs that only the stories need, from their usual sources: servers of NFS, SMB
//! and iSCSI from Debian, a mock of EC2's metadata service from PyPI. They stay below `target/`.
//! Nothing is installed on the host, and no service of it is started.

use crate::packages::{self, Package};
use crate::{image, paths, progress, sh, stock_images, sum};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The packages from PyPI, each with its version and the hashes of its files.
const FROM_PYPI: &str = "tests/requirements.txt";

/// Its folder among the tools.
const SUITE: &str = "docker-py-suite";
/// The source of docker-py that has its tests, with its hash.
const TESTS_OF_DOCKER_PY: &str = "tests/docker-py.txt";

/// Makes `target/corral/tools`: one executable for each program.
pub(crate) fn prepare() -> Result<()> {
    fs::create_dir_all(paths::cache("tools"))?;
    prepare_emulators()?;
    prepare_nfs_server()?;
    prepare_smb_server()?;
    prepare_iscsi_server()?;
    prepare_python()?;
    stock_images::prepare()?;
    prepare_engine_clients()
}

/// Are all of them there, from an earlier run?
pub(crate) fn are_there() -> bool {
    // It is made last.
    let made = ["seccomp.json", SUITE].map(|name| paths::cache("tools").join(name));
    made.iter().all(|path| path.exists()) && stock_images::are_there()
}

/// What the engine's tests start: Docker's own clients and a registry, and files of packages that
/// the image has too.
fn prepare_engine_clients() -> Result<()> {
    let names = [
        "docker-cli",
        "docker-compose",
        "docker-registry",
        "busybox-static",
        "tini",
        "libc6",
        image::SECCOMP_PACKAGE,
    ];
    let wanted: BTreeSet<String> = names.map(str::to_owned).into();
    let packages = packages::fetch(&wanted, None, false)?;
    for (name, path) in [
        ("docker", "usr/bin/docker"),
        ("docker-registry", "usr/bin/docker-registry"),
        ("docker-compose", "usr/libexec/docker/cli-plugins/docker-compose"),
    ] {
        write_program(name, path, &packages, "", "")?;
    }
    for (name, path) in [
        ("busybox", "usr/bin/busybox"),
        ("tini-static", "usr/bin/tini-static"),
        ("seccomp.json", image::SECCOMP_PROFILE),
    ] {
        let (target, fresh) = (paths::cache("tools").join(name), paths::cache("tools/fresh"));
        fs::copy(packages::find(&packages, path)?, &fresh)
            .with_context(|| format!("copying {name}"))?;
        fs::rename(fresh, target)?;
    }
    Ok(())
}

/// The emulators, from the Debian release that the image is made of: the host's may be too old.
/// QEMU before 8 may translate code in one thread while another one patches it. A guest that
/// patches its jump labels dies of that. slirp4netns before 1.2.1 does not accept a card's cable.
pub(crate) fn prepare_emulators() -> Result<()> {
    fs::create_dir_all(paths::cache("tools"))?;
    let slirp = packages::fetch(&["slirp4netns", "libc6"].map(str::to_owned).into(), None, false)?;
    write_program("slirp4netns", "usr/bin/slirp4netns", &slirp, "", "")?;
    let names = ["qemu-system-x86", "seabios", "libc6"].map(str::to_owned);
    let qemu = packages::fetch(&names.into(), None, false)?;
    let modules = packages::find(&qemu, "usr/lib/x86_64-linux-gnu/qemu")?;
    let setting = format!("export QEMU_MODULE_DIR={}\n", modules.display());
    // Several packages have a firmware folder: one has the option ROMs of cards, another those for
    // -kernel boots.
    let folders = qemu.iter().flat_map(|package| {
        ["usr/share/seabios", "usr/share/qemu"].map(|folder| package.files().join(folder))
    });
    let firmware: String = folders
        .filter(|folder| folder.is_dir())
        .map(|folder| format!("-L {} ", folder.display()))
        .collect();
    write_program("qemu-system-x86_64", "usr/bin/qemu-system-x86_64", &qemu, &setting, &firmware)
}

fn prepare_nfs_server() -> Result<()> {
    let wanted: BTreeSet<String> =
        ["nfs-ganesha", "nfs-ganesha-vfs", "libc6"].map(str::to_owned).into();
    let packages = packages::fetch(&wanted, None, false)?;
    let plugins = packages::find(&packages, "usr/lib/x86_64-linux-gnu/ganesha/libfsalvfs.so")?;
    let plugins = plugins.parent().context("a plug-in without a folder")?.display();
    let setting = format!("export GANESHA_PLUGINS={plugins}\n");
    write_program("ganesha.nfsd", "usr/bin/ganesha.nfsd", &packages, &setting, "")
}

fn prepare_smb_server() -> Result<()> {
    let wanted: BTreeSet<String> = ["samba", "libc6"].map(str::to_owned).into();
    let packages = packages::fetch(&wanted, None, false)?;
    write_program("smbd", "usr/sbin/smbd", &packages, "", "")
}

fn prepare_iscsi_server() -> Result<()> {
    let wanted: BTreeSet<String> = ["tgt", "libc6"].map(str::to_owned).into();
    let packages = packages::fetch(&wanted, None, false)?;
    for name in ["tgtd", "tgtadm"] {
        write_program(name, &format!("usr/sbin/{name}"), &packages, "", "")?;
    }
    Ok(())
}

/// A script that starts a program of these packages with its own linker, so that the host's C
/// library does not matter.
fn write_program(
    name: &str,
    path: &str,
    packages: &[Package],
    settings: &str,
    arguments: &str,
) -> Result<()> {
    let linker = packages::find(packages, "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")?;
    let script = format!(
        "#!/bin/sh\n{settings}exec {} --library-path {} {} {arguments}\"$@\"\n",
        linker.display(),
        link_libraries(packages)?.display(),
        packages::find(packages, path)?.display()
    );
    write(&paths::cache("tools").join(name), &script)
}

/// A folder with links to all shared libraries of these packages. It is named by the hash of their
/// paths, so that it is made once and never changes under a running program.
fn link_libraries(packages: &[Package]) -> Result<PathBuf> {
    let paths: Vec<String> =
        packages.iter().map(|package| package.files().display().to_string()).collect();
    let key = sum::digest_of_bytes(paths.join("\n"));
    let folder = paths::cache("tools/libraries").join(&key[..16]);
    if folder.exists() {
        return Ok(folder);
    }
    let fresh = folder.with_extension("new");
    let _ = fs::remove_dir_all(&fresh);
    fs::create_dir_all(&fresh)?;
    for package in packages {
        for place in [
            "usr/lib/x86_64-linux-gnu",
            "usr/lib/x86_64-linux-gnu/ganesha",
            "usr/lib/ganesha",
            "usr/lib/x86_64-linux-gnu/samba",
            "usr/lib",
        ] {
            for item in fs::read_dir(package.files().join(place)).into_iter().flatten().flatten() {
                if item.file_name().to_string_lossy().contains(".so") {
                    // The first one wins, as on a search path.
                    let _ = symlink(item.path(), fresh.join(item.file_name()));
                }
            }
        }
    }
    fs::rename(&fresh, &folder).with_context(|| format!("keeping {}", folder.display()))?;
    Ok(folder)
}

/// The mock of EC2's metadata service, and docker-py, a client of the engine.
fn prepare_python() -> Result<()> {
    let folder = paths::cache("python");
    install_from_pypi(&folder)
        .with_context(|| format!("installing {FROM_PYPI} from PyPI for tests"))?;
    let start = format!("#!/bin/sh\nPYTHONPATH={} exec python3", folder.display());
    write(&paths::cache("tools/moto_server"), &format!("{start} -m moto.server \"$@\"\n"))?;
    write(&paths::cache("tools/docker-py"), &format!("{start} \"$@\"\n"))?;
    fetch_tests_of_docker_py(&folder)
        .with_context(|| format!("fetching {TESTS_OF_DOCKER_PY} from PyPI for tests"))
}

/// No package of PyPI has these tests, only its source. For a source pip runs its `setup.py`, here
/// with setuptools of the list.
fn fetch_tests_of_docker_py(setuptools: &Path) -> Result<()> {
    let list = paths::root().join(TESTS_OF_DOCKER_PY);
    let wanted = fs::read_to_string(&list)?;
    let folder = paths::cache("tools").join(SUITE);
    if fs::read_to_string(folder.join("fetched")).is_ok_and(|text| text == wanted) {
        return Ok(());
    }
    let fresh = folder.with_extension("new");
    let _ = fs::remove_dir_all(&fresh);
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check"]);
    pip.args(["--require-hashes", "--no-binary", ":all:", "--no-deps", "--no-build-isolation"]);
    pip.arg("--dest").arg(&fresh).arg("--requirement").arg(&list).env("PYTHONPATH", setuptools);
    sh::output(&mut pip)?;
    let source = fs::read_dir(&fresh)?.next().context("pip fetched nothing")??.path();
    let mut tar = Command::new("tar");
    tar.args(["--strip-components=1", "--wildcards", "-C"]).arg(&fresh).arg("-xf").arg(&source);
    sh::output(tar.arg("*/tests"))?;
    fs::write(fresh.join("fetched"), wanted)?;
    let _ = fs::remove_dir_all(&folder);
    fs::rename(fresh, folder).context("keeping them")
}

/// Installs files with the listed hashes only, and runs no code during the installation.
fn install_from_pypi(folder: &Path) -> Result<()> {
    let list = paths::root().join(FROM_PYPI);
    let python = sh::output(Command::new("python3").arg("--version"))?;
    let wanted = format!("{python}{}", fs::read_to_string(&list)?);
    if fs::read_to_string(folder.join("installed")).is_ok_and(|text| text == wanted) {
        return Ok(());
    }
    let fresh = folder.with_extension("new");
    let _ = fs::remove_dir_all(&fresh);
    progress::step("fetching tools of the tests from PyPI", || {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        pip.args(["--require-hashes", "--only-binary", ":all:", "--no-deps", "--target"]);
        sh::output(pip.arg(&fresh).arg("--requirement").arg(&list))
    })?;
    fs::write(fresh.join("installed"), wanted)?;
    let _ = fs::remove_dir_all(folder);
    fs::rename(fresh, folder).context("keeping them")
}

fn write(path: &Path, script: &str) -> Result<()> {
    let fresh = paths::cache("tools/fresh");
    fs::write(&fresh, script).with_context(|| format!("writing {}", path.display()))?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    fs::rename(&fresh, path).with_context(|| format!("keeping {}", path.display()))
}
