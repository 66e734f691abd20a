//! The users and passwords that Corral made in this console. A console of another image keeps them,
//! so Corral removes by this record what the configuration has no more.

use anyhow::Result;
use corral_machine::files::write_atomic;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// In the console itself: a new console has none of them.
const FILE: &str = "/etc/corral-accounts";

/// Names of users.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct OwnAccounts {
    /// Those that Corral created, and that are open.
    pub(super) users: BTreeSet<String>,
    /// Those that it created and closed.
    pub(super) closed: BTreeSet<String>,
    /// Those whose password it set.
    pub(super) passwords: BTreeSet<String>,
}

impl OwnAccounts {
    pub(super) fn load() -> OwnAccounts {
        OwnAccounts::parse(&fs::read_to_string(FILE).unwrap_or_default())
    }

    pub(super) fn store(&self) -> Result<()> {
        if *self == OwnAccounts::load() {
            return Ok(());
        }
        write_atomic(Path::new(FILE), self.text().as_bytes(), 0o600)
    }

    fn parse(text: &str) -> OwnAccounts {
        let mut own = OwnAccounts::default();
        for (kind, name) in text.lines().filter_map(|line| line.split_once(' ')) {
            let names = match kind {
                "user" => &mut own.users,
                "closed" => &mut own.closed,
                "password" => &mut own.passwords,
                _ => continue,
            };
            names.insert(name.to_owned());
        }
        own
    }

    fn text(&self) -> String {
        let lines = |kind: &str, names: &BTreeSet<String>| {
            names.iter().map(|name| format!("{kind} {name}\n")).collect::<String>()
        };
        [
            lines("user", &self.users),
            lines("closed", &self.closed),
            lines("password", &self.passwords),
        ]
        .concat()
    }

    /// Closes the users that are not wanted. Returns the failures; they are tried again next time.
    pub(super) fn close_users(
        &mut self,
        is_wanted: impl Fn(&str) -> bool,
        close: impl Fn(&str) -> Result<()>,
    ) -> Vec<String> {
        let failures = drop_names(&mut self.users, is_wanted, |name| {
            close(name)?;
            self.closed.insert(name.to_owned());
            Ok(())
        });
        failures.iter().map(|failure| format!("closing the account of {failure}")).collect()
    }

    /// The same for passwords.
    pub(super) fn take_passwords(
        &mut self,
        is_wanted: impl Fn(&str) -> bool,
        take: impl Fn(&str) -> Result<()>,
    ) -> Vec<String> {
        let failures = drop_names(&mut self.passwords, is_wanted, take);
        failures.iter().map(|failure| format!("removing the password of {failure}")).collect()
    }
}

fn drop_names(
    names: &mut BTreeSet<String>,
    is_wanted: impl Fn(&str) -> bool,
    mut undo: impl FnMut(&str) -> Result<()>,
) -> Vec<String> {
    let mut failures = Vec::new();
    names.retain(|name| {
        if is_wanted(name) {
            return true;
        }
        match undo(name) {
            Ok(()) => false,
            Err(error) => {
                failures.push(format!("{name}: {error:#}"));
                true
            }
        }
    });
    failures
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn what_is_no_longer_configured_is_removed_once() {
        let mut own = OwnAccounts::parse(
            "user ann\nuser joe\nuser eve\nclosed bob\npassword ann\npassword eve\n?\n",
        );
        let is_wanted = |name: &str| name == "ann";
        let undo = |name: &str| if name == "eve" { bail!("busy") } else { Ok(()) };
        assert_eq!(own.close_users(is_wanted, undo), ["closing the account of eve: busy"]);
        let failures = own.take_passwords(is_wanted, |_| Ok(()));
        assert!(failures.is_empty(), "{failures:?}");
        let expected = "user ann\nuser eve\nclosed bob\nclosed joe\npassword ann\n";
        assert_eq!(own.text(), expected);
        assert_eq!(OwnAccounts::parse(expected), own);
        own.close_users(is_wanted, |name| {
            assert_eq!(name, "eve", "the others are closed");
            Ok(())
        });
    }
}
