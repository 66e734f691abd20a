//! Which file of a crate uses which, by the paths that the compiler sees: `use`, and paths in code.
//! Tests are left out.
//!
//! A path belongs to the file of its longest module: what a module re-exports belongs to that
//! module.

use crate::sh;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Item, ItemMod, ItemUse, Macro, Token, UseTree};

/// The path of a module from the root of its crate; empty for the root itself.
type ModulePath = Vec<String>;

/// Files that use each other in a loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loop {
    pub(crate) files: Vec<PathBuf>,
    /// user, used, the names
    pub(crate) uses: Vec<(PathBuf, PathBuf, BTreeSet<String>)>,
}

/// The first file of each library, program and test of the workspace, as cargo knows them.
pub(crate) fn roots() -> Result<Vec<PathBuf>> {
    let mut cargo = sh::cargo();
    let metadata = ["metadata", "--locked", "--no-deps", "--format-version", "1"];
    let text = sh::output(cargo.args(metadata))?;
    let metadata: Value = serde_json::from_str(&text).context("reading the packages of cargo")?;
    let packages = metadata["packages"].as_array().context("cargo names no packages")?;
    let targets = packages.iter().filter_map(|package| package["targets"].as_array()).flatten();
    Ok(targets.filter_map(|target| target["src_path"].as_str()).map(PathBuf::from).collect())
}

/// The loops among the files of the crate that begins with this file.
pub(crate) fn loops(root: &Path) -> Result<Vec<Loop>> {
    let crate_files = CrateFiles::load(root)?;
    let uses = crate_files.uses();
    let reached: BTreeMap<&PathBuf, BTreeSet<&PathBuf>> =
        crate_files.files.keys().map(|file| (file, reachable(&uses, file))).collect();
    let in_loop_with = |a: &PathBuf, b: &PathBuf| {
        reached.get(a).is_some_and(|from| from.contains(b))
            && reached.get(b).is_some_and(|from| from.contains(a))
    };
    let mut seen = BTreeSet::new();
    let mut loops = Vec::new();
    for file in crate_files.files.keys() {
        let files: Vec<PathBuf> =
            crate_files.files.keys().filter(|other| in_loop_with(file, other)).cloned().collect();
        if files.is_empty() || !seen.insert(files.clone()) {
            continue;
        }
        let inside =
            uses.iter().filter(|((from, to), _)| files.contains(from) && files.contains(to));
        let uses =
            inside.map(|((from, to), names)| (from.clone(), to.clone(), names.clone())).collect();
        loops.push(Loop { files, uses });
    }
    Ok(loops)
}

/// All that a file uses, directly or through others.
fn reachable<'a>(uses: &'a Uses, from: &'a PathBuf) -> BTreeSet<&'a PathBuf> {
    let mut reached = BTreeSet::new();
    let mut waiting = vec![from];
    while let Some(file) = waiting.pop() {
        let next = uses.keys().filter(|(user, _)| user == file).map(|(_, used)| used);
        waiting.extend(next.filter(|used| reached.insert(*used)));
    }
    reached
}

/// (user, used) → the names.
type Uses = BTreeMap<(PathBuf, PathBuf), BTreeSet<String>>;

/// The modules of a crate.
#[derive(Default)]
struct CrateFiles {
    /// Which file a module is in; several where it has inline ones.
    modules: BTreeMap<ModulePath, PathBuf>,
    files: BTreeMap<PathBuf, (ModulePath, Vec<Item>)>,
}

impl CrateFiles {
    fn load(root: &Path) -> Result<CrateFiles> {
        let mut files = CrateFiles::default();
        let folder = root.parent().context("a root without a folder")?;
        files.read(root, folder, Vec::new())?;
        Ok(files)
    }

    /// Reads a file and those of its modules, which lie in `folder`.
    fn read(&mut self, file: &Path, folder: &Path, module: ModulePath) -> Result<()> {
        let text =
            fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let parsed =
            syn::parse_file(&text).with_context(|| format!("parsing {}", file.display()))?;
        self.modules.insert(module.clone(), file.to_owned());
        self.declare(file, folder, &module, &parsed.items)?;
        self.files.insert(file.to_owned(), (module, parsed.items));
        Ok(())
    }

    fn declare(
        &mut self,
        file: &Path,
        folder: &Path,
        module: &ModulePath,
        items: &[Item],
    ) -> Result<()> {
        for item in items {
            let Item::Mod(item) = item else { continue };
            if is_test(&item.attrs) {
                continue;
            }
            let name = item.ident.to_string();
            let mut path = module.clone();
            path.push(name.clone());
            let below = folder.join(&name);
            match &item.content {
                Some((_, items)) => {
                    self.modules.insert(path.clone(), file.to_owned());
                    self.declare(file, &below, &path, items)?;
                }
                None => {
                    let beside = folder.join(format!("{name}.rs"));
                    let inside = below.join("mod.rs");
                    self.read(if beside.exists() { &beside } else { &inside }, &below, path)?;
                }
            }
        }
        Ok(())
    }

    fn uses(&self) -> Uses {
        let mut uses = Uses::new();
        for (file, (module, items)) in &self.files {
            let mut reader = Reader {
                files: self,
                module: module.clone(),
                names: BTreeMap::new(),
                found: Vec::new(),
            };
            reader.read(items);
            for path in reader.found {
                let Some((used, name)) = self.place(&path) else { continue };
                if used != file {
                    uses.entry((file.clone(), used.clone())).or_default().insert(name);
                }
            }
        }
        uses
    }

    /// The file of the longest module in a path, and the name that follows it.
    fn place(&self, path: &[String]) -> Option<(&PathBuf, String)> {
        let length =
            (0..=path.len()).rev().find(|length| self.modules.contains_key(&path[..*length]))?;
        let file = self.modules.get(&path[..length])?;
        Some((file, path.get(length).or(path.last()).cloned().unwrap_or_default()))
    }
}

/// Reads the paths of a module.
struct Reader<'a> {
    files: &'a CrateFiles,
    module: ModulePath,
    /// What `use` gave a name here: modules of this crate.
    names: BTreeMap<String, ModulePath>,
    found: Vec<Vec<String>>,
}

impl Reader<'_> {
    fn read(&mut self, items: &[Item]) {
        for item in items {
            if let Item::Use(item) = item
                && !is_test(&item.attrs)
            {
                self.import(&item.tree, Vec::new());
            }
        }
        items.iter().for_each(|item| self.visit_item(item));
    }

    fn import(&mut self, tree: &UseTree, mut path: Vec<String>) {
        match tree {
            UseTree::Path(next) => {
                path.push(next.ident.to_string());
                self.import(&next.tree, path);
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.import(item, path.clone()))
            }
            UseTree::Name(name) => self.import_as(path, &name.ident.to_string(), None),
            UseTree::Rename(name) => {
                self.import_as(path, &name.ident.to_string(), Some(name.rename.to_string()));
            }
            UseTree::Glob(_) => self.found.extend(self.absolute(&path)),
        }
    }

    fn import_as(&mut self, mut path: Vec<String>, name: &str, alias: Option<String>) {
        if name != "self" {
            path.push(name.to_owned());
        }
        let Some(absolute) = self.absolute(&path) else { return };
        if self.files.modules.contains_key(&absolute) {
            let last = absolute.last().cloned();
            self.names.extend(alias.or(last).map(|name| (name, absolute.clone())));
        }
        self.found.push(absolute);
    }

    /// A path from the root of the crate; none if it leads to another crate, or to an item of this
    /// file.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let mut rest = path;
        let mut absolute = match path.first()?.as_str() {
            "crate" => Vec::new(),
            "self" | "super" => self.module.clone(),
            first => {
                let mut child = self.module.clone();
                child.push(first.to_owned());
                let child = self.files.modules.contains_key(&child).then_some(child);
                self.names.get(first).cloned().or(child)?
            }
        };
        while rest.first().is_some_and(|word| word == "super") {
            absolute.pop();
            rest = &rest[1..];
        }
        absolute.extend(rest.iter().skip(usize::from(rest.len() == path.len())).cloned());
        Some(absolute)
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, _: &'ast ItemUse) {}

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let Some((_, items)) = &item.content else { return };
        let names = std::mem::take(&mut self.names);
        self.module.push(item.ident.to_string());
        self.read(items);
        self.module.pop();
        self.names = names;
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let words: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if words.len() > 1 {
            self.found.extend(self.absolute(&words));
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast Macro) {
        if let Ok(arguments) = item.parse_body_with(Punctuated::<Expr, Token![,]>::parse_terminated)
        {
            arguments.iter().for_each(|argument| Visit::visit_expr(self, argument));
        }
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Const(item) => &item.attrs,
        _ => &[],
    }
}

/// `#[cfg(test)]`
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
    })
}

#[cfg(test)]
mod tests {
    use super::{loops, roots};
    use std::fs;

    #[test]
    fn every_library_program_and_test_is_read() {
        let roots = roots().unwrap();
        for file in [
            "crates/config/src/lib.rs",
            "crates/stage0/src/main.rs",
            "crates/plan/tests/catalogue.rs",
            "tests/engine/engine-sandbox.rs",
            "tests/scenarios/main.rs",
            "tests/src/bin/engine-bench.rs",
        ] {
            assert!(roots.iter().any(|root| root.ends_with(file)), "{file}");
        }
    }

    #[test]
    fn a_loop_is_found_with_its_names_and_tests_make_none() {
        let folder = std::env::temp_dir().join(format!("module-graph-{}", std::process::id()));
        fs::create_dir_all(folder.join("b")).unwrap();
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        write("lib.rs", "mod a; mod b; mod c;");
        write("a.rs", "use crate::b::inner; pub fn f() { println!(\"{}\", inner::g()) }");
        write("b.rs", "pub mod inner; pub use inner::g;");
        write("b/inner.rs", "pub fn g() { super::super::c::h() }");
        write("c.rs", "pub fn h() { crate::a::f() } #[cfg(test)] mod tests { use crate::b::g; }");
        let found = loops(&folder.join("lib.rs")).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let [only] = found.as_slice() else { panic!("{found:?}") };
        let names: Vec<&str> =
            only.files.iter().filter_map(|file| file.file_stem()?.to_str()).collect();
        assert_eq!(names, ["a", "inner", "c"]);
        assert_eq!(only.uses.len(), 3);
    }
}
