//! The health check of a new container, from what a client and the image say.

use bollard_stubs::models::HealthConfig;
use corral_engine::image::metadata::Image;
use corral_engine::spec::Health;
use std::time::Duration;

/// The client's check. If it has no test, it changes only values of the image's check.
pub(super) fn merged(said: Option<HealthConfig>, image: &Image) -> Option<Health> {
    let said = said.map(|said| Health {
        test: said.test.unwrap_or_default(),
        interval: nanos(said.interval),
        timeout: nanos(said.timeout),
        start_period: nanos(said.start_period),
        start_interval: nanos(said.start_interval),
        retries: said.retries.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
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
    let merged = match (said, of_image) {
        (Some(said), Some(of_image)) if said.test.is_empty() => Health {
            test: of_image.test,
            interval: said.interval.or(of_image.interval),
            timeout: said.timeout.or(of_image.timeout),
            start_period: said.start_period.or(of_image.start_period),
            start_interval: said.start_interval.or(of_image.start_interval),
            retries: if said.retries == 0 { of_image.retries } else { said.retries },
        },
        (Some(said), _) => said,
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
