//! `ros import-keys`, in the container `imported-keys`: fetches the keys of `ssh_import_id` again
//! after the clock was set. Only on machines whose clock was so wrong that no certificate was
//! valid. Other services do not wait for it; the console lets the keys in.

use super::cloud_init::finish;
use anyhow::Result;
use corral_machine::clock::ClockWatch;
use corral_machine::console::log;
use corral_resolve::cloud_init::CloudInitMark;
use corral_resolve::effective::load_config;
use corral_resolve::imported_keys::{LATE, Outcome, fetch};
use corral_resolve::root::Root;
use std::time::{Duration, Instant};

/// How long the clock is waited for.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// A time service sets the clock once or twice.
const MOST: u32 = 5;

/// Fetches until the clock is right, and notes what came of it.
pub(crate) fn run() -> Result<()> {
    let config = load_config()?;
    let end = Instant::now() + TIMEOUT;
    let attempt = || fetch(&config);
    let outcome = attempts(attempt, |watch: &ClockWatch| watch.wait(end), ClockWatch::new)?;
    let mut mark = CloudInitMark::load(&Root::machine());
    mark.keys_are_late = false;
    mark.problems.retain(|problem| problem != LATE);
    mark.problems.extend(problems(&outcome));
    if problems(&outcome).is_empty() {
        log("cloud-init: the clock was set, and the keys of ssh_import_id were fetched");
    }
    finish(&mark)
}

/// The last of the attempts. The first is made at once: the clock may be right by now.
fn attempts<W>(
    mut attempt: impl FnMut() -> Outcome,
    mut was_set: impl FnMut(&W) -> Result<bool>,
    watch: impl Fn() -> Result<W>,
) -> Result<Outcome> {
    for _ in 1..MOST {
        // Watches first, so that no step of the clock is missed between an attempt and the wait.
        let watch = watch()?;
        let outcome = attempt();
        if !outcome.clock_is_wrong || !was_set(&watch)? {
            return Ok(outcome);
        }
    }
    Ok(attempt())
}

/// What is still wrong.
fn problems(outcome: &Outcome) -> Vec<String> {
    let mut problems = outcome.problems.clone();
    if outcome.clock_is_wrong {
        problems.push(format!(
            "ssh_import_id: no certificate is valid at the time of this machine's clock, which was \
             not set within {} min; the keys that were fetched last stay. Set it, and restart",
            TIMEOUT.as_secs() / 60
        ));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often it fetches if the clock is right from that attempt on, and set so often.
    fn count(right_from: u32, mut steps: u32) -> (u32, bool) {
        let mut made = 0;
        let attempt = || {
            made += 1;
            Outcome { clock_is_wrong: made < right_from, ..Outcome::default() }
        };
        let was_set = |_: &()| {
            let is_set = steps > 0;
            steps = steps.saturating_sub(1);
            Ok(is_set)
        };
        let outcome = attempts(attempt, was_set, || Ok(())).unwrap();
        (made, outcome.clock_is_wrong)
    }

    #[test]
    fn keys_are_fetched_again_after_each_step_of_the_clock_but_not_for_ever() {
        for (right_from, steps, expected) in [
            (1, 0, (1, false)),
            (2, 1, (2, false)),
            (3, 9, (3, false)),
            (2, 0, (1, true)),
            (u32::MAX, u32::MAX, (MOST, true)),
        ] {
            assert_eq!(count(right_from, steps), expected, "{right_from}, {steps}");
        }
        let wrong = Outcome { clock_is_wrong: true, ..Outcome::default() };
        assert!(problems(&wrong)[0].contains("within 10 min"));
        assert!(problems(&Outcome::default()).is_empty());
    }
}
