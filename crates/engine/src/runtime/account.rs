//! Users and groups by a container's own /etc/passwd and /etc/group.

use crate::archive::root::{open_in, open_root};
use crate::paths;
use anyhow::{Context, Result};
use rustix::fs::OFlags;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Who a process is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

/// The files of a container's accounts.
struct Tables {
    passwd: String,
    group: String,
}

/// `NAME`, `UID`, `NAME:GROUP` or `UID:GID`; empty: root. `more` are groups besides.
pub(super) fn find(id: &str, text: &str, more: &[String]) -> Result<Account> {
    Tables::load(id).find(text, more)
}

impl Tables {
    fn load(id: &str) -> Tables {
        let Ok(root) = open_root(&paths::rootfs(id)) else {
            return Tables { passwd: String::new(), group: String::new() };
        };
        let read = |path: &str| {
            let mut text = String::new();
            // Images without accounts are common: numbers are all that they know.
            if let Ok(file) = open_in(&root, Path::new(path), OFlags::RDONLY) {
                let _ = File::from(file).take(1 << 20).read_to_string(&mut text);
            }
            text
        };
        Tables { passwd: read("etc/passwd"), group: read("etc/group") }
    }

    fn find(&self, text: &str, more: &[String]) -> Result<Account> {
        let (user, group) =
            text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        let user = if user.is_empty() { "0" } else { user };
        let line = line_of(&self.passwd, user);
        let field = |number: usize| line.and_then(|line| line.split(':').nth(number));
        let uid = user.parse().ok().or_else(|| field(2)?.parse().ok());
        let uid = uid.with_context(|| {
            format!("unable to find user {user}: it is not in the container's /etc/passwd")
        })?;
        let gid = match group.filter(|group| !group.is_empty()) {
            Some(group) => self.group(group)?,
            None => field(3).and_then(|gid| gid.parse().ok()).unwrap_or(0),
        };
        let name = field(0).unwrap_or(user);
        let member = |line: &str| {
            let listed = line.split(':').nth(3)?.split(',').any(|member| member == name);
            if listed { line.split(':').nth(2)?.parse::<u32>().ok() } else { None }
        };
        let mut groups: Vec<u32> = match group {
            Some(_) => Vec::new(),
            None => self.group.lines().filter_map(member).collect(),
        };
        for group in more {
            groups.push(self.group(group)?);
        }
        let home = field(5).filter(|home| !home.is_empty()).unwrap_or(if uid == 0 {
            "/root"
        } else {
            "/"
        });
        Ok(Account { uid, gid, groups, home: home.to_owned() })
    }

    fn group(&self, name: &str) -> Result<u32> {
        let listed = || line_of(&self.group, name)?.split(':').nth(2)?.parse().ok();
        let found = name.parse().ok().or_else(listed);
        found.with_context(|| {
            format!("unable to find group {name}: it is not in the container's /etc/group")
        })
    }
}

/// The line of a name, or of a number where one is given.
fn line_of<'a>(table: &'a str, name: &str) -> Option<&'a str> {
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    let column = if is_number { 2 } else { 0 };
    table.lines().find(|line| line.split(':').nth(column) == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name_and_by_number() {
        let tables = Tables {
            passwd: "root:x:0:0::/root:/bin/sh\nann:x:1000:100::/home/ann:\n".to_owned(),
            group: "root:x:0:\nusers:x:100:\ndocker:x:999:bob,ann\n".to_owned(),
        };
        let account = |uid, gid, groups: &[u32], home: &str| Account {
            uid,
            gid,
            groups: groups.to_vec(),
            home: home.to_owned(),
        };
        for (text, more, expected) in [
            ("", "", account(0, 0, &[], "/root")),
            ("ann", "", account(1000, 100, &[999], "/home/ann")),
            ("1000", "7", account(1000, 100, &[999, 7], "/home/ann")),
            ("ann:docker", "users", account(1000, 999, &[100], "/home/ann")),
            ("42", "", account(42, 0, &[], "/")),
        ] {
            let more: Vec<String> =
                Some(more.to_owned()).filter(|more| !more.is_empty()).into_iter().collect();
            assert_eq!(tables.find(text, &more).unwrap(), expected, "{text}");
        }
        assert!(
            tables.find("eve", &[]).unwrap_err().to_string().contains("unable to find user eve")
        );
    }
}
