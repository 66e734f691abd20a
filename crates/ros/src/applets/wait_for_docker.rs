//! `wait-for-docker`: returns when the user's Docker answers.

use anyhow::{Result, bail};
use corral_machine::deadline::pause;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const SOCKET: &str = "/var/run/docker.sock";
const PATIENCE: Duration = Duration::from_secs(300);

/// Waits up to five minutes.
pub(crate) fn run() -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !answers() {
        if Instant::now() >= deadline {
            bail!("Docker does not answer at {SOCKET} after {} s", PATIENCE.as_secs());
        }
        // Nothing reports that a daemon begins to answer on a socket that may not even exist yet.
        pause(Duration::from_millis(200));
    }
    println!("Docker is ready");
    Ok(())
}

fn answers() -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = UnixStream::connect(SOCKET)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")?;
        let mut answer = [0_u8; 15];
        stream.read_exact(&mut answer)?;
        Ok(answer.ends_with(b"200") || answer.windows(3).any(|window| window == b"200"))
    };
    ask().unwrap_or(false)
}
