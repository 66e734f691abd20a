//! The cgroup of a process, and the processes in it: cgroups(7), version 2. The file system of
//! cgroups is mounted, and this process is in the host's cgroup namespace.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

const MOUNT: &str = "/sys/fs/cgroup";

/// The folder of this process's cgroup.
pub fn own() -> Result<PathBuf> {
    read("/proc/self/cgroup")
}

/// The folder of a process's cgroup.
pub fn of_process(pid: i32) -> Result<PathBuf> {
    read(&format!("/proc/{pid}/cgroup"))
}

/// The processes in a cgroup and those below it. Zombies are not among them.
pub fn processes(cgroup: &Path) -> Result<Vec<i32>> {
    let (mut found, mut folders) = (Vec::new(), vec![cgroup.to_owned()]);
    while let Some(folder) = folders.pop() {
        let file = folder.join("cgroup.procs");
        let text = fs::read_to_string(&file);
        let text = match text {
            // One below it was removed in the meantime.
            Err(_) if folder != cgroup => continue,
            text => text.with_context(|| format!("reading {}", file.display()))?,
        };
        found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
        let items = fs::read_dir(&folder).into_iter().flatten().flatten();
        let below = items.filter(|item| item.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.extend(below.map(|item| item.path()));
    }
    Ok(found)
}

fn read(file: &str) -> Result<PathBuf> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {file}"))?;
    parse(&text).with_context(|| format!("{file} has no line of cgroup version 2"))
}

fn parse(text: &str) -> Option<PathBuf> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new(MOUNT).join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_version_2_names_the_folder() {
        let folder = Path::new("/sys/fs/cgroup/system/4f");
        assert_eq!(parse("1:name=old:/x\n0::/system/4f\n").as_deref(), Some(folder));
        assert_eq!(parse("0::/\n").as_deref(), Some(Path::new("/sys/fs/cgroup/")));
        assert_eq!(parse("1:name=old:/x\n"), None);
    }

    #[test]
    fn processes_of_cgroups_below_it_belong_to_a_cgroup() {
        let folder = std::env::temp_dir().join(format!("corral-cgroup-{}", std::process::id()));
        fs::create_dir_all(folder.join("a/b")).unwrap();
        fs::create_dir_all(folder.join("gone")).unwrap();
        fs::write(folder.join("cgroup.procs"), "1\n22\n").unwrap();
        fs::write(folder.join("a/cgroup.procs"), "").unwrap();
        fs::write(folder.join("a/b/cgroup.procs"), "3\n").unwrap();
        let mut found = processes(&folder).unwrap();
        found.sort_unstable();
        assert_eq!(found, [1, 3, 22]);
        fs::remove_dir_all(&folder).unwrap();
        assert!(processes(&folder).is_err());
    }
}
