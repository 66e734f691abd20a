//! Where a kernel is built: on this machine, or in a root that has the files of some packages and
//! nothing else. There the same packages give the same kernel on every machine.

use crate::packages::Package;
use crate::{progress, setup, sh};
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the build in the root.
const WORK: &str = "/work";
/// `$1` is the root, `$2` is the folder of the build; a program and its arguments follow. The
/// mounts are those of a namespace, which ends with the program.
const ENTER: &str = r#"mount --rbind /dev "$1/dev"
mount --bind "$2" "$1/work"
root=$1
shift 2
exec chroot "$root" "$@""#;

/// The compiler, and all that runs with it.
#[derive(Debug)]
pub(crate) enum Tools {
    OfHost,
    /// Programs of packages, in a root that has nothing else.
    Of(Vec<Package>),
}

pub(super) struct Workshop<'a> {
    work: &'a Path,
    /// None: this machine.
    root: Option<PathBuf>,
}

impl Tools {
    /// What the result depends on.
    pub(super) fn version(&self) -> Result<String> {
        match self {
            Tools::OfHost => sh::output(Command::new("gcc").arg("--version")),
            Tools::Of(packages) => Ok(format!("{packages:?}")),
        }
    }
}

impl<'a> Workshop<'a> {
    /// `work` has the folders of the build.
    pub(super) fn set_up(tools: &Tools, work: &'a Path) -> Result<Workshop<'a>> {
        let Tools::Of(packages) = tools else { return Ok(Workshop { work, root: None }) };
        let root = work.join("root");
        progress::step("unpacking the compiler", || make_root(packages, &root))?;
        Ok(Workshop { work, root: Some(root) })
    }

    /// A folder or a file of the build, as its programs see it.
    pub(super) fn path(&self, name: &str) -> String {
        let work = if self.root.is_some() { Path::new(WORK) } else { self.work };
        work.join(name).to_string_lossy().into_owned()
    }

    /// One of the tools.
    pub(super) fn command(&self, program: &str) -> Command {
        let Some(root) = &self.root else { return Command::new(program) };
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if !setup::is_root().unwrap_or_default() {
            command.arg("--map-root-user");
        }
        command.args(["sh", "-ec", ENTER, "sh"]).arg(root).arg(self.work).arg(program);
        let path = "/usr/sbin:/usr/bin:/sbin:/bin";
        command.env_clear().env("PATH", path).env("LC_ALL", "C");
        command
    }
}

fn make_root(packages: &[Package], root: &Path) -> Result<()> {
    fs::create_dir(root)?;
    // `bin`, `lib` and `sbin` are links of the base.
    let (base, rest): (Vec<&Package>, Vec<&Package>) =
        packages.iter().partition(|package| package.name == "base-files");
    for package in base.into_iter().chain(rest) {
        let mut copy = Command::new("cp");
        copy.args(["-a", "--no-preserve=ownership"]);
        copy.arg(package.files().join(".")).arg(root);
        sh::output(&mut copy).with_context(|| format!("unpacking {}", package.name))?;
    }
    fs::create_dir(root.join("work"))?;
    // No script of a package is run, and awk is an alternative.
    symlink("mawk", root.join("usr/bin/awk")).context("linking awk")
}
