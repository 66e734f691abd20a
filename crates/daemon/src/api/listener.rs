//! The socket of the API, and how many connections it has at a time.

use anyhow::{Context, Result};
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, getrlimit};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Connections at a time; more wait their turn in the kernel.
const MOST_CONNECTIONS: u64 = 4096;
/// Where descriptors are few, one in so many is for a connection: the others are for streams and
/// files.
const PART_OF_DESCRIPTORS: u64 = 4;
/// A client that does not send the head of its request in this time is disconnected.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// Where clients wait for a slot, a connection of this age is closed as soon as it is idle.
const IDLE_TIME: Duration = Duration::from_secs(1);

/// Accepts clients on a unix socket, for root only.
pub(super) async fn serve(app: Router, path: &str) -> Result<()> {
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).with_context(|| format!("listening on {path}"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    let slots = Arc::new(Semaphore::new(most_connections()));
    let crowded = Arc::new(Notify::new());
    let mut is_failing = false;
    loop {
        let slot = next_slot(&slots, &crowded).await;
        match listener.accept().await {
            Ok((stream, _)) => {
                is_failing = false;
                let (app, crowded) = (app.clone(), Arc::clone(&crowded));
                tokio::spawn(async move {
                    let _slot = slot;
                    serve_client(stream, app, &crowded).await;
                });
            }
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    eprintln!("accepting a connection: {error}");
                }
                // Mostly a lack of descriptors: clients give some back.
                crowded.notify_waiters();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// As many connections as leave descriptors for the streams of containers.
fn most_connections() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from((descriptors / PART_OF_DESCRIPTORS).clamp(1, MOST_CONNECTIONS)).unwrap_or(1)
}

/// A slot for one more connection. Where there is none, idle connections make room.
async fn next_slot(slots: &Arc<Semaphore>, crowded: &Notify) -> Option<OwnedSemaphorePermit> {
    loop {
        match tokio::time::timeout(IDLE_TIME, Arc::clone(slots).acquire_owned()).await {
            Ok(slot) => return slot.ok(),
            Err(_) => crowded.notify_waiters(),
        }
    }
}

async fn serve_client(stream: UnixStream, app: Router, crowded: &Notify) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
    let service = TowerToHyperService::new(app);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let others_wait = async {
        tokio::time::sleep(IDLE_TIME).await;
        crowded.notified().await;
    };
    // A client that hangs up in the middle is its own business.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = others_wait => connection.as_mut().graceful_shutdown(),
    }
    // One that is in the middle of an answer gets it.
    let _ = connection.await;
}
