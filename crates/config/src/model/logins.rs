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
    pub sudo: Sudo,
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

impl Default for Sudo {
    fn default() -> Self {
        Sudo::Bool(false)
    }
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
        let given = hash.map(|hash| Secret::Hash(hash.clone()));
        given.or(clear.map(|text| Secret::of(text))).filter(|_| self.lock_passwd != Some(true))
    }

    /// Its groups. Who has keys and may use sudo is let in by sshd.
    pub(super) fn all_groups(&self) -> Vec<String> {
        let names = self.groups.iter().flat_map(|item| item.split(','));
        let mut groups: Vec<String> =
            names.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let has_keys = !self.ssh_authorized_keys.is_empty() || !self.ssh_import_id.is_empty();
        let is_admin = matches!(&self.sudo, Sudo::Lines(lines) if !lines.is_empty());
        if has_keys && is_admin {
            add(&mut groups, SSH_GROUP);
        }
        groups
    }
}

/// Adds a group, once.
pub(super) fn add(groups: &mut Vec<String>, group: &str) {
    if !groups.iter().any(|other| other == group) {
        groups.push(group.to_owned());
    }
}
