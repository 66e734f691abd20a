//! The state disk: find it, repair or format it in the bootstrap container, and put its folders in their places.
//! Without one, or when anything is wrong with it, the machine runs from memory and says so.

use super::say;
use crate::launch;
use crate::resolve::Resolved;
use anyhow::{Context, Result, bail};
use corral_config::model::State;
use corral_engine::core::{Helper, Streams};
use corral_engine::protocol::{Join, Order, Report};
use corral_engine::sys::packet::Received;
use corral_engine::sys::reap;
use corral_machine::block;
use corral_machine::modules::Index;
use corral_machine::mounts::{self, Mount};
use corral_machine::uevent::Uevents;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::MountFlags;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What of the machine is kept on the state disk.
pub(crate) const KEPT: [&str; 6] =
    ["/home", "/opt", "/var/lib/docker", "/var/lib/system-docker", "/var/lib/rancher", "/var/log"];
const MOUNT_POINT: &str = "/state";
const WAIT: Duration = Duration::from_secs(60);
const BOOTSTRAP_TIME: Duration = Duration::from_secs(300);

/// Puts the state in its places. True if it is on a disk.
pub(super) fn enter(rough: &Resolved) -> bool {
    let state = &rough.config.rancher.state;
    let on_disk = match mount(state, rough) {
        Ok(device) => {
            if let Some(device) = &device {
                say(&format!("state: {} is on {}", KEPT.join(" "), device.display()));
            }
            device.is_some()
        }
        Err(error) => {
            let word = if state.required { "the state disk is required, but " } else { "" };
            say(&format!("state: {word}{error:#}; running from memory, nothing will be kept"));
            false
        }
    };
    let placed = if on_disk { place_disk(&state.directory) } else { place_memory() };
    if let Err(error) = placed {
        say(&format!("state: {error:#}"));
    }
    on_disk
}

/// Mounts the state disk; None if none is wanted.
fn mount(state: &State, rough: &Resolved) -> Result<Option<PathBuf>> {
    if state.dev.is_empty() {
        return Ok(None);
    }
    if state.directory.split('/').any(|part| part == "..") {
        bail!("rancher.state.directory: {:?} leads out of the disk", state.directory);
    }
    if !state.script.is_empty() {
        bootstrap(rough, &format!("STATE_SCRIPT={}", state.script)).context("rancher.state.script")?;
    }
    let mut found = block::resolve(&state.dev);
    if found.is_empty() && !state.autoformat.is_empty() {
        bootstrap(rough, "").context("formatting a disk")?;
        found = block::resolve(&state.dev);
    }
    if found.is_empty() && state.wait {
        found = wait_for(&state.dev)?;
    }
    let device = match found.as_slice() {
        [] => bail!("{} is not there", state.dev),
        [device] => device.clone(),
        several => bail!("{} is ambiguous: {several:?}; name one device in rancher.state.dev", state.dev),
    };
    let mut system = block::load_file_system(&device)?
        .with_context(|| format!("{} has no file system", device.display()))?;
    if system.kind == "ext4" && system.dirty {
        say(&format!("state: {} was not unmounted cleanly; checking it", device.display()));
        bootstrap(rough, "").with_context(|| format!("checking {}", device.display()))?;
        system = block::load_file_system(&device)?.unwrap_or(system);
    }
    let kind = if ["", "auto"].contains(&state.fstype.as_str()) { system.kind } else { &state.fstype };
    if let Err(error) = Index::open(Path::new("/lib/modules")).and_then(|mut index| index.load(kind)) {
        say(&format!("state: {error:#}"));
    }
    mounts::mount(&Mount {
        source: &device.to_string_lossy(),
        target: MOUNT_POINT,
        kind,
        flags: MountFlags::NOATIME,
        data: "",
    })?;
    Ok(Some(device))
}

fn wait_for(reference: &str) -> Result<Vec<PathBuf>> {
    say(&format!("state: waiting up to {} s for {reference}", WAIT.as_secs()));
    let events = Uevents::open()?;
    let deadline = Instant::now() + WAIT;
    loop {
        let found = block::resolve(reference);
        if !found.is_empty() || !events.wait(deadline)? {
            return Ok(found);
        }
    }
}

/// Several systems share a disk when each has its own `rancher.state.directory`.
fn place_disk(directory: &str) -> Result<()> {
    let base = Path::new(MOUNT_POINT).join(directory.trim_matches('/'));
    for path in KEPT {
        let source = base.join(path.trim_start_matches('/'));
        fs::create_dir_all(&source).with_context(|| format!("making {}", source.display()))?;
        mounts::bind(&source, Path::new(path))?;
    }
    secure()
}

fn place_memory() -> Result<()> {
    for path in ["/home", "/opt"] {
        mounts::mount(&Mount {
            source: "memory",
            target: path,
            kind: "tmpfs",
            flags: MountFlags::NODEV,
            data: "mode=0755",
        })?;
    }
    for path in KEPT {
        fs::create_dir_all(path)?;
    }
    secure()
}

/// The owner's configuration holds keys and passwords.
fn secure() -> Result<()> {
    fs::create_dir_all(crate::resolve::CONF)?;
    fs::set_permissions(crate::resolve::CONF, fs::Permissions::from_mode(0o700))?;
    corral_engine::runtime::sweep();
    Ok(())
}

/// Runs the bootstrap container to its end: the tools for file systems are in it, not on the system image.
/// `more` is one variable besides the usual ones.
fn bootstrap(rough: &Resolved, more: &str) -> Result<()> {
    let service = rough.plan.get("bootstrap").context("the system image has no service bootstrap")?;
    let state = &rough.config.rancher.state;
    let mut spec = launch::container(service, &rough.environment);
    spec.env.push(format!("STATE_DEV={}", state.dev));
    spec.env.push(format!("AUTOFORMAT={}", state.autoformat.join(" ")));
    spec.env.extend(Some(more.to_owned()).filter(|more| !more.is_empty()));
    let id = corral_engine::id::new_id();
    let console =
        fs::OpenOptions::new().write(true).open("/dev/console").ok().map(std::os::fd::OwnedFd::from);
    let copy = console.as_ref().and_then(|console| console.try_clone().ok());
    let streams = Streams { stdin: None, stdout: console, stderr: copy };
    let helper = Helper::start(
        &Order::Launch { id: id.clone(), spec: Box::new(spec), join: Join::default() },
        streams,
    )?;
    let deadline = Instant::now() + BOOTSTRAP_TIME;
    let pid = match next_report(&helper, deadline)? {
        Report::Created { pid } => pid,
        Report::Failed { message } => bail!("{message}"),
        other => bail!("the helper reported {other:?}"),
    };
    helper.go()?;
    let code = wait_for_end(pid, deadline)?;
    let order = Order::Cleanup { id, keep_children: false, remove: true };
    let cleaning = Helper::start(&order, Streams::default())?;
    next_report(&cleaning, deadline)?;
    if code == 0 { Ok(()) } else { bail!("the bootstrap container ended with {code}") }
}

fn next_report(helper: &Helper, deadline: Instant) -> Result<Report> {
    loop {
        match helper.report() {
            Received::Message(report, _) => return Ok(report),
            Received::Closed => bail!("the helper ended without a word"),
            Received::Nothing => {}
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("the helper did not report in time");
        }
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: 0 };
        poll(&mut [PollFd::new(helper, PollFlags::IN)], Some(&timeout))?;
    }
}

/// Reaps until the process has ended. Its pidfd tells when; before that it is the helper's child, not ours.
fn wait_for_end(pid: i32, deadline: Instant) -> Result<i32> {
    let process = rustix::process::Pid::from_raw(pid).context("no process")?;
    let handle = rustix::process::pidfd_open(process, rustix::process::PidfdFlags::empty())?;
    loop {
        while let Some(end) = reap::next() {
            if end.pid == pid {
                return Ok(end.code);
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("the bootstrap container did not end within {} s", BOOTSTRAP_TIME.as_secs());
        }
        // It may be a zombie of a helper that has not ended yet: look again soon.
        let timeout = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&timeout))?;
    }
}
