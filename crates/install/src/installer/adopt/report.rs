//! What an adoption would keep and change: shown before anything is written, also as JSON.

use super::difference::Difference;
use super::docker::Graph;
use corral_terminal::output::printable;
use corral_terminal::size;
use serde::Serialize;
use std::path::PathBuf;

/// The plan of an adoption.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) disk: PathBuf,
    pub(super) size: u64,
    /// The old system, as its boot menu names it.
    pub(super) system: String,
    /// The version of Corral that is installed beside it.
    pub(super) version: String,
    pub(super) state: State,
    pub(super) boot: Boot,
    /// Whether the second tier of drivers is installed, and why.
    pub(super) drivers: Vec<String>,
    pub(super) kept: Vec<&'static str>,
    pub(super) docker: Vec<Graph>,
    pub(super) volumes: usize,
    pub(super) differences: Vec<Difference>,
    pub(super) logins: Vec<String>,
    /// Kernel parameters that are taken over.
    pub(super) parameters: String,
    pub(super) steps: Vec<Step>,
    pub(super) way_back: Vec<String>,
}

/// The partition with the state; sizes in bytes.
#[derive(Debug, Serialize)]
pub(super) struct State {
    pub(super) device: PathBuf,
    pub(super) size: u64,
    pub(super) new_size: u64,
    pub(super) free: u64,
    /// It was unmounted cleanly.
    pub(super) clean: bool,
}

/// The partition that is created; sizes in bytes.
#[derive(Debug, Serialize)]
pub(super) struct Boot {
    pub(super) device: PathBuf,
    pub(super) size: u64,
}

/// One step of the adoption.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Step {
    pub(super) what: String,
    pub(super) power_loss: PowerLoss,
}

/// What a power loss in a step means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PowerLoss {
    /// The disk starts one of the two systems.
    Harmless,
    /// The disk may not start, and has all its data; the adoption has to be repeated.
    Repeat,
    MayLoseData,
}

impl Report {
    /// For a person.
    pub(super) fn print(&self) {
        self.lines().iter().for_each(|line| println!("{}", printable(line)));
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "Adopting {} on {} ({}) with Corral {}",
            self.system,
            self.disk.display(),
            size::of_disk(self.size),
            self.version
        )];
        lines.push("found".to_owned());
        lines.extend(self.found());
        let mut add = |title: &str, items: Vec<String>| {
            if !items.is_empty() {
                lines.push(title.to_owned());
                lines.extend(items.iter().map(|item| format!("  {item}")));
            }
        };
        add("kept", self.kept.iter().map(ToString::to_string).collect());
        add("behaves differently", self.differences.iter().map(difference).collect());
        add("logins", self.logins.clone());
        add("steps", self.steps.iter().enumerate().map(step).collect());
        add("way back", self.way_back.clone());
        lines
    }

    fn found(&self) -> Vec<String> {
        let state = &self.state;
        let mut lines = vec![
            format!(
                "  state      {} {}, {} free{}",
                state.device.display(),
                size::of_disk(state.size),
                size::of_disk(state.free),
                if state.clean { "" } else { ", was not unmounted cleanly: it is checked first" }
            ),
            format!(
                "  boot       {} {}, new",
                self.boot.device.display(),
                size::of_disk(self.boot.size)
            ),
        ];
        lines.extend(self.drivers.iter().map(|line| format!("  drivers    {line}")));
        lines.extend(self.docker.iter().map(|graph| {
            format!(
                "  docker     {} images, {} containers ({})",
                graph.images, graph.containers, graph.driver
            )
        }));
        if self.volumes > 0 {
            lines.push(format!("  docker     {} volumes", self.volumes));
        }
        if !self.parameters.is_empty() {
            lines.push(format!("  parameters {}", self.parameters));
        }
        lines
    }
}

fn difference(difference: &Difference) -> String {
    let Difference { source, line, key, what } = difference;
    let at = if *line > 0 { format!("{source}:{line}") } else { source.clone() };
    if key.is_empty() { format!("{at}: {what}") } else { format!("{at}: {key}: {what}") }
}

fn step((number, step): (usize, &Step)) -> String {
    let risk = match step.power_loss {
        PowerLoss::Harmless => "",
        PowerLoss::Repeat => "; after a power loss here, run this command again",
        PowerLoss::MayLoseData => " — A POWER LOSS HERE MAY LOSE DATA",
    };
    format!("{}. {}{risk}", number + 1, step.what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_each_part_once_and_no_commands_to_the_terminal() {
        let report = Report {
            disk: "/dev/sda".into(),
            size: 20 << 30,
            system: "RancherOS v1.1.0".to_owned(),
            version: "1.0.0".to_owned(),
            state: State {
                device: "/dev/sda1".into(),
                size: 20 << 30,
                new_size: 19 << 30,
                free: 10 << 30,
                clean: false,
            },
            boot: Boot { device: "/dev/sda2".into(), size: 1 << 30 },
            drivers: vec!["all, 90 MB".to_owned()],
            kept: vec!["/home"],
            docker: Vec::new(),
            volumes: 2,
            differences: vec![
                Difference { line: 3, ..Difference::of("/f.yml", "a.b", "it differs".to_owned()) },
                Difference::of("/f.yml", "", "\u{1b}[2J".to_owned()),
            ],
            logins: Vec::new(),
            parameters: String::new(),
            steps: vec![Step { what: "shrink".to_owned(), power_loss: PowerLoss::MayLoseData }],
            way_back: vec!["the menu".to_owned()],
        };
        let lines = report.lines();
        for line in [
            "Adopting RancherOS v1.1.0 on /dev/sda (21.5 GB) with Corral 1.0.0",
            "  state      /dev/sda1 21.5 GB, 10.7 GB free, was not unmounted cleanly: it is \
             checked first",
            "  drivers    all, 90 MB",
            "  docker     2 volumes",
            "  /f.yml:3: a.b: it differs",
            "  1. shrink — A POWER LOSS HERE MAY LOSE DATA",
        ] {
            assert_eq!(lines.iter().filter(|found| *found == line).count(), 1, "{line}: {lines:?}");
        }
        assert!(!lines.iter().any(|line| line == "logins" || line.contains("parameters")));
    }
}
