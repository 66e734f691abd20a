//! The proxies of the configuration, for the shells of logins. The file may hold a password, as in
//! `http://me:secret@proxy:3128`: only those who may log in can read it.

use crate::applets::account_table;
use anyhow::{Context, Result};
use corral_config::model::Network;
use corral_machine::files::{remove_durably, write_atomic};
use rustix::fs::{Gid, chown};
use std::fs;
use std::path::Path;

/// Read by the login shells of every console.
const FILE: &str = "/etc/profile.d/proxy.sh";
/// Every login is by a member of it, or is root's.
const GROUP: &str = "docker";

/// Writes the file, or removes it if there are no proxies.
pub(super) fn write(network: &Network) -> Result<()> {
    let file = Path::new(FILE);
    let variables = network.proxy_environment();
    if variables.is_empty() {
        return remove_durably(file);
    }
    write_atomic(file, script(&variables).as_bytes(), 0o640)?;
    let groups = fs::read_to_string("/etc/group").context("reading /etc/group")?;
    let group = account_table::group_id(&groups, GROUP)?;
    chown(file, None, Some(Gid::from_raw(group))).with_context(|| format!("chown {FILE}"))
}

fn script(variables: &[(String, String)]) -> String {
    let mut text = String::from("# rancher.network of the configuration; written at each start\n");
    for (name, value) in variables {
        text.push_str(&format!("export {name}='{}'\n", value.replace('\'', r"'\''")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_word_for_the_shell() {
        let variables = [("http_proxy".to_owned(), "http://it's:$x@proxy:3128".to_owned())];
        let text = script(&variables);
        let expected = r"export http_proxy='http://it'\''s:$x@proxy:3128'";
        assert_eq!(text.lines().nth(1), Some(expected));
    }
}
