//! The threads that talk to an engine: one follows its containers, one waits for the answer to each
//! request.

use super::key::Key;
use super::table::{Listed, Run, Verb};
use anyhow::{Context, Result};
use corral_docker::{Client, Engine, Summary};
use corral_machine::deadline::pause;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

/// Until an engine that does not answer is tried again. No event reports that it answers.
const PAUSE: Duration = Duration::from_secs(5);

/// What a thread reports.
#[derive(Debug)]
pub(super) enum Message {
    /// All containers of an engine, as they are now.
    Listed(Engine, Vec<Listed>),
    /// A request has been answered.
    Done(Key, Result<(), String>),
}

/// Reports the containers of an engine: when it answers, and after each of their events.
pub(super) fn follow(engine: Engine, sender: Sender<Message>) -> Result<()> {
    let client = Client::of(engine)?;
    let report = move |containers: Vec<Summary>| {
        let listed = containers.into_iter().filter_map(Listed::from_summary).collect();
        sender.send(Message::Listed(engine, listed)).is_ok()
    };
    let builder = thread::Builder::new().name(format!("cron-{engine:?}").to_lowercase());
    builder.spawn(move || watch(&client, report)).context("starting a thread").map(drop)
}

/// Ends with the process.
fn watch(client: &Client, report: impl Fn(Vec<Summary>) -> bool) {
    loop {
        // An engine may be off, or restart: it is tried until it is there.
        let _ = client.follow(&report);
        pause(PAUSE);
    }
}

/// Sends a request; its outcome is a message.
pub(super) fn request(run: Run, sender: Sender<Message>) -> Result<()> {
    let request = move || {
        let outcome = act(&run).map_err(|error| format!("{error:#}"));
        let _ = sender.send(Message::Done(run.key, outcome));
    };
    let builder = thread::Builder::new().name("cron-request".to_owned());
    builder.spawn(request).context("starting a thread").map(drop)
}

fn act(run: &Run) -> Result<()> {
    let client = Client::of(run.key.engine)?;
    match run.verb {
        Verb::Start => client.start(&run.id)?,
        Verb::Restart => client.restart(&run.id, Some(run.timeout))?,
        Verb::Stop => client.stop(&run.id, Some(run.timeout))?,
    }
    Ok(())
}
