//! A network without privileges: slirp4netns at the other end of a card's cable. The machine gets
//! 10.0.N.15 by DHCP and reaches this machine's loopback at 10.0.N.2. QEMU's own network does the
//! same, with the same library.

use crate::process::{KillOnDrop, is_readable};
use anyhow::{Context, Result, ensure};
use command_fds::{CommandFdExt, FdMapping};
use rustix::pipe::{PipeFlags, pipe_with};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(20);
/// The descriptor on which it reports that it listens.
const READY: i32 = 10;

/// Killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Slirp {
    program: KillOnDrop,
    socket: PathBuf,
    log: PathBuf,
    /// The machine's address in this network.
    guest: String,
}

impl Slirp {
    /// Starts the network of card `number` by `command`, which runs the program.
    pub(crate) fn start(
        folder: &Path,
        number: u32,
        cable: UnixDatagram,
        mut command: Command,
    ) -> Result<Slirp> {
        let (socket, log) =
            (folder.join(format!("slirp{number}.sock")), folder.join(format!("slirp{number}.log")));
        let _ = fs::remove_file(&socket);
        let network = number + 2;
        let (ready, theirs) = pipe_with(PipeFlags::CLOEXEC).context("making a pipe")?;
        command
            .arg("--netns-type=tapfd")
            .arg(format!("--cidr=10.0.{network}.0/24"))
            .arg(format!("--ready-fd={READY}"))
            .arg("--api-socket")
            .arg(&socket)
            // Its standard input is the cable.
            .arg("0")
            .stdin(OwnedFd::from(cable))
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .fd_mappings(vec![FdMapping { parent_fd: theirs, child_fd: READY }])
            .context("two descriptors with one number")?;
        let child = command.spawn().context("starting slirp4netns by util-linux")?;
        // This closes our copy of the pipe's other end. If slirp4netns exits, no copy is left and
        // the wait ends.
        drop(command);
        let guest = format!("10.0.{network}.15");
        let slirp = Slirp { program: KillOnDrop(child), socket, log, guest };
        slirp.wait_until_it_listens(File::from(ready))?;
        Ok(slirp)
    }

    fn wait_until_it_listens(&self, mut ready: File) -> Result<()> {
        let mut byte = [0];
        let listens = is_readable(&ready, TIMEOUT)? && ready.read(&mut byte)? == byte.len();
        ensure!(
            listens,
            "slirp4netns does not listen: {}",
            fs::read_to_string(&self.log).unwrap_or_default()
        );
        Ok(())
    }

    /// Forwards a port of loopback to one of the machine.
    pub(crate) fn forward(&self, ours: u16, theirs: u16) -> Result<()> {
        let request = format!(
            r#"{{"execute": "add_hostfwd",
               "arguments": {{"proto": "tcp", "host_addr": "127.0.0.1", "host_port": {ours},
               "guest_addr": "{}", "guest_port": {theirs}}}}}"#,
            self.guest
        );
        let mut api = UnixStream::connect(&self.socket).context("reaching slirp4netns")?;
        api.set_read_timeout(Some(TIMEOUT))?;
        api.write_all(request.as_bytes())?;
        api.shutdown(Shutdown::Write)?;
        let mut reply = String::new();
        api.read_to_string(&mut reply)?;
        ensure!(reply.contains("\"return\""), "forwarding port {ours}: {reply}");
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.program.0.id()
    }
}
