//! System Docker of RancherOS on a state disk: Corral's engine has a folder beside the one of it.
//! A release that does not know that folder uses the usual one, and may remove what System Docker
//! has. So it must declare that it does, for upgrades, adoptions and installations.

use crate::manifest::Release;
use anyhow::{Context, Result, ensure};
use corral_machine::mount_table::{self, Mounted};
use std::fs;
use std::path::Path;

/// The engine's folder on the machine, and on the disk if System Docker has the usual one.
const STORE: &str = "/var/lib/system-docker";
const BESIDE: &str = "var/lib/system-docker.corral";
const MOUNTS: &str = "/proc/1/mountinfo";

/// Fails for a release that does not declare it. `place` is where System Docker is.
pub(crate) fn ensure_kept(release: &Release, place: &str) -> Result<()> {
    ensure!(
        release.keeps_system_docker,
        "version {} does not declare that it leaves System Docker of RancherOS alone, which is or \
         was on {place}: Corral's engine uses {BESIDE} there, and this version may use the usual \
         folder, and remove containers of System Docker",
        release.version
    );
    Ok(())
}

/// Has the engine of this machine a folder beside the usual one? PID 1 has decided that. It stays
/// there when its owner removes what System Docker had.
pub(crate) fn is_beside() -> Result<bool> {
    let table = fs::read_to_string(MOUNTS)
        .with_context(|| format!("looking for the engine's folder: reading {MOUNTS}"))?;
    Ok(has_beside(&mount_table::parse(&table)))
}

fn has_beside(mounts: &[Mounted]) -> bool {
    let store = mounts.iter().rfind(|mount| mount.target == Path::new(STORE));
    store.is_some_and(|mount| mount.root.ends_with(BESIDE))
}

/// Is or was System Docker on the state with this root? It keeps images by its storage driver.
pub(crate) fn is_on(state: &Path) -> Result<bool> {
    if state.join(BESIDE).is_dir() {
        return Ok(true);
    }
    let images = state.join(STORE.trim_start_matches('/')).join("image");
    let reading = || format!("looking for System Docker: reading {}", images.display());
    let drivers = match fs::read_dir(&images) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        drivers => drivers.with_context(reading)?,
    };
    for driver in drivers {
        if driver.with_context(reading)?.path().join("imagedb").is_dir() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Part;

    #[test]
    fn the_folder_beside_that_of_system_docker_is_recognised() {
        let line = |root: &str, target: &str| {
            let text = format!("30 22 254:1 {root} {target} rw shared:3 - ext4 /dev/vda1 rw\n");
            mount_table::parse(&text)
        };
        for (root, target, expected) in [
            ("/var/lib/system-docker.corral", STORE, true),
            ("/rancher/var/lib/system-docker.corral", STORE, true),
            ("/var/lib/system-docker", STORE, false),
            ("/var/lib/system-docker.corral", "/mnt", false),
        ] {
            assert_eq!(has_beside(&line(root, target)), expected, "{root} {target}");
        }
        assert!(!has_beside(&[]));
    }

    #[test]
    fn system_docker_is_found_on_a_state_disk() {
        for (number, (folder, expected)) in [
            ("", false),
            ("var/lib/system-docker", false),
            ("var/lib/system-docker/image/blobs", false),
            ("var/lib/system-docker/image/overlay/imagedb", true),
            // Its owner has removed what System Docker had.
            ("var/lib/system-docker.corral", true),
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("corral-system-docker-{}-{number}", std::process::id());
            let state = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&state);
            fs::create_dir_all(state.join(folder)).unwrap();
            assert_eq!(is_on(&state).unwrap(), expected, "{folder}");
            fs::remove_dir_all(state).unwrap();
        }
        let file = std::env::temp_dir().join(format!("corral-no-state-{}", std::process::id()));
        fs::create_dir_all(file.join("var/lib/system-docker")).unwrap();
        fs::write(file.join("var/lib/system-docker/image"), "").unwrap();
        assert!(is_on(&file).is_err(), "what cannot be read is no proof");
        fs::remove_dir_all(file).unwrap();
    }

    #[test]
    fn a_release_must_declare_that_it_leaves_it_alone() {
        let part = Part { name: String::new(), digest: String::new(), size: 0 };
        let release = |keeps_system_docker| Release {
            version: "0.1".to_owned(),
            files: Vec::new(),
            drivers: Vec::new(),
            contents: part.clone(),
            keeps_system_docker,
            manifest: Vec::new(),
            signature: String::new(),
        };
        ensure_kept(&release(true), "/dev/vda1").unwrap();
        let error = ensure_kept(&release(false), "/dev/vda1").unwrap_err().to_string();
        for part in ["version 0.1", "/dev/vda1", "is or was", "system-docker.corral"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
