//! `ros top`: what the services of the system use, by their cgroups.

use crate::why;
use anyhow::Result;
use corral_engine::paths;
use corral_engine::spec::Snapshot;
use corral_machine::deadline::pause;
use corral_terminal::output::{Output, table};
use corral_terminal::size::megabytes;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Between two samples that are compared, and between two screens.
const SAMPLE: Duration = Duration::from_millis(500);
const REFRESH: Duration = Duration::from_secs(2);
/// Puts the cursor into the first column of the first line, and clears the screen (ECMA-48).
const CLEAR: &str = "\x1b[H\x1b[2J";

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Print one table and end
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    output: Output,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row {
    name: String,
    state: String,
    /// Of one processor.
    cpu_percent: f64,
    /// Bytes; None if the kernel has no number.
    memory: Option<u64>,
    processes: Option<u64>,
    restarts: u32,
}

/// Processor time of each container in microseconds, and when it was read.
#[derive(Debug)]
struct Sample {
    at: Instant,
    used: BTreeMap<String, u64>,
}

/// Prints the table once, or refreshes it until the command is interrupted.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut before = Sample::take(&why::snapshots()?);
    // Nothing reports that time has passed.
    pause(SAMPLE);
    let once = options.once || !options.output.is_text() || !std::io::stdout().is_terminal();
    loop {
        let snapshots = why::snapshots()?;
        let now = Sample::take(&snapshots);
        let rows = rows(&snapshots, &before, &now);
        if once {
            return options.output.print(&rows, |rows| print!("{}", render(rows)));
        }
        print!("{CLEAR}{}", render(&rows));
        std::io::Write::flush(&mut std::io::stdout())?;
        before = now;
        pause(REFRESH);
    }
}

impl Sample {
    fn take(snapshots: &[Snapshot]) -> Sample {
        let used = |snapshot: &Snapshot| {
            let stat = fs::read_to_string(paths::cgroup(&snapshot.id).join("cpu.stat")).ok()?;
            let used = stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
            Some((snapshot.id.clone(), used.trim().parse().ok()?))
        };
        Sample { at: Instant::now(), used: snapshots.iter().filter_map(used).collect() }
    }

    /// Per cent of one processor since an earlier sample.
    fn percent(&self, before: &Sample, id: &str) -> f64 {
        let time = self.at.duration_since(before.at).as_micros().max(1);
        match (before.used.get(id), self.used.get(id)) {
            (Some(old), Some(new)) => new.saturating_sub(*old) as f64 * 100.0 / time as f64,
            _ => 0.0,
        }
    }
}

/// Every container that runs or that the plan has, the busiest first.
fn rows(snapshots: &[Snapshot], before: &Sample, now: &Sample) -> Vec<Row> {
    let is_shown = |snapshot: &&Snapshot| snapshot.status.is_up() || snapshot.status.planned;
    let row = |snapshot: &Snapshot| Row {
        name: snapshot.spec.name.clone(),
        state: snapshot.status.word().to_owned(),
        cpu_percent: (now.percent(before, &snapshot.id) * 10.0).round() / 10.0,
        memory: number(&snapshot.id, "memory.current"),
        processes: number(&snapshot.id, "pids.current"),
        restarts: snapshot.status.restarts,
    };
    let mut rows: Vec<Row> = snapshots.iter().filter(is_shown).map(row).collect();
    rows.sort_by(|a, b| {
        let by_cpu = b.cpu_percent.total_cmp(&a.cpu_percent);
        by_cpu.then(b.memory.cmp(&a.memory)).then(a.name.cmp(&b.name))
    });
    rows
}

fn number(id: &str, file: &str) -> Option<u64> {
    fs::read_to_string(paths::cgroup(id).join(file)).ok()?.trim().parse().ok()
}

fn render(rows: &[Row]) -> String {
    let mut lines =
        vec![["SERVICE", "STATE", "CPU", "MEMORY", "PROCESSES", "RESTARTS"].map(str::to_owned)];
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    lines.extend(rows.iter().map(|row| {
        [
            row.name.clone(),
            row.state.clone(),
            format!("{:.1} %", row.cpu_percent),
            or_dash(row.memory.map(megabytes)),
            or_dash(row.processes.map(|count| count.to_string())),
            row.restarts.to_string(),
        ]
    }));
    table(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_engine::spec::{ContainerSpec, State, Status};

    #[test]
    fn the_busiest_service_is_the_first() {
        let snapshot = |name: &str, state: State, planned: bool| Snapshot {
            id: format!("no-such-id-{name}"),
            spec: ContainerSpec { name: name.to_owned(), ..ContainerSpec::default() },
            status: Status { state, planned, ..Status::default() },
        };
        let snapshots = [
            snapshot("idle", State::Running, true),
            snapshot("busy", State::Running, false),
            snapshot("done", State::Exited, true),
            snapshot("forgotten", State::Exited, false),
        ];
        let at = Instant::now();
        let sample = |at: Instant, used: u64| Sample {
            at,
            used: BTreeMap::from([("no-such-id-busy".to_owned(), used)]),
        };
        let (before, now) = (sample(at, 1_000_000), sample(at + Duration::from_secs(2), 1_500_000));
        let rows = rows(&snapshots, &before, &now);
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["busy", "done", "idle"]);
        assert!((rows[0].cpu_percent - 25.0).abs() < 0.01);
        assert!(render(&rows).contains("busy     running  25.0 %  -"), "{}", render(&rows));
    }
}
