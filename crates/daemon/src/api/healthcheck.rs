//! The health check of a new container, from what a client and the image say.

use bollard_stubs::models::HealthConfig;
use corral_engine::image::metadata::Image;
use corral_engine::spec::Health;
use std::time::Duration;

/// The client's check. If it has no test, it changes only values of the image's check.
pub(super) fn merged(requested: Option<HealthConfig>, image: &Image) -> Option<Health> {
    let requested = requested.map(|requested| Health {
        test: requested.test.unwrap_or_default(),
        interval: nanos(requested.interval),
        timeout: nanos(requested.timeout),
        start_period: nanos(requested.start_period),
        start_interval: nanos(requested.start_interval),
        retries: requested.retries.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
    });
    let of_image = image.config.healthcheck.as_ref().map(|check| {
        let time = |key: &str| nanos(check[key].as_i64());
        Health {
            test: serde_json::from_value(check["Test"].clone()).unwrap_or_default(),
            interval: time("Interval"),
            timeout: time("Timeout"),
            start_period: time("StartPeriod"),
            start_interval: time("StartInterval"),
            retries: check["Retries"]
                .as_u64()
                .and_then(|count| u32::try_from(count).ok())
                .unwrap_or(0),
        }
    });
    let merged = match (requested, of_image) {
        (Some(requested), Some(of_image)) if requested.test.is_empty() => Health {
            test: of_image.test,
            interval: requested.interval.or(of_image.interval),
            timeout: requested.timeout.or(of_image.timeout),
            start_period: requested.start_period.or(of_image.start_period),
            start_interval: requested.start_interval.or(of_image.start_interval),
            retries: if requested.retries == 0 { of_image.retries } else { requested.retries },
        },
        (Some(requested), _) => requested,
        (None, Some(of_image)) => of_image,
        (None, None) => return None,
    };
    merged.command().is_some().then_some(merged)
}

/// Docker writes 0 for its default.
fn nanos(value: Option<i64>) -> Option<Duration> {
    let nanos = value.and_then(|nanos| u64::try_from(nanos).ok()).filter(|nanos| *nanos > 0);
    nanos.map(Duration::from_nanos)
}
