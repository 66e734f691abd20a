//! `/images/fsck`, our own: the check of the store.

use super::error::ApiError;
use super::query::{Parameters, is_true};
use super::state::State;
use crate::blocking::blocking;
use crate::image::progress::Progress;
use crate::image::pull::PullRequest;
use axum::Json;
use serde_json::{Value, json};
use std::sync::Arc;

/// `POST /images/fsck`: reports damage in the store, and repairs what can be repaired if
/// the client requests that.
pub(super) async fn check(state: State, parameters: Parameters) -> Result<Json<Value>, ApiError> {
    let shared = Arc::clone(&state.0);
    // Clients of earlier versions send the second name.
    let repair = ["repair", "mend"].iter().any(|name| is_true(&parameters, name));
    let found = blocking(move || Ok(shared.store.check(repair))).await?;
    let mut rows = Vec::new();
    for damage in found {
        let mut repaired = damage.repaired;
        if repair && !repaired && !damage.image.starts_with("sha256:") {
            let wanted = PullRequest {
                name: damage.image.clone(),
                settings: state.settings(),
                account: None,
                platform: "linux/amd64".to_owned(),
            };
            repaired = state.store.pull(wanted, Progress::silent()).await.is_ok();
        }
        rows.push(json!({"image": damage.image, "what": damage.what, "repaired": repaired}));
    }
    Ok(Json(json!(rows)))
}
