//! `timezone` in the console: /etc/localtime and /etc/timezone, for its own programs and for
//! containers that mount them. Services get the variable TZ (`corral_resolve::environment`).

use anyhow::{Context, Result, bail};
use corral_machine::files::write_atomic;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The console's own zones, and those of the image for a console without any.
const FOLDERS: [&str; 2] = ["/usr/share/zoneinfo", "/usr/share/ros/layers/base/usr/share/zoneinfo"];
const LOCALTIME: &str = "/etc/localtime";

/// Sets the zone; an empty one leaves what the console has.
pub(super) fn apply(zone: &str) -> Result<()> {
    if zone.is_empty() {
        return Ok(());
    }
    let file = find(&FOLDERS.map(Path::new), zone)
        .with_context(|| format!("there is no time zone {zone}; the clock shows UTC"))?;
    let fresh = Path::new("/etc/.localtime.new");
    let _ = fs::remove_file(fresh);
    symlink(&file, fresh).with_context(|| format!("linking {LOCALTIME}"))?;
    fs::rename(fresh, LOCALTIME).with_context(|| format!("linking {LOCALTIME}"))?;
    write_atomic(Path::new("/etc/timezone"), format!("{zone}\n").as_bytes(), 0o644)
}

/// The first of these folders that has the zone.
fn find(folders: &[&Path], zone: &str) -> Result<PathBuf> {
    let is_zone = |file: &PathBuf| fs::read(file).is_ok_and(|text| text.starts_with(b"TZif"));
    match folders.iter().map(|folder| folder.join(zone)).find(is_zone) {
        Some(file) if !zone.contains("..") => Ok(file),
        _ => bail!("no file of this name below {}", FOLDERS[0]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_of_the_zones_is_one() {
        let folder = std::env::temp_dir().join(format!("corral-zone-{}", std::process::id()));
        fs::create_dir_all(folder.join("Europe")).unwrap();
        fs::write(folder.join("Europe/Berlin"), "TZif2").unwrap();
        fs::write(folder.join("zone.tab"), "AD").unwrap();
        let folders = [Path::new("/nowhere"), &folder];
        assert!(find(&folders, "Europe/Berlin").is_ok());
        for zone in ["Europe", "zone.tab", "Europe/Berln", "Europe/../Europe/Berlin"] {
            assert!(find(&folders, zone).is_err(), "{zone}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
