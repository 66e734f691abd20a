//! The image check of an engine, before anything is changed: a container of the image without
//! rights and without a network.

use crate::applets::user_docker::podman::PROGRAM as PODMAN;
use anyhow::{Context, Result, bail};
use corral_docker::{Client, Engine};
use corral_machine::files::read_at_most;
use corral_resolve::engines::MARKS;
use corral_resolve::replacement::mark;
use corral_resolve::switchable::ENGINE;
use corral_terminal::output::printable;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const NAME: &str = "engine-check-now";
const ROS: &str = "/usr/bin/ros";
const TIMEOUT: Duration = Duration::from_secs(120);

/// An image that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checked {
    pub(super) image_id: String,
    pub(super) mark: String,
}

/// Checks an image that is on this machine.
pub(super) fn run(image: &str) -> Result<Checked> {
    let client = Client::of(Engine::System)?;
    let found = client.image(image)?.with_context(|| format!("{image} is not on this machine"))?;
    let architecture = found.architecture.as_str();
    if !["", "amd64"].contains(&architecture) {
        bail!("{image} is for {architecture}, this machine is amd64; nothing was changed");
    }
    let mark = mark(&ENGINE, &found.id);
    fs::create_dir_all(MARKS).with_context(|| format!("making {MARKS}"))?;
    client.remove(NAME, false)?;
    let checked = in_container(&client, &found.id, &mark);
    client.remove(NAME, false)?;
    checked.context("nothing was changed").map(|()| Checked { image_id: found.id, mark })
}

/// What the check found in an engine; nothing if there was none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct EngineProgram {
    /// Empty if it is not known.
    pub(super) version: String,
    pub(super) is_podman: bool,
}

pub(super) fn found(mark: &str) -> EngineProgram {
    // The image could write this file.
    let bytes = read_at_most(&Path::new(MARKS).join(mark), 100).unwrap_or_default();
    parse(&String::from_utf8_lossy(&bytes))
}

fn parse(mark: &str) -> EngineProgram {
    let mut lines = mark.lines();
    let version = printable(lines.next().unwrap_or_default()).into_owned();
    EngineProgram { version, is_podman: lines.next() == Some(PODMAN) }
}

fn in_container(client: &Client, image: &str, mark: &str) -> Result<()> {
    let body = json!({
        "Image": image,
        "Entrypoint": [ROS],
        "Cmd": ["image-check", ENGINE.service, mark],
        "User": "0",
        "HostConfig": {
            "NetworkMode": "none",
            "CapDrop": ["ALL"],
            "Memory": 512 << 20,
            "PidsLimit": 200,
            "SecurityOpt": ["no-new-privileges"],
            "Binds": [format!("{MARKS}:{MARKS}"), format!("{ROS}:{ROS}:ro")],
        },
    });
    client.create(NAME, &body)?;
    client.start(NAME)?;
    let ended = client.watch(&[NAME], Instant::now() + TIMEOUT, || {
        let state = client.container(NAME)?.unwrap_or_default().state;
        Ok(Some(state.exit_code).filter(|_| state.status == "exited"))
    })?;
    match ended.with_context(|| format!("the check did not end in {} s", TIMEOUT.as_secs()))? {
        0 => Ok(()),
        _ => bail!("{}", client.last_lines(NAME, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::{EngineProgram, parse};

    #[test]
    fn an_engine_is_podman_by_its_program() {
        for (mark, version, is_podman) in [
            ("5.4.2\npodman\n", "5.4.2", true),
            ("28.5.2\ndockerd\n", "28.5.2", false),
            ("\ndockerd\n", "", false),
            ("podman", "podman", false),
            ("", "", false),
        ] {
            assert_eq!(
                parse(mark),
                EngineProgram { version: version.to_owned(), is_podman },
                "{mark:?}"
            );
        }
    }
}
