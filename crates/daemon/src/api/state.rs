//! What a request of the API is answered from.

use crate::shared::Shared;
use std::sync::Arc;

pub(super) type State = axum::extract::State<Arc<Shared>>;
