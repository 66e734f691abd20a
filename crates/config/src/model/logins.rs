//! Who may log in, as cloud-init's keys say it: users, passwords, host keys. What follows from them
//! together is in `accounts`.

use crate::names::is_password_hash;
use serde::{Deserialize, Serialize};

/// sshd lets in its members only.
const SSH_GROUP: &str = "docker";

/// A user besides rancher and docker.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct User {
    pub name: String,
    pub gecos: String,
    pub primary_group: String,
    pub groups: Vec<String>,
    pub uid: Option<u32>,
    pub homedir: String,
    pub no_create_home: bool,
    pub system: bool,
    pub shell: String,
    pub ssh_authorized_keys: Vec<String>,
    pub ssh_import_id: Vec<String>,
    /// As in /etc/shadow.
    pub passwd: String,
    pub hashed_passwd: String,
    pub plain_text_passwd: String,
    pub lock_passwd: Option<bool>,
    /// None: it is not set.
    pub sudo: Option<Sudo>,
}

/// What a user may do by sudo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Sudo {
    /// False: nothing. True stands for nothing that sudo knows, and is taken as nothing.
    Bool(bool),
    /// Lines of sudoers, without the name.
    Lines(Vec<String>),
}

impl Sudo {
    /// May the user run every command as root, without a password? Of several lines, sudo takes the
    /// last that fits, so the last one decides.
    pub fn is_unlimited(&self) -> bool {
        matches!(self, Sudo::Lines(lines) if lines.last().is_some_and(|line| is_unlimited(line)))
    }
}

/// `ALL=(ALL) NOPASSWD:ALL`, or another way to write it. A line that this does not understand
/// counts as limited.
fn is_unlimited(line: &str) -> bool {
    let line: String = line.trim().chars().filter(|char| !matches!(char, ' ' | '\t')).collect();
    let Some(rest) = line.strip_prefix("ALL=") else { return false };
    let commands = match rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        Some((targets, commands)) => {
            let user = targets.split(':').next().unwrap_or_default();
            if !["ALL", "root"].contains(&user) {
                return false;
            }
            commands
        }
        None => rest,
    };
    let tags = commands.strip_suffix(":ALL").unwrap_or_default();
    let mut tags = tags.split(':').filter(|tag| *tag != "SETENV");
    tags.next() == Some("NOPASSWD") && tags.next().is_none()
}

/// The user of every machine.
pub const DEFAULT_USER: &str = "rancher";

/// Passwords of users that exist.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Chpasswd {
    /// Each item has one or more lines `user:password`.
    pub list: Vec<String>,
    pub users: Vec<PasswordOf>,
    pub expire: bool,
}

/// The password of a user.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PasswordOf {
    pub name: String,
    pub password: String,
    /// `RANDOM`: none is set.
    #[serde(rename = "type")]
    pub kind: String,
}

/// What a user logs in with on terminals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// As in /etc/shadow.
    Hash(String),
    Clear(String),
}

impl Secret {
    /// A hash, or else clear text.
    pub fn of(text: &str) -> Secret {
        let make = if is_password_hash(text) { Secret::Hash } else { Secret::Clear };
        make(text.to_owned())
    }

    /// The hash or the text.
    pub fn text(&self) -> &str {
        match self {
            Secret::Hash(text) | Secret::Clear(text) => text,
        }
    }

    /// chpasswd takes a line for each user.
    pub(super) fn is_line(&self) -> bool {
        !self.text().is_empty() && !self.text().contains(char::is_control)
    }
}

/// Host keys of sshd.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostKeys {
    pub rsa_private: String,
    pub ecdsa_private: String,
    pub ed25519_private: String,
}

impl PasswordOf {
    pub(super) fn secret(&self) -> Option<(String, Secret)> {
        let secret = match self.kind.as_str() {
            "RANDOM" => return None,
            "text" => Secret::Clear(self.password.clone()),
            _ => Secret::of(&self.password),
        };
        Some((self.name.clone(), secret))
    }
}

impl User {
    /// None if there is none, or it is locked.
    pub(super) fn secret(&self) -> Option<Secret> {
        let hash = [&self.passwd, &self.hashed_passwd].into_iter().find(|hash| !hash.is_empty());
        let clear = Some(&self.plain_text_passwd).filter(|text| !text.is_empty());
        let given = hash.map(|hash| Secret::Hash(unlocked(hash).to_owned()));
        given.or(clear.map(|text| Secret::of(text))).filter(|_| self.lock_passwd != Some(true))
    }

    /// Its groups. Who has keys and is root by sudo anyway is let in by sshd. Not by fewer rights:
    /// the group has Docker's socket too, and that makes root.
    pub(super) fn all_groups(&self) -> Vec<String> {
        let names = self.groups.iter().flat_map(|item| item.split(','));
        let mut groups: Vec<String> =
            names.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let has_keys = !self.ssh_authorized_keys.is_empty() || !self.ssh_import_id.is_empty();
        if has_keys && self.sudo.as_ref().is_some_and(Sudo::is_unlimited) {
            add(&mut groups, SSH_GROUP);
        }
        groups
    }
}

/// A hash that starts with `!` locks the account, and sshd refuses a locked account, even with a
/// key. `*` is no password either.
fn unlocked(hash: &str) -> &str {
    if hash.starts_with('!') { "*" } else { hash }
}

/// Adds a group, once.
pub(super) fn add(groups: &mut Vec<String>, group: &str) {
    if !groups.iter().any(|other| other == group) {
        groups.push(group.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unlimited_is_who_runs_all_as_root_without_a_password() {
        let of = |lines: &[&str]| {
            Sudo::Lines(lines.iter().map(|line| (*line).to_owned()).collect()).is_unlimited()
        };
        for line in [
            "ALL=(ALL) NOPASSWD:ALL",
            " ALL = (ALL : ALL) NOPASSWD: ALL\n",
            "ALL=(root) NOPASSWD:SETENV:ALL",
            "ALL=NOPASSWD: ALL",
        ] {
            assert!(of(&[line]), "{line}");
        }
        for line in [
            "",
            "ALL",
            "ALL=ALL",
            "ALL=(ALL) ALL",
            "ALL=(root) /usr/bin/reboot",
            "ALL=(root) NOPASSWD: /usr/bin/reboot",
            "ALL=(www-data) NOPASSWD: ALL",
            "ALL=(:docker) NOPASSWD: ALL",
            "ALL=(ALL, !root) NOPASSWD: ALL",
            "ALL=(ALL) NOPASSWD: ALL, !/bin/su",
            "ALL=(ALL) NOPASSWD: !ALL",
            "ALL=(ALL) NOPASSWD: PASSWD: ALL",
            "ALL=(ALL) NOPASSWD: NOEXEC: ALL",
            "other=(ALL) NOPASSWD: ALL",
        ] {
            assert!(!of(&[line]), "{line}");
        }
        assert!(of(&["ALL=(ALL) ALL", "ALL=(ALL) NOPASSWD: ALL"]));
        assert!(!of(&["ALL=(ALL) NOPASSWD: ALL", "ALL=(ALL) ALL"]) && !of(&[]));
        assert!(!Sudo::Bool(true).is_unlimited());
    }

    #[test]
    fn no_hash_locks_an_account() {
        for (hash, expected) in
            [("!", "*"), ("!!", "*"), ("!$6$a$b", "*"), ("*", "*"), ("$6$a$b", "$6$a$b")]
        {
            let user = User { passwd: hash.to_owned(), ..User::default() };
            assert_eq!(user.secret(), Some(Secret::Hash(expected.to_owned())), "{hash}");
            let user = User { hashed_passwd: hash.to_owned(), ..User::default() };
            assert_eq!(user.secret(), Some(Secret::Hash(expected.to_owned())), "{hash}");
        }
    }
}
