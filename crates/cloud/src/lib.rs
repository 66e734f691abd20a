//! Data sources: where a machine's configuration comes from, one file each. Those on the network
//! use one HTTP client and one deadline. No caller waits longer than that, however a server
//! behaves.

pub mod azure;
pub mod digitalocean;
pub mod ec2;
pub mod gce;
pub mod http;
mod instance_data;
pub mod network_data;
pub mod openstack;
pub mod packet;
pub mod seed;
pub mod vmware;

use anyhow::{Error, Result};
use corral_config::names::{DataSource, Provider};
use http::Http;
pub use instance_data::{InstanceData, Unread};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The result of the requests to the sources on the network.
#[derive(Debug)]
pub struct Answer {
    /// The first of the list that had something.
    pub winner: Option<(DataSource, InstanceData)>,
    /// Why others had nothing, in the order of the list.
    pub failures: Vec<String>,
}

/// Requests all sources at the same time. The order of the list decides, not which is quickest.
/// After every ten seconds without an answer, `progress` gets the sources that are still open and
/// the seconds that are left.
pub fn fetch_all(
    sources: &[DataSource],
    command_line: &str,
    patience: Duration,
    mut progress: impl FnMut(&[String], u64),
) -> Answer {
    let deadline = Instant::now() + patience;
    // A source gives up a little before the deadline, so that what it has by then is still used.
    let inner = deadline.checked_sub(patience / 10).unwrap_or(deadline);
    let (sender, results) = channel();
    let command_line: Arc<str> = command_line.into();
    for (number, source) in sources.iter().cloned().enumerate() {
        let (sender, command_line) = (sender.clone(), Arc::clone(&command_line));
        std::thread::spawn(move || {
            let outcome = Outcome::of(fetch(&source, &command_line, inner));
            // The receiver is gone if the deadline is over.
            let _ = sender.send((number, outcome));
        });
    }
    drop(sender);
    let mut outcomes: Vec<Outcome> = sources.iter().map(|_| Outcome::Open).collect();
    while !is_decided(&outcomes) {
        let left = deadline.saturating_duration_since(Instant::now());
        match results.recv_timeout(left.min(Duration::from_secs(10))) {
            Ok((number, outcome)) => outcomes[number] = outcome,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if left.is_zero() => break,
            Err(RecvTimeoutError::Timeout) => {
                let open = sources.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_open());
                let names: Vec<String> = open.map(|(source, _)| source.to_string()).collect();
                progress(&names, deadline.saturating_duration_since(Instant::now()).as_secs());
            }
        }
    }
    conclude(sources, outcomes)
}

/// What came of the request to one source.
#[derive(Debug)]
enum Outcome {
    /// There is no answer yet.
    Open,
    Answered(Box<InstanceData>),
    /// The source has nothing for this machine, or is not there.
    Nothing,
    Failed(Error),
}

impl Outcome {
    fn of(fetched: Result<Option<InstanceData>>) -> Outcome {
        match fetched {
            Ok(Some(found)) if !found.is_empty() => Outcome::Answered(Box::new(found)),
            Ok(_) => Outcome::Nothing,
            Err(error) => Outcome::Failed(error),
        }
    }

    fn is_open(&self) -> bool {
        matches!(self, Outcome::Open)
    }

    fn has_answered(&self) -> bool {
        matches!(self, Outcome::Answered(_))
    }
}

/// Has a source something, and can no source before it still have something?
fn is_decided(outcomes: &[Outcome]) -> bool {
    let first_open = outcomes.iter().position(Outcome::is_open).unwrap_or(outcomes.len());
    first_open == outcomes.len() || outcomes[..first_open].iter().any(Outcome::has_answered)
}

fn conclude(sources: &[DataSource], outcomes: Vec<Outcome>) -> Answer {
    let mut answer = Answer { winner: None, failures: Vec::new() };
    for (source, outcome) in sources.iter().zip(outcomes) {
        match outcome {
            Outcome::Answered(found) => {
                answer.winner = answer.winner.or(Some((source.clone(), *found)));
            }
            Outcome::Nothing => answer.failures.push(format!("{source}: nothing found")),
            Outcome::Failed(error) => answer.failures.push(format!("{source}: {error:#}")),
            Outcome::Open => answer.failures.push(format!("{source}: no answer in time")),
        }
    }
    answer
}

/// Requests the data of one source; None if it is not there.
pub fn fetch(
    source: &DataSource,
    command_line: &str,
    deadline: Instant,
) -> Result<Option<InstanceData>> {
    match source {
        DataSource::Url(url) => fetch_url(url, deadline),
        DataSource::CommandLine => {
            url_on_command_line(command_line).map_or(Ok(None), |url| fetch_url(&url, deadline))
        }
        DataSource::Service(provider, base) => fetch_service(*provider, base.as_deref(), deadline),
        DataSource::ConfigDrive(_)
        | DataSource::NoCloud(_)
        | DataSource::File(_)
        | DataSource::Vmware(_) => Ok(None),
    }
}

fn fetch_service(
    provider: Provider,
    base: Option<&str>,
    deadline: Instant,
) -> Result<Option<InstanceData>> {
    // Metadata services are next to the machine: never through a proxy.
    let http = Http::direct(deadline)?;
    let base = |default: &str| base.unwrap_or(default).trim_end_matches('/').to_owned();
    match provider {
        Provider::Ec2 => ec2::fetch(&http, &base(ec2::ADDRESS)),
        Provider::Gce => gce::fetch(&http, &base(gce::ADDRESS)),
        Provider::DigitalOcean => digitalocean::fetch(&http, &base("http://169.254.169.254")),
        Provider::OpenStack => openstack::fetch(&http, &base("http://169.254.169.254")),
        Provider::Packet => packet::fetch(&http, &base("https://metadata.platformequinix.com")),
        Provider::Azure => azure::fetch(&http, &base(azure::ADDRESS)),
    }
}

fn fetch_url(url: &str, deadline: Instant) -> Result<Option<InstanceData>> {
    let user_data = Http::new(deadline)?.get(url)?;
    Ok(user_data.map(|data| InstanceData { user_data: Some(data), ..InstanceData::default() }))
}

/// `cloud-config-url=` on the kernel's command line; the last one that is not empty takes effect.
pub fn url_on_command_line(text: &str) -> Option<String> {
    let words = corral_config::cmdline::words(text);
    let mut values = words.iter().filter_map(|word| {
        let (name, value) = word.split_once('=')?;
        (name.replace('_', "-") == "cloud-config-url" && !value.is_empty())
            .then(|| value.to_owned())
    });
    values.next_back()
}

#[cfg(test)]
mod tests;
