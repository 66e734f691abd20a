//! What the boot did when: spans with a monotonic start and end, in microseconds since the kernel
//! started.

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A piece of the boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub name: String,
    /// `step` of PID 1 before the services, or `service`.
    pub kind: String,
    pub start: u64,
    /// When it was done: a step over, a service started, or ended if others wait for its end; 0 if
    /// it is not done yet.
    pub end: u64,
    /// Names of the spans that had to be done first.
    pub after: Vec<String>,
}

/// The record of a boot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Trace {
    pub(crate) spans: Vec<Span>,
}

/// Microseconds since the kernel started.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_nsec.unsigned_abs() / 1000
}

/// Microseconds as seconds, for people.
pub fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

impl Trace {
    /// Runs a step of the boot and records it.
    pub(crate) fn step<T>(&mut self, name: &str, work: impl FnOnce() -> T) -> T {
        let after = self.spans.last().map(|span| span.name.clone()).into_iter().collect();
        let start = now();
        let result = work();
        self.spans.push(Span {
            name: name.to_owned(),
            kind: "step".to_owned(),
            start,
            end: now(),
            after,
        });
        result
    }

    /// Records that the start of a service was requested, once.
    pub(crate) fn begin(&mut self, name: &str, after: Vec<String>) {
        if !self.spans.iter().any(|span| span.name == name) {
            self.spans.push(Span {
                name: name.to_owned(),
                kind: "service".to_owned(),
                start: now(),
                end: 0,
                after,
            });
        }
    }

    /// Records that a service was done, once.
    pub(crate) fn end(&mut self, name: &str) {
        if let Some(span) = self.spans.iter_mut().find(|span| span.name == name && span.end == 0) {
            span.end = now();
        }
    }
}

/// The chain that ends with `last`: each the latest of those that the next one had to wait for.
pub fn critical_path<'a>(spans: &'a [Span], last: &str) -> Vec<&'a Span> {
    let mut path = Vec::new();
    let mut next = spans.iter().find(|span| span.name == last);
    while let Some(span) = next {
        path.push(span);
        let before = |candidate: &&Span| {
            span.after.contains(&candidate.name) && candidate.start < span.start
        };
        next = spans.iter().filter(before).max_by_key(|candidate| candidate.end);
    }
    path.reverse();
    path
}

/// The spans in the format of Chrome's and Perfetto's trace viewers.
pub fn to_perfetto(spans: &[Span]) -> serde_json::Value {
    let now = now();
    let events: Vec<_> = spans
        .iter()
        .enumerate()
        .map(|(row, span)| {
            let end = if span.end == 0 { now } else { span.end };
            let row = if span.kind == "step" { 0 } else { row };
            serde_json::json!({
                "name": span.name, "cat": span.kind, "ph": "X", "pid": 1, "tid": row,
                "ts": span.start, "dur": end.saturating_sub(span.start),
                "args": {"after": span.after},
            })
        })
        .collect();
    serde_json::json!({ "traceEvents": events, "displayTimeUnit": "ms" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_critical_path_follows_what_was_waited_for() {
        let span = |name: &str, start, end, after: &[&str]| Span {
            name: name.to_owned(),
            kind: "service".to_owned(),
            start,
            end,
            after: after.iter().map(|name| (*name).to_owned()).collect(),
        };
        let spans = [
            span("a", 0, 5, &[]),
            span("b", 0, 9, &[]),
            span("c", 9, 12, &["a", "b"]),
            span("d", 5, 20, &["a"]),
        ];
        let names: Vec<&str> =
            critical_path(&spans, "c").iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["b", "c"]);
    }
}
