//! A TPM 2.0 for a machine: swtpm. Its state is in the machine's folder, and persists over starts.

use crate::process::{KillOnDrop, tied};
use anyhow::{Context, Result};
use command_fds::{CommandFdExt, FdMapping};
use std::ffi::OsString;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The descriptor of the socket that it serves.
const SOCKET: i32 = 10;

/// Killed when this is dropped.
#[derive(Debug)]
pub struct Tpm {
    _program: KillOnDrop,
    socket: PathBuf,
}

impl Tpm {
    /// Starts it, for one machine.
    pub fn start(folder: &Path) -> Result<Tpm> {
        let (state, socket) = (folder.join("tpm"), folder.join("tpm.sock"));
        fs::create_dir_all(&state)?;
        let _ = fs::remove_file(&socket);
        // Bound here, so that a machine can connect at once.
        let listener = UnixListener::bind(&socket).context("making the socket of a TPM")?;
        let mut command = tied(Path::new("swtpm"));
        command
            .args(["socket", "--tpm2", "--tpmstate"])
            .arg(format!("dir={}", state.display()))
            .arg("--ctrl")
            .arg(format!("type=unixio,fd={SOCKET}"))
            .stdin(Stdio::null())
            .fd_mappings(vec![FdMapping { parent_fd: listener.into(), child_fd: SOCKET }])
            .context("two descriptors with one number")?;
        let child = command.spawn().context("starting swtpm by setpriv (util-linux)")?;
        Ok(Tpm { _program: KillOnDrop(child), socket })
    }

    /// The arguments of QEMU for it.
    pub fn arguments(&self) -> Vec<OsString> {
        let socket = format!("socket,id=tpm,path={}", self.socket.display());
        [
            "-chardev",
            &socket,
            "-tpmdev",
            "emulator,id=tpm0,chardev=tpm",
            "-device",
            "tpm-tis,tpmdev=tpm0",
        ]
        .map(OsString::from)
        .into()
    }
}
