//! The test kernel: Debian's source, built as User-Mode Linux with the fragment and the patches of
//! `tests/kernel`. It is built once for all checkouts of this machine, and found by the hash of its
//! inputs.

use crate::packages::{self, Package};
use crate::setup::{self, Need, need};
use crate::{paths, progress, sh};
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// From Debian's backports: older kernels run the processes of User-Mode Linux by ptrace, which is
/// slower.
const SOURCE: &str = "linux-source-7.3";
/// Incremented when the steps below change.
const RECIPE: u32 = 1;
const NEEDS: [Need; 5] = [
    need("flex", "building the test kernel", "/usr/bin/flex"),
    need("bison", "building the test kernel", "/usr/bin/bison"),
    need("bc", "building the test kernel", "/usr/bin/bc"),
    need("patch", "building the test kernel", "/usr/bin/patch"),
    need("libc6-dev", "building the test kernel", "/usr/include/stdlib.h"),
];

/// A built kernel.
#[derive(Debug, Clone)]
pub(crate) struct TestKernel {
    /// The program.
    pub(crate) linux: PathBuf,
    /// `lib/modules/RELEASE` below this.
    pub(crate) modules: PathBuf,
    /// What it was built from, as a hash.
    pub(crate) key: String,
}

/// Whether there is one.
#[derive(Debug)]
pub(crate) enum Availability {
    Kernel(TestKernel),
    /// This machine cannot fetch what the build needs. Unlike an error, that is not a bug of ours.
    Unavailable(anyhow::Error),
}

/// The kernel, built if it is not there.
pub(crate) fn prepare() -> Result<Availability> {
    let package = match source() {
        Ok(package) => package,
        Err(error) => return Ok(Availability::Unavailable(error)),
    };
    let archive = package.files().join(format!("usr/src/{SOURCE}.tar.xz"));
    let key = key(&package.sha256)?;
    let folder = paths::shared_cache("test-kernel");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let kernel = TestKernel {
        linux: folder.join(&key).join("linux"),
        modules: folder.join(&key).join("lib/modules"),
        key: key.clone(),
    };
    // A second build at the same time waits here, and then finds the kernel built.
    let lock = File::create(folder.join("lock"))?;
    lock.lock().context("waiting for another build of the test kernel")?;
    if !kernel.linux.exists() {
        if let Err(error) = setup::install_missing(&NEEDS) {
            return Ok(Availability::Unavailable(error));
        }
        let work = folder.join("build");
        let _ = fs::remove_dir_all(&work);
        fs::create_dir_all(&work)?;
        progress::step("building the test kernel (some minutes, once)", || build(&archive, &work))?;
        fs::rename(work.join("made"), folder.join(&key)).context("keeping the test kernel")?;
        fs::remove_dir_all(&work)?;
    }
    Ok(Availability::Kernel(kernel))
}

fn source() -> Result<Package> {
    let packages = packages::fetch(&[SOURCE.to_owned()].into(), None, false)?;
    let source = packages.into_iter().find(|package| package.name == SOURCE);
    source.with_context(|| format!("apt knows no {SOURCE}"))
}

fn sources() -> PathBuf {
    paths::root().join("tests/kernel")
}

fn patches() -> Result<Vec<PathBuf>> {
    let items = fs::read_dir(sources().join("patches")).context("reading tests/kernel/patches")?;
    let mut patches: Vec<PathBuf> = items.flatten().map(|item| item.path()).collect();
    patches.sort();
    Ok(patches)
}

fn key(source: &str) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(format!("{RECIPE} {source} {}", sh::output(Command::new("gcc").arg("--version"))?));
    // Its comments do not change the kernel.
    hash.update(format!("{:?}", settings(&fs::read_to_string(sources().join("fragment"))?)));
    for file in patches()? {
        hash.update(fs::read(&file).with_context(|| format!("reading {}", file.display()))?);
    }
    Ok(hex::encode(hash.finalize())[..16].to_owned())
}

/// Leaves the program and its modules in `work/made`.
fn build(archive: &Path, work: &Path) -> Result<()> {
    let (source, output, made) = (work.join("source"), work.join("output"), work.join("made"));
    for folder in [&source, &output, &made] {
        fs::create_dir(folder)?;
    }
    sh::output(
        Command::new("tar")
            .arg("-xf")
            .arg(archive)
            .arg("-C")
            .arg(&source)
            .arg("--strip-components=1"),
    )?;
    for patch in patches()? {
        sh::output(
            Command::new("patch").args(["-p1", "-s", "-i"]).arg(&patch).current_dir(&source),
        )
        .with_context(|| format!("{} does not fit {SOURCE}", patch.display()))?;
    }
    let fragment = sources().join("fragment");
    let make = |targets: &[&str]| {
        let mut make = Command::new("make");
        make.current_dir(&source).args(["-s", "ARCH=um"]).arg(format!("O={}", output.display()));
        // The same source gives the same bytes.
        make.args([
            "KBUILD_BUILD_USER=corral",
            "KBUILD_BUILD_HOST=corral",
            "KBUILD_BUILD_TIMESTAMP=1970-01-01",
        ]);
        make.env("KCONFIG_ALLCONFIG", &fragment).args(targets);
        sh::output(&mut make)
    };
    make(&["alldefconfig"])?;
    check(&fs::read_to_string(&fragment)?, &fs::read_to_string(output.join(".config"))?)?;
    let jobs = format!("-j{}", std::thread::available_parallelism()?);
    make(&[&jobs, "linux", "modules"])?;
    make(&[
        "modules_install",
        "INSTALL_MOD_STRIP=1",
        &format!("INSTALL_MOD_PATH={}", made.display()),
    ])?;
    let mut strip = Command::new("strip");
    sh::output(strip.arg("-o").arg(made.join("linux")).arg(output.join("linux"))).map(drop)
}

/// kconfig silently drops a setting whose dependency is missing.
fn check(fragment: &str, config: &str) -> Result<()> {
    let (wanted, found) = (settings(fragment), settings(config));
    let lost: Vec<String> = wanted
        .iter()
        .filter(|(name, value)| found.get(*name).map_or("n", String::as_str) != value.as_str())
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if !lost.is_empty() {
        bail!("tests/kernel/fragment: kconfig does not take {}", lost.join(", "));
    }
    Ok(())
}

/// `CONFIG_X=y`, and `# CONFIG_X is not set` as `n`.
fn settings(text: &str) -> BTreeMap<String, String> {
    let setting = |line: &str| {
        if let Some(name) =
            line.strip_prefix("# ").and_then(|rest| rest.strip_suffix(" is not set"))
        {
            return Some((name.to_owned(), "n".to_owned()));
        }
        let (name, value) = line.split_once('=')?;
        name.starts_with("CONFIG_").then(|| (name.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(setting).collect()
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn a_setting_that_kconfig_drops_is_named() {
        let config = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_D=\"x\"\n";
        assert!(
            check(
                "# why\nCONFIG_A=y\n# CONFIG_B is not set\n# CONFIG_C is not set\nCONFIG_D=\"x\"",
                config
            )
            .is_ok()
        );
        let error = check("CONFIG_A=m\nCONFIG_B=y", config).map_err(|error| format!("{error:#}"));
        assert_eq!(
            error,
            Err("tests/kernel/fragment: kconfig does not take CONFIG_A=m, CONFIG_B=y".to_owned())
        );
    }
}
