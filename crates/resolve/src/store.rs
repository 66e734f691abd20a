//! Changes of the stored configuration: they are checked by themselves, merged, and written so that
//! a power cut leaves the old or the new. With a timeout, a change is rolled back unless it is
//! confirmed in time.

use super::layers::{last_good, stored_file};
use super::root::Root;
use super::{apply, built_in, confirm};
use anyhow::{Context, Result, bail};
use corral_config::error::Severity;
use corral_config::{Layer, Source};
use corral_config::{merge, path, yaml};
use corral_engine::client::call;
use corral_engine::id::new_id;
use corral_engine::protocol::Request;
use corral_machine::files::{lock, write_atomic};
use corral_plan::resolved::Unconfirmed;
use serde_json::{Map, Value};
use std::fs;
use std::io::Read;
use std::path::Path;

/// Changes a value, given as YAML: `ros config set`.
pub fn set(key: &str, value: &str, confirm_within: Option<u64>) -> Result<()> {
    let layer = Layer::from_setting(key, value);
    let of_services = built_in::check(&Root::machine(), &layer);
    let mut problems = layer.problems.iter().chain(&of_services);
    if let Some(problem) = problems.find(|problem| problem.severity == Severity::Error) {
        bail!("{}: {}; nothing was changed", problem.key, problem.message);
    }
    layer
        .problems
        .iter()
        .for_each(|problem| eprintln!("{}: warning: {}", problem.key, problem.message));
    store(&layer.value, confirm_within)
}

/// `ros config merge`.
pub fn merge_file(input: Option<&Path>, confirm_within: Option<u64>) -> Result<()> {
    store(&read_change(input)?, confirm_within)
}

/// `ros config apply`.
pub fn apply(input: &Path, confirm_within: Option<u64>) -> Result<()> {
    let input = Some(input).filter(|path| path.as_os_str() != "-");
    let change = read_change(input)?;
    store(&change, confirm_within)?;
    if confirm_within.is_none() {
        call(Request::Reload).context("applying it")?;
    }
    Ok(())
}

/// `ros config confirm`. The next change waits until PID 1 has stopped the timer of this one.
pub fn confirm() -> Result<()> {
    let root = Root::machine();
    let Some(_lock) = apply::confirm(&root)? else { bail!("no change waits to be confirmed") };
    call(Request::Confirmed).context("calling PID 1")?;
    println!("the change is confirmed");
    // From now on it is the last good one.
    apply::refresh(&root).context("keeping a copy of it")
}

fn read_change(input: Option<&Path>) -> Result<Value> {
    let (name, bytes) = read_input(input)?;
    let layer = Layer::parse_bytes(Source::File(name), &bytes);
    let of_services = built_in::check(&Root::machine(), &layer);
    layer.problems.iter().chain(&of_services).for_each(|problem| eprintln!("{problem}"));
    if layer.has_errors() || of_services.iter().any(|problem| problem.severity == Severity::Error) {
        eprintln!("EXITING: Failed to parse configuration");
        bail!("nothing was changed");
    }
    Ok(layer.value)
}

/// Merges a change into the store, with a timeout if one is given. An error while another change
/// waits to be confirmed.
fn store(change: &Value, confirm_within: Option<u64>) -> Result<()> {
    let locked = lock(&stored_file())?;
    let root = Root::machine();
    confirm::ensure_none_waits(&root)?;
    apply::tidy_up(&root);
    let mut stored = load()?;
    merge::merge_into(&mut stored, change);
    let Some(seconds) = confirm_within else { return save(&stored) };
    let text = to_text(&stored)?;
    let waiting = Unconfirmed { id: new_id(), within: seconds };
    let stored = apply::make_all(&root, &confirm::prepare(&root, waiting)?);
    if let Err(error) = stored.and_then(|()| write(&text)) {
        // Without a change there is nothing to confirm, and the next change is not refused.
        confirm::confirm(&root).map_or(Ok(()), |undone| apply::make(&root, &undone))?;
        apply::tidy_up(&root);
        return Err(error);
    }
    // PID 1 answers when its resolver is done, and a resolver that rolls back takes the lock.
    drop(locked);
    call(Request::Reload).context("applying it")?;
    println!(
        "applied; services that it changes restart now, and it is rolled back in {seconds} s \
         unless you run: ros config confirm"
    );
    Ok(())
}

/// Merges a change into the store, permanently.
pub fn merge(change: &Value) -> Result<()> {
    store(change, None)
}

/// An error while a change waits to be confirmed: for what has effects before it changes the store.
pub fn ensure_free() -> Result<()> {
    confirm::ensure_none_waits(&Root::machine())
}

/// Notes what the system has done, permanently: also in the content that replaces a change that
/// waits to be confirmed.
pub fn note(change: &Value) -> Result<()> {
    replace(change, &[])?;
    apply::refresh(&Root::machine()).context("notifying the services")
}

/// The same, and removes keys. It becomes effective when PID 1 resolves the configuration again: a
/// service has the label for that.
pub fn replace(change: &Value, gone: &[String]) -> Result<()> {
    let edit = |value: &mut Value| {
        merge::merge_into(value, change);
        for key in gone {
            path::remove(value, key);
        }
    };
    let _lock = lock(&stored_file())?;
    let root = Root::machine();
    if let Some(previous) = confirm::previous(&root)? {
        let mut before = parse(&confirm::previous_file(), &previous)?;
        edit(&mut before);
        write_atomic(&confirm::previous_file(), to_text(&before)?.as_bytes(), 0o600)?;
    }
    let mut stored = load()?;
    edit(&mut stored);
    write(&to_text(&stored)?)
}

/// Merges a change into the store, permanently. It is decided under the lock, so it can be based on
/// what is stored then. False if it is None. An error while another change waits to be confirmed.
pub fn change(decide: impl FnOnce() -> Result<Option<Value>>) -> Result<bool> {
    let _lock = lock(&stored_file())?;
    confirm::ensure_none_waits(&Root::machine())?;
    let Some(change) = decide()? else { return Ok(false) };
    let mut stored = load()?;
    merge::merge_into(&mut stored, &change);
    save(&stored)?;
    Ok(true)
}

/// Removes a key from the store, if it is there.
pub fn remove(key: &str) -> Result<()> {
    let _lock = lock(&stored_file())?;
    confirm::ensure_none_waits(&Root::machine())?;
    let mut stored = load()?;
    if path::remove(&mut stored, key).is_some() { save(&stored) } else { Ok(()) }
}

/// The store; a mapping.
fn load() -> Result<Value> {
    let file = stored_file();
    match fs::read_to_string(&file) {
        Ok(text) if text.is_empty() => lost(&file, "is empty, as a power cut may leave it"),
        Ok(text) => parse(&file, &text),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("reading {}", file.display()))
        }
        Err(_) if fs::symlink_metadata(&file).is_ok() => lost(&file, "is a dangling link"),
        Err(_) => Ok(Value::Object(Map::new())),
    }
}

/// A mapping, also of a file that is empty.
fn parse(file: &Path, text: &str) -> Result<Value> {
    let value = yaml::parse(text)
        .map_err(|error| {
            anyhow::anyhow!("{}:{error}; fix it first; nothing was changed", file.display())
        })?
        .to_value();
    Ok(if value.is_object() { value } else { Value::Object(Map::new()) })
}

/// A file that has lost its content must not be read as an empty one: the next change would make
/// the loss final.
fn lost(file: &Path, what: &str) -> Result<Value> {
    match last_good(file).filter(|spare| fs::metadata(spare).is_ok_and(|data| data.len() > 0)) {
        Some(spare) => bail!(
            "{0} {what}; nothing was changed. Remove it, and restore the last good one: \
             `cp {1} {0}`",
            file.display(),
            spare.display()
        ),
        None => Ok(Value::Object(Map::new())),
    }
}

fn save(stored: &Value) -> Result<()> {
    write(&to_text(stored)?)?;
    apply::refresh(&Root::machine()).context("notifying the services")
}

/// The file's text, if the next boot can read it: it may have become too large.
fn to_text(stored: &Value) -> Result<String> {
    let text = yaml::to_string(stored).map_err(|error| anyhow::anyhow!("{error}"))?;
    yaml::parse(&text).map_err(|error| anyhow::anyhow!("{error}; nothing was changed"))?;
    Ok(text)
}

fn write(text: &str) -> Result<()> {
    write_atomic(&stored_file(), text.as_bytes(), 0o600)
}

/// The name and the bytes of a file, or of standard input.
pub fn read_input(input: Option<&Path>) -> Result<(String, Vec<u8>)> {
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
    use super::to_text;
    use corral_config::yaml::MAX_BYTES;
    use serde_json::json;

    #[test]
    fn what_could_not_be_read_again_is_not_stored() {
        let small = json!({"hostname": "a"});
        assert_eq!(to_text(&small).unwrap(), "hostname: a\n");
        let large = json!({"write_files": [{"path": "/a", "content": "x".repeat(MAX_BYTES)}]});
        let error = to_text(&large).unwrap_err().to_string();
        assert!(error.ends_with("nothing was changed"), "{error}");
    }
}
