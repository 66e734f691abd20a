//! `/images`.

use crate::error::EngineError;
use crate::image::Embedded;
use crate::logs;
use axum::Json;
use axum::extract::Path;
use bollard_stubs::models::ImageSummary;
use serde_json::{Value, json};
use std::time::Duration;

pub(super) async fn list() -> Json<Vec<ImageSummary>> {
    Json(Embedded::load_all().iter().map(summary).collect())
}

pub(super) async fn inspect(Path(parts): Path<Vec<(String, String)>>) -> Result<Json<Value>, EngineError> {
    inspect_name(&parts)
}

pub(super) async fn inspect_scoped(
    Path(parts): Path<Vec<(String, String)>>,
) -> Result<Json<Value>, EngineError> {
    inspect_name(&parts)
}

/// The parts of the path but the API's version, joined: `corral/os-base:0.1.0`.
fn inspect_name(parts: &[(String, String)]) -> Result<Json<Value>, EngineError> {
    let names: Vec<&str> =
        parts.iter().filter(|(key, _)| key != "version").map(|(_, value)| value.as_str()).collect();
    let image = Embedded::load(&names.join("/"))?;
    Ok(Json(json!({
        "Id": image.id(), "RepoTags": [image.reference], "RepoDigests": [], "Architecture": "amd64", "Os": "linux",
        "Created": logs::rfc3339(Duration::from_secs(image.created)), "Size": image.size,
        "Config": {"Entrypoint": image.config.entrypoint, "Cmd": image.config.cmd, "Env": image.config.env},
        "RootFS": {"Type": "layers", "Layers": image.layers}, "GraphDriver": {"Name": "overlay2", "Data": {}},
    })))
}

fn summary(image: &Embedded) -> ImageSummary {
    ImageSummary {
        id: image.id(),
        repo_tags: vec![image.reference.clone()],
        created: image.created.cast_signed(),
        size: image.size.cast_signed(),
        shared_size: -1,
        containers: -1,
        ..ImageSummary::default()
    }
}
