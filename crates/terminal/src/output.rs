//! `--format`: a listing as a table for people, or as JSON or YAML for programs.

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;
use std::borrow::Cow;
use std::io::IsTerminal;

/// In which form a command prints its result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    #[default]
    Table,
    Json,
    Yaml,
}

/// The flag that selects the form.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Output {
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Output {
    /// Prints a value: as text by `text`, or in the format that was requested.
    pub fn print<T: Serialize>(self, value: &T, text: impl FnOnce(&T)) -> Result<()> {
        match self.format {
            Format::Table => text(value),
            Format::Json => println!(
                "{}",
                serde_json::to_string_pretty(value).context("writing the result as JSON")?
            ),
            Format::Yaml => {
                let value = serde_json::to_value(value).context("writing the result as YAML")?;
                print!("{}", corral_config::yaml::to_string(&value).map_err(anyhow::Error::msg)?);
            }
        }
        Ok(())
    }

    /// True if the reader is a person.
    pub fn is_text(self) -> bool {
        self.format == Format::Table
    }
}

/// Text of another program as one line for a terminal: control characters would be commands to it.
/// A tab stays.
pub fn printable(text: &str) -> Cow<'_, str> {
    let is_command = |letter: char| letter.is_control() && letter != '\t';
    if !text.contains(is_command) {
        return Cow::Borrowed(text);
    }
    let mut line = String::new();
    for letter in text.chars() {
        if is_command(letter) { line.extend(letter.escape_default()) } else { line.push(letter) }
    }
    Cow::Owned(line)
}

/// Rows with columns as wide as their longest field.
pub fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, field) in widths.iter_mut().zip(row) {
            *width = (*width).max(field.chars().count());
        }
    }
    let line = |row: &[String; COLUMNS]| {
        let fields = row.iter().zip(widths).map(|(field, width)| format!("{field:width$}"));
        format!("{}\n", fields.collect::<Vec<String>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// Rows of a listing that scripts of RancherOS read: a person at a terminal gets titles above them.
pub fn listing<const COLUMNS: usize>(
    titles: [&str; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
) -> String {
    let has_titles = std::io::stdout().is_terminal();
    let titles = has_titles.then(|| titles.map(str::to_owned));
    table(&titles.into_iter().chain(rows).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::{printable, table};

    #[test]
    fn a_terminal_gets_no_commands() {
        for (text, expected) in [
            ("größer\tok \\ \"", "größer\tok \\ \""),
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("a\rb\nc\u{7f}\u{9b}2J", "a\\rb\\nc\\u{7f}\\u{9b}2J"),
        ] {
            assert_eq!(printable(text), expected);
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_longest_field() {
        let rows = [["NAME", "STATE"], ["web", "Up 2 s"], ["größer", ""]];
        let rows = rows.map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "NAME    STATE\nweb     Up 2 s\ngrößer\n");
        assert_eq!(table::<2>(&[]), "");
    }
}
