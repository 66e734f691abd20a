//! The tests that docker-py has for an engine, of PyPI's source, against a system engine: one in a
//! sandbox, or that of a booted machine.
//!
//! `docker-py.list` has every test that fails, is skipped or varies, each below its reason. Any
//! other result than listed is an error, also one that is better.

use crate::busybox;
use crate::image::Image;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const LIST: &str = include_str!("../docker-py.list");
/// The folder of the tools with the source that has the tests.
pub const SUITE: &str = "docker-py-suite";
const FOLDER: &str = "tests/integration";
/// The rest is about Swarm, plug-ins, builds and programs of the client's machine.
const FILES: [&str; 15] = [
    "api_client_test.py",
    "api_container_test.py",
    "api_exec_test.py",
    "api_healthcheck_test.py",
    "api_image_test.py",
    "api_network_test.py",
    "api_volume_test.py",
    "client_test.py",
    "errors_test.py",
    "models_containers_test.py",
    "models_images_test.py",
    "models_networks_test.py",
    "models_resources_test.py",
    "models_volumes_test.py",
    "regression_test.py",
];
/// As many pass at least: a suite that ran in part only is an error.
const PASSED: usize = 190;

/// Notes each result. `paramiko` is for engines that are reached by ssh.
pub const RUN: &str = r#"
import sys, types
import pytest
paramiko = types.ModuleType("paramiko")
paramiko.Channel = type("Channel", (), {})
sys.modules["paramiko"] = paramiko
class Results:
    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            print(report.outcome, report.nodeid, file=file, flush=True)
with open(sys.argv[1], "w") as file:
    pytest.main(["-p", "no:cacheprovider", "--tb=short", *sys.argv[2:]], [Results()])
"#;

/// Packs Python with its libraries and linker, so that the machine's C library does not matter.
/// Arguments: the archive, the suite, and more files for it.
const PACK: &str = r#"
import glob, os, re, subprocess, sys, sysconfig, tarfile
archive = tarfile.open(sys.argv[1], "w")
def add(path, name, unused=()):
    def kept(item):
        return None if os.path.basename(item.name) in ("__pycache__", *unused) else item
    archive.add(path, name, filter=kept)
standard, packages = sysconfig.get_path("stdlib"), os.environ["PYTHONPATH"]
python = os.path.realpath(sys.executable)
add(python, "bin/python3")
add(standard, "lib/" + os.path.basename(standard),
    ("test", "site-packages", "dist-packages", "idlelib", "ensurepip"))
add(packages, "packages", ("boto3", "botocore", "moto", "cryptography"))
modules = [path for folder in (standard + "/lib-dynload", packages)
           for path in glob.glob(folder + "/*.so")]
needed = subprocess.run(["ldd", python, *modules], stdout=subprocess.PIPE, text=True).stdout
for path in sorted(set(re.findall(r"^\t(?:\S+ => )?(/\S+) \(", needed, re.M))):
    add(os.path.realpath(path), "lib/" + os.path.basename(path))
for path in sys.argv[2:]:
    add(path, os.path.basename(path))
archive.close()
"#;

/// What the tests call `alpine`: the busybox of the sandbox, with a user that they expect.
pub const ALPINE: &str = "docker run --name alpine busybox sh -c \
    'mkdir -p /var/opt && echo postgres:x:70:70::/:/bin/sh >> /etc/passwd' && \
    docker commit -c 'CMD [\"/bin/sh\"]' alpine alpine:3.10 && docker tag alpine:3.10 alpine && \
    docker rm alpine";

/// The command line of the tests after Python's name: `run`, `RUN` in a file; the file for the
/// results; the files of the suite, whose folder is the current one.
pub fn arguments(run: &Path, results: &Path) -> Vec<PathBuf> {
    let options = [run, results, Path::new("--rootdir"), Path::new(".")].map(PathBuf::from);
    options.into_iter().chain(FILES.map(|name| Path::new(FOLDER).join(name))).collect()
}

/// Compares the results with the list. `kinds` are its kinds that apply where this engine runs,
/// besides `failed` and `skipped`. Their first word is the result.
pub fn compare(results: &str, kinds: &[&str]) -> Result<()> {
    let everywhere = ["failed", "skipped"].iter();
    let listed: BTreeSet<String> = everywhere.chain(kinds).flat_map(|kind| of_kind(kind)).collect();
    let (varying, expected): (BTreeSet<String>, BTreeSet<String>) =
        listed.into_iter().partition(|line| line.starts_with("varies "));
    let varies = |line: &String| {
        line.split_once(' ').is_some_and(|(_, name)| varying.contains(&format!("varies {name}")))
    };
    let (passed, other): (BTreeSet<String>, BTreeSet<String>) =
        results.lines().map(str::to_owned).partition(|line| line.starts_with("passed "));
    let unsure: Vec<_> = other.iter().filter(|line| varies(line)).collect();
    println!("{} passed, {} did not; of those that vary: {unsure:#?}", passed.len(), other.len());
    let new: Vec<_> = other.difference(&expected).filter(|line| !varies(line)).collect();
    let gone: Vec<_> = expected.difference(&other).collect();
    ensure!(new.is_empty() && gone.is_empty(), "not listed: {new:#?}\nonly listed: {gone:#?}");
    ensure!(passed.len() >= PASSED, "only {} passed", passed.len());
    Ok(())
}

/// The lines of the list with this kind, as results.
fn of_kind(kind: &str) -> impl Iterator<Item = String> {
    let result = kind.split('-').next().unwrap_or(kind);
    LIST.lines().filter_map(move |line| {
        let name = line.strip_prefix(kind)?.strip_prefix(' ')?;
        Some(format!("{result} {FOLDER}/{name}"))
    })
}

/// Packs this machine's Python, docker-py, the suite and the image `busybox`, for a machine that
/// has no Python. Returns the archive.
pub fn pack(image: &Image, work: &Path) -> Result<PathBuf> {
    let (archive, run) = (work.join("python.tar"), work.join("run.py"));
    fs::write(&run, RUN).with_context(|| format!("writing {}", run.display()))?;
    let busybox = busybox::pack(image, work)?;
    let mut python = Command::new(image.tools.join("docker-py"));
    python.args(["-c", PACK]).arg(&archive).arg(image.tools.join(SUITE)).args([run, busybox]);
    let output = python.output().context("starting python")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "packing python: {errors}");
    Ok(archive)
}

/// The script that runs the tests in a machine, in the folder with what was packed, as root. It
/// prints the results.
pub fn script(folder: &Path) -> String {
    let arguments = arguments(&folder.join("run.py"), &folder.join("results"));
    let arguments: Vec<_> = arguments.iter().map(|path| path.to_string_lossy()).collect();
    format!(
        "cd {0}/{SUITE} && PYTHONHOME={0} PYTHONPATH={0}/packages \
         DOCKER_HOST=unix:///run/system-docker.sock \
         {0}/lib/ld-linux-x86-64.so.2 --library-path {0}/lib {0}/bin/python3 {1} > {0}/log 2>&1; \
         cat {0}/results",
        folder.display(),
        arguments.join(" ")
    )
}
