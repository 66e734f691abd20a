//! Methods that templates call by their names, such as `{{.Names}}` of `docker ps --format`.
//!
//! Go's linker drops what no code calls. If a program looks up a method by a name that is not a
//! constant, it keeps all exported methods of all types instead. `library/templates.patch` leads
//! these look-ups to a function that is written here, in which every name is a constant.

use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the function is put, in Go's library.
const FILE: &str = "text/template/methods.go";

/// A file of Go that a program is linked of.
#[derive(Debug)]
pub(super) struct SourceFile {
    /// The path by which its package is imported.
    pub(super) package: String,
    pub(super) path: PathBuf,
}

/// Writes the function into Go's library. Of each package, and of the packages below
/// it, templates may call all methods, or those that are named.
pub(super) fn write(
    packages: &BTreeMap<String, BTreeSet<String>>,
    files: &[SourceFile],
    library: &Path,
) -> Result<()> {
    let mut names = BTreeSet::new();
    for (package, named) in packages {
        let mut of_package = BTreeSet::new();
        for file in files.iter().filter(|file| file.is_below(package)) {
            let text = fs::read_to_string(&file.path)
                .with_context(|| format!("reading {}", file.path.display()))?;
            of_package.extend(declared(&text).map(str::to_owned));
        }
        ensure!(!of_package.is_empty(), "methods: no program has one of {package}");
        let unknown = named.difference(&of_package).next();
        ensure!(unknown.is_none(), "methods: {package} has no {unknown:?}");
        names.extend(if named.is_empty() { of_package } else { named.clone() });
    }
    let file = library.join(FILE);
    fs::write(&file, function(&names)).with_context(|| format!("writing {}", file.display()))
}

impl SourceFile {
    /// Is it of this package, or of one below it? Of Go's own packages, only of that one.
    pub(super) fn is_below(&self, package: &str) -> bool {
        let rest = self.package.strip_prefix(package);
        rest.is_some_and(|rest| rest.is_empty() || package.contains('.') && rest.starts_with('/'))
    }
}

/// The exported methods of a file of Go that a template can call:
/// `func (c *Context) Names() string {`.
fn declared(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let (_, method) = line.strip_prefix("func (")?.split_once(") ")?;
        let (name, signature) = method.split_once('(')?;
        let is_exported = name.starts_with(|first: char| first.is_uppercase());
        (is_exported && is_callable(signature)).then_some(name)
    })
}

/// A template has no context to pass, and prints what is returned. `signature` is what follows the
/// opening parenthesis; it may go on in the next line.
fn is_callable(signature: &str) -> bool {
    let mut open = 1;
    let end = signature.find(|letter| {
        open += match letter {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        open == 0
    });
    let (parameters, results) = end.map_or((signature, ""), |end| signature.split_at(end));
    !parameters.contains("context.Context") && results != ") {"
}

fn function(names: &BTreeSet<String>) -> String {
    let list: String = names.iter().map(|name| format!("\t{name:?},\n")).collect();
    let cases: String = names
        .iter()
        .map(|name| format!("\tcase {name:?}:\n\t\treturn value.MethodByName({name:?})\n"))
        .collect();
    format!(
        "package template\n\nimport \"reflect\"\n\n\
         // MethodNames are the names that MethodByName knows.\n\
         var MethodNames = []string{{\n{list}}}\n\n\
         // MethodByName returns a method of a value, or the zero Value.\n\
         func MethodByName(value reflect.Value, name string) reflect.Value {{\n\
         \tswitch name {{\n{cases}\t}}\n\treturn reflect.Value{{}}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exported_methods_are_found() {
        let text = "func (c *Context) Names() string {\nfunc (List[T]) Len() int { return 0 }\n\
                    func (c *Context) hidden() {}\nfunc Function() {}\n\tfunc (x T) Inner() {}\n\
                    func (c *Context) Run() {\nfunc (x T) Start(ctx context.Context) error {\n\
                    func (x T) Each(f func(int) bool) (int, error) {\n";
        assert_eq!(declared(text).collect::<Vec<_>>(), ["Names", "Len", "Each"]);
    }

    #[test]
    fn every_name_is_a_constant() {
        let code = function(&BTreeSet::from(["Len".to_owned()]));
        assert!(
            code.contains("\tcase \"Len\":\n\t\treturn value.MethodByName(\"Len\")\n"),
            "{code}"
        );
    }
}
