//! `ros config`: what is in force, and changes that last. Only what differs from the defaults is ever written.

use crate::resolve::{CONF, load_layers, load_rejected};
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use corral_config::error::Severity;
use corral_config::layer::{Layer, Source};
use corral_config::{export, merge, path, yaml};
use corral_machine::files::write_atomic;
use serde_json::{Map, Value};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print a value, for example: ros config get rancher.state.dev
    Get {
        /// Dotted key
        key: String,
    },
    /// Change a value; it lasts, and counts from the next boot on
    Set {
        /// Dotted key
        key: String,
        /// The value, as YAML
        value: String,
    },
    /// Merge a cloud-config into the configuration
    Merge {
        /// File to read; standard input if none is given
        #[arg(short, long)]
        input: Option<PathBuf>,
    },
    /// Print the configuration as YAML, without secrets
    Export {
        /// File to write, instead of standard output
        #[arg(short, long)]
        output: Option<PathBuf>,
        /// With secrets
        #[arg(short, long)]
        private: bool,
        /// With the defaults
        #[arg(short, long)]
        full: bool,
    },
    /// Say what is wrong, with file, line, column and key; exit status 1 if there are errors
    Validate {
        /// File to check; everything that counts on this machine if none is given
        #[arg(short, long)]
        input: Option<PathBuf>,
    },
}

/// Does what is asked.
pub(crate) fn run(command: Command) -> ExitCode {
    match command {
        Command::Validate { input } => validate(input.as_deref()),
        Command::Get { key } => crate::report(get(&key)),
        Command::Set { key, value } => crate::report(set(&key, &value)),
        Command::Merge { input } => crate::report(merge_file(input.as_deref())),
        Command::Export { output, private, full } => crate::report(export(output.as_deref(), private, full)),
    }
}

fn store() -> PathBuf {
    Path::new(CONF).join("cloud-config.yml")
}

fn get(key: &str) -> Result<()> {
    let merged = corral_config::merged(&load_layers());
    let value = path::get(&merged, key).unwrap_or(&Value::Null);
    let text = export::to_text(value).map_err(|error| anyhow::anyhow!("{key}: {error}"))?;
    println!("{}", text.trim_end_matches('\n'));
    Ok(())
}

fn set(key: &str, value: &str) -> Result<()> {
    let parsed = yaml::parse(value).map_or_else(|_| Value::String(value.to_owned()), |node| node.to_value());
    let mut change = Value::Object(Map::new());
    path::set(&mut change, key, parsed);
    apply(&change, key)
}

fn merge_file(input: Option<&Path>) -> Result<()> {
    let (name, bytes) = read_input(input)?;
    let layer = Layer::parse_bytes(Source::File(name), &bytes);
    layer.problems.iter().for_each(|problem| eprintln!("{problem}"));
    if layer.has_errors() {
        bail!("nothing was changed");
    }
    write(&layer.value)
}

/// Checks a change by itself, then puts it on top of what is stored.
fn apply(change: &Value, key: &str) -> Result<()> {
    let text = yaml::to_string(change).map_err(|error| anyhow::anyhow!("{key}: {error}"))?;
    let layer = Layer::parse(Source::File(key.to_owned()), &text);
    if let Some(problem) = layer.problems.iter().find(|problem| problem.severity == Severity::Error) {
        bail!("{}: {}; nothing was changed", problem.key, problem.message);
    }
    layer.problems.iter().for_each(|problem| eprintln!("{}: warning: {}", problem.key, problem.message));
    write(change)
}

fn write(change: &Value) -> Result<()> {
    let file = store();
    let mut stored = match fs::read_to_string(&file) {
        Ok(text) => yaml::parse(&text)
            .map_err(|error| {
                anyhow::anyhow!("{}:{error}; mend it first: nothing was changed", file.display())
            })?
            .to_value(),
        Err(_) => Value::Null,
    };
    if !stored.is_object() {
        stored = Value::Object(Map::new());
    }
    merge::merge_into(&mut stored, change);
    let text = yaml::to_string(&stored).map_err(|error| anyhow::anyhow!("{error}"))?;
    write_atomic(&file, text.as_bytes(), 0o600)
}

fn export(output: Option<&Path>, private: bool, full: bool) -> Result<()> {
    let layers = load_layers();
    let wanted = if full { layers.as_slice() } else { layers.get(1..).unwrap_or_default() };
    let text = export::to_yaml(&corral_config::merged(wanted), private)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    match output {
        Some(file) => write_atomic(file, text.as_bytes(), 0o400),
        None => {
            print!("{text}");
            Ok(())
        }
    }
}

fn validate(input: Option<&Path>) -> ExitCode {
    let layers = match input {
        Some(_) => match read_input(input) {
            Ok((name, bytes)) => vec![Layer::parse_bytes(Source::File(name), &bytes)],
            Err(error) => {
                eprintln!("{error:#}");
                return ExitCode::FAILURE;
            }
        },
        None => {
            let mut layers = load_layers();
            layers.extend(load_rejected());
            layers
        }
    };
    let problems = layers.iter().flat_map(|layer| &layer.problems);
    problems.clone().for_each(|problem| println!("{problem}"));
    ExitCode::from(u8::from(layers.iter().any(Layer::has_errors)))
}

fn read_input(input: Option<&Path>) -> Result<(String, Vec<u8>)> {
    match input {
        Some(file) => {
            let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
            Ok((file.display().to_string(), bytes))
        }
        None => {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).context("reading standard input")?;
            Ok(("standard input".to_owned(), bytes))
        }
    }
}
