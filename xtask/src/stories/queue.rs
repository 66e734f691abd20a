//! The stories that are still to run: the longest first, several at a time.

use anyhow::{Result, anyhow};
use std::ops::Deref;
use std::sync::{Condvar, Mutex, PoisonError};

/// A story that is to run.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// Which runner has it.
    pub(super) runner: usize,
    pub(super) name: String,
    pub(super) round: u32,
    /// How long it took when it last ran; infinite if it never ran, because it may be long.
    pub(super) seconds: f64,
    pub(super) needs_qemu: bool,
}

/// The queue limits only stories in QEMU. One in User-Mode Linux waits for less, so it may run
/// beside as many of those as there are cores.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    qemu_slots: usize,
}

#[derive(Debug)]
struct State {
    /// The next one is the last.
    waiting: Vec<Job>,
    in_qemu: usize,
}

/// A job whose turn it is. Its slot is free again when this is dropped, also in a panic.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    queue: &'a Queue,
    job: Job,
}

impl Queue {
    pub(super) fn new(mut jobs: Vec<Job>, qemu_slots: usize) -> Queue {
        jobs.sort_by(|a, b| b.round.cmp(&a.round).then(a.seconds.total_cmp(&b.seconds)));
        let state = Mutex::new(State { waiting: jobs, in_qemu: 0 });
        Queue { state, changed: Condvar::new(), qemu_slots }
    }

    /// The longest job that may run now; waits until there is one. None when the queue is empty.
    pub(super) fn take(&self) -> Result<Option<Turn<'_>>> {
        let mut state = self.state.lock().map_err(|_| anyhow!("another worker failed"))?;
        while !state.waiting.is_empty() {
            let has_room = state.in_qemu < self.qemu_slots;
            if let Some(at) = state.waiting.iter().rposition(|job| has_room || !job.needs_qemu) {
                let job = state.waiting.remove(at);
                state.in_qemu += usize::from(job.needs_qemu);
                return Ok(Some(Turn { queue: self, job }));
            }
            state = self.changed.wait(state).map_err(|_| anyhow!("another worker failed"))?;
        }
        Ok(None)
    }

    /// No more jobs are started.
    pub(super) fn stop(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).waiting.clear();
        self.changed.notify_all();
    }
}

impl Deref for Turn<'_> {
    type Target = Job;

    fn deref(&self) -> &Job {
        &self.job
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.in_qemu -= usize::from(self.job.needs_qemu);
        self.queue.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::{Job, Queue};

    fn job(name: &str, round: u32, seconds: f64, needs_qemu: bool) -> Job {
        Job { runner: 0, name: name.to_owned(), round, seconds, needs_qemu }
    }

    #[test]
    fn the_longest_comes_first_and_qemu_waits_for_a_slot() {
        let jobs = vec![
            job("short", 0, 1.0, true),
            job("long", 0, 9.0, true),
            job("quick", 0, 0.5, false),
            job("later", 1, 99.0, false),
        ];
        let queue = Queue::new(jobs, 1);
        let names = |turn: Option<super::Turn<'_>>| turn.map(|turn| turn.name.clone());
        let first = queue.take().unwrap();
        assert_eq!(first.as_ref().map(|turn| turn.name.as_str()), Some("long"));
        assert_eq!(
            names(queue.take().unwrap()).as_deref(),
            Some("quick"),
            "the slot of QEMU is taken"
        );
        drop(first);
        assert_eq!(names(queue.take().unwrap()).as_deref(), Some("short"));
        assert_eq!(names(queue.take().unwrap()).as_deref(), Some("later"));
        assert!(queue.take().unwrap().is_none());
    }

    #[test]
    fn a_slot_is_free_again_after_a_panic() {
        let queue = Queue::new(vec![job("panics", 0, 2.0, true), job("next", 0, 1.0, true)], 1);
        let worker = std::thread::scope(|scope| {
            let work = || {
                let _turn = queue.take().unwrap();
                panic!("on purpose");
            };
            scope.spawn(work).join()
        });
        assert!(worker.is_err());
        assert_eq!(queue.take().unwrap().map(|turn| turn.name.clone()).as_deref(), Some("next"));
    }
}
