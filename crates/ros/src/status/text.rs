//! The status as text: a line for each part, then what is wrong, with the next step.

use super::clock::Clock;
use super::disk::StateDisk;
use super::model::{Address, Docker, Hypervisor, Services, Status, Upgrade};
use corral_terminal::duration;
use corral_terminal::output::printable;
use corral_terminal::size::of_disk;
use std::fmt::Write;

/// Columns of the names on the left.
const WIDTH: usize = 12;

/// The screen.
pub(super) fn render(status: &Status) -> String {
    let mut text = String::new();
    let uptime = duration::spoken(status.uptime_seconds);
    let _ = writeln!(text, "Corral v{} on {}, up {uptime}\n", status.version, status.hostname);
    part(&mut text, "hypervisor", status.hypervisor.as_ref().map(hypervisor).as_slice());
    part(&mut text, "addresses", &addresses(status));
    part(&mut text, "ssh keys", &status.host_keys);
    part(&mut text, "state", &[state(&status.state)]);
    part(&mut text, "services", status.services.as_ref().map(services).as_slice());
    part(&mut text, "docker", status.docker.as_ref().map(docker).as_slice());
    part(&mut text, "clock", status.clock.as_ref().map(clock).as_slice());
    part(&mut text, "version", &[upgrade(&status.upgrade)]);
    part(&mut text, "change", pending(status).as_slice());
    if !status.findings.is_empty() {
        let _ = writeln!(text, "\n{}", if status.is_well { "notes:" } else { "what is wrong:" });
    }
    for finding in &status.findings {
        let _ = writeln!(text, "  {finding}");
    }
    let unwell = status.services.iter().flat_map(|services| &services.unwell);
    for subject in unwell {
        // `web (in your Docker)`
        let name = subject.split(' ').next().unwrap_or(subject);
        let _ = writeln!(text, "  next step: ros why {name}; ros logs {name}");
    }
    if !status.hidden.is_empty() {
        let _ = writeln!(text, "\nonly root sees: {}; try sudo", status.hidden.join(", "));
    }
    text
}

/// A name and its lines; nothing without lines.
fn part(text: &mut String, name: &str, lines: &[String]) {
    let mut name = name;
    for line in lines {
        let _ = writeln!(text, "{name:WIDTH$}{line}");
        name = "";
    }
}

fn hypervisor(hypervisor: &Hypervisor) -> String {
    match hypervisor.agent {
        Some(agent) => format!("{}, which talks to {agent}", hypervisor.name),
        None => hypervisor.name.to_owned(),
    }
}

fn addresses(status: &Status) -> Vec<String> {
    if status.addresses.is_empty() {
        return vec!["none".to_owned()];
    }
    let line = |address: &Address| {
        format!("{:<10} {:<28} {}", address.interface, address.address, address.origin)
    };
    status.addresses.iter().map(line).collect()
}

fn state(disk: &StateDisk) -> String {
    match (&disk.problem, disk.is_kept) {
        (_, true) => format!(
            "{}: {} of {} used, {} free",
            disk.device.as_deref().unwrap_or("a disk"),
            of_disk(disk.used),
            of_disk(disk.size),
            of_disk(disk.free)
        ),
        (Some(problem), false) => format!("runs from memory: nothing is kept: {problem}"),
        (None, false) => "runs from memory: nothing is kept".to_owned(),
    }
}

fn services(services: &Services) -> String {
    let mut line = format!("{} of {} run", services.running, services.planned);
    if services.unwell.is_empty() && services.running < services.planned {
        line.push_str(", the rest is done");
    }
    if !services.on_demand.is_empty() {
        let _ = write!(line, "; on demand: {}", services.on_demand.join(", "));
    }
    match services.unwell.as_slice() {
        [] => line.push_str("; all are well"),
        unwell => {
            let _ = write!(line, "; not well: {}", unwell.join(", "));
        }
    }
    line
}

fn docker(docker: &Docker) -> String {
    if docker.version.is_empty() {
        return docker.state.clone();
    }
    format!("{}, {} of {} containers run", docker.version, docker.running, docker.containers)
}

fn clock(clock: &Clock) -> String {
    match (&clock.problem, clock.synchronised) {
        (Some(problem), _) => format!("unknown: {}", printable(problem)),
        (None, true) => {
            let source = printable(&clock.source);
            format!("synchronised with {source}, offset {:.6} s", clock.offset_seconds)
        }
        (None, false) => "not synchronised: no time server has answered yet".to_owned(),
    }
}

fn upgrade(upgrade: &Upgrade) -> String {
    let mut line = upgrade.running.clone();
    match &upgrade.default {
        None => line.push_str(" runs; it was not started from an installed disk"),
        Some(default) if *default == upgrade.running => line.push_str(" runs, and is the default"),
        Some(default) => {
            let _ = write!(line, " runs; the default is {default}");
        }
    }
    if let Some(trial) = &upgrade.trial {
        let _ = match trial.stage {
            "armed" => write!(line, "; {} is tried at the next start", trial.version),
            "trying" => write!(line, "; {} is on trial", trial.version),
            _ => write!(line, "; {} failed: {}", trial.version, trial.reason),
        };
    }
    if let Some(previous) = &upgrade.previous {
        let _ = write!(line, "; ros os rollback: {previous}");
    }
    line
}

/// Of a change that waits.
pub(crate) fn time_left(seconds: Option<u64>) -> String {
    seconds.map_or_else(String::new, |left| format!(", {left} s are left"))
}

fn pending(status: &Status) -> Option<String> {
    let pending = status.pending_change.as_ref()?;
    let since = if pending.since_boot { " of this boot" } else { "" };
    Some(format!(
        "waits to be confirmed within {} s{since}{}: ros config confirm",
        pending.within_seconds,
        time_left(pending.seconds_left)
    ))
}

#[cfg(test)]
mod tests {
    use super::super::model::{PendingChange, Trial};
    use super::*;

    #[test]
    fn a_status_is_one_screen_with_the_next_step() {
        let status = Status {
            version: "1.2.0".to_owned(),
            hostname: "web-1".to_owned(),
            uptime_seconds: 3700,
            hypervisor: Some(Hypervisor { name: "KVM", agent: Some("qemu-guest-agent") }),
            state: StateDisk {
                is_kept: true,
                device: Some("/dev/vda".to_owned()),
                size: 20_000_000_000,
                used: 5_000_000_000,
                free: 15_000_000_000,
                problem: None,
            },
            services: Some(Services {
                planned: 9,
                running: 7,
                on_demand: vec!["logrotate".to_owned()],
                unwell: vec!["web".to_owned()],
            }),
            upgrade: Upgrade {
                running: "1.2.0".to_owned(),
                default: Some("1.2.0".to_owned()),
                previous: Some("1.1.0".to_owned()),
                trial: Some(Trial {
                    version: "1.3.0".to_owned(),
                    stage: "armed",
                    reason: String::new(),
                }),
            },
            pending_change: Some(PendingChange {
                within_seconds: 90,
                seconds_left: Some(64),
                since_boot: false,
            }),
            ..Status::default()
        };
        let text = render(&status);
        for line in [
            "Corral v1.2.0 on web-1, up 1 h 1 min",
            "hypervisor  KVM, which talks to qemu-guest-agent",
            "addresses   none",
            "state       /dev/vda: 5000 MB of 20.0 GB used, 15.0 GB free",
            "services    7 of 9 run; on demand: logrotate; not well: web",
            "version     1.2.0 runs, and is the default; 1.3.0 is tried at the next start; \
             ros os rollback: 1.1.0",
            "change      waits to be confirmed within 90 s, 64 s are left: ros config confirm",
            "  next step: ros why web; ros logs web",
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} is not in:\n{text}");
        }
        assert!(!text.contains("only root sees"));
    }

    #[test]
    fn services_that_do_not_run_are_done_or_wait_to_be_started() {
        let line = |planned: usize, on_demand: &[&str]| {
            let on_demand = on_demand.iter().map(|name| (*name).to_owned()).collect();
            services(&Services { planned, running: 9, on_demand, unwell: Vec::new() })
        };
        assert_eq!(line(9, &[]), "9 of 9 run; all are well");
        assert_eq!(
            line(13, &["logrotate", "tool"]),
            "9 of 13 run, the rest is done; on demand: logrotate, tool; all are well"
        );
    }

    #[test]
    fn a_machine_without_a_disk_says_so() {
        assert_eq!(state(&StateDisk::default()), "runs from memory: nothing is kept");
        let problem = Some("no such device".to_owned());
        let text = state(&StateDisk { problem, ..StateDisk::default() });
        assert_eq!(text, "runs from memory: nothing is kept: no such device");
    }
}
