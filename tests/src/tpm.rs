//! A TPM 2.0 beside a machine: swtpm. What it holds lies in its folder, and is there again at the next start.

use crate::process::tied;
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// It ends with this.
#[derive(Debug)]
pub struct Tpm {
    child: Child,
    socket: PathBuf,
}

impl Tpm {
    /// Starts it, for one machine.
    pub fn start(folder: &Path) -> Result<Tpm> {
        let (state, socket) = (folder.join("tpm"), folder.join("tpm.sock"));
        fs::create_dir_all(&state)?;
        let _ = fs::remove_file(&socket);
        let child = tied(Path::new("swtpm"))
            .args(["socket", "--tpm2", "--tpmstate"])
            .arg(format!("dir={}", state.display()))
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}", socket.display()))
            .stdin(Stdio::null())
            .spawn()
            .context("starting swtpm by setpriv (util-linux)")?;
        let tpm = Tpm { child, socket };
        let deadline = Instant::now() + PATIENCE;
        while !tpm.socket.exists() {
            anyhow::ensure!(Instant::now() < deadline, "swtpm does not listen");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(tpm)
    }

    /// What QEMU has to be told.
    pub fn arguments(&self) -> Vec<OsString> {
        let socket = format!("socket,id=tpm,path={}", self.socket.display());
        ["-chardev", &socket, "-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-tis,tpmdev=tpm0"]
            .map(OsString::from)
            .into()
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
