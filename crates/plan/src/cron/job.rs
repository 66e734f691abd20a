//! The labels of a container → what is done with it, and when.

use super::parse;
use super::schedule::Schedule;
use std::collections::BTreeMap;
use std::fmt;

/// The label that makes a container a job.
pub const SCHEDULE: &str = "cron.schedule";
const ACTION: &str = "cron.action";
const TIMEOUT: &str = "cron.restart_timeout";
const OVERLAP: &str = "cron.overlap";
const MISSED: &str = "cron.missed";
/// Seconds until a container that is to stop is killed; container-crontab's.
const DEFAULT_TIMEOUT: u32 = 10;

/// A container with a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// As written.
    pub text: String,
    pub schedule: Schedule,
    pub action: Action,
    pub missed: Missed,
    /// Seconds until a container that is to stop is killed.
    pub timeout: u32,
}

/// What is done at the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Start(Overlap),
    Restart,
    Stop,
}

/// What is done when the container still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// Nothing: the next time is waited for.
    Skip,
    /// It is restarted.
    AllowRestart,
    /// It starts again when it has ended, once.
    Queue,
}

/// What is done about times at which the machine was off, or that the clock has skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    Skip,
    /// One run for all of them.
    Run,
}

/// Why the labels are no job; the container is not started by them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongLabel {
    label: &'static str,
    value: String,
    why: String,
}

impl fmt::Display for WrongLabel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "label {}: {:?}: {}", self.label, self.value, self.why)
    }
}

/// The job of a container with these labels; None if it has no schedule.
pub fn parse(labels: &BTreeMap<String, String>) -> Option<Result<Job, WrongLabel>> {
    labels.get(SCHEDULE).map(|text| parse_job(text, labels))
}

fn parse_job(text: &str, labels: &BTreeMap<String, String>) -> Result<Job, WrongLabel> {
    let wrong = |label, value: &str, why| WrongLabel { label, value: value.to_owned(), why };
    let schedule = parse::parse(text).map_err(|why| wrong(SCHEDULE, text, why))?;
    let get = |label| labels.get(label).map_or("", String::as_str);
    let one_of = |label, words: &str| wrong(label, get(label), format!("it is not {words}"));
    let overlap = match get(OVERLAP) {
        "" | "skip" => Overlap::Skip,
        "allow-restart" => Overlap::AllowRestart,
        "queue" => Overlap::Queue,
        _ => return Err(one_of(OVERLAP, "skip, allow-restart or queue")),
    };
    let action = match get(ACTION) {
        "" | "start" => Action::Start(overlap),
        "restart" => Action::Restart,
        "stop" => Action::Stop,
        _ => return Err(one_of(ACTION, "start, restart or stop")),
    };
    let missed = match get(MISSED) {
        "" | "skip" => Missed::Skip,
        "run" => Missed::Run,
        _ => return Err(one_of(MISSED, "skip or run")),
    };
    let timeout = match get(TIMEOUT) {
        "" => DEFAULT_TIMEOUT,
        seconds => {
            seconds.parse().map_err(|_| one_of(TIMEOUT, "a number of seconds such as 10"))?
        }
    };
    Ok(Job { text: text.to_owned(), schedule, action, missed, timeout })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(labels: &[(&str, &str)]) -> Option<Result<Job, String>> {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        parse(&labels.collect()).map(|job| job.map_err(|error| error.to_string()))
    }

    #[test]
    fn the_labels_say_what_is_done() {
        assert_eq!(parsed(&[("cron.action", "nonsense")]), None, "without a schedule no job");
        let job = parsed(&[("cron.schedule", "@reboot")]).unwrap().unwrap();
        assert_eq!(
            (job.action, job.missed, job.timeout),
            (Action::Start(Overlap::Skip), Missed::Skip, 10)
        );
        let all = [
            ("cron.schedule", "@every 2s"),
            ("cron.overlap", "queue"),
            ("cron.missed", "run"),
            ("cron.restart_timeout", "20"),
        ];
        let job = parsed(&all).unwrap().unwrap();
        assert_eq!(
            (job.action, job.missed, job.timeout),
            (Action::Start(Overlap::Queue), Missed::Run, 20)
        );
        let restart = [("cron.schedule", "@daily"), ("cron.action", "restart")];
        assert_eq!(parsed(&restart).unwrap().unwrap().action, Action::Restart);
    }

    #[test]
    fn a_wrong_label_is_named_with_its_value() {
        let wrong = [
            ("cron.schedule", "0 99 * * *", "hour: \"99\" is not 0 to 23"),
            ("cron.overlap", "twice", "it is not skip, allow-restart or queue"),
            ("cron.action", "kill", "it is not start, restart or stop"),
            ("cron.missed", "yes", "it is not skip or run"),
            ("cron.restart_timeout", "10s", "it is not a number of seconds"),
        ];
        for (label, value, why) in wrong {
            let error =
                parsed(&[("cron.schedule", "@daily"), (label, value)]).unwrap().unwrap_err();
            assert!(error.starts_with(&format!("label {label}: {value:?}: {why}")), "{error}");
        }
    }
}
