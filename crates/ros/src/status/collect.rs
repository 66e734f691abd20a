//! Where each part of the status is read.

use super::clock::Clock;
use super::disk::StateDisk;
use super::model::{Address, Docker, Hypervisor, PendingChange, Services, Status, Trial, Upgrade};
use crate::applets::console::host_keys;
use crate::net::Network;
use crate::why::{self, Finding};
use anyhow::Result;
use corral_docker::{Client, Engine, Error};
use corral_engine::spec::Snapshot;
use corral_init::boot::resolver::NOTICE;
use corral_machine::boot_partition::{Stage, booted};
use corral_machine::hypervisor::Facts;
use corral_machine::os_release::running_version;
use corral_machine::program;
use corral_plan::cron::job::SCHEDULE;
use corral_plan::labels;
use corral_resolve::confirm::Pending;
use corral_resolve::root::Root;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// How long the user's Docker may take to answer: a status must not hang.
const TIMEOUT: Duration = Duration::from_secs(5);

impl Status {
    pub(super) fn load() -> Status {
        let mut status = Status {
            version: running_version(),
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            uptime_seconds: Root::machine().uptime().unwrap_or_default(),
            hypervisor: hypervisor(),
            state: StateDisk::load(),
            upgrade: upgrade(),
            ..Status::default()
        };
        status.load_addresses();
        if rustix::process::geteuid().is_root() {
            status.load_for_root();
        } else {
            status.hidden = vec!["services", "ssh host keys", "clock", "pending change"];
            status.findings.extend(notice());
        }
        status.load_docker();
        status.is_well = !status.findings.iter().any(|finding| finding.is_problem);
        status
    }

    fn load_addresses(&mut self) {
        match Network::load() {
            Ok(network) => self.addresses = own_addresses(network),
            Err(error) => self.note_failure("network", &error),
        }
    }

    /// What the control socket and files with secrets tell, which only root can open.
    fn load_for_root(&mut self) {
        self.host_keys = host_keys();
        match why::machine() {
            Ok(findings) => self.findings.extend(findings),
            Err(error) => self.note_failure("machine", &error),
        }
        match why::snapshots()
            .and_then(|snapshots| Ok((why::services(None, &snapshots)?, snapshots)))
        {
            Ok((findings, snapshots)) => {
                self.services = Some(services(&snapshots, &findings));
                self.findings.extend(findings);
                self.clock = Clock::load(&snapshots);
            }
            Err(error) => self.note_failure("services", &error),
        }
        let root = Root::machine();
        self.pending_change = Pending::load(&root).map(|pending| PendingChange {
            within_seconds: pending.within,
            seconds_left: pending.seconds_left(&root),
            since_boot: pending.restarted,
        });
    }

    fn load_docker(&mut self) {
        match docker() {
            Ok(docker) => self.docker = Some(docker),
            Err(Error::Denied { .. }) => self.hidden.push("Docker"),
            Err(error) => {
                // It may be off on purpose. If it is not, PID 1 reports it among the services.
                let state = error.to_string();
                self.docker = Some(Docker { state, ..Docker::default() });
            }
        }
    }

    fn note_failure(&mut self, part: &str, error: &anyhow::Error) {
        self.findings.push(Finding::problem(part, format!("it could not be read: {error:#}")));
    }
}

fn hypervisor() -> Option<Hypervisor> {
    let facts = Facts::load(Path::new("/"));
    facts.row().map(|row| Hypervisor { name: row.name, agent: facts.agent() })
}

fn own_addresses(network: Network) -> Vec<Address> {
    let own = network.interfaces.into_iter().filter(|interface| !interface.of_containers);
    own.flat_map(|interface| {
        let name = interface.name;
        interface.addresses.into_iter().map(move |address| Address {
            interface: name.clone(),
            address: address.address,
            origin: address.origin,
        })
    })
    .collect()
}

/// ssh-keygen reads the public part of a private key.
fn host_keys() -> Vec<String> {
    let fingerprint = |file: &std::path::PathBuf| {
        program::run(program::of_system("/usr/bin/ssh-keygen").arg("-lf").arg(file)).ok()
    };
    let keys = host_keys::find();
    keys.iter().filter_map(fingerprint).map(|line| line.trim().to_owned()).collect()
}

fn services(snapshots: &[Snapshot], findings: &[Finding]) -> Services {
    let mut unwell: Vec<String> = findings.iter().map(|finding| finding.subject.clone()).collect();
    unwell.dedup();
    let planned = snapshots.iter().filter(|snapshot| snapshot.status.planned);
    let (on_demand, planned): (Vec<&Snapshot>, Vec<&Snapshot>) = planned
        .partition(|snapshot| is_on_demand(snapshot) && !unwell.contains(&snapshot.spec.name));
    Services {
        running: planned.iter().filter(|snapshot| snapshot.status.is_up()).count(),
        planned: planned.len(),
        on_demand: on_demand.iter().map(|snapshot| snapshot.spec.name.clone()).collect(),
        unwell,
    }
}

/// It does not run now, and only cron or a client starts it.
fn is_on_demand(snapshot: &Snapshot) -> bool {
    let labels = &snapshot.spec.labels;
    (labels.contains_key(SCHEDULE) || labels::parse(labels).create_only)
        && snapshot.status.is_down()
}

fn docker() -> Result<Docker, Error> {
    let client = Client::of(Engine::User)?;
    client.ping(TIMEOUT)?;
    let containers = client.containers()?;
    Ok(Docker {
        version: client.version()?,
        state: "answers".to_owned(),
        running: containers.iter().filter(|container| container.state == "running").count(),
        containers: containers.len(),
    })
}

fn upgrade() -> Upgrade {
    let running = running_version();
    let Some(partition) = booted::partition() else {
        return Upgrade { running, ..Upgrade::default() };
    };
    let trial = partition.trial().map(|trial| Trial {
        stage: match trial.stage {
            Stage::Armed => "armed",
            Stage::Trying => "trying",
            Stage::Failed => "failed",
        },
        version: trial.version,
        reason: trial.reason,
    });
    let versions = partition.versions().ok();
    let previous = versions
        .as_ref()
        .and_then(|versions| versions.all().find(|version| *version != running).map(str::to_owned));
    Upgrade { running, default: versions.map(|versions| versions.default), previous, trial }
}

/// The errors of the configuration, as every login shows them.
fn notice() -> Option<Finding> {
    let text = fs::read_to_string(NOTICE).ok()?;
    Some(Finding::problem("configuration", text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_engine::spec::{ContainerSpec, State, Status as OfContainer};

    #[test]
    fn services_are_those_of_the_plan() {
        let snapshot = |name: &str, planned: bool, state: State, label: &[(&str, &str)]| {
            let label = label.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            Snapshot {
                id: String::new(),
                spec: ContainerSpec {
                    name: name.to_owned(),
                    labels: label.collect(),
                    ..ContainerSpec::default()
                },
                status: OfContainer { planned, state, ..OfContainer::default() },
            }
        };
        let (hourly, by_hand) = ([(SCHEDULE, "@hourly")], [("io.rancher.os.createonly", "true")]);
        let snapshots = [
            snapshot("console", true, State::Running, &[]),
            snapshot("udev-cold", true, State::Exited, &[]),
            snapshot("web", true, State::Exited, &[]),
            snapshot("logrotate", true, State::Created, &hourly),
            snapshot("rotated", true, State::Exited, &hourly),
            snapshot("rotates", true, State::Running, &hourly),
            snapshot("fails", true, State::Exited, &hourly),
            snapshot("tool", true, State::Created, &by_hand),
            snapshot("other", false, State::Running, &[]),
        ];
        let findings = ["web", "fails"].map(|name| Finding::problem(name, "it ended".to_owned()));
        let found = services(&snapshots, &findings);
        assert_eq!((found.planned, found.running), (5, 2));
        assert_eq!(found.on_demand, ["logrotate", "rotated", "tool"]);
        assert_eq!(found.unwell, ["web", "fails"]);
    }
}
