//! How a command reports an error.

use std::process::ExitCode;

/// Errors go to stderr in one line, with the chain of their contexts.
pub(crate) fn report(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
