//! `POST /containers/create`: the body of a client becomes a request to PID 1, which fits into one
//! message.

use corral_daemon::api::create::plan_spec;
use corral_daemon::api::query;
use corral_engine::image::metadata::{Config, Image, Tier};
use corral_engine::protocol::{Call, Request};
use corral_engine::sys::packet;
use serde_json::Value;

pub(crate) fn check(bytes: &[u8]) {
    let Ok(body) = query::parse(bytes) else { return };
    let Ok(spec) = plan_spec(body, &image()) else { return };
    for bind in &spec.binds {
        assert!(bind.target.starts_with('/'), "{bind:?}");
        if let Some(volume) = &bind.volume {
            assert!(
                !volume.contains('/') && !volume.starts_with('.') && bind.source.is_empty(),
                "{bind:?}"
            );
        }
    }
    assert!(spec.ports.iter().all(|port| ["tcp", "udp"].contains(&port.protocol.as_str())));
    let request = Request::Create { id: "0".repeat(64), spec: Box::new(spec.clone()), past: None };
    let Ok(written) = packet::encode(&Call { number: 1, request }) else { return };
    match packet::decode::<Call>(&written).expect("PID 1 reads what it is asked for").request {
        Request::Create { spec: read, .. } => assert_eq!(*read, spec),
        other => panic!("{other:?}"),
    }
}

fn image() -> Image {
    let healthcheck = serde_json::json!({"Test": ["CMD", "true"], "Interval": 1_000_000_000});
    Image {
        id: format!("sha256:{}", "a".repeat(64)),
        references: vec!["image:1".to_owned()],
        digests: Vec::new(),
        created: "1970-01-01T00:00:00Z".to_owned(),
        size: 0,
        lower: Vec::new(),
        config: Config {
            cmd: vec!["/bin/sh".to_owned()],
            exposed_ports: [("80/tcp".to_owned(), Value::Null)].into(),
            volumes: [("/data".to_owned(), Value::Null)].into(),
            healthcheck: Some(healthcheck),
            ..Config::default()
        },
        raw: Value::Null,
        tier: Tier::Stored,
    }
}
