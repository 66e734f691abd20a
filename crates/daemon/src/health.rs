//! Is a container healthy? Its check runs in it, at its interval. The result goes to PID 1, which
//! reports it to all clients.
//! <https://docs.docker.com/reference/dockerfile/#healthcheck>

use crate::exec;
use crate::shared::Shared;
use corral_engine::protocol::Request;
use corral_engine::spec::{ExecSpec, Health, HealthState, Snapshot};
use corral_engine::time;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Results that are kept of each.
const RESULTS: usize = 5;
const INTERVAL: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

/// Begins to check a container that runs.
pub(super) fn watch(shared: &Arc<Shared>, container: &Arc<Snapshot>) {
    let Some(health) = container.spec.health.clone().filter(|health| health.command().is_some())
    else {
        return;
    };
    let check = check(Arc::clone(shared), Arc::clone(container), health);
    shared.checks.begin(&container.id, || tokio::spawn(check).abort_handle());
}

async fn check(shared: Arc<Shared>, container: Arc<Snapshot>, health: Health) {
    let Some(args) = health.command() else { return };
    let began = Instant::now();
    let grace = health.start_period.unwrap_or_default();
    let retries = if health.retries == 0 { RETRIES } else { health.retries };
    let mut state = container.status.health.unwrap_or(HealthState::Starting);
    loop {
        let starting = state == HealthState::Starting && began.elapsed() < grace;
        let pause = match starting {
            true => health.start_interval.unwrap_or(START_INTERVAL),
            false => health.interval.unwrap_or(INTERVAL),
        };
        tokio::time::sleep(pause).await;
        if shared.table.get(&container.id).is_some_and(|now| now.status.paused) {
            continue;
        }
        let (start, spec) = (time::now(), ExecSpec { args: args.clone(), ..ExecSpec::default() });
        let result =
            exec::run(&shared, &container.id, spec, health.timeout.unwrap_or(INTERVAL)).await;
        let (code, output) = match result {
            Ok(found) => found,
            Err(error) => (-1, error.to_string()),
        };
        let in_grace = state == HealthState::Starting && began.elapsed() < grace;
        let failures = shared.checks.with(&container.id, |check| {
            check.results.push(json!({
                "Start": time::rfc3339(start), "End": time::rfc3339(time::now()),
                "ExitCode": code, "Output": output,
            }));
            if check.results.len() > RESULTS {
                check.results.remove(0);
            }
            check.failures = match code {
                0 => 0,
                _ if in_grace => check.failures,
                _ => check.failures + 1,
            };
            check.failures
        });
        let new = match failures {
            None => return,
            Some(0) if code == 0 => HealthState::Healthy,
            Some(count) if count >= retries => HealthState::Unhealthy,
            Some(_) => continue,
        };
        if new != state {
            state = new;
            let request = Request::Health { container: container.id.clone(), health: new };
            if let Err(error) = shared.call(request).await {
                eprintln!("health of {}: {error}", container.spec.name);
            }
        }
    }
}
