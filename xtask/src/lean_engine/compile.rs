//! Debian's Go, run from its unpacked packages: the same inputs give the same bytes.

use super::methods::{self, SourceFile};
use super::recipe::{self, Program, Recipe};
use super::sources::{Sources, apply, otherwise_folder, source_folder};
use crate::packages::Package;
use crate::sh;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the C compiler and pkg-config are.
const PATH: &str = "/usr/bin:/bin";

/// The compiler, and what it is given for all programs.
#[derive(Debug)]
pub(super) struct Go {
    work: PathBuf,
    root: PathBuf,
    /// Compiled packages of earlier builds, kept by Go.
    cache: PathBuf,
    /// `-X` with a variable and its value.
    variables: Vec<String>,
    /// Which packages have inlined functions.
    inlining: Vec<String>,
}

impl Go {
    /// Unpacks the compiler below `work`, with our patches of Go's library.
    pub(super) fn unpack(
        recipe: &Recipe,
        compiler: &[Package],
        sources: &Sources,
        work: &Path,
    ) -> Result<Go> {
        let folder = work.join("go");
        for package in compiler {
            let mut dpkg = Command::new("dpkg-deb");
            sh::output(dpkg.arg("-x").arg(package.archive()).arg(&folder))?;
        }
        // golang-1.26-go is in usr/lib/go-1.26.
        let name = recipe.go.strip_prefix("golang-").and_then(|rest| rest.strip_suffix("-go"));
        let name = name.with_context(|| format!("go: {} is no package of Go", recipe.go))?;
        let mut variables = Vec::new();
        for (variable, source) in &recipe.versions {
            variables.push(format!("-X {variable}={}", sources.version(source)?));
        }
        for (variable, source) in &recipe.full_versions {
            variables.push(format!("-X {variable}={}", sources.full_version(source)?));
        }
        for (variable, source) in &recipe.times {
            variables.push(format!("-X {variable}={}", time(&source_folder(work, source))?));
        }
        let root = folder.join("usr/lib").join(format!("go-{name}"));
        let cache = work.with_file_name("go-build");
        let mut inlining = vec!["-gcflags=all=-l".to_owned()];
        inlining.extend(recipe.inlined.iter().map(|pattern| format!("-gcflags={pattern}=")));
        let go = Go { work: work.to_owned(), root, cache, variables, inlining };
        go.prepare_library(recipe)?;
        Ok(go)
    }

    /// Patches Go's library, and writes the part of it that depends on what is linked.
    fn prepare_library(&self, recipe: &Recipe) -> Result<()> {
        // The package of the compiler has a link there, which git does not follow.
        let library = fs::canonicalize(self.root.join("src")).context("finding Go's library")?;
        for patch in recipe::patches(recipe::OF_LIBRARY)? {
            apply(&patch, &[], &library, &self.work)?;
        }
        let mut files = Vec::new();
        for program in &recipe.programs {
            files.extend(self.files(program)?);
        }
        methods::write(&recipe.methods, &files, &library)
    }

    /// Builds a program, puts it below `made` with all its names, and starts it once as each.
    pub(super) fn build(&self, program: &Program) -> Result<()> {
        let file = self.work.join("program");
        let mut flags = format!("-s -w {}", self.variables.join(" "));
        if program.cgo {
            flags.push_str(" -linkmode external -extldflags -static");
        }
        let mut go = self.command(program, "build");
        go.args(["-trimpath", "-buildmode=exe", "-ldflags", &flags]).args(&self.inlining);
        sh::output(go.arg("-o").arg(&file).arg(&program.main))?;
        for (name, arguments) in &program.names {
            let target = self.work.join("made").join(name.trim_start_matches('/'));
            fs::create_dir_all(target.parent().unwrap_or(&self.work))?;
            fs::hard_link(&file, &target).with_context(|| format!("linking {name}"))?;
            sh::output(Command::new(&target).args(arguments).env("HOME", &self.work))
                .with_context(|| format!("starting the new {name}"))?;
        }
        fs::remove_file(file).context("removing the first name of a program")
    }

    /// The folders of all packages that a program is linked of.
    pub(super) fn folders(&self, program: &Program) -> Result<Vec<PathBuf>> {
        Ok(self.list(program, "{{.Dir}}")?.lines().map(PathBuf::from).collect())
    }

    /// The files of all packages that a program is linked of.
    fn files(&self, program: &Program) -> Result<Vec<SourceFile>> {
        const FORMAT: &str =
            "{{$p := .}}{{range .GoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}\n{{end}}";
        let list = self.list(program, FORMAT)?;
        let file = |line: &str| {
            let (package, path) = line.split_once(' ')?;
            Some(SourceFile { package: package.to_owned(), path: path.into() })
        };
        Ok(list.lines().filter_map(file).collect())
    }

    fn list(&self, program: &Program, format: &str) -> Result<String> {
        sh::output(self.command(program, "list").args(["-deps", "-f", format]).arg(&program.main))
    }

    fn command(&self, program: &Program, what: &str) -> Command {
        let mut go = Command::new(self.root.join("bin/go"));
        let code = [self.work.join("tree/usr/share/gocode"), otherwise_folder(&self.work)];
        let code = code.map(|folder| folder.display().to_string()).join(":");
        // No setting of the caller's for Go, the C compiler or pkg-config takes effect, and nothing
        // is downloaded.
        go.env_clear().env("PATH", PATH).env("HOME", &self.work);
        go.env("GOROOT", &self.root).env("GOPATH", code).env("GOCACHE", &self.cache);
        go.envs([("GO111MODULE", "off"), ("GOENV", "off"), ("GOTOOLCHAIN", "local")]);
        go.envs([("GOPROXY", "off"), ("GOOS", "linux"), ("GOARCH", "amd64"), ("GOAMD64", "v1")]);
        go.env("CGO_ENABLED", if program.cgo { "1" } else { "0" });
        go.current_dir(&self.work).args([what, "-tags", &program.tags.join(",")]);
        go
    }
}

/// The time of the newest entry of a source's changelog, as in RFC 3339.
fn time(source: &Path) -> Result<String> {
    let file = source.join("debian/changelog");
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    // ` -- NAME <ADDRESS>  Mon, 30 Nov 2026 03:46:01 +0000`
    let line = text.lines().find(|line| line.starts_with(" -- "));
    let time = line.and_then(|line| line.rsplit_once(">  "));
    let (_, time) = time.with_context(|| format!("{} has no time", file.display()))?;
    let mut date = Command::new("date");
    let time = sh::output(date.args(["-u", "+%Y-%m-%dT%H:%M:%SZ", "-d"]).arg(time))?;
    Ok(time.trim().to_owned())
}
