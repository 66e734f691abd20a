//! Questions to the user who ran a command.

use anyhow::{Result, bail};
use std::io::{IsTerminal, Write};

/// Asks on the terminal. Without a terminal it is an error that names `--force`.
pub fn confirm(question: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("{question}? There is no terminal to answer on; -f (-y) answers yes");
    }
    print!("{question} [y/N]: ");
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(["y", "yes"].contains(&line.trim().to_lowercase().as_str()))
}
