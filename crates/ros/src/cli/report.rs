//! How a command says that it could not do what it was asked for.

use std::process::ExitCode;

/// Errors go to stderr in one line, with the chain of what was being done.
pub(crate) fn report(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
