//! Is the clock synchronised, and with which server? chrony answers on a socket in its own
//! container only, so its client runs there.

use anyhow::{Context, Result, bail};
use corral_engine::client::Client;
use corral_engine::protocol::{Reply, Request};
use corral_engine::spec::{ExecSpec, Snapshot};
use corral_machine::deadline;
use rustix::event::{PollFd, PollFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::Serialize;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const SERVICE: &str = "ntp";
const TIMEOUT: Duration = Duration::from_secs(5);
/// Limit of its output, which is one line. The container may be another one of the owner's.
const MOST: usize = 64 << 10;

/// The state of the clock.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Clock {
    pub(super) synchronised: bool,
    /// Address of the server; empty if there is none.
    pub(super) source: String,
    /// Seconds that the clock is ahead of the server's.
    pub(super) offset_seconds: f64,
    /// Why chrony could not be asked.
    pub(super) problem: Option<String>,
}

impl Clock {
    /// None on a machine without the service.
    pub(super) fn load(snapshots: &[Snapshot]) -> Option<Clock> {
        let service = snapshots.iter().find(|snapshot| snapshot.spec.name == SERVICE)?;
        let loaded = match service.status.is_up() {
            true => tracking().and_then(|text| parse(&text)),
            false => Err(anyhow::anyhow!("the service {SERVICE} does not run")),
        };
        Some(loaded.unwrap_or_else(|error| Clock {
            synchronised: false,
            source: String::new(),
            offset_seconds: 0.0,
            problem: Some(format!("{error:#}")),
        }))
    }
}

/// What `chronyc -c tracking` prints in the service's container.
fn tracking() -> Result<String> {
    let arguments = ["/usr/bin/chronyc", "-n", "-c", "tracking"].map(str::to_owned);
    let spec = ExecSpec { args: arguments.to_vec(), ..ExecSpec::default() };
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).context("making a pipe")?;
    let null = File::open("/dev/null").context("opening /dev/null")?;
    let client = Client::connect(|_, _| {}).context("asking PID 1")?;
    let request = Request::Exec { container: SERVICE.to_owned(), spec: Box::new(spec) };
    let streams = [null.as_fd(), writer.as_fd(), writer.as_fd()];
    match client.call_with(request, &streams).context("starting chronyc")? {
        (Reply::ExecStarted { .. }, _) => {}
        (other, _) => return Err(corral_engine::client::unexpected(&other).into()),
    }
    drop(writer);
    read_until_end(File::from(reader), Instant::now() + TIMEOUT)
}

/// The pipe ends with the program that writes to it.
fn read_until_end(mut pipe: File, until: Instant) -> Result<String> {
    let (mut all, mut bytes) = (Vec::new(), [0_u8; 4096]);
    while deadline::poll(&mut [PollFd::new(&pipe, PollFlags::IN)], until)? {
        match pipe.read(&mut bytes).context("reading the output of chronyc")? {
            0 => return Ok(String::from_utf8_lossy(&all).into_owned()),
            length if all.len() + length > MOST => {
                bail!("chronyc has answered with more than {} KiB", MOST >> 10)
            }
            length => all.extend_from_slice(&bytes[..length]),
        }
    }
    bail!("chronyc has not answered within {} s", TIMEOUT.as_secs())
}

/// The fields of chronyc(1), `tracking`: reference id, address, stratum, time, offset, …, state of
/// leap seconds.
fn parse(text: &str) -> Result<Clock> {
    let fields: Vec<&str> = text.trim().split(',').collect();
    let [_, address, _, _, offset, .., leap] = fields[..] else {
        bail!("chronyc answered: {}", text.trim());
    };
    let synchronised = leap != "Not synchronised";
    Ok(Clock {
        synchronised,
        source: if synchronised { address.to_owned() } else { String::new() },
        offset_seconds: offset.parse().unwrap_or_default(),
        problem: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_without_an_end_is_refused() {
        let soon = || Instant::now() + Duration::from_secs(60);
        let error = read_until_end(File::open("/dev/zero").unwrap(), soon()).unwrap_err();
        assert!(error.to_string().contains("more than 64 KiB"));
        assert_eq!(read_until_end(File::open("/dev/null").unwrap(), soon()).unwrap(), "");
    }

    #[test]
    fn chrony_knows_its_server_or_has_none() {
        let text = "A29FC87B,162.159.200.123,4,1764400000.1,-0.000123,0.1,0.2,1.5,0.0,0.1,0.01,0.002,64.2,Normal\n";
        let clock = parse(text).unwrap();
        assert!(clock.synchronised && clock.source == "162.159.200.123");
        assert!((clock.offset_seconds + 0.000_123).abs() < 1e-9);
        let text = "00000000,,0,0.000000000,0.000000000,0.0,0.0,0.000,0.000,0.000,1.0,1.0,0.0,\
                    Not synchronised\n";
        let clock = parse(text).unwrap();
        assert!(!clock.synchronised && clock.source.is_empty() && clock.problem.is_none());
        let error = parse("506 Cannot talk to daemon\n").unwrap_err().to_string();
        assert_eq!(error, "chronyc answered: 506 Cannot talk to daemon");
    }
}
