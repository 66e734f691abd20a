//! Keeps the logs on the disks of a machine whose story failed. The disks are removed with the
//! story, and the reason for the failure would be lost with them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Where a machine keeps its logs: its own, and those of its containers.
const LOGS: [&str; 2] = ["/var/log", "/var/lib/system-docker/containers"];

/// Copies them to `disk-logs` in the machine's folder, as far as they can be read. The machine may
/// still run.
pub(crate) fn keep(folder: &Path) {
    let target = folder.join("disk-logs");
    let _ = fs::create_dir(&target);
    for item in fs::read_dir(folder).into_iter().flatten().flatten() {
        if item.path().extension().is_none_or(|extension| extension != "img") {
            continue;
        }
        for logs in LOGS {
            // A disk without a file system, or without such a folder, has no logs.
            let _ = Command::new("timeout")
                .args(["60", "/sbin/debugfs", "-R", &format!("rdump {logs} {}", target.display())])
                .arg(item.path())
                .stdin(Stdio::null())
                .output();
        }
    }
}
