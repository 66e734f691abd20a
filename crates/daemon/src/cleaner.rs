//! From time to time, and after each image that came: a disk that is nearly full gets room.

use crate::blocking::blocking;
use crate::image::gc::used_percent;
use crate::shared::Shared;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

const PERIOD: Duration = Duration::from_secs(15 * 60);
/// Above this, in percent, images that no container stands on go…
const FULL: u64 = 90;
/// …until no more than this is used.
const RELIEVED: u64 = 80;
/// Actions of the events that report a new image.
const ADDING: [&str; 3] = ["pull", "load", "import"];

pub(super) async fn run(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(PERIOD);
    // The first tick comes at once: nothing is to be done while the machine boots.
    ticks.tick().await;
    let (_, mut events) = shared.bus.listen();
    loop {
        tokio::select! {
            _ = ticks.tick() => relieve(&shared).await,
            event = events.recv() => match event {
                // A new image is what fills a disk.
                Ok(event) if event.kind == "image" && ADDING.contains(&event.action.as_str()) => {
                    relieve(&shared).await;
                }
                Err(RecvError::Closed) => return,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
            },
        }
    }
}

async fn relieve(shared: &Arc<Shared>) {
    let cleaning = Arc::clone(shared);
    let cleaned = blocking(move || {
        if used_percent() < FULL {
            return Ok(None);
        }
        let used = cleaning.table.images();
        cleaning.store.relieve(RELIEVED, &used).map(Some)
    });
    match cleaned.await {
        Ok(Some(cleaned)) => {
            eprintln!(
                "the state disk was over {FULL} % full: removed {} images",
                cleaned.images.len()
            );
            for (action, what) in &cleaned.images {
                shared.bus.emit("image", &action.to_lowercase(), what, json!({"name": what}));
            }
        }
        Ok(None) => {}
        Err(error) => eprintln!("cleaning up: {error}"),
    }
}
