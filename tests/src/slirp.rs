//! A network without rights: slirp4netns at the other end of a card's cable. The machine gets 10.0.N.15 by DHCP and reaches
//! this machine's loopback at 10.0.N.2, as with QEMU's own network, whose library it is.

use crate::process::tied_unless_kept;
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// It ends with this.
#[derive(Debug)]
pub(crate) struct Slirp {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
    /// The machine's address in it.
    guest: String,
}

impl Slirp {
    /// Starts the network of card `number`.
    pub(crate) fn start(folder: &Path, number: u32, cable: UnixDatagram, program: &Path) -> Result<Slirp> {
        let (socket, log) =
            (folder.join(format!("slirp{number}.sock")), folder.join(format!("slirp{number}.log")));
        let _ = fs::remove_file(&socket);
        let network = number + 2;
        let child = tied_unless_kept(program)
            .arg("--netns-type=tapfd")
            .arg(format!("--cidr=10.0.{network}.0/24"))
            .arg("--api-socket")
            .arg(&socket)
            // Its standard input is the cable.
            .arg("0")
            .stdin(OwnedFd::from(cable))
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("starting slirp4netns by setpriv (util-linux)")?;
        let guest = format!("10.0.{network}.15");
        Ok(Slirp { child, socket, log, guest })
    }

    /// Forwards a port of loopback to one of the machine.
    pub(crate) fn forward(&self, ours: u16, theirs: u16) -> Result<()> {
        let request = format!(
            r#"{{"execute": "add_hostfwd", "arguments": {{"proto": "tcp", "host_addr": "127.0.0.1", "host_port": {ours},
               "guest_addr": "{}", "guest_port": {theirs}}}}}"#,
            self.guest
        );
        let mut api = self.connect()?;
        api.set_read_timeout(Some(PATIENCE))?;
        api.write_all(request.as_bytes())?;
        api.shutdown(Shutdown::Write)?;
        let mut reply = String::new();
        api.read_to_string(&mut reply)?;
        ensure!(reply.contains("\"return\""), "forwarding port {ours}: {reply}");
        Ok(())
    }
}

impl Slirp {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// It listens some milliseconds after its start.
    fn connect(&self) -> Result<UnixStream> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match UnixStream::connect(&self.socket) {
                Err(_) if Instant::now() < deadline => std::thread::park_timeout(Duration::from_millis(5)),
                other => {
                    let log = fs::read_to_string(&self.log).unwrap_or_default();
                    return other.with_context(|| format!("reaching slirp4netns: {log}"));
                }
            }
        }
    }
}

impl Drop for Slirp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
