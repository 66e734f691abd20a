//! Debian's Go, run from its unpacked packages: the same inputs give the same bytes.

use super::recipe::{Program, Recipe};
use super::sources::{Sources, otherwise_folder, source_folder};
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
}

impl Go {
    /// Unpacks the compiler below `work`.
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
        Ok(Go { work: work.to_owned(), root, cache, variables })
    }

    /// Builds a program, puts it below `made` with all its names, and starts it once as each.
    pub(super) fn build(&self, program: &Program) -> Result<()> {
        let file = self.work.join("program");
        let mut flags = format!("-s -w {}", self.variables.join(" "));
        if program.cgo {
            flags.push_str(" -linkmode external -extldflags -static");
        }
        let mut go = self.command(program, "build");
        go.args(["-trimpath", "-buildmode=exe", "-ldflags", &flags]);
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
        let mut go = self.command(program, "list");
        let list = sh::output(go.args(["-deps", "-f", "{{.Dir}}"]).arg(&program.main))?;
        Ok(list.lines().map(PathBuf::from).collect())
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
