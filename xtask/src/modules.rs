//! The kernel and its modules: which files, with all their dependencies, and the index that udev
//! and our code read.

use crate::kernel_build::BuiltKernel;
use crate::packages::Package;
use crate::recipe::ModuleList;
use crate::tree::{Blob, Entry, Tree};
use crate::{paths, progress, sh};
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The kernel of the image.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// `uname -r`.
    pub(crate) release: String,
    /// A hash of the package that it is from, or of its sources.
    pub(crate) key: String,
    /// The compressed kernel.
    pub(crate) image: PathBuf,
    /// All of the package's modules, unpacked, with `modules.dep`.
    modules: PathBuf,
    dependencies: BTreeMap<String, Vec<String>>,
    built_in: Vec<String>,
}

/// Half a megabyte that no program reads in the machine, where depmod never runs.
const ONLY_DEPMOD_READS: [&str; 3] = ["modules.order", "modules.symbols", "modules.symbols.bin"];

impl Kernel {
    /// Unpacks and indexes the modules of the kernel package, once per package.
    pub(crate) fn open(packages: &[Package]) -> Result<Kernel> {
        let package = packages
            .iter()
            .find(|package| {
                package.name.starts_with("linux-image-") && package.files().join("boot").exists()
            })
            .context("no kernel package with a kernel in it was fetched")?;
        let source = package.files().join("usr/lib/modules");
        let source = if source.exists() { source } else { package.files().join("lib/modules") };
        let release = first_name(&source)?;
        let modules = paths::cache("modules").join(&package.sha256);
        if !modules.exists() {
            progress::step("unpacking kernel modules", || {
                unpack(&source.join(&release), &modules, &release)
            })?;
        }
        let image = package.files().join("boot").join(format!("vmlinuz-{release}"));
        let key = package.sha256.clone();
        Kernel::index_of(release, key, image, &modules.join("lib/modules"))
    }

    /// One that was built here.
    pub(crate) fn built(kernel: &BuiltKernel) -> Result<Kernel> {
        let release = first_name(&kernel.modules)?;
        Kernel::index_of(release, kernel.key.clone(), kernel.image.clone(), &kernel.modules)
    }

    fn index_of(release: String, key: String, image: PathBuf, modules: &Path) -> Result<Kernel> {
        let modules = modules.join(&release);
        let dependencies = parse_dependencies(&fs::read_to_string(modules.join("modules.dep"))?);
        let built_in = fs::read_to_string(modules.join("modules.builtin"))?
            .lines()
            .map(str::to_owned)
            .collect();
        Ok(Kernel { release, key, image, modules, dependencies, built_in })
    }

    /// The chosen modules as a tree `usr/lib/modules/RELEASE/…` with an index of only these.
    pub(crate) fn select(&self, wanted: &[String], exclude: &[String], name: &str) -> Result<Tree> {
        self.index(&self.choose(wanted, exclude)?, name)
    }

    /// The paths of the chosen modules, and of all that they need.
    pub(crate) fn choose(&self, wanted: &[String], exclude: &[String]) -> Result<BTreeSet<String>> {
        let mut chosen = BTreeSet::new();
        let mut unknown = Vec::new();
        for pattern in wanted {
            let found: Vec<&String> =
                self.dependencies.keys().filter(|path| names(pattern, path)).collect();
            if found.is_empty() && !self.built_in.iter().any(|path| names(pattern, path)) {
                unknown.push(pattern.as_str());
            }
            let kept = found
                .into_iter()
                .filter(|path| !exclude.iter().any(|pattern| names(pattern, path)));
            for path in kept {
                chosen.insert(path.clone());
                chosen.extend(self.dependencies[path].iter().cloned());
            }
        }
        if !unknown.is_empty() {
            bail!("images/modules.yml: {} has no module {}", self.release, unknown.join(", "));
        }
        Ok(chosen)
    }

    /// All of its modules.
    pub(crate) fn all(&self) -> BTreeSet<String> {
        self.dependencies.keys().cloned().collect()
    }

    /// The names of its modules, and of what would be one if it were not built in.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.dependencies.keys().chain(&self.built_in).map(|path| name_of(path)).collect()
    }

    /// The number of its modules, and their bytes.
    pub(crate) fn weigh(&self) -> Result<(usize, u64)> {
        let bytes = |path: &String| Ok(fs::metadata(self.file(path))?.len());
        let sizes = self.dependencies.keys().map(bytes).collect::<Result<Vec<u64>>>()?;
        Ok((sizes.len(), sizes.iter().sum()))
    }

    /// Where programs that build modules find the headers, as in Debian's packages.
    fn build_link(&self) -> String {
        format!("usr/lib/modules/{}/build", self.release)
    }

    /// Where a container mounts the headers.
    fn headers(&self) -> String {
        format!("/usr/src/linux-headers-{}", self.release)
    }

    /// The file of a module.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.modules.join(path)
    }

    /// (pattern, name of the module) of all modules of the package.
    pub(crate) fn aliases(&self) -> Result<Vec<(String, String)>> {
        let file = self.modules.join("modules.alias");
        let text =
            fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let alias = |line: &str| {
            let (pattern, module) = line.strip_prefix("alias ")?.rsplit_once(' ')?;
            Some((pattern.to_owned(), module.to_owned()))
        };
        Ok(text.lines().filter_map(alias).collect())
    }

    /// These modules as a tree `usr/lib/modules/RELEASE/…`, with an index.
    pub(crate) fn index(&self, chosen: &BTreeSet<String>, name: &str) -> Result<Tree> {
        let scratch = paths::cache("depmod").join(name);
        let base = scratch.join("lib/modules").join(&self.release);
        let _ = fs::remove_dir_all(&scratch);
        fs::create_dir_all(&base)?;
        for path in chosen {
            let target = base.join(path);
            fs::create_dir_all(target.parent().context("a module at the root")?)?;
            fs::hard_link(self.modules.join(path), &target)
                .or_else(|_| fs::copy(self.modules.join(path), &target).map(|_| ()))?;
        }
        for file in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
            let _ = fs::copy(self.modules.join(file), base.join(file));
        }
        sh::output(Command::new("/sbin/depmod").arg("-b").arg(&scratch).arg(&self.release))?;
        for file in ONLY_DEPMOD_READS {
            let _ = fs::remove_file(base.join(file));
        }
        let mut tree = Tree::default();
        tree.insert_folder(&scratch)?;
        let mut moved = Tree::default();
        moved.graft("usr", &tree);
        Ok(moved)
    }
}

/// Chooses the initrd's and the system's modules.
pub(crate) fn select(kernel: &Kernel, list: &ModuleList) -> Result<(Tree, Tree)> {
    let initrd = kernel.select(&list.initrd, &[], "initrd")?;
    let mut system = kernel.index(&of_system(kernel, list)?, "system")?;
    system.insert(&kernel.build_link(), Entry::symlink(&kernel.headers()));
    Ok((initrd, system))
}

/// The same of our own kernel. It has no modules but those that its system needs: its fragment
/// chose them. What the list names must be there all the same, or be known as lost.
pub(crate) fn select_own(own: &Kernel, debian: &Kernel, list: &ModuleList) -> Result<(Tree, Tree)> {
    let lost = lost(own, debian, list)?;
    let unknown: Vec<&str> = lost.difference(&list.lost).map(String::as_str).collect();
    if !unknown.is_empty() {
        bail!(
            "images/kernel/fragment lacks modules of the first tier: {}; add them, or name them \
             as `lost` in images/modules.yml",
            unknown.join(", ")
        );
    }
    Ok((own.select(&list.initrd, &[], "initrd")?, own.index(&own.all(), "system")?))
}

/// The names of modules of Debian's first tier that our own kernel does not have.
pub(crate) fn lost(own: &Kernel, debian: &Kernel, list: &ModuleList) -> Result<BTreeSet<String>> {
    Ok(missing(&of_system(debian, list)?, own))
}

/// The names of those modules that a kernel neither has nor has built in.
fn missing(modules: &BTreeSet<String>, kernel: &Kernel) -> BTreeSet<String> {
    let names: BTreeSet<String> = modules.iter().map(|path| name_of(path)).collect();
    names.difference(&kernel.names()).cloned().collect()
}

/// The modules of the system image.
pub(crate) fn of_system(kernel: &Kernel, list: &ModuleList) -> Result<BTreeSet<String>> {
    let everything = [list.initrd.as_slice(), list.system.as_slice()].concat();
    kernel.choose(&everything, &list.exclude)
}

/// The name of a module as aliases have it.
pub(crate) fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.trim_end_matches(".ko").replace('-', "_")
}

/// The file that stage 0 reads first: the kernel release that the modules are for.
pub(crate) fn release_file(kernel: &Kernel) -> Entry {
    Entry::file(Blob::Bytes(kernel.release.clone().into_bytes()), 0o644)
}

/// A pattern with a slash is a path below `kernel/` (`**` at its end: everything below; `*` at its
/// end: all that begin like that). Any other pattern is a module's name. `**` alone is every
/// module.
pub(crate) fn names(pattern: &str, path: &str) -> bool {
    let inner = path.trim_start_matches("kernel/");
    match pattern.strip_suffix("/**") {
        _ if pattern == "**" => true,
        Some(folder) => inner.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')),
        None if pattern.ends_with('*') => inner.starts_with(pattern.trim_end_matches('*')),
        None if pattern.contains('/') => inner.trim_end_matches(".ko") == pattern,
        None => {
            inner.rsplit('/').next().is_some_and(|file| name_of(file) == pattern.replace('-', "_"))
        }
    }
}

fn parse_dependencies(text: &str) -> BTreeMap<String, Vec<String>> {
    let line = |line: &str| {
        let (module, needs) = line.split_once(':')?;
        Some((module.to_owned(), needs.split_whitespace().map(str::to_owned).collect()))
    };
    text.lines().filter_map(line).collect()
}

fn unpack(source: &Path, target: &Path, release: &str) -> Result<()> {
    let fresh = target.with_extension("new");
    let _ = fs::remove_dir_all(&fresh);
    let base = fresh.join("lib/modules").join(release);
    fs::create_dir_all(base.parent().context("no parent")?)?;
    sh::output(Command::new("cp").arg("-a").arg(source).arg(&base))?;
    let xz = "find \"$0\" -name '*.ko.xz' -print0 | xargs -0 -r -n 64 -P 4 xz -d";
    sh::output(Command::new("sh").arg("-c").arg(xz).arg(&base))?;
    sh::output(Command::new("/sbin/depmod").arg("-b").arg(&fresh).arg(release))?;
    fs::rename(&fresh, target).context("keeping the unpacked modules")
}

fn first_name(folder: &Path) -> Result<String> {
    let item = fs::read_dir(folder)?
        .next()
        .with_context(|| format!("{} is empty", folder.display()))??;
    item.file_name().into_string().ok().context("a kernel release that is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_another_kernel_has_built_in_is_not_missing() {
        let kernel = Kernel {
            release: String::new(),
            key: String::new(),
            image: PathBuf::new(),
            modules: PathBuf::new(),
            dependencies: parse_dependencies("kernel/drivers/net/ne2k-pci.ko: kernel/8390.ko\n"),
            built_in: vec!["kernel/drivers/block/virtio_blk.ko".to_owned()],
        };
        let modules = ["a/virtio_blk.ko", "net/ne2k-pci.ko", "kernel/xt_LED.ko"];
        let missing = missing(&modules.map(str::to_owned).into(), &kernel);
        assert_eq!(missing, ["xt_LED".to_owned()].into());
    }
}
