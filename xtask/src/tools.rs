//! Programs that only the stories need, from where the world keeps them: a real NFS server from Debian, a mock of EC2's
//! metadata service from PyPI. They stay below `target/`; nothing is installed on the host, no service of it started.

use crate::packages::{self, Package};
use crate::{paths, progress, sh};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// What of PyPI, with the versions that were tried.
const MOTO: [&str; 3] = ["moto==5.2.5", "flask==3.1.3", "flask-cors==6.0.5"];

/// Makes `target/corral/tools`: one executable a program.
pub(crate) fn prepare() -> Result<()> {
    fs::create_dir_all(paths::cache("tools"))?;
    prepare_nfs_server()?;
    prepare_moto()
}

fn prepare_nfs_server() -> Result<()> {
    let wanted: BTreeSet<String> = ["nfs-ganesha", "nfs-ganesha-vfs", "libc6"].map(str::to_owned).into();
    let packages = packages::fetch(&wanted, None, false)?;
    let program = packages::find(&packages, "usr/bin/ganesha.nfsd")?;
    let plugins = packages::find(&packages, "usr/lib/x86_64-linux-gnu/ganesha/libfsalvfs.so")?;
    let linker = packages::find(&packages, "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")?;
    // With its own linker, so that the host's C library does not matter. It forks nothing of the host.
    let script = format!(
        "#!/bin/sh\nexport GANESHA_PLUGINS={}\nexec {} --library-path {} {} \"$@\"\n",
        plugins.parent().context("a plug-in without a folder")?.display(),
        linker.display(),
        libraries(&packages),
        program.display()
    );
    write(&paths::cache("tools/ganesha.nfsd"), &script)
}

fn libraries(packages: &[Package]) -> String {
    let mut folders = Vec::new();
    for package in packages {
        for name in
            ["usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/ganesha", "usr/lib/ganesha", "usr/lib"]
        {
            let folder = package.files().join(name);
            if folder.exists() {
                folders.push(folder.display().to_string());
            }
        }
    }
    folders.join(":")
}

fn prepare_moto() -> Result<()> {
    let folder = paths::cache("moto");
    let stamp = folder.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|text| text == MOTO.join(" ")) {
        return Ok(());
    }
    let _ = fs::remove_dir_all(&folder);
    progress::step("fetching moto from PyPI", || {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]);
        sh::output(pip.arg(&folder).args(MOTO)).context("installing moto (PyPI) for the story about EC2")
    })?;
    let script = format!("#!/bin/sh\nPYTHONPATH={} exec python3 -m moto.server \"$@\"\n", folder.display());
    write(&paths::cache("tools/moto_server"), &script)?;
    fs::write(stamp, MOTO.join(" "))?;
    Ok(())
}

fn write(path: &Path, script: &str) -> Result<()> {
    fs::write(path, script).with_context(|| format!("writing {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
