//! `cargo xtask docs`: what of the manual is written by the code itself. Tidy checks that it was.

use crate::paths;
use anyhow::{Context, Result};
use corral_config::schema::manual;
use std::fs;

const BEGIN: &str = "<!-- table of keys: written by `cargo xtask docs`, checked by tidy -->\n";
const END: &str = "<!-- end of the table -->";

/// Writes the table of keys into the manual.
pub(crate) fn write() -> Result<()> {
    let file = paths::root().join("docs/configuration.md");
    fs::write(&file, with_table(&fs::read_to_string(&file)?)?)
        .with_context(|| format!("writing {}", file.display()))
}

/// The manual as it should be.
pub(crate) fn with_table(text: &str) -> Result<String> {
    let (before, rest) =
        text.split_once(BEGIN).context("docs/configuration.md has no place for the table")?;
    let (_, after) = rest.split_once(END).context("docs/configuration.md: the table has no end")?;
    Ok(format!("{before}{BEGIN}{}{END}{after}", manual::table()))
}
