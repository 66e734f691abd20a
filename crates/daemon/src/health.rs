//! Is a container healthy? Its check runs in it, at its interval. The result goes to PID 1, which
//! reports it to all clients.
//! <https://docs.docker.com/reference/dockerfile/#healthcheck>

use crate::exec;
use crate::shared::Shared;
use corral_engine::protocol::Request;
use corral_engine::spec::{ExecSpec, Health, HealthState, Snapshot};
use corral_engine::time;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

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
    let began = Instant::now();
    let mut state = container.status.health.unwrap_or(HealthState::Starting);
    loop {
        tokio::time::sleep(pause(&health, is_in_grace(&health, state, began))).await;
        if shared.table.get(&container.id).is_some_and(|now| now.status.paused) {
            continue;
        }
        let Some((code, result)) = run_once(&shared, &container.id, &health).await else { return };
        let in_grace = is_in_grace(&health, state, began);
        let failures = shared.checks.add(&container.id, code, result, in_grace);
        let Some(failures) = failures else { return };
        let Some(new) = verdict(&health, code, failures).filter(|new| *new != state) else {
            continue;
        };
        state = new;
        let request = Request::Health { container: container.id.clone(), health: new };
        if let Err(error) = shared.call(request).await {
            eprintln!("health of {}: {error}", container.spec.name);
        }
    }
}

/// Does a failure not matter yet? A container in its start period may still be starting.
fn is_in_grace(health: &Health, state: HealthState, began: Instant) -> bool {
    state == HealthState::Starting && began.elapsed() < health.start_period.unwrap_or_default()
}

/// The time before the next check.
fn pause(health: &Health, in_grace: bool) -> Duration {
    if in_grace {
        health.start_interval.unwrap_or(START_INTERVAL)
    } else {
        health.interval.unwrap_or(INTERVAL)
    }
}

/// Runs the check: its exit code, and the result as `inspect` shows it. None without a check.
async fn run_once(shared: &Arc<Shared>, id: &str, health: &Health) -> Option<(i32, Value)> {
    let spec = ExecSpec { args: health.command()?, ..ExecSpec::default() };
    let start = time::now();
    let timeout = health.timeout.unwrap_or(INTERVAL);
    let (code, output) = match exec::run(shared, id, spec, timeout).await {
        Ok(Some((code, output))) => (code, output),
        Ok(None) => (-1, format!("Health check exceeded timeout ({timeout:?})")),
        Err(error) => (-1, error.to_string()),
    };
    let result = json!({
        "Start": time::rfc3339(start), "End": time::rfc3339(time::now()),
        "ExitCode": code, "Output": output,
    });
    Some((code, result))
}

/// The health after a check with this exit code, with so many failures in a row; None: as before.
fn verdict(health: &Health, code: i32, failures: u32) -> Option<HealthState> {
    let retries = if health.retries == 0 { RETRIES } else { health.retries };
    match failures {
        0 if code == 0 => Some(HealthState::Healthy),
        count if count >= retries => Some(HealthState::Unhealthy),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_success_is_healthy_and_several_failures_are_unhealthy() {
        let health = |retries| Health { retries, ..Health::default() };
        for (retries, code, failures, expected) in [
            (0, 0, 0, Some(HealthState::Healthy)),
            (0, 1, 2, None),
            (0, 1, 3, Some(HealthState::Unhealthy)),
            (1, 1, 1, Some(HealthState::Unhealthy)),
            // A failure in the start period: it is not counted.
            (1, 1, 0, None),
        ] {
            let found = verdict(&health(retries), code, failures);
            assert_eq!(found, expected, "{retries} {code} {failures}");
        }
    }
}
