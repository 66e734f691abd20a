//! `cargo xtask release --verify`: is the release reproducible? It is written twice, here and from
//! a copy of the last commit in another folder, and each file is compared.
//!
//! The copy has a target folder of its own, and a cache without what is built from sources: Docker
//! and the drivers are built again. What is fetched, and what only builds and tests, is shared.

use super::compare::{self, Comparison};
use super::version::folder;
use crate::image::{self, Checkout, VERSION};
use crate::packages::Versions;
use crate::signed_release::Key;
use crate::{binaries, lock, paths, progress, sh};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// In the shared cache: the copy, its target folder, its cache, and what was unpacked.
const FOLDER: &str = "verify";
/// All checkouts of this machine use that folder.
const LOCK: &str = "verify.lock";
/// Another length than that of a checkout's usual name: paths in programs would move all behind.
const COPY: &str = "a-copy-of-the-checkout-in-another-folder";
/// What of the shared cache the copy makes itself.
const OWN: [&str; 4] = ["drivers", "lean-engine", FOLDER, LOCK];

/// How both are written.
#[derive(Debug)]
pub(super) struct How<'a> {
    pub(super) quick: bool,
    pub(super) mirror: Option<&'a str>,
    pub(super) signing_key: Option<&'a Path>,
}

/// Where the second release is made.
struct Second {
    folder: PathBuf,
    checkout: PathBuf,
    target: PathBuf,
    cache: PathBuf,
}

/// Writes both, and compares them.
pub(super) fn run(how: &How<'_>) -> Result<()> {
    let begin = Instant::now();
    let checkout = committed("commit what changed first: the copy is of the last commit")?;
    let key = signing_key(how)?;
    let _alone = lock::alone_on_machine(LOCK, "which verifies a release on this machine")?;
    let mut first = Command::new(std::env::current_exe().context("finding xtask")?);
    first.current_dir(paths::root()).env(paths::TARGET_VARIABLE, paths::target());
    write("the first release", first, how, &key)?;
    committed("the first release has changed it: commit packages.lock, and verify again")?;
    let second = Second::prepare(&checkout)?;
    write("the second release", second.xtask(), how, &key)?;
    let (one, other) = (folder(&paths::target()), folder(&second.target));
    let different = compare(&one, &other, &second)?;
    let minutes = begin.elapsed().as_secs_f32() / 60.0;
    ensure!(
        different == 0,
        "{different} files differ; the second release is kept in {} ({minutes:.0} minutes)",
        other.display()
    );
    fs::remove_dir_all(&second.folder)
        .with_context(|| format!("removing {}", second.folder.display()))?;
    progress::say(&format!("both releases have the same bytes ({minutes:.0} minutes)"))
}

fn committed(advice: &str) -> Result<Checkout> {
    let checkout = Checkout::now()?;
    ensure!(!checkout.is_changed, "the checkout has changes that no commit has: {advice}");
    Ok(checkout)
}

/// Both are signed with the same key.
fn signing_key(how: &How<'_>) -> Result<PathBuf> {
    let file = how.signing_key.map_or_else(|| paths::cache("release-key"), Path::to_path_buf);
    Key::load(how.signing_key)?;
    std::path::absolute(file).context("finding the key")
}

/// Writes one of them: `cargo xtask release` in its checkout.
fn write(what: &str, mut xtask: Command, how: &How<'_>, key: &Path) -> Result<()> {
    progress::say(&format!("==> {what}"))?;
    xtask.arg("release").arg("--signing-key").arg(key).env(binaries::REPRODUCIBLE, "1");
    if how.quick {
        xtask.arg("--quick");
    }
    xtask.args(how.mirror.iter().flat_map(|mirror| ["--mirror", mirror]));
    sh::run(&mut xtask).with_context(|| format!("writing {what}"))
}

impl Second {
    /// Makes the copy, and its cache.
    fn prepare(checkout: &Checkout) -> Result<Second> {
        let folder = paths::shared_cache(FOLDER);
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("removing {}", folder.display()))?;
        }
        let second = Second {
            checkout: folder.join(COPY),
            target: folder.join("target"),
            cache: folder.join("cache"),
            folder,
        };
        fs::create_dir_all(&second.folder)
            .with_context(|| format!("making {}", second.folder.display()))?;
        let mut clone = Command::new("git");
        clone.args(["clone", "--quiet", "--local", "--no-checkout"]);
        sh::output(clone.arg(paths::root()).arg(&second.checkout))
            .context("copying the checkout")?;
        let mut git = Command::new("git");
        git.current_dir(&second.checkout).args(["checkout", "--quiet", "--detach"]);
        sh::output(git.arg(&checkout.commit)).context("checking out the copy")?;
        share(&paths::shared_cache(""), &second.cache.join("corral"), &OWN)?;
        // Which packages the tools of tests are made of. Those of the release are locked.
        let resolved = paths::cache("resolved");
        let target = second.target.join("corral");
        fs::create_dir_all(&target).with_context(|| format!("making {}", target.display()))?;
        let mut copy = Command::new("cp");
        sh::output(copy.arg("-r").arg(&resolved).arg(&target)).context("copying lists")?;
        Ok(second)
    }

    fn xtask(&self) -> Command {
        let mut cargo = sh::cargo();
        cargo.current_dir(&self.checkout).env(paths::TARGET_VARIABLE, &self.target);
        cargo.env("XDG_CACHE_HOME", &self.cache);
        cargo.args(["run", "--quiet", "--locked", "--package", "xtask", "--"]);
        cargo
    }
}

/// Fills a cache with links to all of another one, but for some names.
fn share(from: &Path, to: &Path, own: &[&str]) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for item in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let name = item?.file_name();
        if !own.iter().any(|own| name.to_str() == Some(own)) {
            std::os::unix::fs::symlink(from.join(&name), to.join(&name))
                .with_context(|| format!("linking {}", name.display()))?;
        }
    }
    Ok(())
}

/// Prints how each file compares. Returns how many differ.
fn compare(one: &Path, other: &Path, second: &Second) -> Result<usize> {
    let (sums, others) = (compare::sums(one)?, compare::sums(other)?);
    let packages = image::fetch_packages(None, Versions::Listed)?;
    let work = second.folder.join("compare");
    let comparison = Comparison { work: &work, packages: &packages };
    let names: BTreeSet<&String> = sums.keys().chain(others.keys()).collect();
    let mut different = 0;
    for name in &names {
        let line = match (sums.get(*name), others.get(*name)) {
            (Some(sum), Some(other)) if sum == other => format!("same       {name}"),
            (Some(_), Some(_)) => {
                let explained = comparison.explain(&one.join(name), &other.join(name));
                let why = explained.unwrap_or_else(|error| format!("{error:#}"));
                format!("DIFFERENT  {name}: {why}")
            }
            (Some(_), None) => format!("DIFFERENT  {name}: it is in the first release only"),
            _ => format!("DIFFERENT  {name}: it is in the second release only"),
        };
        different += usize::from(line.starts_with("DIFFERENT"));
        progress::say(&line)?;
    }
    if names.is_empty() {
        bail!("there is no release {VERSION} in {}", one.display());
    }
    Ok(different)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_not_shared() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        for name in ["pool", "lean-engine"] {
            fs::create_dir_all(from.join(name)).unwrap();
        }
        share(&from, &to, &OWN).unwrap();
        assert_eq!(fs::read_link(to.join("pool")).unwrap(), from.join("pool"));
        assert!(!to.join("lean-engine").exists());
    }
}
