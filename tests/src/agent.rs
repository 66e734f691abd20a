//! The host's side of the channel that the guest agent of QEMU answers on: one line of JSON for
//! each request and each reply. <https://www.qemu.org/docs/master/interop/qemu-ga-ref.html>

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an emulated machine may take to answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A connection to the agent.
#[derive(Debug)]
pub struct Agent {
    stream: BufReader<UnixStream>,
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("agent.sock")
}

/// The channel as QEMU arguments, as libvirt and Proxmox pass them.
pub fn channel(folder: &Path) -> Vec<OsString> {
    let socket = format!("socket,id=agent,path={},server=on,wait=off", socket(folder).display());
    let port = "virtserialport,chardev=agent,name=org.qemu.guest_agent.0";
    ["-device", "virtio-serial-pci", "-chardev", &socket, "-device", port]
        .map(OsString::from)
        .to_vec()
}

impl Agent {
    /// Connects to the channel of the machine in this folder.
    pub fn connect(folder: &Path) -> Result<Agent> {
        let stream = UnixStream::connect(socket(folder)).context("reaching the agent's channel")?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Agent { stream: BufReader::new(stream) })
    }

    /// Sends a request, and waits for its reply: `return`, or `error`.
    pub fn call(&mut self, command: &str, arguments: Value) -> Result<Value> {
        self.send(command, arguments)?;
        let mut line = String::new();
        self.stream.read_line(&mut line).with_context(|| format!("waiting for {command}"))?;
        serde_json::from_str(&line).with_context(|| format!("{command}: {line}"))
    }

    /// Sends a request that has no reply.
    pub fn send(&mut self, command: &str, arguments: Value) -> Result<()> {
        let request = json!({"execute": command, "arguments": arguments});
        let stream = self.stream.get_mut();
        stream.write_all(format!("{request}\n").as_bytes()).context("writing to the agent")
    }
}
