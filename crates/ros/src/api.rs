//! The API of the system engine, for what the docker CLI has no word for.

use anyhow::{Context, Result, bail};
use corral_engine::paths;
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

pub(crate) fn get(path: &str) -> Result<Value> {
    ask("GET", path, "")
}

pub(crate) fn post(path: &str) -> Result<Value> {
    ask("POST", path, "")
}

pub(crate) fn post_with(path: &str, body: &Value) -> Result<Value> {
    ask("POST", path, &body.to_string())
}

pub(crate) fn delete(path: &str) -> Result<Value> {
    ask("DELETE", path, "")
}

/// Version 1.0 of HTTP has no chunks to put together.
fn ask(method: &str, path: &str, body: &str) -> Result<Value> {
    let act = || format!("asking the engine at {}", paths::API_SOCKET);
    let mut stream = UnixStream::connect(paths::API_SOCKET).with_context(act)?;
    let request = format!(
        "{method} {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).with_context(act)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(act)?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("{}: no answer", act()))?;
    let value: Value = match body.trim() {
        "" => Value::Null,
        body => serde_json::from_str(body).with_context(|| format!("{}: {body:?}", act()))?,
    };
    if !head.split(' ').nth(1).is_some_and(|status| status.starts_with(['2', '3'])) {
        bail!("{}", value["message"].as_str().unwrap_or(body));
    }
    Ok(value)
}
