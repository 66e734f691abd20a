//! `GET /containers/{id}/stats`: what a container uses, by its cgroup.

use super::error::ApiError;
use super::query::{Parameters, Parts, id_of, is_true};
use super::state::State;
use super::stream::streamed;
use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use corral_engine::paths;
use corral_engine::spec::Snapshot;
use corral_engine::time;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Clock ticks a second, the unit of the kernel's process times: the same on every architecture.
pub(super) const TICKS: u64 = 100;

pub(super) fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// One sample a second, or one.
pub(super) async fn stats(
    state: State,
    parts: Parts,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let shared = state.0;
    let container = shared.find(id_of(&parts))?;
    let once = parameters
        .get("stream")
        .is_some_and(|word| word == "0" || word.eq_ignore_ascii_case("false"));
    let mut previous = json!({"cpu_usage": {"total_usage": 0}, "throttling_data": {}});
    if once {
        if !is_true(&parameters, "one-shot") && container.status.is_up() {
            // Two samples make a rate.
            previous = sample(&container, &previous)["cpu_stats"].clone();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        return Ok(axum::Json(sample(&container, &previous)).into_response());
    }
    let stream = futures_util::stream::unfold(
        (shared, container, previous, 0_u32),
        |(shared, container, previous, count)| async move {
            if count > 0 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let now = shared.table.get(&container.id)?;
            let value = sample(&now, &previous);
            let previous = value["cpu_stats"].clone();
            Some((Ok(Bytes::from(format!("{value}\n"))), (shared, now, previous, count + 1)))
        },
    );
    Ok(streamed("application/json", stream))
}

/// What a container uses now.
fn sample(container: &Snapshot, previous: &Value) -> Value {
    let now = time::rfc3339(time::now());
    let mut value = json!({
        "read": now, "preread": "0001-01-01T00:00:00Z", "id": container.id,
        "name": format!("/{}", container.spec.name), "num_procs": 0, "storage_stats": {},
        "precpu_stats": previous, "pids_stats": {}, "networks": {},
        "cpu_stats": {
            "cpu_usage": {"total_usage": 0, "usage_in_usermode": 0, "usage_in_kernelmode": 0},
            "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
        },
        "memory_stats": {},
        "blkio_stats": {"io_service_bytes_recursive": null, "io_serviced_recursive": null},
    });
    if !container.status.is_up() {
        return value;
    }
    let cgroup = paths::cgroup(&container.id);
    let cpu = table(&cgroup.join("cpu.stat"));
    let of = |key: &str| cpu.get(key).copied().unwrap_or(0) * 1000;
    value["cpu_stats"] = json!({
        "cpu_usage": {
            "total_usage": of("usage_usec"), "usage_in_usermode": of("user_usec"),
            "usage_in_kernelmode": of("system_usec"),
        },
        "system_cpu_usage": system_time(),
        "online_cpus": std::thread::available_parallelism().map_or(1, usize::from),
        "throttling_data": {
            "periods": of("nr_periods") / 1000, "throttled_periods": of("nr_throttled") / 1000,
            "throttled_time": of("throttled_usec"),
        },
    });
    let number = |file: &str| {
        fs::read_to_string(cgroup.join(file)).ok().and_then(|text| text.trim().parse::<u64>().ok())
    };
    let total = total_memory();
    value["memory_stats"] = json!({
        "usage": number("memory.current").unwrap_or(0),
        "limit": number("memory.max").filter(|max| *max < total).unwrap_or(total),
        "stats": table(&cgroup.join("memory.stat")),
    });
    value["pids_stats"] =
        json!({"current": number("pids.current").unwrap_or(0), "limit": number("pids.max")});
    value["blkio_stats"] = block_io(&cgroup);
    if let Some(pid) = container.status.pid.filter(|_| !container.spec.host_network) {
        value["networks"] = interfaces(pid);
    }
    value
}

/// Lines of a name and a number.
fn table(path: &Path) -> HashMap<String, u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// Nanoseconds that all processors were there, idle or not.
fn system_time() -> u64 {
    let text = text("/proc/stat");
    let ticks = text.lines().next().map_or(0, |line| {
        line.split_whitespace().skip(1).take(8).filter_map(|field| field.parse::<u64>().ok()).sum()
    });
    ticks * (1_000_000_000 / TICKS)
}

pub(super) fn total_memory() -> u64 {
    let text = text("/proc/meminfo");
    let kilobytes: Option<u64> = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
    kilobytes.unwrap_or(0) * 1024
}

fn block_io(cgroup: &Path) -> Value {
    let text = fs::read_to_string(cgroup.join("io.stat")).unwrap_or_default();
    let mut bytes = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|device| device.split_once(':')) else {
            continue;
        };
        let number = |text: &str| text.parse::<u64>().unwrap_or(0);
        for word in words {
            let Some((key, value)) = word.split_once('=') else { continue };
            if let Some(operation) =
                [("rbytes", "read"), ("wbytes", "write")].iter().find(|(name, _)| *name == key)
            {
                bytes.push(json!({
                    "major": number(major), "minor": number(minor), "op": operation.1,
                    "value": number(value),
                }));
            }
        }
    }
    json!({"io_service_bytes_recursive": bytes, "io_serviced_recursive": null})
}

fn interfaces(pid: i32) -> Value {
    let mut all = Map::new();
    for line in text(&format!("/proc/{pid}/net/dev")).lines().skip(2) {
        let Some((name, numbers)) = line.split_once(':') else { continue };
        let fields: Vec<u64> =
            numbers.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        let of = |index: usize| fields.get(index).copied().unwrap_or(0);
        if name.trim() != "lo" {
            all.insert(
                name.trim().to_owned(),
                json!({
                    "rx_bytes": of(0), "rx_packets": of(1), "rx_errors": of(2),
                    "rx_dropped": of(3), "tx_bytes": of(8), "tx_packets": of(9),
                    "tx_errors": of(10), "tx_dropped": of(11),
                }),
            );
        }
    }
    Value::Object(all)
}
