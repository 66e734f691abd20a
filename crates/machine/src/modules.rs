//! Kernel modules: which module a device needs, what that one depends on, and loading them.
//!
//! Reads the text index of depmod(8). Used by stage 0 and PID 1; later on, udev loads what is
//! plugged in.

use crate::console::log;
use anyhow::{Context, Result, bail};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of the running kernel.
#[derive(Debug)]
pub struct Index {
    folder: PathBuf,
    /// name → (path below the folder, paths of what it needs, nearest first)
    modules: BTreeMap<String, (String, Vec<String>)>,
    /// (pattern, module name), in the order of the file
    aliases: Vec<(String, String)>,
    /// name → names or aliases of what should be loaded first: users of crypto request `crc32c`,
    /// not a module
    soft: Vec<(String, Vec<String>)>,
    /// Names of what is part of the kernel itself: most of it has no folder in /sys/module.
    built_in: BTreeSet<String>,
    loaded: BTreeSet<String>,
}

/// Loads modules of the running kernel, each as [`Index::load`] does. One that fails does not keep
/// the others from being loaded; the error names all that failed.
pub fn load(names: &[impl AsRef<str>]) -> Result<()> {
    if names.is_empty() { Ok(()) } else { Index::running()?.load_all(names) }
}

impl Index {
    /// The index of the system's own modules.
    pub fn running() -> Result<Index> {
        Index::open(Path::new("/lib/modules"))
    }

    /// Reads the index of the running kernel below `base` (`/lib/modules`).
    pub fn open(base: &Path) -> Result<Index> {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let folder = base.join(release);
        let read = |name: &str| {
            fs::read_to_string(folder.join(name))
                .with_context(|| format!("reading {name} of {}", folder.display()))
        };
        let modules = read("modules.dep")?.lines().filter_map(parse_dependency).collect();
        let aliases = read("modules.alias")?.lines().filter_map(parse_alias).collect();
        let soft = fs::read_to_string(folder.join("modules.softdep")).unwrap_or_default();
        let soft = soft.lines().filter_map(parse_soft_dependency).collect();
        let built_in = fs::read_to_string(folder.join("modules.builtin")).unwrap_or_default();
        let built_in = built_in.lines().map(name_of).collect();
        Ok(Index { folder, modules, aliases, soft, built_in, loaded: load_names_of_loaded() })
    }

    /// Loads a module and what it needs. A module that is built in or loaded already is no error;
    /// an unknown one is. Its parameters may stand behind its name: `softdog soft_margin=60`.
    pub fn load(&mut self, request: &str) -> Result<()> {
        let (name, parameters) = split_parameters(request);
        let name = canonical(name);
        let is_built_in = self.built_in.contains(&name);
        if is_built_in
            || self.loaded.contains(&name)
            || Path::new("/sys/module").join(&name).exists()
        {
            return Ok(());
        }
        let (path, needs) = self
            .modules
            .get(&name)
            .with_context(|| format!("loading module {name}: no such module in this kernel"))?
            .clone();
        for need in needs.iter().rev() {
            self.load_soft(&name_of(need));
            self.insert(need, "")?;
        }
        self.load_soft(&name);
        self.insert(&path, parameters.trim())
    }

    fn load_all(&mut self, names: &[impl AsRef<str>]) -> Result<()> {
        let failures = names.iter().filter_map(|name| self.load(name.as_ref()).err());
        let failures: Vec<String> = failures.map(|error| format!("{error:#}")).collect();
        if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("; ")) }
    }

    /// Loads what the kernel requests by name or alias (`ipt_tcp`, `fs-ext4`, `net-pf-10`).
    /// Parameters may stand behind it.
    pub fn load_alias(&mut self, request: &str) -> Result<()> {
        let (alias, parameters) = split_parameters(request);
        if self.has(&canonical(alias)) {
            return self.load(request);
        }
        let names: Vec<String> = self.of_alias(alias).map(str::to_owned).collect();
        if names.is_empty() {
            bail!("no module has the name or alias {alias}");
        }
        names.iter().try_for_each(|name| self.load(&format!("{name} {parameters}")))
    }

    /// Is there a module, or a part of the kernel, of that name or alias?
    pub fn knows(&self, alias: &str) -> bool {
        self.has(&canonical(alias)) || self.of_alias(alias).next().is_some()
    }

    /// The modules that have this alias. Its hyphens and underscores mean the same.
    fn of_alias(&self, alias: &str) -> impl Iterator<Item = &str> {
        let name = canonical(alias);
        let has_alias = move |(pattern, _): &&(String, String)| {
            matches(pattern, alias) || matches(&canonical(pattern), &name)
        };
        self.aliases.iter().filter(has_alias).map(|(_, module)| module.as_str())
    }

    /// Is there a module of this name, or a part of the kernel?
    pub fn has(&self, name: &str) -> bool {
        self.modules.contains_key(name) || self.built_in.contains(name)
    }

    /// Does it have each module and each alias of another index? A damaged one does not.
    pub fn covers(&self, other: &Index) -> bool {
        let aliases: BTreeSet<&(String, String)> = self.aliases.iter().collect();
        other.modules.keys().all(|name| self.modules.contains_key(name))
            && other.aliases.iter().all(|alias| aliases.contains(alias))
    }

    /// Loads the soft dependencies of a module. What is not there may be built in: that is no
    /// error.
    fn load_soft(&mut self, name: &str) {
        let dependencies: Vec<String> = self
            .soft
            .iter()
            .filter(|(module, _)| module == name)
            .flat_map(|(_, dependencies)| dependencies.clone())
            .collect();
        for dependency in dependencies {
            let by_alias = |(pattern, _): &&(String, String)| {
                *pattern == dependency || *pattern == format!("crypto-{dependency}")
            };
            let mut found: Vec<String> =
                self.aliases.iter().filter(by_alias).map(|(_, module)| module.clone()).collect();
            found.extend(self.modules.contains_key(&dependency).then(|| dependency.clone()));
            for module in found {
                // An implementation for another processor refuses to load; another one will do.
                let _ = self.load(&module);
            }
        }
    }

    /// Loads what the devices present now need. Returns the names of modules that failed, with the
    /// reason.
    pub fn load_for_devices(&mut self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let mut names = BTreeSet::new();
        for alias in load_modaliases(Path::new("/sys/devices")) {
            let matching = self.aliases.iter().filter(|(pattern, _)| matches(pattern, &alias));
            names
                .extend(matching.map(|(_, module)| module.clone()).filter(|module| wanted(module)));
        }
        names
            .iter()
            .filter_map(|name| self.load(name).err().map(|error| format!("{error:#}")))
            .collect()
    }

    /// Loads those of these modules that this kernel has and that find their hardware. Returns why
    /// others failed.
    pub fn load_if_useful(&mut self, names: &[&str]) -> Vec<String> {
        let known: Vec<&str> = names.iter().copied().filter(|name| self.knows(name)).collect();
        let is_without_hardware = |error: &anyhow::Error| {
            error.downcast_ref::<Errno>().is_some_and(|errno| *errno == Errno::NODEV)
        };
        known
            .into_iter()
            .filter_map(|name| self.load(name).err())
            .filter(|error| !is_without_hardware(error))
            .map(|error| format!("{error:#}"))
            .collect()
    }

    fn insert(&mut self, path: &str, parameters: &str) -> Result<()> {
        let name = name_of(path);
        let parameters =
            CString::new(parameters).context("parameters of a module with a NUL byte")?;
        if !self.loaded.insert(name.clone()) {
            return Ok(());
        }
        let file = rustix::fs::open(
            self.folder.join(path),
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .with_context(|| format!("loading module {name}: opening {path}"))?;
        match rustix::system::finit_module(&file, &parameters, 0) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("loading module {name}")),
        }
    }
}

/// `rancher.modules`: a name, then parameters.
pub fn load_requested(names: &[String]) {
    if let Err(error) = load(names) {
        log(&format!("rancher.modules: {error:#}"));
    }
}

/// `softdog soft_margin=60`: the name, and the parameters behind it.
fn split_parameters(request: &str) -> (&str, &str) {
    request.trim().split_once(char::is_whitespace).unwrap_or((request.trim(), ""))
}

fn load_names_of_loaded() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/modules").unwrap_or_default();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// The `modalias` of every device below `folder`.
fn load_modaliases(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(current) = open.pop() {
        let Ok(items) = fs::read_dir(&current) else { continue };
        for item in items.flatten() {
            if item.file_name() == "modalias" {
                found.extend(
                    fs::read_to_string(item.path()).ok().map(|text| text.trim().to_owned()),
                );
            } else if item.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(item.path());
            }
        }
    }
    found.remove("");
    found
}

fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    canonical(file.split(".ko").next().unwrap_or(file))
}

fn parse_dependency(line: &str) -> Option<(String, (String, Vec<String>))> {
    let (path, needs) = line.split_once(':')?;
    Some((name_of(path), (path.to_owned(), needs.split_whitespace().map(str::to_owned).collect())))
}

fn parse_soft_dependency(line: &str) -> Option<(String, Vec<String>)> {
    let (name, lists) = line.strip_prefix("softdep ")?.split_once(' ')?;
    let before = lists.split_once("pre:")?.1.split("post:").next()?;
    Some((canonical(name), before.split_whitespace().map(str::to_owned).collect()))
}

pub(crate) fn parse_alias(line: &str) -> Option<(String, String)> {
    let mut words = line.strip_prefix("alias ")?.split_whitespace();
    Some((words.next()?.to_owned(), canonical(words.next()?)))
}

/// Shell pattern of depmod: `*`, `?` and `[a-z]`.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.as_bytes(), text.as_bytes());
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern.first(), text.first()) {
            (Some(b'*'), _) => {
                retry = Some((&pattern[1..], text));
                pattern = &pattern[1..];
                continue;
            }
            (None, None) => return true,
            (Some(wanted), Some(found)) => {
                if let Some(rest) = match_one(pattern, *wanted, *found) {
                    (pattern, text) = (rest, &text[1..]);
                    continue;
                }
            }
            _ => {}
        }
        let Some((after_star, from)) = retry.filter(|(_, from)| !from.is_empty()) else {
            return false;
        };
        retry = Some((after_star, &from[1..]));
        (pattern, text) = (after_star, &from[1..]);
    }
}

/// Matches one character; returns the rest of the pattern.
fn match_one(pattern: &[u8], wanted: u8, found: u8) -> Option<&[u8]> {
    match wanted {
        b'?' => Some(&pattern[1..]),
        b'[' => {
            let end = pattern.iter().position(|byte| *byte == b']')?;
            let set = &pattern[1..end];
            let mut at = 0;
            while at < set.len() {
                let (low, high, step) = match set.get(at + 1..at + 3) {
                    Some([b'-', high]) => (set[at], *high, 3),
                    _ => (set[at], set[at], 1),
                };
                if (low..=high).contains(&found) {
                    return Some(&pattern[end + 1..]);
                }
                at += step;
            }
            None
        }
        _ => (wanted == found).then(|| &pattern[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_is_tried_and_those_that_fail_are_named() {
        let base = std::env::temp_dir().join(format!("corral-modules-{}", std::process::id()));
        let folder = base.join(rustix::system::uname().release().to_string_lossy().into_owned());
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in [("dep", ""), ("alias", ""), ("builtin", "kernel/fs/ours.ko\n")] {
            fs::write(folder.join(format!("modules.{name}")), text).unwrap();
        }
        let mut index = Index::open(&base).unwrap();
        index.load_all(&["ours", "ours parameter=1"]).unwrap();
        let error = index.load_all(&["no-such", "ours", "nor-this x=1"]).unwrap_err().to_string();
        let missing = |name: &str| format!("loading module {name}: no such module in this kernel");
        assert_eq!(error, format!("{}; {}", missing("no_such"), missing("nor_this")));
        fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn an_index_with_a_piece_missing_does_not_cover_the_other() {
        let base = std::env::temp_dir().join(format!("corral-covers-{}", std::process::id()));
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let index = |tier: &str, dep: &str, alias: &str| {
            let folder = base.join(tier).join(&release);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("modules.dep"), dep).unwrap();
            fs::write(folder.join("modules.alias"), alias).unwrap();
            Index::open(&base.join(tier)).unwrap()
        };
        let first = index("first", "a.ko:\n", "alias pci:a* a\n");
        let both = index("both", "a.ko:\nb.ko: a.ko\n", "alias pci:a* a\nalias pci:b* b\n");
        assert!(both.covers(&first) && both.has("b") && !first.has("b"));
        assert!(!first.covers(&both));
        assert!(!index("cut", "a.ko:\nb.ko: a.ko\n", "").covers(&first));
        fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn device_aliases_match_as_depmod_writes_them() {
        let cases = [
            ("virtio:d00000002v*", "virtio:d00000002v00001AF4", true),
            ("virtio:d00000002v*", "virtio:d00000001v00001AF4", false),
            (
                "pci:v*d*sv*sd*bc01sc06i01*",
                "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01",
                true,
            ),
            (
                "usb:v*p*d*dc*dsc*dp*ic08isc06ip50in*",
                "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00",
                true,
            ),
            (
                "input:b*v*p*e*-e*1,*k*110,*r*",
                "input:b0003v0627p0001e0001-e0,1,2,4,k110,111,r0,1",
                true,
            ),
            ("dmi*:[A-C]x?", "dmi5:Bxy", true),
            ("dmi*:[A-C]x?", "dmi5:Dxy", false),
        ];
        for (pattern, alias, expected) in cases {
            assert_eq!(matches(pattern, alias), expected, "{pattern} against {alias}");
        }
    }
}
