//! How a command reports an error.

use std::io::ErrorKind;
use std::process::ExitCode;

/// Errors go to stderr in one line, with the chain of their contexts.
pub fn report(result: anyhow::Result<()>) -> ExitCode {
    verdict(result.map(|()| true))
}

/// The same for a command that judges: exit status 1 if something is wrong.
pub fn verdict(result: anyhow::Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{}", text(&error));
            ExitCode::FAILURE
        }
    }
}

/// What a user reads who is not root, of a program that only root may run.
pub fn only_root(program: &str) -> String {
    format!("{program}: only root may do this; try sudo")
}

/// The error with its causes, and what helps a user who lacks rights.
pub fn text(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let is_denied = error.chain().any(|cause| {
        let cause = cause.downcast_ref::<std::io::Error>();
        cause.is_some_and(|cause| cause.kind() == ErrorKind::PermissionDenied)
    });
    if is_denied && !rustix::process::geteuid().is_root() && !text.ends_with("try sudo") {
        format!("{text}; try sudo")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{only_root, text};

    #[test]
    fn what_only_root_may_do_is_said_with_a_way_to_do_it() {
        let error = anyhow::anyhow!(only_root("reboot"));
        assert_eq!(text(&error), "reboot: only root may do this; try sudo");
    }
}
