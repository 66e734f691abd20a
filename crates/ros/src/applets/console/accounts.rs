//! Who may log in: rancher and docker, which are always there, and the users of the configuration.
//! A user whose home exists keeps the uid that owns it. A console of another image is kept, and its
//! users with it: `own_accounts` knows which of them the configuration has no more.

use super::keys;
use super::own_accounts::OwnAccounts;
use crate::applets::{account_table, failures};
use anyhow::{Context, Result, anyhow, bail};
use corral_config::Config;
use corral_config::model::{Secret, Sudo, User};
use corral_config::names::is_password_hash;
use corral_machine::files::write_atomic;
use corral_machine::program;
use rustix::fs::{Gid, Uid, chown};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The users of every machine.
pub(super) const OURS: [(&str, u32); 2] = [("rancher", 1100), ("docker", 1101)];
/// The first uid for other users.
const FIRST_UID: u32 = 1200;
/// sshd lets in members of this group only (`AllowGroups`).
const SSH_GROUP: &str = "docker";
/// Shells that any other of them stands in for. Others may be there to allow less.
const SHELLS: [&str; 10] =
    ["ash", "bash", "csh", "dash", "fish", "ksh", "mksh", "sh", "tcsh", "zsh"];
const SUDOERS: &str = "/etc/sudoers.d/90-corral-users";

/// The homes of rancher and docker.
pub(crate) fn make_homes() -> Result<()> {
    for (name, id) in OURS {
        make_home(&Path::new("/home").join(name), id, id)?;
    }
    Ok(())
}

/// A replacement console may lack the group that sshd lets in. It may also have our users locked,
/// and sshd accepts no key for a locked user. In our own console both are right, so nothing is run.
pub(crate) fn admit_ours() -> Result<()> {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let shadow = fs::read_to_string("/etc/shadow").unwrap_or_default();
    let mut failures = Vec::new();
    for (name, _) in OURS {
        let mut steps = Vec::new();
        if !is_member(&groups, name) {
            steps.push(
                make_group(SSH_GROUP, None).and_then(|()| usermod(&["-a", "-G", SSH_GROUP], name)),
            );
        }
        if is_locked(&shadow, name) {
            steps.push(usermod(&["-p", "*"], name));
        }
        failures.extend(
            steps.into_iter().filter_map(|step| Some(format!("{name}: {:#}", step.err()?))),
        );
    }
    failures::as_error(&failures)
}

pub(super) fn usermod(change: &[&str], user: &str) -> Result<()> {
    run("/usr/sbin/usermod", &[change, &[user]].concat())
}

/// Is it one of the members of the group that sshd lets in?
fn is_member(groups: &str, user: &str) -> bool {
    let members = account_table::field(groups, SSH_GROUP, 3).unwrap_or_default();
    members.split(',').any(|member| member == user)
}

fn is_locked(shadow: &str, user: &str) -> bool {
    account_table::field(shadow, user, 1).is_some_and(|hash| hash.starts_with('!'))
}

fn make_home(home: &Path, uid: u32, gid: u32) -> Result<()> {
    if !home.exists() {
        fs::create_dir_all(home)?;
        fs::set_permissions(home, fs::Permissions::from_mode(0o755))?;
        own(home, uid, gid)?;
    }
    Ok(())
}

fn own(path: &Path, uid: u32, gid: u32) -> Result<()> {
    chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
        .with_context(|| format!("chown {}", path.display()))
}

/// Writes the keys of the configuration, and removes those that earlier versions put elsewhere.
pub(super) fn authorize(config: &Config) -> Result<()> {
    keys::authorize(config)?;
    let ours = OURS.map(|(name, _)| (name.to_owned(), Path::new("/home").join(name)));
    let users = config.accounts().into_iter().map(|user| (user.name.clone(), home_of(&user)));
    for (name, home) in ours.into_iter().chain(users) {
        keys::leave_own_file(&name, &home)?;
    }
    Ok(())
}

/// Sets the passwords of the configuration, or their hashes. They go to chpasswd's standard input,
/// never to a command line. If one fails, the others are still set. Those that it set before, and
/// that the configuration has no more, are removed.
pub(super) fn set_passwords(config: &Config) -> Result<()> {
    let (mut failures, mut own) = (Vec::new(), OwnAccounts::load());
    let passwords = config.passwords();
    for (user, secret) in &passwords {
        let arguments: &[&str] = match secret {
            Secret::Hash(_) => &["-e"],
            Secret::Clear(_) => &["-c", "SHA512"],
        };
        let result = match lookup("/etc/passwd", user) {
            Some(_) => chpasswd(arguments, user, secret.text()),
            None => Err(anyhow!("there is no such user; `users` creates one")),
        };
        match result {
            Ok(()) => {
                own.passwords.insert(user.clone());
            }
            Err(error) => failures.push(format!("{user}: {error:#}")),
        }
    }
    let is_wanted = |name: &str| passwords.contains_key(name);
    failures.extend(own.take_passwords(is_wanted, |name| change(name, &["-p", "*"])));
    failures.extend(own.store().err().map(|error| format!("{error:#}")));
    failures::as_error(&failures)
}

/// How chpasswd has to take a password, or a hash of one.
pub(crate) fn chpasswd_arguments(password: &str) -> &'static [&'static str] {
    if is_password_hash(password) { &["-e"] } else { &["-c", "SHA512"] }
}

fn chpasswd(arguments: &[&str], user: &str, secret: &str) -> Result<()> {
    let line = format!("{user}:{secret}\n");
    program::feed(program::of_system("/usr/sbin/chpasswd").args(arguments), line.as_bytes())
        .map(drop)
}

/// Creates the users of the configuration, and closes those that it had before. If one fails, the
/// others are still created.
pub(super) fn make_users(config: &Config) -> Result<()> {
    let (mut failures, mut own) = (Vec::new(), OwnAccounts::load());
    let users = config.accounts();
    for user in &users {
        if let Err(error) = make_user(user, &mut own) {
            failures.push(format!("{}: {error:#}", user.name));
        }
    }
    let is_wanted = |name: &str| users.iter().any(|user| user.name == name);
    let closing = ["-p", "*", "-s", "/bin/false", "-G", ""];
    failures.extend(own.close_users(is_wanted, |name| change(name, &closing)));
    failures.extend(own.store().err().map(|error| format!("{error:#}")));
    if let Err(error) = write_sudoers(users.iter()) {
        failures.push(format!("{error:#}"));
    }
    failures::as_error(&failures)
}

fn home_of(user: &User) -> PathBuf {
    match user.homedir.as_str() {
        "" => Path::new("/home").join(&user.name),
        path => PathBuf::from(path),
    }
}

/// Changes a user that may have been removed by hand.
fn change(name: &str, arguments: &[&str]) -> Result<()> {
    lookup("/etc/passwd", name).map_or(Ok(()), |_| usermod(arguments, name))
}

fn make_user(user: &User, own: &mut OwnAccounts) -> Result<()> {
    let home = home_of(user);
    let added = open_user(user, &home, own)?;
    let uid = lookup("/etc/passwd", &user.name).context("it is not in /etc/passwd")?;
    let gid = id_in_field("/etc/passwd", &user.name, 3).context("it has no group")?;
    let mut steps = join(user, own.users.contains(&user.name));
    if !user.no_create_home && !user.system {
        steps
            .push(make_home(&home, uid, gid).with_context(|| format!("making {}", home.display())));
    }
    let failed = steps.into_iter().filter_map(|step| Some(format!("{:#}", step.err()?)));
    let failures: Vec<String> = added.into_iter().chain(failed).collect();
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join(", ")) }
}

/// Creates the user, or opens it again. Returns what was wrong.
fn open_user(user: &User, home: &Path, own: &mut OwnAccounts) -> Result<Vec<String>> {
    let wrong = if lookup("/etc/passwd", &user.name).is_none() {
        add_user(user, home)?
    } else if own.closed.contains(&user.name) {
        let (user, wrong) = possible(user, |path| Path::new(path).exists());
        usermod(&["-s", shell_of(&user)], &user.name)?;
        wrong
    } else {
        return Ok(Vec::new());
    };
    own.closed.remove(&user.name);
    own.users.insert(user.name.clone());
    Ok(wrong)
}

/// Puts the user into its groups. One that Corral created is in no others.
fn join(user: &User, is_ours: bool) -> Vec<Result<()>> {
    // A group that cannot be created must not keep the user out of the group that sshd lets in.
    let (mut there, mut steps) = (Vec::new(), Vec::new());
    for group in &user.groups {
        match make_group(group, None) {
            Ok(()) => there.push(group.as_str()),
            Err(error) => steps.push(Err(error)),
        }
    }
    if is_ours {
        steps.push(usermod(&["-G", &there.join(",")], &user.name));
    } else {
        steps.extend(there.iter().map(|group| usermod(&["-a", "-G", group], &user.name)));
    }
    steps
}

/// Adds the user. A value that is not possible here costs itself, not the account: the default
/// takes its place. Returns what was wrong.
fn add_user(user: &User, home: &Path) -> Result<Vec<String>> {
    let (user, mut wrong) = possible(user, |path| Path::new(path).exists());
    let Err(error) = use_values(&user, home) else { return Ok(wrong) };
    let own = User { primary_group: String::new(), ..user.clone() };
    let others = [User { uid: None, ..user.clone() }, own.clone(), User { uid: None, ..own }];
    if !others.iter().filter(|other| **other != user).any(|other| use_values(other, home).is_ok()) {
        return Err(error);
    }
    wrong.push(format!("the default takes the place of its uid or its group: {error:#}"));
    Ok(wrong)
}

/// The user with values that useradd and sshd take, and what was wrong with the others.
fn possible(user: &User, exists: impl Fn(&str) -> bool) -> (User, Vec<String>) {
    let (mut user, mut wrong) = (user.clone(), Vec::new());
    let name = user.shell.rsplit('/').next().unwrap_or_default();
    if SHELLS.contains(&name) && !exists(&user.shell) {
        wrong.push(format!("there is no {}; its shell is the default", user.shell));
        user.shell.clear();
    }
    if user.gecos.contains(is_separator) {
        wrong.push("gecos: blanks take the place of colons and line breaks".to_owned());
        user.gecos = user.gecos.replace(is_separator, " ");
    }
    (user, wrong)
}

/// /etc/passwd has a line for each user, with fields between colons.
fn is_separator(char: char) -> bool {
    char == ':' || char.is_control()
}

fn use_values(user: &User, home: &Path) -> Result<()> {
    let uid = user.uid.or_else(|| owner_of(home)).unwrap_or_else(next_uid);
    let group = if user.primary_group.is_empty() { &user.name } else { &user.primary_group };
    make_group(group, user.primary_group.is_empty().then_some(uid))?;
    let shell = shell_of(user);
    let home = home.to_string_lossy();
    let uid = uid.to_string();
    // `*` is no valid password, but the account is not locked: sshd rejects locked accounts, even
    // with a key. -M: we create the home ourselves.
    let place = ["-M", "-d", &home, "-s", shell, "-g", group, "-u", &uid];
    let person = ["-p", "*", "-c", &user.gecos, &user.name];
    run("/usr/sbin/useradd", &[place.as_slice(), person.as_slice()].concat())
}

pub(super) fn make_group(name: &str, gid: Option<u32>) -> Result<()> {
    if lookup("/etc/group", name).is_some() {
        return Ok(());
    }
    let gid =
        gid.filter(|gid| !is_taken("/etc/group", *gid)).unwrap_or_else(|| next_id("/etc/group"));
    run("/usr/sbin/groupadd", &["-g", &gid.to_string(), name])
}

fn shell_of(user: &User) -> &str {
    if user.shell.is_empty() { shell() } else { &user.shell }
}

/// The best shell that is here.
pub(super) fn shell() -> &'static str {
    let is_there = |path: &&str| Path::new(path).exists();
    ["/bin/bash", "/usr/bin/bash"].into_iter().find(is_there).unwrap_or("/bin/sh")
}

/// The owner of a home that outlived its user. Uids below `FIRST_UID` are never reused.
fn owner_of(home: &Path) -> Option<u32> {
    let uid = fs::metadata(home).ok()?.uid();
    (uid >= FIRST_UID && !is_taken("/etc/passwd", uid)).then_some(uid)
}

/// The next number that neither a user nor a home has.
fn next_uid() -> u32 {
    let homes = fs::read_dir("/home").into_iter().flatten().flatten();
    let owners: Vec<u32> = homes.filter_map(|home| Some(home.metadata().ok()?.uid())).collect();
    let free = |uid: &u32| !owners.contains(uid) && !is_taken("/etc/passwd", *uid);
    (FIRST_UID..60_000).find(free).unwrap_or(FIRST_UID)
}

fn next_id(file: &str) -> u32 {
    (FIRST_UID..60_000).find(|id| !is_taken(file, *id)).unwrap_or(FIRST_UID)
}

fn id_in_field(file: &str, name: &str, number: usize) -> Option<u32> {
    let table = fs::read_to_string(file).ok()?;
    account_table::field(&table, name, number)?.parse().ok()
}

/// The ids of `user`, `user:group`, `user:` (with its own group) or `:group`, by name or number, as
/// chown(1) takes them. None if nothing is named.
pub(super) fn owner(text: &str) -> Result<Option<(Uid, Gid)>> {
    if text.is_empty() {
        return Ok(None);
    }
    let (user, group) = text.split_once(':').map_or((text, None), |(a, b)| (a, Some(b)));
    let id = |file: &str, name: &str| match name {
        "" => Ok(0),
        _ => lookup(file, name)
            .or_else(|| name.parse().ok())
            .with_context(|| format!("{file} has no {name}")),
    };
    let group = match group {
        Some("") => id_in_field("/etc/passwd", user, 3).unwrap_or_default(),
        Some(name) => id("/etc/group", name)?,
        None => 0,
    };
    Ok(Some((Uid::from_raw(id("/etc/passwd", user)?), Gid::from_raw(group))))
}

pub(super) fn lookup(file: &str, name: &str) -> Option<u32> {
    id_in_field(file, name, 2)
}

fn is_taken(file: &str, id: u32) -> bool {
    let table = fs::read_to_string(file).unwrap_or_default();
    let wanted = id.to_string();
    table.lines().any(|line| line.split(':').nth(2) == Some(&wanted))
}

/// Writes lines for sudo. Lines that visudo rejects are left out: a broken file would disable sudo
/// for all users.
fn write_sudoers<'a>(users: impl Iterator<Item = &'a User>) -> Result<()> {
    let draft = Path::new("/run/corral/sudoers.draft");
    let check = |text: &str| {
        write_atomic(draft, text.as_bytes(), 0o440)?;
        run("/usr/sbin/visudo", &["-cqf", &draft.to_string_lossy()])
    };
    let (text, failures) = sudoers(users, check);
    if text.is_empty() {
        let _ = fs::remove_file(SUDOERS);
    } else {
        write_atomic(Path::new(SUDOERS), text.as_bytes(), 0o440)?;
    }
    failures::as_error(&failures)
}

/// The valid lines of all users, and the errors of the rest.
fn sudoers<'a>(
    users: impl Iterator<Item = &'a User>,
    check: impl Fn(&str) -> Result<()>,
) -> (String, Vec<String>) {
    let (mut all, mut failures) = (String::new(), Vec::new());
    for user in users {
        let Some(Sudo::Lines(lines)) = &user.sudo else { continue };
        let text: String = lines.iter().map(|line| format!("{} {line}\n", user.name)).collect();
        match if text.is_empty() { Ok(()) } else { check(&text) } {
            Ok(()) => all.push_str(&text),
            Err(error) => {
                failures.push(format!("{}: its lines for sudo are not used: {error:#}", user.name))
            }
        }
    }
    (all, failures)
}

pub(super) fn run(path: &str, arguments: &[&str]) -> Result<()> {
    program::run(program::of_system(path).args(arguments)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_or_a_locked_account_of_another_console_shuts_no_user_out() {
        let groups = "root:x:0:\ndocker:x:1101:rancher,joe\n";
        assert!(["rancher", "joe"].iter().all(|user| is_member(groups, user)));
        assert!(!is_member(groups, "ann") && !is_member("rancher:x:1100:\n", "rancher"));
        let other = "docker:x:998:\n";
        assert!(!is_member(other, "rancher") && !is_member(other, "docker"));
        let shadow = "root:*:1::::::\nrancher:!:1::::::\ndocker:*:1::::::\njoe:!$6$a$b:1::::::\n";
        let locked: Vec<&str> = ["root", "rancher", "docker", "joe", "ann"]
            .into_iter()
            .filter(|user| is_locked(shadow, user))
            .collect();
        assert_eq!(locked, ["rancher", "joe"]);
    }

    #[test]
    fn wrong_lines_for_sudo_cost_their_own_user_only() {
        let user = |name: &str, line: &str| User {
            name: name.to_owned(),
            sudo: Some(Sudo::Lines(vec![line.to_owned()])),
            ..User::default()
        };
        let users =
            [user("ann", "ALL=(ALL) ALL"), user("bob", "ALL=("), user("joe", "ALL=(ALL) ALL")];
        let check =
            |text: &str| if text.contains("ALL=(\n") { bail!("syntax error") } else { Ok(()) };
        let (text, failures) = sudoers(users.iter(), check);
        assert_eq!(text, "ann ALL=(ALL) ALL\njoe ALL=(ALL) ALL\n");
        assert_eq!(failures, ["bob: its lines for sudo are not used: syntax error"]);
    }

    #[test]
    fn a_value_that_is_not_possible_costs_itself_only() {
        let of = |shell: &str, gecos: &str| {
            let (shell, gecos) = (shell.to_owned(), gecos.to_owned());
            let user = User { name: "ann".to_owned(), shell, gecos, ..User::default() };
            let (user, wrong) = possible(&user, |path| path == "/bin/bash");
            (user.shell, user.gecos, wrong.len())
        };
        for (shell, gecos, expected) in [
            ("", "Ann Doe, R&D", ("", "Ann Doe, R&D", 0)),
            ("/bin/bash", "Ann: ops\n", ("/bin/bash", "Ann  ops ", 1)),
            ("/usr/bin/zsh", "a", ("", "a", 1)),
            ("/usr/sbin/nologin", "", ("/usr/sbin/nologin", "", 0)),
            ("/bin/false", "", ("/bin/false", "", 0)),
            ("/usr/bin/git-shell", "", ("/usr/bin/git-shell", "", 0)),
        ] {
            let (shell, gecos, wrong) = of(shell, gecos);
            assert_eq!((&*shell, &*gecos, wrong), expected);
        }
    }

    #[test]
    fn a_hash_is_not_hashed_again() {
        for hash in ["$6$salt$hash", "$6$rounds=5000$salt$hash", "$y$j9T$salt$hash"] {
            assert_eq!(chpasswd_arguments(hash), ["-e"], "{hash}");
        }
        for clear in ["secret", "$6$", "$$", "$a$b", "a$b$c$d", "!", "*", "$6$salt$"] {
            assert_eq!(chpasswd_arguments(clear), ["-c", "SHA512"], "{clear}");
        }
    }
}
