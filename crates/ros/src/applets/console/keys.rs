//! The ssh keys of the configuration: one file for each user, in a folder of Corral's. It holds the
//! keys that the configuration has now and no others, so a removed key stops working.
//! `~/.ssh/authorized_keys` belongs to the user. The folder is in memory: a full disk removes no
//! key.

use crate::applets::failures;
use anyhow::{Context, Result};
use corral_config::Config;
use corral_config::model::User;
use corral_machine::files::write_atomic;
use corral_resolve::imported_keys::{self, Imported};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, fchown, fstat, open, openat, renameat, unlinkat,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Where sshd finds them, one file per user name.
pub(crate) const FOLDER: &str = "/run/corral/ssh/authorized_keys.d";
const OWN_FILE: &str = "authorized_keys";
/// Size limit of a file of keys.
const LARGEST: u64 = 1 << 20;

/// Lets in the users of the configuration with its keys, and no others.
pub(super) fn authorize(config: &Config) -> Result<()> {
    let wanted = of(config, &imported_keys::load());
    let mut failures = Vec::new();
    fs::create_dir_all(FOLDER)?;
    for item in fs::read_dir(FOLDER)?.flatten() {
        if !wanted.contains_key(&*item.file_name().to_string_lossy())
            && let Err(error) = fs::remove_file(item.path())
        {
            failures.push(format!("removing {}: {error}", item.path().display()));
        }
    }
    for (user, keys) in &wanted {
        let text: String = keys.iter().map(|key| format!("{key}\n")).collect();
        if let Err(error) = write_atomic(&Path::new(FOLDER).join(user), text.as_bytes(), 0o644) {
            failures.push(format!("{error:#}"));
        }
    }
    failures::as_error(&failures)
}

/// The keys of each user that has some.
fn of(config: &Config, imported: &Imported) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let ours = ["rancher", "docker"].map(|name| User {
        name: name.to_owned(),
        ssh_authorized_keys: config.admin_keys(),
        ssh_import_id: config.admin_ids(),
        ..User::default()
    });
    for user in ours.into_iter().chain(config.accounts()) {
        let fetched = user.ssh_import_id.iter().filter_map(|id| imported.get(id)).flatten();
        for key in lines(&user.ssh_authorized_keys).into_iter().chain(fetched.cloned()) {
            let known = all.entry(user.name.clone()).or_default();
            if !known.contains(&key) {
                known.push(key);
            }
        }
    }
    all.retain(|name, _| !name.is_empty() && !name.contains('/') && !name.starts_with('.'));
    all
}

/// The keys that open a machine whose state disk is broken: those of rancher, and of `user:`.
pub(super) fn of_rescue(config: &Config) -> Vec<String> {
    let all = of(config, &imported_keys::load());
    let mut keys = Vec::new();
    for name in ["rancher", config.user.name.as_str()] {
        for key in all.get(name).into_iter().flatten() {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
    }
    keys
}

/// The lines of these items. `|` in YAML makes an item of several lines.
pub(crate) fn lines(items: &[String]) -> Vec<String> {
    let lines = items.iter().flat_map(|item| item.lines()).map(str::trim);
    lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Earlier versions put the keys of the configuration into the user's own file, where they stayed
/// for good. This removes those that are in Corral's file now.
pub(super) fn leave_own_file(user: &str, home: &Path) -> Result<()> {
    let managed = fs::read_to_string(Path::new(FOLDER).join(user)).unwrap_or_default();
    let managed: BTreeSet<&str> = managed.lines().collect();
    let Some((folder, mut file, owner)) = open_own(home) else { return Ok(()) };
    let mut text = String::new();
    (&mut file).take(LARGEST).read_to_string(&mut text).context("reading authorized_keys")?;
    let is_own = |line: &&str| !managed.contains(line.trim());
    let rest: String = text.lines().filter(is_own).map(|line| format!("{line}\n")).collect();
    if rest.lines().count() == text.lines().count() || text.len() as u64 >= LARGEST {
        return Ok(());
    }
    replace_own(&folder, owner, &rest).context("writing authorized_keys")
}

/// The folder, the file, and the owner of the home. None unless the file belongs to that owner and
/// neither is a link: what a user links to need not be the user's.
fn open_own(home: &Path) -> Option<(OwnedFd, File, (u32, u32))> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let home = open(home, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let folder = openat(&home, ".ssh", flags | OFlags::DIRECTORY, Mode::empty()).ok()?;
    let file = File::from(openat(&folder, OWN_FILE, flags, Mode::empty()).ok()?);
    let (owner, data) = (fstat(&home).ok()?, fstat(&file).ok()?);
    let is_file = FileType::from_raw_mode(data.st_mode).is_file();
    let is_own = is_file && data.st_nlink == 1 && data.st_uid == owner.st_uid;
    is_own.then_some((folder, file, (owner.st_uid, owner.st_gid)))
}

fn replace_own(folder: &OwnedFd, (uid, gid): (u32, u32), text: &str) -> Result<()> {
    let name = format!(".{OWN_FILE}.{}.new", std::process::id());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let _ = unlinkat(folder, &name, AtFlags::empty());
    let mut file = File::from(openat(folder, &name, flags, Mode::from_raw_mode(0o600))?);
    file.write_all(text.as_bytes())?;
    fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    file.sync_all()?;
    renameat(folder, &name, folder, OWN_FILE)?;
    Ok(rustix::fs::fsync(folder)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_the_keys_that_the_configuration_says_and_each_once() {
        let user = User {
            name: "joe".to_owned(),
            ssh_authorized_keys: vec!["c".to_owned(), " c\nd ".to_owned(), String::new()],
            ssh_import_id: vec!["gh:x".to_owned()],
            ..User::default()
        };
        let evil = User {
            name: "../x".to_owned(),
            ssh_authorized_keys: vec!["e".to_owned()],
            ..User::default()
        };
        let config = Config {
            ssh_authorized_keys: vec!["a".to_owned()],
            users: vec![user, evil],
            ..Config::default()
        };
        let imported = Imported::from([("gh:x".to_owned(), vec!["f".to_owned(), "c".to_owned()])]);
        let found: Vec<String> = of(&config, &imported)
            .into_iter()
            .map(|(name, keys)| format!("{name}: {}", keys.join(",")))
            .collect();
        assert_eq!(found, ["docker: a", "joe: c,d,f", "rancher: a"]);
    }
}
