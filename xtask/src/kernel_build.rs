//! Kernels that are built here: Debian's source with a fragment of a configuration and patches of
//! ours. Each is built once for all checkouts of this machine, and found by the hash of its inputs.
//!
//! A fragment names what differs from kconfig's defaults. kconfig silently drops a setting whose
//! dependency is missing: here that is an error.

mod workshop;

pub(crate) use self::workshop::Tools;
use self::workshop::Workshop;
use crate::packages::Package;
use crate::{paths, progress, sh};
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The user, the host and the time that a kernel names: the same source gives the same bytes.
const SAME_EVERYWHERE: [&str; 3] =
    ["KBUILD_BUILD_USER=corral", "KBUILD_BUILD_HOST=corral", "KBUILD_BUILD_TIMESTAMP=1970-01-01"];

/// How a kernel is built, and of what.
#[derive(Debug)]
pub(crate) struct Recipe {
    /// In messages: `the test kernel`.
    pub(crate) about: &'static str,
    /// Its folder in the shared cache.
    pub(crate) cache: &'static str,
    /// Incremented when the steps of a build change, or one of `arch`, `targets` and `program`.
    pub(crate) steps: u32,
    /// Debian's package with the source.
    pub(crate) source: Package,
    /// The architecture, as the kernel's Makefile names it.
    pub(crate) arch: &'static str,
    /// The folder of this checkout with the file `fragment`, and `patches/` if there are any.
    pub(crate) files: &'static str,
    /// What is made besides the modules.
    pub(crate) target: &'static str,
    pub(crate) program: Program,
    pub(crate) tools: Tools,
}

/// The kernel itself, among the results of a build.
#[derive(Debug)]
pub(crate) struct Program {
    /// Below the folder of the build.
    pub(crate) built: &'static str,
    /// Its name in the cache.
    pub(crate) kept: &'static str,
    /// Is it a program with symbols, which are left out?
    pub(crate) is_stripped: bool,
}

/// A built kernel.
#[derive(Debug, Clone)]
pub(crate) struct BuiltKernel {
    /// The file that boots.
    pub(crate) image: PathBuf,
    /// The modules of its release are in a folder in this one.
    pub(crate) modules: PathBuf,
    /// What it was built from, as a hash.
    pub(crate) key: String,
}

impl Recipe {
    /// Is it in the cache?
    pub(crate) fn is_built(&self) -> Result<bool> {
        Ok(self.place(&self.key()?).image.exists())
    }

    /// The kernel, built if it is not there.
    pub(crate) fn prepare(&self) -> Result<BuiltKernel> {
        let key = self.key()?;
        let folder = paths::shared_cache(self.cache);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        // A second build at the same time waits here, and then finds the kernel built.
        let lock = File::create(folder.join("lock"))?;
        lock.lock().with_context(|| format!("waiting for another build of {}", self.about))?;
        let kernel = self.place(&key);
        if !kernel.image.exists() {
            let work = folder.join("build");
            let _ = fs::remove_dir_all(&work);
            fs::create_dir_all(&work)?;
            progress::step(&format!("building {} (minutes, once)", self.about), || {
                self.build(&work)
            })?;
            fs::rename(work.join("made"), folder.join(&key))
                .with_context(|| format!("keeping {}", self.about))?;
            fs::remove_dir_all(&work)?;
        }
        Ok(kernel)
    }

    fn place(&self, key: &str) -> BuiltKernel {
        let folder = paths::shared_cache(self.cache).join(key);
        BuiltKernel {
            image: folder.join(self.program.kept),
            modules: folder.join("lib/modules"),
            key: key.to_owned(),
        }
    }

    fn files(&self) -> PathBuf {
        paths::root().join(self.files)
    }

    fn fragment(&self) -> Result<String> {
        let file = self.files().join("fragment");
        fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
    }

    /// In the order in which they are applied.
    fn patches(&self) -> Result<Vec<PathBuf>> {
        let folder = self.files().join("patches");
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let items = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()));
        let mut patches: Vec<PathBuf> = items?.flatten().map(|item| item.path()).collect();
        patches.sort();
        Ok(patches)
    }

    fn key(&self) -> Result<String> {
        let read =
            |file: &PathBuf| fs::read(file).with_context(|| format!("reading {}", file.display()));
        let patches = self.patches()?.iter().map(read).collect::<Result<Vec<_>>>()?;
        let first = format!("{} {} {}", self.steps, self.source.sha256, self.tools.version()?);
        Ok(hash(&first, &self.fragment()?, &patches))
    }

    /// Leaves the kernel, its configuration and its modules in `work/made`.
    fn build(&self, work: &Path) -> Result<()> {
        for folder in ["source", "output", "made"] {
            fs::create_dir(work.join(folder))?;
        }
        self.unpack(&work.join("source"))?;
        let fragment = self.fragment()?;
        fs::write(work.join("fragment"), &fragment)?;
        let workshop = Workshop::set_up(&self.tools, work)?;
        let jobs = format!("-j{}", std::thread::available_parallelism()?);
        self.make(&workshop, &["alldefconfig"])?;
        let config = work.join("output/.config");
        check(&fragment, &fs::read_to_string(&config)?)
            .with_context(|| format!("{}/fragment", self.files))?;
        self.make(&workshop, &[&jobs, self.target, "modules"])?;
        let target = format!("INSTALL_MOD_PATH={}", workshop.path("made"));
        self.make(&workshop, &["modules_install", "INSTALL_MOD_STRIP=1", &target])?;
        fs::copy(config, work.join("made/config")).context("keeping the configuration")?;
        let Program { built, kept, is_stripped } = self.program;
        let (built, kept) = (work.join("output").join(built), work.join("made").join(kept));
        if is_stripped {
            return sh::output(Command::new("strip").arg("-o").arg(kept).arg(built)).map(drop);
        }
        fs::copy(built, kept).context("keeping the kernel").map(drop)
    }

    fn unpack(&self, source: &Path) -> Result<()> {
        let name = &self.source.name;
        let archive = self.source.files().join(format!("usr/src/{name}.tar.xz"));
        let mut tar = Command::new("tar");
        tar.arg("-xf").arg(archive).arg("-C").arg(source).arg("--strip-components=1");
        sh::output(&mut tar)?;
        for patch in self.patches()? {
            let mut program = Command::new("patch");
            program.args(["-p1", "-s", "-i"]).arg(&patch).current_dir(source);
            sh::output(&mut program)
                .with_context(|| format!("{} does not fit {name}", patch.display()))?;
        }
        Ok(())
    }

    fn make(&self, workshop: &Workshop<'_>, targets: &[&str]) -> Result<()> {
        let mut make = workshop.command("make");
        make.args(["-s", "-C", &workshop.path("source"), &format!("ARCH={}", self.arch)]);
        make.arg(format!("O={}", workshop.path("output"))).args(SAME_EVERYWHERE);
        make.env("KCONFIG_ALLCONFIG", workshop.path("fragment")).args(targets);
        sh::output(&mut make).map(drop)
    }
}

/// A hash over all inputs. Comments of the fragment do not change the kernel.
fn hash(first: &str, fragment: &str, patches: &[Vec<u8>]) -> String {
    let mut hash = Sha256::new();
    hash.update(first);
    hash.update(format!("{:?}", settings(fragment)));
    patches.iter().for_each(|patch| hash.update(patch));
    hex::encode(hash.finalize())[..16].to_owned()
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
        bail!("kconfig does not take {}", lost.join(", "));
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
    use super::*;

    #[test]
    fn a_setting_that_kconfig_drops_is_named() {
        let config = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_D=\"x\"\n";
        let fragment =
            "# why\nCONFIG_A=y\n# CONFIG_B is not set\n# CONFIG_C is not set\nCONFIG_D=\"x\"";
        check(fragment, config).unwrap();
        let error = check("CONFIG_A=m\nCONFIG_B=y", config).unwrap_err().to_string();
        assert_eq!(error, "kconfig does not take CONFIG_A=m, CONFIG_B=y");
    }

    /// A build takes many minutes: no change of the code may lead to another one by accident.
    #[test]
    fn the_key_of_the_same_inputs_stays_the_same() {
        let fragment = "# why\nCONFIG_B=y\nCONFIG_A=\"x\"\n# CONFIG_C is not set\n";
        let patches = [b"one".to_vec(), b"two".to_vec()];
        let key = hash("1 abc gcc 12", fragment, &patches);
        assert_eq!(key, "d782184c90531fce");
        assert_eq!(hash("1 abc gcc 12", &format!("{fragment}# CONFIG_D=y\n"), &patches), key);
        assert_ne!(hash("1 abc gcc 12", fragment, &patches[..1]), key);
        assert_ne!(hash("1 abc gcc 13", fragment, &patches), key);
    }
}
