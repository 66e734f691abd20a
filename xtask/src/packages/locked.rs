//! `packages.lock`: which packages of Debian, in which versions and with which hashes, Corral is
//! made of. It is committed: every checkout builds from the same packages. A list that is not in it
//! yet, or of which other packages are requested now, is resolved and added.

use super::package::Package;
use crate::{durable, paths};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::fs;
use std::path::PathBuf;

pub(crate) const NAME: &str = "packages.lock";
const ABOUT: &str = "\
# Which packages of Debian Corral is made of. It is written by `cargo xtask packages`, and by what
# takes packages that it does not have; `cargo xtask packages --refresh` takes the newest ones.
";
/// Names in a line of what was requested.
const IN_LINE: usize = 5;

/// Some packages that were requested together, and what apt has resolved them to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct List {
    /// A release of Debian, and the parts of its archive.
    pub(super) origin: String,
    pub(super) wanted: BTreeSet<String>,
    pub(super) packages: Vec<Package>,
}

/// All lists, by their names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lock(BTreeMap<String, List>);

impl Lock {
    /// That of the checkout; without the file, an empty one.
    pub(super) fn load() -> Result<Lock> {
        let file = file();
        match fs::read_to_string(&file) {
            Ok(text) => Lock::parse(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Lock::default()),
            Err(error) => Err(error).with_context(|| format!("reading {}", file.display())),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&List> {
        self.0.get(name)
    }

    /// Replaces a list, writes the file if that has changed it, and shows what has changed.
    pub(super) fn replace(mut self, name: &str, list: List) -> Result<()> {
        let old = self.0.insert(name.to_owned(), list.clone());
        if old.as_ref() == Some(&list) {
            return Ok(());
        }
        let packages = old.map(|old| old.packages);
        match &packages {
            Some(old) => {
                changes(old, &list.packages).iter().for_each(|line| eprintln!("{name}: {line}"));
            }
            None => eprintln!("{name}: {} packages are in {NAME} now", list.packages.len()),
        }
        durable::write(&file(), self.text().as_bytes())
    }

    fn text(&self) -> String {
        let lists = self.0.iter().map(|(name, list)| format!("\nlist {name}\n{}", list.text()));
        format!("{ABOUT}{}", lists.collect::<String>())
    }

    fn parse(text: &str) -> Result<Lock> {
        let mut lock = Lock::default();
        let mut current: Option<&mut List> = None;
        for (number, line) in text.lines().enumerate() {
            let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
            match (kind, current.as_mut()) {
                ("" | "#", _) => {}
                ("list", _) => {
                    let empty = List {
                        origin: String::new(),
                        wanted: BTreeSet::new(),
                        packages: Vec::new(),
                    };
                    let Entry::Vacant(new) = lock.0.entry(rest.to_owned()) else {
                        bail!("{}: there are two lists {rest}", of_line(number));
                    };
                    current = Some(new.insert(empty));
                }
                ("from", Some(list)) => rest.clone_into(&mut list.origin),
                ("wants", Some(list)) => list.wanted.extend(rest.split(' ').map(str::to_owned)),
                ("package", Some(list)) => {
                    let package = parse_package(rest);
                    list.packages.push(package.with_context(|| of_line(number))?);
                }
                _ => bail!("{}: {line:?} is no line of it", of_line(number)),
            }
        }
        Ok(lock)
    }
}

fn of_line(number: usize) -> String {
    format!("{NAME}:{}: repair it, or restore it from git", number + 1)
}

fn parse_package(fields: &str) -> Option<Package> {
    let fields: Vec<&str> = fields.split(' ').collect();
    let [name, version, sha256, file] = fields[..] else { return None };
    let is_hash = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| Package {
        name: name.to_owned(),
        version: version.to_owned(),
        sha256: sha256.to_owned(),
        file: file.to_owned(),
    })
}

impl List {
    fn text(&self) -> String {
        let wanted: Vec<&str> = self.wanted.iter().map(String::as_str).collect();
        let wanted = wanted.chunks(IN_LINE).map(|names| format!("wants {}\n", names.join(" ")));
        let packages = self.packages.iter().map(|package| {
            let Package { name, version, sha256, file } = package;
            format!("package {name} {version} {sha256} {file}\n")
        });
        format!(
            "from {}\n{}{}",
            self.origin,
            wanted.collect::<String>(),
            packages.collect::<String>()
        )
    }
}

/// What differs between two lists, a line for each package.
fn changes(old: &[Package], new: &[Package]) -> Vec<String> {
    // A source package has several files.
    let by_name = |packages: &[Package]| -> BTreeMap<String, BTreeSet<(String, String)>> {
        let mut all: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
        for package in packages {
            let file = (package.version.clone(), package.sha256.clone());
            all.entry(package.name.clone()).or_default().insert(file);
        }
        all
    };
    let version = |files: &BTreeSet<(String, String)>| {
        files.iter().map(|(version, _)| version.clone()).next().unwrap_or_default()
    };
    let (old, new) = (by_name(old), by_name(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let line = |name: &String| match (old.get(name), new.get(name)) {
        (Some(old), Some(new)) if old == new => None,
        (Some(old), Some(new)) if version(old) == version(new) => {
            Some(format!("{name} {} is another file", version(new)))
        }
        (Some(old), Some(new)) => Some(format!("{name} {} → {}", version(old), version(new))),
        (None, Some(new)) => Some(format!("{name} {} is new", version(new))),
        (old, None) => Some(format!("{name} {} is gone", old.map(version).unwrap_or_default())),
    };
    names.into_iter().filter_map(line).collect()
}

fn file() -> PathBuf {
    paths::root().join(NAME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe;

    fn package(name: &str, version: &str, hash: char) -> Package {
        Package {
            name: name.to_owned(),
            version: version.to_owned(),
            sha256: hash.to_string().repeat(64),
            file: format!("{name}_{version}_amd64.deb"),
        }
    }

    fn lock() -> Lock {
        let names = ["acpid", "busybox", "curl", "dosfstools", "e2fsprogs", "fdisk"];
        let list = List {
            origin: "trixie main".to_owned(),
            wanted: names.map(str::to_owned).into(),
            packages: vec![package("acpid", "1:2.0-1", 'a'), package("libc6", "2.41-12", 'b')],
        };
        Lock([("image".to_owned(), list)].into())
    }

    #[test]
    fn the_file_is_read_as_it_was_written() {
        let text = lock().text();
        assert_eq!(Lock::parse(&text).unwrap(), lock());
        assert!(text.contains("\nwants acpid busybox curl dosfstools e2fsprogs\nwants fdisk\n"));
        assert!(text.contains("\npackage acpid 1:2.0-1 aaaa"), "{text}");
        assert_eq!(Lock::parse("").unwrap(), Lock::default());
    }

    #[test]
    fn an_error_names_the_line() {
        let broken = lock().text().replace("bbbb", "zz");
        let lines = broken.lines().position(|line| line.contains("zz")).unwrap() + 1;
        let twice = "list a\nfrom trixie main\nlist b\nlist a\n";
        for (text, line) in
            [(broken.as_str(), lines), ("package a 1\n", 1), ("list a\nwhat\n", 2), (twice, 4)]
        {
            let error = Lock::parse(text).unwrap_err().to_string();
            assert!(error.contains(&format!("packages.lock:{line}:")), "{error}");
        }
    }

    #[test]
    fn changes_are_shown_by_name() {
        let old = [package("a", "1", 'a'), package("b", "1", 'b'), package("c", "1", 'c')];
        let new = [package("a", "2", 'd'), package("b", "1", 'e'), package("d", "1", 'f')];
        let expected = ["a 1 → 2", "b 1 is another file", "c 1 is gone", "d 1 is new"];
        assert_eq!(changes(&old, &new), expected);
        assert_eq!(changes(&old, &old), Vec::<String>::new());
    }

    /// Other lists are added by what needs them, so not all may be committed yet.
    #[test]
    fn each_list_of_the_checkout_has_what_it_requests() {
        let lock = Lock::load().unwrap();
        assert!(lock.get("image").is_some());
        for (name, list) in &lock.0 {
            assert!(!list.packages.is_empty(), "{NAME}: the list {name} is empty");
            // Of a source package, ends of names of files are requested.
            let is_source = name.starts_with("docker source ");
            for wanted in &list.wanted {
                let has = |package: &Package| match is_source {
                    true => package.file.ends_with(wanted.as_str()),
                    false => package.name == *wanted,
                };
                assert!(list.packages.iter().any(has), "{NAME}: the list {name} has no {wanted}");
            }
        }
    }

    #[test]
    fn a_list_of_an_engine_is_of_its_recipe() {
        let lock = Lock::load().unwrap();
        let recipes = recipe::engines().unwrap();
        for (list, engine) in
            lock.0.iter().filter_map(|(name, list)| Some((list, name.strip_prefix("engine ")?)))
        {
            let recipe = recipes.iter().find(|(name, _)| name == engine);
            let (_, recipe) = recipe.unwrap_or_else(|| panic!("{NAME}: no recipe of {engine}"));
            assert_eq!(list.wanted, recipe.packages.iter().cloned().collect(), "{engine}");
        }
    }
}
