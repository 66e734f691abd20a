//! The tests that docker-py has for an engine. Those that need cgroup controllers pass where the
//! sandbox has these.

use super::sandbox;
use anyhow::{Context, Result, bail};
use std::fs;
use vmtest::{Image, docker_py};

#[test]
fn the_tests_of_docker_py_have_the_listed_results() -> Result<()> {
    let engine = sandbox("docker-py")?;
    engine.run(docker_py::ALPINE)?;
    let (run, results) = (engine.folder().join("run.py"), engine.folder().join("results"));
    fs::write(&run, docker_py::RUN)?;
    let mut python = engine.client("docker-py");
    python.args(docker_py::arguments(&run, &results));
    python.current_dir(Image::find()?.tools.join(docker_py::SUITE));
    let output = python.output().context("starting python")?;
    println!("{}", String::from_utf8_lossy(&output.stdout));
    let text = fs::read_to_string(&results).unwrap_or_default();
    if !output.status.success() || text.is_empty() {
        bail!("the tests did not run: {}", String::from_utf8_lossy(&output.stderr));
    }
    let controllers = engine.inside("cat /sys/fs/cgroup/cgroup.controllers")?;
    let has = |name| controllers.split_whitespace().any(|controller| controller == name);
    let kinds: &[&str] = match ["cpu", "cpuset", "memory"].into_iter().all(has) {
        true => &[],
        false => &["failed-without-controllers"],
    };
    docker_py::compare(&text, kinds)
}
