//! `ros reset`, as the next boot does it: before anything of the state is used. The request is
//! removed last, so after a power loss in between the next boot completes it.

use anyhow::{Context, Result};
use corral_machine::console::log;
use std::fs;
use std::path::{Path, PathBuf};

/// The owner's request: one word a line.
pub const RESET: &str = "/var/lib/rancher/reset";

/// The configured keys, where they are kept and the rest of the configuration is not.
pub const KEPT_KEYS: &str = "/var/lib/rancher/conf/cloud-config.d/kept-keys.yml";

/// Paths below the state that each word keeps.
const KEEP: [(&str, &[&str]); 3] = [
    ("config", &["var/lib/rancher/conf", "etc/docker"]),
    (
        "keys",
        &[
            "var/lib/rancher/conf/ssh",
            "var/lib/rancher/conf/cloud-config.d/kept-keys.yml",
            "home/rancher/.ssh",
            "home/docker/.ssh",
        ],
    ),
    ("images", &["var/lib/docker", "var/lib/system-docker", "var/lib/system-docker.corral"]),
];

/// Does what `ros reset` requested below `base`, the root of the state.
pub(super) fn run_if_requested(base: &Path) {
    let request = base.join(RESET.trim_start_matches('/'));
    let Ok(text) = fs::read_to_string(&request) else { return };
    let words: Vec<&str> = text.lines().map(str::trim).collect();
    log(&format!("reset: deleting what is on the state disk; kept: {}", words.join(" ")));
    let mut kept: Vec<PathBuf> = vec![request.clone(), base.join("lost+found")];
    for (word, paths) in KEEP {
        if words.contains(&word) {
            kept.extend(paths.iter().map(|path| base.join(path)));
        }
    }
    let done = clear(base, &kept).and_then(|()| {
        fs::remove_file(&request).with_context(|| format!("removing {}", request.display()))
    });
    rustix::fs::sync();
    if let Err(error) = done {
        log(&format!("reset: {error:#}; the next boot tries again"));
    }
}

/// Deletes all below a folder but what is kept, and what leads there.
fn clear(folder: &Path, kept: &[PathBuf]) -> Result<()> {
    let items = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for item in items.flatten() {
        let path = item.path();
        if kept.contains(&path) {
            continue;
        }
        let is_folder = item.file_type().is_ok_and(|kind| kind.is_dir());
        let leads_on = kept.iter().any(|kept| kept.starts_with(&path));
        let removed = match (is_folder, leads_on) {
            (true, true) => {
                clear(&path, kept)?;
                Ok(())
            }
            (true, false) => fs::remove_dir_all(&path),
            (false, _) => fs::remove_file(&path),
        };
        removed.with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_named_stays() {
        let base = std::env::temp_dir().join(format!("corral-reset-{}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        for path in [
            "home/rancher/data",
            "home/rancher/.ssh/authorized_keys",
            "var/lib/docker/image",
            "var/lib/rancher/conf/cloud-config.yml",
            "var/lib/rancher/conf/ssh/host_key",
            KEPT_KEYS.trim_start_matches('/'),
            "opt/app",
            "etc/docker/daemon.json",
        ] {
            fs::create_dir_all(base.join(path).parent().unwrap()).unwrap();
            fs::write(base.join(path), path).unwrap();
        }
        fs::write(base.join("var/lib/rancher/reset"), "keys\nimages\n").unwrap();
        run_if_requested(&base);
        let there = |path: &str| base.join(path).exists();
        assert!(there("home/rancher/.ssh/authorized_keys") && there("var/lib/docker/image"));
        assert!(
            there("var/lib/rancher/conf/ssh/host_key") && there(KEPT_KEYS.trim_start_matches('/'))
        );
        assert!(!there("home/rancher/data") && !there("opt") && !there("var/lib/rancher/reset"));
        assert!(!there("var/lib/rancher/conf/cloud-config.yml") && !there("etc"));
        run_if_requested(&base);
        assert!(there("var/lib/docker/image"));
        fs::remove_dir_all(base).unwrap();
    }
}
