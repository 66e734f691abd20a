//! Steps of which each is tried, also after one that failed: their errors as one.

use anyhow::{Result, bail};

/// An error that names all failures, if there are any.
pub(crate) fn as_error(failures: &[String]) -> Result<()> {
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("; ")) }
}
