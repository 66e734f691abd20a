//! What a client's request limits: resources, restarts, and how much is kept of the log.

use bollard_stubs::models::{HostConfig, ResourcesUlimits};
use corral_engine::error::EngineError;
use corral_engine::spec::{ContainerSpec, Limits, LogOptions, RestartPolicy, Ulimit};

/// Adds all of it to the specification of a new container.
pub(super) fn apply(spec: &mut ContainerSpec, host: &HostConfig) -> Result<(), EngineError> {
    spec.limits = resources(host, &Limits::default());
    spec.oom_score_adj = host.oom_score_adj.unwrap_or(0);
    spec.shm_size = number(host.shm_size);
    spec.auto_remove = host.auto_remove.unwrap_or(false);
    let limit = |limit: &ResourcesUlimits| Ulimit {
        name: limit.name.clone().unwrap_or_default(),
        // -1 is "no limit".
        soft: limit.soft.map_or(0, i64::cast_unsigned),
        hard: limit.hard.map_or(0, i64::cast_unsigned),
    };
    spec.ulimits = host.ulimits.iter().flatten().map(limit).collect();
    spec.restart = restart_policy(host)?.unwrap_or_default();
    if let Some(log) = &host.log_config {
        let option = |key: &str| log.config.as_ref().and_then(|config| config.get(key));
        spec.log = LogOptions {
            none: log.typ.as_deref() == Some("none"),
            max_bytes: option("max-size").map_or(0, |text| bytes(text)),
            max_files: option("max-file").and_then(|text| text.parse().ok()).unwrap_or(0),
            copy: None,
        };
    }
    Ok(())
}

fn number(value: Option<i64>) -> u64 {
    value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0)
}

/// The restart policy, if the client sets one.
pub(super) fn restart_policy(host: &HostConfig) -> Result<Option<RestartPolicy>, EngineError> {
    let Some(policy) = &host.restart_policy else { return Ok(None) };
    let name = policy.name.as_ref().map(ToString::to_string).filter(|name| !name.is_empty());
    let Some(name) = name else { return Ok(None) };
    let limit = policy.maximum_retry_count.and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
    let policy = RestartPolicy::parse(&name, limit);
    policy.map(Some).map_err(|error| EngineError::BadRequest(error.to_string()))
}

/// The limits of a client's request; what it does not set stays as it was.
pub(super) fn resources(host: &HostConfig, before: &Limits) -> Limits {
    let or = |value: Option<i64>, before: u64| {
        value.filter(|value| *value != 0).map_or(before, |value| value.unsigned_abs())
    };
    let (quota, period) = match host.nano_cpus.filter(|cpus| *cpus > 0) {
        Some(cpus) => (cpus / 10_000, 100_000),
        None => (
            host.cpu_quota.filter(|quota| *quota != 0).unwrap_or(before.cpu_quota),
            or(host.cpu_period, before.cpu_period),
        ),
    };
    let list = |value: &Option<String>, before: &String| {
        value.clone().filter(|list| !list.is_empty()).unwrap_or_else(|| before.clone())
    };
    Limits {
        memory: or(host.memory, before.memory),
        memory_reservation: or(host.memory_reservation, before.memory_reservation),
        memory_swap: host.memory_swap.filter(|swap| *swap != 0).unwrap_or(before.memory_swap),
        cpu_quota: quota,
        cpu_period: period,
        cpu_shares: or(host.cpu_shares, before.cpu_shares),
        cpus: list(&host.cpuset_cpus, &before.cpus),
        mems: list(&host.cpuset_mems, &before.mems),
        pids: host.pids_limit.filter(|limit| *limit != 0).unwrap_or(before.pids),
    }
}

/// `10m`, `1g` or plain bytes.
fn bytes(text: &str) -> u64 {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        _ => 0,
    };
    digits.parse::<u64>().unwrap_or(0) << unit
}
