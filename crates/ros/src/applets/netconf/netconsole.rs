//! `netconsole=` on the kernel's command line. The kernel passes it only to built-in code, so its
//! module gets it here. It sends the kernel's log from its beginning, with our lines in it.
//! <https://docs.kernel.org/networking/netconsole.html>

use super::addresses::{FOLDER, is_known};
use anyhow::Result;
use corral_config::cmdline;
use corral_machine::{inotify, modules};
use std::path::Path;
use std::time::Instant;

/// Starts it if it is requested. A card that gets its address by DHCP is waited for.
pub(super) fn start(command_line: &str, deadline: Instant) -> Result<()> {
    let words = cmdline::words(command_line);
    let targets = cmdline::values(&words, "netconsole");
    for card in targets.iter().filter_map(|target| waits_for(target)) {
        inotify::wait_for(Path::new(FOLDER), deadline, || is_known(card))?;
    }
    if targets.is_empty() {
        return Ok(());
    }
    modules::load(&[format!("netconsole netconsole={}", targets.join(";"))])
}

/// The card whose address is used if none is given:
/// `[+][r][port]@[address]/[card],[port]@address/[mac]`.
fn waits_for(target: &str) -> Option<&str> {
    let (source, _) = target.split_once(',')?;
    let (address, card) = source.split_once('@')?.1.split_once('/')?;
    address.is_empty().then_some(if card.is_empty() { "eth0" } else { card })
}

#[cfg(test)]
mod tests {
    use super::waits_for;

    #[test]
    fn a_card_is_waited_for_unless_the_address_is_given() {
        assert_eq!(waits_for("@/,514@10.0.2.2/"), Some("eth0"));
        assert_eq!(waits_for("+r6665@/eth1,514@10.0.2.2/52:54:00:12:34:56"), Some("eth1"));
        assert_eq!(waits_for("@10.0.2.15/eth0,@10.0.2.2/"), None);
        assert_eq!(waits_for("nonsense"), None);
    }
}
