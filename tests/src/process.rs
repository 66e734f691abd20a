//! Programs that machines and stories start on the host: none outlives the story that started it.

use std::path::Path;
use std::process::Command;

/// A server or a test on loopback is not behind the developer's proxy.
const PROXIES: [&str; 6] =
    ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

/// If it is set, machines that are there at the end of a story stay on.
pub const KEEP_VARIABLE: &str = "CORRAL_KEEP";

/// Do machines stay on?
pub(crate) fn is_kept() -> bool {
    std::env::var_os(KEEP_VARIABLE).is_some()
}

/// A program that is killed when the thread ends that started it, however that ends (prctl(2), PR_SET_PDEATHSIG).
/// Its messages are in English, and it uses no proxy.
pub fn tied(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).env("LC_ALL", "C");
    for proxy in PROXIES {
        command.env_remove(proxy);
    }
    command
}

/// A program that is part of a machine: tied, unless machines are kept.
pub(crate) fn tied_unless_kept(program: &Path) -> Command {
    if is_kept() { Command::new(program) } else { tied(program) }
}
