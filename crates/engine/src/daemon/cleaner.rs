//! From time to time: what nothing uses goes, and a disk that is nearly full gets room.

use super::{Shared, blocking};
use crate::image::store;
use std::sync::Arc;
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(15 * 60);
/// Above this, in percent, images that no container stands on go…
const FULL: u64 = 90;
/// …until no more than this is used.
const RELIEVED: u64 = 80;

pub(super) async fn run(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(PERIOD);
    // The first tick comes at once: nothing is to be done while the machine boots.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let cleaning = Arc::clone(&shared);
        let cleaned = blocking(move || {
            if store::used_percent() < FULL {
                return Ok(None);
            }
            let used = cleaning.table.images();
            cleaning.store.relieve(RELIEVED, &used).map(Some)
        });
        match cleaned.await {
            Ok(Some(cleaned)) => {
                eprintln!("the state disk was over {FULL} % full: removed {} images", cleaned.images.len());
            }
            Ok(None) => {}
            Err(error) => eprintln!("cleaning up: {error}"),
        }
    }
}
