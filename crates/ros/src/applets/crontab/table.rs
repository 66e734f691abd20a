//! All containers with a schedule, and what is to be done with them at a moment. It has no clock
//! and no engine: both come in as values.

#[cfg(test)]
mod tests;

use super::key::{Key, prefix};
use super::records::Records;
use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use corral_docker::{Engine, Summary};
use corral_plan::cron::calendar::Calendar;
use corral_plan::cron::job::{self, Action, Job, Missed, Overlap};
use corral_plan::cron::schedule::Schedule;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// A run that is later than this was missed: the machine was off or asleep, or the clock was set.
const GRACE: TimeDelta = TimeDelta::minutes(2);
/// The clock may be set while this waits: it looks at least so often.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A container as its engine lists it.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) is_up: bool,
}

impl Listed {
    /// None without a name: it is just being removed.
    pub(super) fn from_summary(summary: Summary) -> Option<Listed> {
        let name = summary.names.first()?.trim_start_matches('/').to_owned();
        let is_up = !["created", "exited", "dead"].contains(&summary.state.as_str());
        Some(Listed { id: summary.id, name, labels: summary.labels, is_up })
    }
}

/// The moment: by the clock on the wall, and since this process started.
#[derive(Debug, Clone)]
pub(super) struct Now<Z: TimeZone> {
    pub(super) wall: DateTime<Z>,
    pub(super) uptime: Duration,
}

/// A request to an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) key: Key,
    pub(super) id: String,
    pub(super) verb: Verb,
    pub(super) timeout: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Start,
    Restart,
    Stop,
}

impl fmt::Display for Verb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Verb::Start => "start",
            Verb::Restart => "restart",
            Verb::Stop => "stop",
        })
    }
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Run(Run),
    /// For the log.
    Note(String),
}

#[derive(Debug, Clone)]
struct Entry {
    id: String,
    job: Job,
    is_up: bool,
    next: Next,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Wall(DateTime<Utc>),
    Uptime(Duration),
    Never,
}

#[derive(Debug)]
pub(super) struct Table {
    boot: String,
    pub(super) records: Records,
    entries: BTreeMap<Key, Entry>,
    /// Requests that are not answered yet.
    busy: BTreeSet<Key>,
    /// They start when they have ended.
    queued: BTreeSet<Key>,
    wrong: BTreeMap<Key, String>,
    failed: BTreeMap<Key, String>,
    /// Wall clock and uptime when it was last looked.
    looked: Option<(DateTime<Utc>, Duration)>,
}

impl Table {
    pub(super) fn new(boot: &str, records: Records) -> Table {
        Table {
            boot: boot.to_owned(),
            records,
            entries: BTreeMap::new(),
            busy: BTreeSet::new(),
            queued: BTreeSet::new(),
            wrong: BTreeMap::new(),
            failed: BTreeMap::new(),
            looked: None,
        }
    }

    /// Takes all containers of an engine. One whose labels have not changed keeps its next time.
    pub(super) fn refresh<Z: TimeZone>(
        &mut self,
        engine: Engine,
        containers: Vec<Listed>,
        now: &Now<Z>,
    ) {
        let mut old = std::mem::take(&mut self.entries);
        self.entries = old.extract_if(.., |key, _| key.engine != engine).collect();
        self.wrong.retain(|key, _| key.engine != engine);
        for Listed { id, name, labels, is_up } in containers {
            let key = Key { engine, name };
            match job::parse(&labels) {
                None => {}
                Some(Err(error)) => drop(self.wrong.insert(key, error.to_string())),
                Some(Ok(job)) => {
                    let known = old.remove(&key).filter(|entry| entry.job == job);
                    let next = match known {
                        Some(entry) => entry.next,
                        None => self.first(&key, &job, now),
                    };
                    self.entries.insert(key, Entry { id, job, is_up, next });
                }
            }
        }
        let is_there = |key: &Key| key.engine != engine || self.entries.contains_key(key);
        self.queued.retain(is_there);
        self.failed.retain(|key, _| is_there(key));
        if engine == Engine::User {
            // All of them are listed. Those of the system are not, while the machine boots.
            let names: BTreeSet<String> = self.entries.keys().map(Key::to_string).collect();
            let is_other = |key: &str| !key.starts_with(prefix(Engine::User));
            self.records.retain(|key| is_other(key) || names.contains(key));
        }
    }

    /// When a container that was just seen is to run.
    fn first<Z: TimeZone>(&mut self, key: &Key, job: &Job, now: &Now<Z>) -> Next {
        let wall = now.wall.timestamp();
        let last = match job.missed {
            Missed::Skip => None,
            Missed::Run => {
                let last = self.records.last(key, &job.text, wall);
                if last.is_none() && job.schedule != Schedule::Reboot {
                    // What is missed from now on is known.
                    self.records.note(key, &job.text, wall, "");
                }
                last
            }
        };
        match &job.schedule {
            Schedule::Reboot if self.records.has_run_in(key, &self.boot) => Next::Never,
            Schedule::Reboot => Next::Uptime(now.uptime),
            Schedule::At(calendar) => next_wall(calendar, last.unwrap_or(wall), now),
            Schedule::Every(interval) => {
                let since = last.and_then(|last| u64::try_from(wall - last).ok());
                let left = interval.saturating_sub(Duration::from_secs(since.unwrap_or_default()));
                Next::Uptime(now.uptime.saturating_add(left))
            }
        }
    }

    /// A request has been answered.
    pub(super) fn finish(&mut self, key: Key, outcome: Result<(), String>) {
        self.busy.remove(&key);
        match outcome {
            Ok(()) => drop(self.failed.remove(&key)),
            Err(error) => drop(self.failed.insert(key, error)),
        }
    }

    /// What is to be done at this moment.
    pub(super) fn take_steps<Z: TimeZone>(&mut self, now: &Now<Z>) -> Vec<Step> {
        self.look_at_clock(now);
        let due: Vec<Key> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.next.is_reached(now))
            .map(|(key, _)| key.clone())
            .collect();
        let mut steps: Vec<Step> =
            due.into_iter().filter_map(|key| self.step_of_due(key, now)).collect();
        let is_down = |key: &Key| self.entries.get(key).is_some_and(|entry| !entry.is_up);
        let waiting: Vec<Key> = self
            .queued
            .iter()
            .filter(|key| is_down(key) && !self.busy.contains(key))
            .cloned()
            .collect();
        for key in waiting {
            self.queued.remove(&key);
            steps.extend(self.run(&key, Verb::Start));
        }
        steps
    }

    /// A clock that was set back would leave times in the far future.
    fn look_at_clock<Z: TimeZone>(&mut self, now: &Now<Z>) {
        let wall = now.wall.with_timezone(&Utc);
        let looked = self.looked.replace((wall, now.uptime));
        let Some((before, uptime)) = looked else { return };
        let passed = TimeDelta::from_std(now.uptime.saturating_sub(uptime)).unwrap_or_default();
        if wall - before - passed > -GRACE {
            return;
        }
        for entry in self.entries.values_mut() {
            if let (Schedule::At(calendar), Next::Wall(_)) = (&entry.job.schedule, entry.next) {
                entry.next = next_wall(calendar, now.wall.timestamp(), now);
            }
        }
    }

    fn step_of_due<Z: TimeZone>(&mut self, key: Key, now: &Now<Z>) -> Option<Step> {
        let wall = now.wall.timestamp();
        let entry = self.entries.get_mut(&key)?;
        let job = entry.job.clone();
        let (was, is_up) = (entry.next, entry.is_up);
        entry.next = was.following(&job.schedule, now);
        if let (Next::Wall(at), Schedule::At(calendar)) = (was, &job.schedule)
            && now.wall.with_timezone(&Utc) - at > GRACE
        {
            let last = self.records.last(&key, &job.text, wall).unwrap_or(wall);
            let is_missed = next_wall(calendar, last, now).is_reached(now);
            if job.missed == Missed::Skip || !is_missed {
                let at = at.with_timezone(&now.wall.timezone()).naive_local();
                return Some(Step::Note(format!("{}: the run of {at} was missed", key.name)));
            }
        }
        if job.missed == Missed::Run || job.schedule == Schedule::Reboot {
            self.records.note(&key, &job.text, wall, &self.boot);
        }
        let verb = match job.action {
            Action::Restart => Verb::Restart,
            Action::Stop if !is_up => return None,
            Action::Stop => Verb::Stop,
            Action::Start(_) if !is_up => Verb::Start,
            Action::Start(Overlap::AllowRestart) => Verb::Restart,
            Action::Start(Overlap::Skip) => {
                return Some(Step::Note(format!("{}: it still runs: skipped", key.name)));
            }
            Action::Start(Overlap::Queue) => {
                let note =
                    format!("{}: it still runs: it starts again when it has ended", key.name);
                self.queued.insert(key);
                return Some(Step::Note(note));
            }
        };
        self.run(&key, verb)
    }

    fn run(&mut self, key: &Key, verb: Verb) -> Option<Step> {
        if !self.busy.insert(key.clone()) {
            let text = "the engine has not answered the last request yet: skipped";
            return Some(Step::Note(format!("{}: {text}", key.name)));
        }
        let entry = self.entries.get(key)?;
        let (id, timeout) = (entry.id.clone(), entry.job.timeout);
        Some(Step::Run(Run { key: key.clone(), id, verb, timeout }))
    }

    /// Until something is to be done, at most a minute.
    pub(super) fn wait<Z: TimeZone>(&self, now: &Now<Z>) -> Duration {
        let left = self.entries.values().filter_map(|entry| entry.next.left(now)).min();
        left.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT)
    }

    /// What is wrong, a line each; each begins with the name of a container.
    pub(super) fn problems(&self) -> Vec<String> {
        let of = |key: &Key| match key.engine {
            Engine::System => key.name.clone(),
            Engine::User => format!("{} (in your Docker)", key.name),
        };
        let wrong = self.wrong.iter().map(|(key, why)| {
            format!(
                "{}: {why}; cron leaves it alone, fix the label and recreate the container",
                of(key)
            )
        });
        let failed = self.failed.iter().map(|(key, why)| {
            format!(
                "{}: cron could not start it at its time: {why}; its next time is the next try",
                of(key)
            )
        });
        wrong.chain(failed).collect()
    }
}

impl Next {
    fn is_reached<Z: TimeZone>(self, now: &Now<Z>) -> bool {
        self.left(now) == Some(Duration::ZERO)
    }

    /// Until it is reached.
    fn left<Z: TimeZone>(self, now: &Now<Z>) -> Option<Duration> {
        match self {
            Next::Wall(at) => {
                Some((at - now.wall.with_timezone(&Utc)).to_std().unwrap_or_default())
            }
            Next::Uptime(at) => Some(at.saturating_sub(now.uptime)),
            Next::Never => None,
        }
    }

    /// The one after it.
    fn following<Z: TimeZone>(self, schedule: &Schedule, now: &Now<Z>) -> Next {
        match (self, schedule) {
            (_, Schedule::At(calendar)) => next_wall(calendar, now.wall.timestamp(), now),
            (Next::Uptime(was), Schedule::Every(interval)) => {
                let next = was.saturating_add(*interval);
                let late = || now.uptime.saturating_add(*interval);
                Next::Uptime(if next > now.uptime { next } else { late() })
            }
            _ => Next::Never,
        }
    }
}

/// The first time of a calendar after a second, in the zone of now.
fn next_wall<Z: TimeZone>(calendar: &Calendar, after: i64, now: &Now<Z>) -> Next {
    let after = DateTime::from_timestamp(after, 0).unwrap_or_default();
    let next = calendar.next_after(&after.with_timezone(&now.wall.timezone()));
    next.map_or(Next::Never, |next| Next::Wall(next.with_timezone(&Utc)))
}
