//! Changes: checked by themselves, put on top of what is stored, written so that a cut of power leaves the old or the
//! new; and, with `--confirm`, taken back unless somebody says that they are good.

use crate::boot::state::CONF;
use crate::resolve::layers::last_good;
use crate::resolve::{self, built_in, confirm};
use anyhow::{Context, Result, bail};
use corral_config::error::Severity;
use corral_config::{Layer, Source};
use corral_config::{merge, path, yaml};
use corral_engine::client::ask;
use corral_engine::protocol::Request;
use corral_machine::files::{lock, write_atomic};
use serde_json::{Map, Value};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// How long a change may stand unconfirmed.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Window {
    /// Put the change into force now, and take it back unless `ros config confirm` comes within this time: 90s, 2m, 1h
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    confirm: Option<u64>,
}

fn parse_time(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a time such as 90s, 2m or 1h");
    let (number, unit) = match text.find(|character: char| !character.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let time = number.checked_mul(seconds).ok_or_else(wrong)?;
    if (10..=86_400).contains(&time) { Ok(time) } else { Err("the time must be 10 s to 24 h".to_owned()) }
}

fn file() -> PathBuf {
    Path::new(CONF).join("cloud-config.yml")
}

/// `ros config set`.
pub(super) fn set(key: &str, value: &str, window: &Window) -> Result<()> {
    let layer = Layer::from_setting(key, value);
    let of_services = built_in::check(&layer);
    let mut problems = layer.problems.iter().chain(&of_services);
    if let Some(problem) = problems.find(|problem| problem.severity == Severity::Error) {
        bail!("{}: {}; nothing was changed", problem.key, problem.message);
    }
    layer.problems.iter().for_each(|problem| eprintln!("{}: warning: {}", problem.key, problem.message));
    store(&layer.value, window)
}

/// `ros config merge`.
pub(super) fn merge_file(input: Option<&Path>, window: &Window) -> Result<()> {
    store(&read_change(input)?, window)
}

/// `ros config apply`.
pub(super) fn apply(input: &Path, window: &Window) -> Result<()> {
    let input = Some(input).filter(|path| path.as_os_str() != "-");
    let change = read_change(input)?;
    store(&change, window)?;
    if window.confirm.is_none() {
        ask(Request::Reload).context("putting it into force")?;
    }
    Ok(())
}

/// `ros config confirm`.
pub(super) fn confirm() -> Result<()> {
    if !confirm::confirm()? {
        bail!("no change waits to be confirmed");
    }
    ask(Request::Confirmed).context("telling PID 1")?;
    println!("the change stays");
    Ok(())
}

fn read_change(input: Option<&Path>) -> Result<Value> {
    let (name, bytes) = read_input(input)?;
    let layer = Layer::parse_bytes(Source::File(name), &bytes);
    let of_services = built_in::check(&layer);
    layer.problems.iter().chain(&of_services).for_each(|problem| eprintln!("{problem}"));
    if layer.has_errors() || of_services.iter().any(|problem| problem.severity == Severity::Error) {
        eprintln!("EXITING: Failed to parse configuration");
        bail!("nothing was changed");
    }
    Ok(layer.value)
}

/// Puts a change on top of what is stored.
fn store(change: &Value, window: &Window) -> Result<()> {
    let _lock = lock(&file())?;
    let mut stored = load()?;
    merge::merge_into(&mut stored, change);
    let Some(seconds) = window.confirm else { return save(&stored) };
    let text = to_text(&stored)?;
    confirm::prepare(&file(), seconds)?;
    write(&text)?;
    ask(Request::Reload).context("putting it into force")?;
    println!("in force; it is taken back in {seconds} s unless you say: ros config confirm");
    Ok(())
}

/// A change of another command's.
pub(crate) fn merge(change: &Value) -> Result<()> {
    store(change, &Window::default())
}

/// Takes a key out of what is stored, if it is there.
pub(super) fn remove(key: &str) -> Result<()> {
    let _lock = lock(&file())?;
    let mut stored = load()?;
    if path::remove(&mut stored, key).is_some() { save(&stored) } else { Ok(()) }
}

/// What is stored; a mapping.
fn load() -> Result<Value> {
    let file = file();
    let stored = match fs::read_to_string(&file) {
        Ok(text) if text.is_empty() => return lost(&file, "is empty, as a power cut may leave it"),
        Ok(text) => yaml::parse(&text)
            .map_err(|error| {
                anyhow::anyhow!("{}:{error}; mend it first: nothing was changed", file.display())
            })?
            .to_value(),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("reading {}", file.display()));
        }
        Err(_) if fs::symlink_metadata(&file).is_ok() => return lost(&file, "is a link that leads nowhere"),
        Err(_) => Value::Null,
    };
    Ok(if stored.is_object() { stored } else { Value::Object(Map::new()) })
}

/// A file that has lost its content must not be taken for one that never had any: the next change would make it final.
fn lost(file: &Path, what: &str) -> Result<Value> {
    match last_good(file).filter(|spare| fs::metadata(spare).is_ok_and(|data| data.len() > 0)) {
        Some(spare) => bail!(
            "{0} {what}; nothing was changed. Remove it, and copy the last good one there: `cp {1} {0}`",
            file.display(),
            spare.display()
        ),
        None => Ok(Value::Object(Map::new())),
    }
}

fn save(stored: &Value) -> Result<()> {
    write(&to_text(stored)?)?;
    resolve::refresh().context("telling the services")
}

/// The file's text, if it can be read again at the next boot: it may have become too large.
fn to_text(stored: &Value) -> Result<String> {
    let text = yaml::to_string(stored).map_err(|error| anyhow::anyhow!("{error}"))?;
    yaml::parse(&text).map_err(|error| anyhow::anyhow!("{error}; nothing was changed"))?;
    Ok(text)
}

fn write(text: &str) -> Result<()> {
    write_atomic(&file(), text.as_bytes(), 0o600)
}

/// The name and the bytes of a file, or of standard input.
pub(super) fn read_input(input: Option<&Path>) -> Result<(String, Vec<u8>)> {
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

#[cfg(test)]
mod tests {
    use super::{parse_time, to_text};
    use corral_config::yaml::MAX_BYTES;
    use serde_json::json;

    #[test]
    fn times_have_units() {
        for (text, expected) in
            [("90", Some(90)), ("2m", Some(120)), ("1h", Some(3600)), ("5", None), ("2x", None)]
        {
            assert_eq!(parse_time(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn what_could_not_be_read_again_is_not_stored() {
        let small = json!({"hostname": "a"});
        assert_eq!(to_text(&small).unwrap(), "hostname: a\n");
        let large = json!({"write_files": [{"path": "/a", "content": "x".repeat(MAX_BYTES)}]});
        let error = to_text(&large).unwrap_err().to_string();
        assert!(error.ends_with("nothing was changed"), "{error}");
    }
}
