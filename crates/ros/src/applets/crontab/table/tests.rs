//! The table in a world with one container and a clock.

use super::*;

/// A machine with one container, `job`, and a clock.
struct World {
    table: Table,
    labels: Vec<(&'static str, &'static str)>,
    wall: DateTime<Utc>,
    uptime: Duration,
}

impl World {
    fn new(labels: &[(&'static str, &'static str)]) -> World {
        let mut world = World {
            table: Table::new("one", Records::default()),
            labels: labels.to_vec(),
            wall: "2026-11-29T07:45:30Z".parse().unwrap(),
            uptime: Duration::ZERO,
        };
        world.list(false);
        world
    }

    fn now(&self) -> Now<Utc> {
        Now { wall: self.wall, uptime: self.uptime }
    }

    fn list(&mut self, is_up: bool) {
        let labels =
            self.labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let (id, name) = ("id".to_owned(), "job".to_owned());
        let listed = Listed { id, name, labels: labels.collect(), is_up };
        self.table.refresh(Engine::System, vec![listed], &self.now());
    }

    /// Another boot, after so many seconds without power.
    fn boot(&mut self, off: i64) {
        let records = std::mem::take(&mut self.table.records);
        self.table = Table::new("two", records);
        self.wall += TimeDelta::seconds(off);
        self.uptime = Duration::ZERO;
        self.list(false);
    }

    /// What is done when so many seconds have passed. Requests are answered at once.
    fn after(&mut self, seconds: u64) -> String {
        self.wall += TimeDelta::seconds(seconds.cast_signed());
        self.uptime += Duration::from_secs(seconds);
        self.look()
    }

    fn look(&mut self) -> String {
        let steps = self.table.take_steps(&self.now());
        let texts = steps.into_iter().map(|step| match step {
            Step::Note(text) => text,
            Step::Run(run) => {
                self.table.finish(run.key, Ok(()));
                run.verb.to_string()
            }
        });
        texts.collect::<Vec<_>>().join("; ")
    }
}

#[test]
fn a_container_starts_at_each_of_its_times_and_not_between() {
    let mut world = World::new(&[("cron.schedule", "* * * * *")]);
    assert_eq!(world.look(), "");
    assert_eq!(world.table.wait(&world.now()), Duration::from_secs(30));
    assert_eq!(world.after(29), "");
    assert_eq!(world.after(1), "start");
    assert_eq!(world.look(), "");
    world.list(false);
    assert_eq!(world.after(59), "", "a container that is listed again keeps its time");
    assert_eq!(world.after(1), "start");
}

#[test]
fn an_interval_begins_when_the_container_is_seen() {
    let mut world = World::new(&[("cron.schedule", "@every 90s")]);
    assert_eq!(world.after(89), "");
    assert_eq!(world.after(2), "start");
    assert_eq!(world.after(88), "", "it does not drift");
    assert_eq!(world.after(1), "start");
    assert_eq!(world.after(1000), "start", "once, however late");
    assert_eq!(world.after(1), "");
}

#[test]
fn a_container_that_still_runs_is_treated_by_its_policy() {
    let skipped = "job: it still runs: skipped";
    let queued = "job: it still runs: it starts again when it has ended";
    let cases = [
        ("cron.overlap", "skip", skipped, ""),
        ("cron.overlap", "allow-restart", "restart", ""),
        ("cron.overlap", "queue", queued, "start"),
        ("cron.action", "restart", "restart", ""),
        ("cron.action", "stop", "stop", ""),
    ];
    for (label, value, while_up, when_ended) in cases {
        let mut world = World::new(&[("cron.schedule", "* * * * *"), (label, value)]);
        world.list(true);
        assert_eq!(world.after(30), while_up, "{value}");
        assert_eq!(world.after(60), while_up, "{value}");
        world.list(false);
        assert_eq!(world.look(), when_ended, "{value}");
        assert_eq!(world.look(), "", "{value}");
    }
}

#[test]
fn a_run_that_was_missed_is_caught_up_on_request_once() {
    let hourly = ("cron.schedule", "@hourly");
    let (mut skip, mut run) =
        (World::new(&[hourly]), World::new(&[hourly, ("cron.missed", "run")]));
    for world in [&mut skip, &mut run] {
        assert_eq!(world.after(15 * 60), "start");
        world.boot(10 * 60);
        assert_eq!(world.look(), "", "no hour has begun");
        world.boot(5 * 3600);
    }
    assert_eq!(skip.look(), "");
    assert_eq!(run.look(), "start");
    assert_eq!(run.look(), "");
    // The clock jumps.
    for world in [&mut skip, &mut run] {
        world.wall += TimeDelta::days(300);
    }
    assert!(skip.look().contains("was missed"));
    assert_eq!(run.look(), "start");
}

#[test]
fn a_clock_that_was_wrong_stops_no_job() {
    let labels = [("cron.schedule", "@hourly"), ("cron.missed", "run")];
    let mut world = World::new(&labels);
    world.wall += TimeDelta::days(3650);
    assert_eq!(world.look(), "start");
    world.wall -= TimeDelta::days(3650);
    assert_eq!(world.after(1), "");
    assert_eq!(world.after(14 * 60 + 29), "start");
    // A machine whose clock begins in 1970 and is set when the network is up.
    let right = world.wall;
    world.wall = DateTime::UNIX_EPOCH;
    world.boot(0);
    assert_eq!(world.look(), "");
    world.wall = right + TimeDelta::seconds(60);
    assert!(world.look().contains("was missed"), "the last run was a minute ago");
}

#[test]
fn a_container_runs_once_in_each_boot() {
    let mut world = World::new(&[("cron.schedule", "@reboot")]);
    assert_eq!(world.look(), "start");
    assert_eq!(world.after(100_000), "");
    let records = std::mem::take(&mut world.table.records);
    world.table = Table::new("one", records);
    world.list(false);
    assert_eq!(world.look(), "", "cron itself was restarted");
    world.boot(60);
    assert_eq!(world.look(), "start");
}

#[test]
fn a_wrong_label_is_reported_until_it_is_right() {
    let mut world = World::new(&[("cron.schedule", "0 99 * * *")]);
    let problems = world.table.problems();
    let begin = "job: label cron.schedule: \"0 99 * * *\": hour: \"99\" is not 0 to 23; cron";
    assert!(problems.len() == 1 && problems[0].starts_with(begin), "{problems:?}");
    world.labels = vec![("cron.schedule", "* * * * *")];
    world.list(false);
    assert_eq!(world.table.problems(), Vec::<String>::new());
    let key = Key { engine: Engine::System, name: "job".to_owned() };
    world.table.finish(key, Err("no such image".to_owned()));
    assert!(world.table.problems()[0].contains("no such image"));
    assert_eq!(world.after(30), "start");
    assert_eq!(world.table.problems(), Vec::<String>::new());
}

#[test]
fn an_engine_that_does_not_answer_gets_no_second_request() {
    let mut world = World::new(&[("cron.schedule", "* * * * *")]);
    world.wall += TimeDelta::seconds(30);
    let steps = world.table.take_steps(&world.now());
    assert!(matches!(steps.as_slice(), [Step::Run(_)]), "{steps:?}");
    assert!(world.after(60).contains("has not answered"));
}
