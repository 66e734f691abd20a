//! Work that waits, beside the tasks that must not.

use corral_engine::error::EngineError;

/// Runs work that blocks, such as a call to PID 1, where it does not hold up other tasks.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|error| {
        Err(EngineError::Failed(format!("an engine task ended early: {error}")))
    })
}
