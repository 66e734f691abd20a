//! The state disk: find it, repair or format it in the bootstrap container, and put its folders in
//! their places. Without one, the machine runs from memory. It does the same, and reports why, when
//! anything is wrong with the disk.

use super::{recovery, reset, run_once};
use anyhow::{Context, Result, bail};
use corral_config::model::State;
use corral_engine::paths;
use corral_machine::console::log;
use corral_machine::mounts::{self, Mount};
use corral_machine::uevent::Uevents;
use corral_machine::{block, docker_machine, modules};
use corral_plan::resolved::Resolved;
use rustix::mount::MountFlags;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What of the machine is kept on the state disk.
pub const PERSISTENT_PATHS: [&str; 7] = [
    "/home",
    "/opt",
    "/etc/docker",
    "/var/lib/docker",
    "/var/lib/system-docker",
    "/var/lib/rancher",
    "/var/log",
];
/// Where the engine's folder is on a disk on which RancherOS has its own at the usual path: System
/// Docker's images and containers are of another format, and RancherOS may be started again.
const ENGINE_BESIDE: &str = "/var/lib/system-docker.corral";
/// Where the owner's configuration is.
pub const CONF: &str = "/var/lib/rancher/conf";
/// What can be fetched again, and the results of image checks.
const CACHE: &str = "/var/lib/rancher/cache";
const MOUNT_POINT: &str = "/state";
/// A path of the state that the console and other containers see as well.
pub const STATE_VIEW: &str = "/var/lib/rancher";
/// Why the machine runs from memory although it has a state disk.
pub const PROBLEM_FILE: &str = "/run/corral/state-problem";
/// What of the state is in memory although the rest is on its disk, and why; a line each.
pub const LEFT_OUT: &str = "/run/corral/state-left-out";
/// There if the check of the disk found something to repair in this boot: files may be gone.
pub const REPAIRED: &str = "/run/corral/state-repaired";
/// How long a disk is waited for; LONG_WAIT with `rancher.state.wait`.
const WAIT: Duration = Duration::from_secs(10);
const LONG_WAIT: Duration = Duration::from_secs(60);
const BOOTSTRAP_TIME: Duration = Duration::from_secs(300);
/// A person may be prompted, and may have to think.
const UNLOCK_TIME: Duration = Duration::from_secs(600);

/// Puts the state in its places. True if it is on a disk.
pub(super) fn enter(rough: &Resolved) -> bool {
    let state = &rough.config.rancher.state;
    let mut mounted = mount(state, rough);
    if state.required
        && let Err(error) = &mounted
    {
        recovery::run(rough, &format!("the state disk is required, but {error:#}"));
        mounted = mount(state, rough);
    }
    let is_on_disk = match mounted {
        Ok(device) => {
            if let Some(device) = &device {
                log(&format!("state: {} is on {}", PERSISTENT_PATHS.join(" "), device.display()));
            }
            device.is_some()
        }
        Err(error) => {
            log(&format!("state: {error:#}; running from memory, changes will be lost"));
            let _ = fs::write(PROBLEM_FILE, format!("{error:#}\n"));
            false
        }
    };
    let placed = if is_on_disk { place_disk(rough) } else { place_memory() };
    match placed.and_then(|()| secure()) {
        Ok(()) => corral_engine::runtime::sweep(),
        Err(error) => log(&format!("state: {error:#}")),
    }
    is_on_disk
}

/// Is the state on a disk, as far as this process sees?
pub fn is_on_disk() -> bool {
    const TMPFS: u64 = 0x0102_1994;
    rustix::fs::statfs(STATE_VIEW).is_ok_and(|data| data.f_type.cast_unsigned() != TMPFS)
}

/// Is there a state disk that does not work?
pub(super) fn has_problem() -> bool {
    Path::new(PROBLEM_FILE).exists()
}

/// Mounts the state disk; None if none is configured.
fn mount(state: &State, rough: &Resolved) -> Result<Option<PathBuf>> {
    if state.dev.is_empty() && !state.docker_machine {
        return Ok(None);
    }
    if state.directory.split('/').any(|part| part == "..") {
        bail!("rancher.state.directory: {:?} points outside the disk", state.directory);
    }
    let device = match state.dev.is_empty() {
        true => find_of_docker_machine(rough)?,
        false => Some(open_and_find(state, rough)?),
    };
    if let Some(device) = &device {
        mount_readable(device, rough)?;
    }
    Ok(device)
}

/// Mounts the disk, and does so once more if it turns out that a folder cannot be read.
fn mount_readable(device: &Path, rough: &Resolved) -> Result<()> {
    mount_device(device, rough)?;
    let base = base(rough);
    let mut folders =
        PERSISTENT_PATHS.iter().map(|path| make_folder(&base, path_on_disk(&base, path)));
    if let Some(Err(error)) = folders.find(Result::is_err) {
        // The kernel has met errors that it did not know of when it mounted the disk. It has
        // recorded them on the disk.
        log(&format!("state: {error:#}"));
        mounts::unmount(Path::new(MOUNT_POINT), false)?;
        mount_device(device, rough)?;
    }
    Ok(())
}

/// Assembles and unlocks what the disk may be in, and finds it.
fn open_and_find(state: &State, rough: &Resolved) -> Result<PathBuf> {
    if state.mdadm_scan {
        bootstrap(rough, &state.dev, "MDADM_SCAN=1").context("rancher.state.mdadm_scan")?;
    }
    unlock(state, rough)?;
    if !state.script.is_empty() {
        bootstrap(rough, &state.dev, &format!("STATE_SCRIPT={}", state.script))
            .context("rancher.state.script")?;
    }
    find_device(state, rough)
}

/// The one device that the configuration means. A disk is formatted first, or waited for.
fn find_device(state: &State, rough: &Resolved) -> Result<PathBuf> {
    let mut found = find(&state.dev);
    if found.is_empty() && !state.autoformat.is_empty() {
        bootstrap(rough, &state.dev, "").context("formatting a disk")?;
        found = find(&state.dev);
    }
    if found.is_empty() {
        found = wait_for(&state.dev, waiting_time(state))?;
    }
    match found.as_slice() {
        [] => bail!("{} not found", state.dev),
        [device] => Ok(device.clone()),
        several => {
            bail!("{} is ambiguous: {several:?}; name one device in rancher.state.dev", state.dev)
        }
    }
}

/// The disk that Docker Machine gave the machine, formatted if it is new; None if there is none. It
/// is not waited for: most machines that start the ISO have no such disk.
fn find_of_docker_machine(rough: &Resolved) -> Result<Option<PathBuf>> {
    let mut found = docker_machine::state_disks();
    let marked = docker_machine::marked_disks();
    if found.len() < 2 && !marked.is_empty() {
        // Beside a new disk, one that has the label may be that of another machine, with other
        // keys. The bootstrap container knows which disk is new.
        bootstrap(rough, "", "DOCKER_MACHINE=1")
            .with_context(|| ambiguous(&[found.as_slice(), marked.as_slice()].concat()))?;
        found = docker_machine::state_disks();
    }
    match found.as_slice() {
        [] => Ok(None),
        [device] => Ok(Some(device.clone())),
        several => bail!(ambiguous(several)),
    }
}

/// What is wrong with disks of Docker Machine, one of which may be the machine's own.
fn ambiguous(disks: &[PathBuf]) -> String {
    match disks {
        [disk] => format!("formatting {} for Docker Machine", disk.display()),
        several => format!(
            "the disk of Docker Machine is ambiguous: {several:?}; leave one of them in the \
             machine, or name one device in rancher.state.dev"
        ),
    }
}

/// Mounts the disk. Its file system is repaired first if it is marked as dirty, or if it cannot be
/// mounted as it is.
fn mount_device(device: &Path, rough: &Resolved) -> Result<()> {
    let mut system = block::load_file_system(device)?
        .with_context(|| format!("{} has no file system", device.display()))?;
    if system.kind == "ext4" && system.dirty {
        log(&format!("state: {} was not unmounted cleanly; checking it", device.display()));
        bootstrap(rough, &device.to_string_lossy(), "")
            .with_context(|| format!("checking {}", device.display()))?;
        system = block::load_file_system(device)?.unwrap_or(system);
    }
    let configured = &rough.config.rancher.state.fstype;
    let kind = if ["", "auto"].contains(&configured.as_str()) { system.kind } else { configured };
    if let Err(error) = modules::load(&[kind]) {
        log(&format!("state: {error:#}"));
    }
    match mount_as(device, kind) {
        Err(error) if system.kind == "ext4" => {
            log(&format!("state: {error:#}; checking {}", device.display()));
            bootstrap(rough, &device.to_string_lossy(), "CHECK=careful")
                .with_context(|| format!("checking {}", device.display()))?;
            mount_as(device, kind)
        }
        mounted => mounted,
    }
}

fn mount_as(device: &Path, kind: &str) -> Result<()> {
    mounts::mount(&Mount {
        source: &device.to_string_lossy(),
        target: MOUNT_POINT,
        kind,
        flags: MountFlags::NOATIME,
        data: "",
    })
}

/// Opens what is encrypted. The bootstrap container gathers the keys, from a person if need be.
fn unlock(state: &State, rough: &Resolved) -> Result<()> {
    let named = &state.encryption.device;
    let containers = if named.is_empty() {
        if !state.cryptsetup {
            return Ok(());
        }
        let volumes =
            block::load_volumes().into_iter().filter(|volume| volume.system.kind == block::LUKS);
        volumes.map(|volume| volume.device).collect()
    } else {
        let found = wait_for(named, waiting_time(state))?;
        if let [] | [_, _, ..] = found.as_slice() {
            bail!("rancher.state.encryption.device: {named} matches {} devices", found.len());
        }
        found
    };
    let key_file = &state.encryption.key_file;
    for container in containers {
        let environment =
            vec![format!("UNLOCK={}", container.display()), format!("KEY_FILE={key_file}")];
        run_once::run(rough, "bootstrap", environment, Some(UNLOCK_TIME))
            .with_context(|| format!("opening the encrypted {}", container.display()))?;
    }
    Ok(())
}

fn waiting_time(state: &State) -> Duration {
    if state.wait { LONG_WAIT } else { WAIT }
}

/// The devices that the reference means. A disk that Docker Machine had formatted is as good as one
/// of ours.
fn find(reference: &str) -> Vec<PathBuf> {
    let found = block::resolve(reference);
    if found.is_empty() && reference == "LABEL=RANCHER_STATE" {
        return block::resolve(&format!("LABEL={}", docker_machine::LABEL));
    }
    found
}

fn wait_for(reference: &str, time: Duration) -> Result<Vec<PathBuf>> {
    let events = Uevents::open()?;
    let found = find(reference);
    if !found.is_empty() {
        return Ok(found);
    }
    log(&format!("state: waiting up to {} s for {reference}", time.as_secs()));
    let deadline = Instant::now() + time;
    loop {
        let found = find(reference);
        if !found.is_empty() || !events.wait(deadline)? {
            return Ok(found);
        }
    }
}

/// Several systems share a disk when each has its own `rancher.state.directory`.
fn base(rough: &Resolved) -> PathBuf {
    Path::new(MOUNT_POINT).join(rough.config.rancher.state.directory.trim_matches('/'))
}

/// A folder that cannot be read, although the disk was repaired, is in memory. The other folders
/// are not affected.
fn place_disk(rough: &Resolved) -> Result<()> {
    let base = base(rough);
    reset::run_if_requested(&base);
    let mut left_out = String::new();
    for path in PERSISTENT_PATHS {
        let placed = make_folder(&base, path_on_disk(&base, path))
            .and_then(|source| mounts::bind(&source, Path::new(path)));
        if let Err(error) = placed {
            log(&format!("state: {path} is in memory, changes there will be lost: {error:#}"));
            left_out.push_str(&format!("{path}: {error:#}\n"));
            place_one_in_memory(path)?;
        }
    }
    if left_out.is_empty() {
        Ok(())
    } else {
        fs::write(LEFT_OUT, left_out).with_context(|| format!("writing {LEFT_OUT}"))
    }
}

/// Where a path of the machine is on its state disk. An engine that is in use stays where it is,
/// also beside what a System Docker has left there.
fn path_on_disk<'a>(base: &Path, path: &'a str) -> &'a str {
    let usual = below(base, path);
    let is_beside = path == paths::STORE
        && (below(base, ENGINE_BESIDE).is_dir()
            || (is_of_docker(&usual) && !is_of_engine(base, &usual)));
    if is_beside { ENGINE_BESIDE } else { path }
}

/// Does a folder have the images of a Docker? It keeps them by its storage driver.
fn is_of_docker(folder: &Path) -> bool {
    let drivers = fs::read_dir(folder.join("image")).into_iter().flatten().flatten();
    drivers.map(|driver| driver.path()).any(|driver| driver.join("imagedb").is_dir())
}

/// Does it have what the engine keeps over a boot? No Docker has anything at these paths.
fn is_of_engine(base: &Path, folder: &Path) -> bool {
    const OWN: [&str; 5] = ["image/blobs", "image/layers", "image/images", "kept", "networks.json"];
    let containers = fs::read_dir(folder.join("containers")).into_iter().flatten().flatten();
    let mut ids = containers.filter_map(|item| item.file_name().into_string().ok());
    OWN.iter().any(|path| folder.join(path).exists())
        || ids.any(|id| below(base, &paths::record(&id).to_string_lossy()).is_file())
}

fn below(base: &Path, path: &str) -> PathBuf {
    base.join(path.trim_start_matches('/'))
}

/// A folder of the state, made if it is not there. An error if it cannot be read.
fn make_folder(base: &Path, path: &str) -> Result<PathBuf> {
    let folder = below(base, path);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    Ok(folder)
}

fn place_memory() -> Result<()> {
    for path in ["/home", "/opt"] {
        place_one_in_memory(path)?;
    }
    for path in PERSISTENT_PATHS {
        fs::create_dir_all(path)?;
    }
    Ok(())
}

fn place_one_in_memory(path: &str) -> Result<()> {
    mounts::mount(&Mount {
        source: "memory",
        target: path,
        kind: "tmpfs",
        flags: MountFlags::NODEV,
        data: "mode=0755",
    })
}

/// The owner's configuration holds keys and passwords, and image checks write into the cache.
fn secure() -> Result<()> {
    for folder in [CONF, CACHE] {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Runs the bootstrap container to its end: the tools for file systems are in it, not on the system
/// image. `device` is the state disk, or what refers to it. `more` is one variable besides the
/// usual ones.
fn bootstrap(rough: &Resolved, device: &str, more: &str) -> Result<()> {
    let state = &rough.config.rancher.state;
    let mut environment =
        vec![format!("STATE_DEV={device}"), format!("AUTOFORMAT={}", state.autoformat.join(" "))];
    environment.extend(Some(more.to_owned()).filter(|more| !more.is_empty()));
    run_once::run(rough, "bootstrap", environment, Some(BOOTSTRAP_TIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_disk_of_docker_machine_that_is_ambiguous_is_named() {
        let [one, two] = ["/dev/vda", "/dev/vdb"].map(PathBuf::from);
        let text = ambiguous(&[one.clone(), two]);
        let parts = ["ambiguous", "/dev/vda", "/dev/vdb", "rancher.state.dev"];
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        assert_eq!(ambiguous(&[one]), "formatting /dev/vda for Docker Machine");
    }

    /// An empty disk.
    fn disk(name: &str) -> PathBuf {
        let base = std::env::temp_dir().join(format!("corral-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        base
    }

    fn make_system_docker(base: &Path) {
        let store = below(base, paths::STORE);
        for path in ["image/overlay/imagedb", "containers/0123", "overlay/0123", "network/files"] {
            fs::create_dir_all(store.join(path)).unwrap();
        }
        fs::write(store.join("containers/0123/config.v2.json"), "{}").unwrap();
    }

    #[test]
    fn the_engine_of_rancheros_keeps_its_folder() {
        let base = disk("state");
        assert_eq!(path_on_disk(&base, paths::STORE), paths::STORE);
        make_system_docker(&base);
        assert_eq!(path_on_disk(&base, paths::STORE), ENGINE_BESIDE);
        assert_eq!(path_on_disk(&base, "/var/lib/docker"), "/var/lib/docker");
        // Its owner has removed what RancherOS had.
        make_folder(&base, ENGINE_BESIDE).unwrap();
        fs::remove_dir_all(below(&base, paths::STORE)).unwrap();
        assert_eq!(path_on_disk(&base, paths::STORE), ENGINE_BESIDE);
        fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn an_engine_that_is_in_use_stays_beside_what_system_docker_has_left() {
        let record = paths::record("4567");
        let record = record.strip_prefix(paths::STORE).unwrap();
        let own = ["image/blobs/sha256/89", "image/layers/ab", "networks.json", "kept/console/etc"];
        for path in own.map(Path::new).into_iter().chain([record]) {
            let base = disk("state-both");
            make_system_docker(&base);
            let file = below(&base, paths::STORE).join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
            assert_eq!(path_on_disk(&base, paths::STORE), paths::STORE, "{}", path.display());
            // One that was moved stays there.
            make_folder(&base, ENGINE_BESIDE).unwrap();
            assert_eq!(path_on_disk(&base, paths::STORE), ENGINE_BESIDE, "{}", path.display());
            fs::remove_dir_all(base).unwrap();
        }
    }
}
