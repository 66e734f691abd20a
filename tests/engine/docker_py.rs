//! The tests that docker-py has for an engine, of PyPI's source, against the system engine.
//!
//! `docker-py.list` has every test that fails or is skipped here, each below its reason. Any other
//! result than listed is an error, also one that is better. Those that need cgroup controllers pass
//! where the sandbox has these.

use super::sandbox;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use vmtest::sandbox::Sandbox;

const LIST: &str = include_str!("docker-py.list");
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
const RUN: &str = r#"
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

/// What the tests call `alpine`: the busybox of the sandbox, with a user that they expect.
const ALPINE: &str = "docker run --name alpine busybox sh -c \
    'mkdir -p /var/opt && echo postgres:x:70:70::/:/bin/sh >> /etc/passwd' && \
    docker commit -c 'CMD [\"/bin/sh\"]' alpine alpine:3.10 && docker tag alpine:3.10 alpine && \
    docker rm alpine";

/// The lines of the list with this first word, without it.
fn listed(kind: &str) -> impl Iterator<Item = &'static str> {
    LIST.lines().filter_map(move |line| line.strip_prefix(kind)?.strip_prefix(' '))
}

#[test]
fn the_tests_of_docker_py_have_the_listed_results() -> Result<()> {
    let engine = sandbox("docker-py")?;
    engine.run(ALPINE)?;
    let controllers = engine.inside("cat /sys/fs/cgroup/cgroup.controllers")?;
    let has = |name| controllers.split_whitespace().any(|controller| controller == name);
    let kinds: &[(&str, &str)] = match ["cpu", "cpuset", "memory"].into_iter().all(has) {
        true => &[("failed", "failed"), ("skipped", "skipped")],
        false => &[("failed", "failed"), ("skipped", "skipped"), ("without-controllers", "failed")],
    };
    let expected: BTreeSet<String> = kinds
        .iter()
        .flat_map(|(kind, result)| {
            listed(kind).map(move |name| format!("{result} {FOLDER}/{name}"))
        })
        .collect();
    let (passed, other): (BTreeSet<String>, BTreeSet<String>) =
        results(&engine)?.into_iter().partition(|line| line.starts_with("passed "));
    let new: Vec<_> = other.difference(&expected).collect();
    let gone: Vec<_> = expected.difference(&other).collect();
    assert!(new.is_empty() && gone.is_empty(), "not listed: {new:#?}\nonly listed: {gone:#?}");
    assert!(passed.len() >= PASSED, "only {} passed", passed.len());
    println!("{} passed, {} are listed", passed.len(), expected.len());
    Ok(())
}

/// A line for each test: its outcome and its name.
fn results(engine: &Sandbox) -> Result<Vec<String>> {
    let file = engine.folder().join("results");
    let suite = vmtest::Image::find()?.tools.join("docker-py-suite");
    let mut python = engine.client("docker-py");
    python.args(["-c", RUN]).arg(&file).arg("--rootdir").arg(&suite);
    python.args(FILES.map(|name| Path::new(FOLDER).join(name)));
    let output = python.current_dir(&suite).output().context("starting python")?;
    println!("{}", String::from_utf8_lossy(&output.stdout));
    let text = fs::read_to_string(&file).unwrap_or_default();
    if !output.status.success() || text.is_empty() {
        bail!("the tests did not run: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(text.lines().map(str::to_owned).collect())
}
