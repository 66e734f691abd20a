//! The house rules that no lint checks: arrows between crates, purity, file sizes, names, words,
//! compose files, recipes, and the correctness of the documentation.

mod commits;
mod functions;
mod hits;
mod lines;
mod manifests;
mod measures;
mod named_files;
mod source;
mod words;

use self::hits::Hit;
use self::source::Text;
use crate::arrows::{self, ARROWS};
use crate::{docs, kernel_headers, module_graph, paths, progress, recipe};
use anyhow::{Context, Result, bail};
use clap::Args;
use corral_config::{Layer, Source};
use corral_plan::Service;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A public key, for examples that show only its beginning.
const EXAMPLE_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsyjdVi98mjmXXXl0Gwtdy5VQlPfWMr1rl626GfrojO";
/// The longest file, in lines, tests not counted.
const LONGEST_FILE: usize = 500;
/// Values in, values out: two crates, and what PID 1 decides by.
const PURE: [&str; 5] = [
    "crates/config/src/",
    "crates/plan/src/",
    "crates/init/src/lifecycle",
    "crates/init/src/restart.rs",
    "crates/init/src/stop_order.rs",
];
/// What these must not touch.
const IMPURE: [&str; 7] = [
    "std::fs",
    "std::net",
    "std::process",
    "std::env",
    "std::thread",
    "SystemTime",
    "Instant::now",
];
/// Names that say nothing.
const BANNED: [&str; 6] = ["util", "utils", "common", "helpers", "manager", "misc"];

/// Without one of these, everything is checked.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Options {
    /// Print how many words each file has that the house style replaces; with a path, each of them
    /// below it
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = "")]
    words: Option<String>,
    /// The same for lines that are too long
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = "")]
    lines: Option<String>,
    /// Print how long files and functions are, how large each crate is, and which limits hold
    #[arg(long)]
    measures: bool,
}

/// Prints what is asked for, or checks.
pub(crate) fn run(options: &Options) -> Result<()> {
    let (documents, code) = (load(&docs::documents::files()?)?, load(&rust_files()?)?);
    let folders: Vec<&str> = ARROWS.iter().map(|(folder, ..)| *folder).collect();
    let text = match options {
        Options { words: Some(path), .. } => hits::table(&words::hits(&documents, &code), path),
        Options { lines: Some(path), .. } => hits::table(&lines::hits(&documents, &code), path),
        Options { measures: true, .. } => measures::table(&code, &folders),
        _ => return check(),
    };
    progress::say(text.trim_end())
}

/// Checks everything; the error lists all that is wrong.
pub(crate) fn check() -> Result<()> {
    let mut found = Vec::new();
    let sources = rust_files()?;
    arrows::check(&mut found)?;
    check_loops(&mut found)?;
    for file in &sources {
        check_source(file, &mut found)?;
    }
    check_texts(&load(&docs::documents::files()?)?, &load(&sources)?, &mut found)?;
    check_images(&mut found)?;
    check_sshd(&mut found)?;
    check_documents(&mut found)?;
    found.extend(docs::problems()?);
    check_mirrors(&mut found)?;
    if found.is_empty() {
        return Ok(());
    }
    bail!("tidy found {}:\n  {}", found.len(), found.join("\n  "))
}

fn rust_files() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for top in ["crates", "xtask", "tests", "fuzz"] {
        collect(&paths::root().join(top), "rs", &mut files)?;
    }
    Ok(files)
}

fn collect(folder: &Path, extension: &str, files: &mut Vec<PathBuf>) -> Result<()> {
    for item in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = item?.path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target" && name != ".git") {
            collect(&path, extension, files)?;
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

fn load(files: &[PathBuf]) -> Result<Vec<Text>> {
    let load = |file: &PathBuf| -> Result<Text> {
        let text =
            fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        Ok(Text { name: shown(file), text })
    };
    files.iter().map(load).collect()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(paths::root()).unwrap_or(path).display().to_string()
}

/// No two files of a crate use each other, directly or through others: what a file depends on is
/// always below it.
fn check_loops(found: &mut Vec<String>) -> Result<()> {
    for root in module_graph::roots()? {
        for cycle in module_graph::loops(&root)? {
            let uses = cycle.uses.iter().map(|(from, to, names)| {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                format!("\n    {} uses {} of {}", shown(from), names.join(", "), shown(to))
            });
            found.push(format!(
                "{}: {} files use each other in a loop:{}",
                shown(&root),
                cycle.files.len(),
                uses.collect::<String>()
            ));
        }
    }
    Ok(())
}

/// Words, the lengths of lines, functions and subjects of commits, names of files in documents, and
/// dependencies that no package takes.
fn check_texts(documents: &[Text], code: &[Text], found: &mut Vec<String>) -> Result<()> {
    let hits = [
        words::hits(documents, code),
        lines::hits(documents, code),
        named_files::hits(documents, code),
    ];
    found.extend(hits.iter().flatten().map(Hit::shown));
    found.extend(functions::check(code));
    found.extend(commits::check());
    let manifests = ARROWS.map(|(folder, ..)| paths::root().join(folder).join("Cargo.toml"));
    let packages: Vec<String> = load(&manifests)?.into_iter().map(|file| file.text).collect();
    found.extend(manifests::unused(
        &fs::read_to_string(paths::root().join("Cargo.toml"))?,
        &packages,
    ));
    Ok(())
}

fn check_source(file: &Path, found: &mut Vec<String>) -> Result<()> {
    let text = fs::read_to_string(file)?;
    let name = shown(file);
    let code = source::without_tests(&text);
    let lines = code.lines().count();
    if lines > LONGEST_FILE {
        found.push(format!("{name}: {lines} lines; split it (at most {LONGEST_FILE})"));
    }
    if !text.starts_with("//!") {
        found.push(format!("{name}: it does not begin with //! and what it is"));
    }
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if BANNED.contains(&stem) {
        found.push(format!("{name}: {stem} says nothing; name what is in it"));
    }
    if PURE.iter().any(|pure| name.starts_with(pure)) {
        for word in IMPURE.iter().filter(|word| code.contains(**word)) {
            found.push(format!("{name}: {word} in pure code"));
        }
    }
    let calls_libcontainer = code.contains(&["libcontainer", "::"].concat());
    if calls_libcontainer && name != "crates/engine/src/runtime/helper.rs" {
        found.push(format!(
            "{name}: libcontainer is called from the creation helper only (one thread)"
        ));
    }
    Ok(())
}

/// Every recipe and every compose file is valid, and a compose file uses an image that exists.
fn check_images(found: &mut Vec<String>) -> Result<()> {
    let images: BTreeSet<String> =
        recipe::all()?.into_iter().map(|(name, _)| format!("corral/os-{name}")).collect();
    recipe::load_modules()?;
    let mut files = Vec::new();
    collect(&paths::root().join("images"), "yml", &mut files)?;
    for file in &files {
        let text = fs::read_to_string(file)?;
        // The catalogue may name images of registries, and has files without a service.
        let is_of_catalogue = shown(file).starts_with("images/catalog/");
        if !(file.ends_with("compose.yml") || is_of_catalogue && text.contains("\nservices:")) {
            continue;
        }
        match corral_plan::compose::parse(&shown(file), &text) {
            Ok(parsed) => {
                found.extend(parsed.warnings.iter().map(ToString::to_string));
                let is_ours = |image: &str| image.starts_with("corral/") || !is_of_catalogue;
                let is_made = |image: &String| {
                    images.contains(image) || image.starts_with(kernel_headers::REFERENCE)
                };
                let is_missing =
                    |service: &&Service| is_ours(&service.image) && !is_made(&service.image);
                let missing = parsed.services.iter().filter(is_missing);
                found.extend(
                    missing.map(|service| {
                        format!("{}: no recipe makes {}", shown(file), service.image)
                    }),
                );
            }
            Err(error) => found.push(error.to_string()),
        }
    }
    Ok(())
}

/// sshd's policy says what the manual promises, and no image of ours has another file for it. The
/// first value of a setting takes effect. The stories check how sshd itself reads it.
fn check_sshd(found: &mut Vec<String>) -> Result<()> {
    const FILE: &str = "crates/ros/src/applets/console/sshd_policy.conf";
    const POLICY: [(&str, &str); 9] = [
        ("passwordauthentication", "no"),
        ("kbdinteractiveauthentication", "no"),
        ("challengeresponseauthentication", "no"),
        ("authenticationmethods", "publickey"),
        ("permitemptypasswords", "no"),
        ("permitrootlogin", "no"),
        ("usepam", "no"),
        ("allowgroups", "docker"),
        ("logingracetime", "30"),
    ];
    let text = fs::read_to_string(paths::root().join(FILE))?.to_lowercase();
    for (setting, wanted) in POLICY {
        let values: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix(setting)?.strip_prefix(' ')).collect();
        if values != [wanted] {
            found.push(format!("{FILE}: {setting} is {values:?}, the manual promises {wanted}"));
        }
    }
    const NOTE: &str = "images/console/rootfs/etc/ssh/sshd_config";
    let note = fs::read_to_string(paths::root().join(NOTE))?;
    if !note.starts_with("# sshd does not read this file.")
        || note.lines().any(|line| !line.starts_with('#'))
    {
        found.push(format!(
            "{NOTE}: sshd does not read it; it has a note for its readers and nothing else"
        ));
    }
    Ok(())
}

/// Each ```yaml block that begins with #cloud-config is valid.
fn check_documents(found: &mut Vec<String>) -> Result<()> {
    for file in &docs::documents::files()? {
        let text =
            fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        for block in text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("\n```").next()) {
            if block.starts_with("#cloud-config") {
                // Examples show only the beginning of a key; any complete key stands for it.
                let block = block.replace("ssh-ed25519 AAAA...", EXAMPLE_KEY);
                let layer = Layer::parse(Source::File(shown(file)), &block);
                found.extend(layer.problems.iter().map(ToString::to_string));
            }
        }
    }
    Ok(())
}

/// No host name of a mirror in what we commit.
fn check_mirrors(found: &mut Vec<String>) -> Result<()> {
    let mut files = rust_files()?;
    collect(&paths::root().join("images"), "yml", &mut files)?;
    let words = [
        ["deb.debian", ".org"].concat(),
        ["snapshot.debian", ".org"].concat(),
        ["static.crates", ".io"].concat(),
    ];
    for file in files {
        let text = fs::read_to_string(&file)?;
        if let Some(word) = words.iter().find(|word| text.contains(word.as_str())) {
            found.push(format!(
                "{}: the mirror {word} is named; take it from the host's apt",
                shown(&file)
            ));
        }
    }
    Ok(())
}
