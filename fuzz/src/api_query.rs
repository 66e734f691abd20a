//! Parameters, filters and headers of requests to the Docker API.

use axum::extract::Query;
use axum::http::Uri;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use corral_daemon::api::changes::parse_changes;
use corral_daemon::api::image_name::is_like;
use corral_daemon::api::image_transfer::parse_account;
use corral_daemon::api::moment;
use corral_daemon::api::query::{Filters, Parameters};
use corral_engine::image::reference;
use corral_engine::time::rfc3339;

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(uri) = format!("/?{text}").parse::<Uri>()
        && let Ok(parameters) = Query::try_from_uri(&uri)
    {
        check_filters(&parameters);
    }
    check_filters(&Query([("filters".to_owned(), text.to_owned())].into()));
    if let Ok(time) = moment::parse(text) {
        let written = rfc3339(time);
        let read = moment::parse(&written).unwrap();
        // A year of more than four digits has no such form: the last second that has one stands
        // for it.
        let is_last = written.starts_with("9999-12-31T23:59:59");
        assert!(read == time || (is_last && read < time), "{text} {written}");
    }
    check_pattern(text);
    let _ = parse_changes(text);
    check_account(text);
    check_account(&URL_SAFE.encode(text));
    if let Ok(name) = reference::familiar(text) {
        assert_eq!(reference::familiar(&name).ok(), Some(name.clone()), "{text}");
    }
}

fn check_filters(parameters: &Parameters) {
    let Ok(filters) = Filters::parse(parameters, &["name", "label", "label!"]) else { return };
    let _ = filters.any("name", |name| name == "web");
    let labels = [("key", "value")];
    let _ = filters
        .labels(|key| labels.iter().find(|(known, _)| *known == key).map(|(_, value)| *value));
}

/// The first line is a name, the rest a pattern.
fn check_pattern(text: &str) {
    let (name, pattern) = text.split_once('\n').unwrap_or(("busybox:latest", text));
    let _ = is_like(name, pattern);
    assert!(is_like(name, "*") && is_like(name, &format!("{name}*")));
}

fn check_account(header: &str) {
    let Some(account) = parse_account(header) else { return };
    let written = URL_SAFE.encode(serde_json::to_vec(&account).unwrap());
    assert_eq!(parse_account(&written), Some(account));
}
