//! libcontainer reports the cause of a failure to `tracing`, often in a process that cannot report
//! to us any more. Its errors go to the kernel's log. That log is open everywhere, and shows them
//! on the console.

use std::fmt::{self, Write as _};
use std::fs::OpenOptions;
use std::io::Write as _;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Listens from now on.
pub(super) fn install() {
    // A second call in one process changes nothing.
    let _ = tracing::subscriber::set_global_default(KmsgSubscriber);
}

struct KmsgSubscriber;

impl Subscriber for KmsgSubscriber {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        if let Ok(mut log) = OpenOptions::new().write(true).open("/dev/kmsg") {
            // Dropped: a client that waits learns of the failure by the helper's report.
            let _ = log.write_all(format!("<3>corral-helper:{}\n", line.0).as_bytes());
        }
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
