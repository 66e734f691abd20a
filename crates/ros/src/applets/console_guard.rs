//! `ros console-guard NAME`: beside a console of another image. If no login has worked there after
//! some minutes, the built-in console takes over until the next start. The console notes how its
//! own trial went (`console::note_trial`); this also covers one that never came so far.

use anyhow::{Context, Result};
use corral_machine::files::write_atomic;
use corral_machine::inotify;
use corral_resolve::replacement::{LOGIN_WORKED, REFUSED, refusal};
use std::path::Path;
use std::time::{Duration, Instant};

/// From the start of the guard, which waits for the same services as the console.
const TIMEOUT: Duration = Duration::from_secs(180);

/// Waits for the result, and writes one if there is none. PID 1 has the configuration resolved
/// again afterwards.
pub(crate) fn run(name: &str) -> Result<()> {
    let (worked, refused) = (Path::new(LOGIN_WORKED), Path::new(REFUSED));
    let folder = worked.parent().context("the folder of the result")?;
    let is_refused =
        || std::fs::read_to_string(refused).is_ok_and(|text| refusal(&text, name).is_some());
    let is_there = || worked.exists() || is_refused();
    if inotify::wait_for(folder, Instant::now() + TIMEOUT, is_there)? {
        return Ok(());
    }
    let text = format!("{name}\nno login worked within {} s\n", TIMEOUT.as_secs());
    write_atomic(refused, text.as_bytes(), 0o644)
}
