//! Measures container engines from outside, on a build machine and in a guest: Docker's API by
//! plain HTTP, and any other engine by its command. Prints one number a line;
//! `cargo xtask bench engine` makes the table.
//!
//!     engine-bench lives SOCKET N
//!         milliseconds of create + start + wait + remove by the API, median of N
//!     engine-bench command N PROGRAM ARGS…
//!         milliseconds of a command, median of N
//!     engine-bench bundle MODEL FOLDER
//!         a bundle for others, from the config.json of a container of ours
//!     engine-bench burst SOCKET N COMMS
//!         N containers started at once: milliseconds until the last one runs, then KiB that each
//!         costs the processes named, then lists of them per second

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// How long lists are requested.
const LISTING: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["lives", socket, count] => lives(socket, count.parse()?),
        ["command", count, program, rest @ ..] => command(program, rest, count.parse()?),
        ["bundle", model, target] => bundle(model, target),
        ["burst", socket, count, comms] => burst(socket, count.parse()?, comms),
        _ => bail!("usage: see the source"),
    }
}

/// One connection to an engine, kept open.
struct Engine(BufReader<UnixStream>);

impl Engine {
    fn connect(socket: &str) -> Result<Engine> {
        let stream =
            UnixStream::connect(socket).with_context(|| format!("connecting to {socket}"))?;
        Ok(Engine(BufReader::new(stream)))
    }

    /// A request and the body of its answer; an error for a status of 400 and above.
    fn request(&mut self, method: &str, path: &str, body: &Value) -> Result<Vec<u8>> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = format!(
            "{method} /v1.44{path} HTTP/1.1\r\nHost: engine\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.0.get_mut().write_all(format!("{head}{body}").as_bytes())?;
        let status = self.line()?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            chunked |= line.starts_with("transfer-encoding:") && line.contains("chunked");
        }
        let answer = if chunked { self.chunks()? } else { self.bytes(length)? };
        match status.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok()) {
            Some(code) if code < 400 => Ok(answer),
            _ => bail!("{method} {path}: {status}: {}", String::from_utf8_lossy(&answer)),
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            bail!("the engine hung up");
        }
        Ok(line.trim_end().to_owned())
    }

    fn bytes(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let size = usize::from_str_radix(
                self.line()?.split(';').next().unwrap_or_default().trim(),
                16,
            )?;
            all.extend(self.bytes(size)?);
            self.line()?;
            if size == 0 {
                return Ok(all);
            }
        }
    }

    fn create(&mut self, program: &[&str]) -> Result<String> {
        let body =
            json!({"Image": "busybox", "Cmd": program, "HostConfig": {"NetworkMode": "none"}});
        let answer: Value =
            serde_json::from_slice(&self.request("POST", "/containers/create", &body)?)?;
        Ok(answer["Id"].as_str().context("an id")?.to_owned())
    }

    fn start(&mut self, id: &str) -> Result<()> {
        self.request("POST", &format!("/containers/{id}/start"), &Value::Null).map(drop)
    }

    fn remove(&mut self, id: &str) -> Result<()> {
        self.request("DELETE", &format!("/containers/{id}?force=1"), &Value::Null).map(drop)
    }
}

fn lives(socket: &str, count: usize) -> Result<()> {
    let mut engine = Engine::connect(socket)?;
    let mut times = Vec::new();
    // The first run only warms up the caches for the others.
    for number in 0..=count {
        let begin = Instant::now();
        let id = engine.create(&["/bin/true"])?;
        engine.start(&id)?;
        engine.request("POST", &format!("/containers/{id}/wait"), &Value::Null)?;
        engine.remove(&id)?;
        if number > 0 {
            times.push(begin.elapsed());
        }
    }
    print_median(times);
    Ok(())
}

fn command(program: &str, arguments: &[&str], count: usize) -> Result<()> {
    let mut times = Vec::new();
    for number in 0..=count {
        let begin = Instant::now();
        let output = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("starting {program}"))?;
        if !output.status.success() {
            bail!("{program}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        if number > 0 {
            times.push(begin.elapsed());
        }
    }
    print_median(times);
    Ok(())
}

fn burst(socket: &str, count: usize, comms: &str) -> Result<()> {
    let mut engine = Engine::connect(socket)?;
    let comms: Vec<&str> = comms.split(',').collect();
    let before = memory(&comms);
    let ids: Vec<String> =
        (0..count).map(|_| engine.create(&["/bin/sleep", "10000"])).collect::<Result<_>>()?;
    let mut clients: Vec<Engine> =
        ids.iter().map(|_| Engine::connect(socket)).collect::<Result<_>>()?;
    let barrier = Barrier::new(count + 1);
    let started = std::thread::scope(|scope| {
        let threads: Vec<_> = ids
            .iter()
            .zip(&mut clients)
            .map(|(id, client)| {
                scope.spawn(|| {
                    barrier.wait();
                    client.start(id)
                })
            })
            .collect();
        barrier.wait();
        let begin = Instant::now();
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a client ended"))??;
        }
        anyhow::Ok(begin.elapsed())
    });
    println!("{:.1}", started?.as_secs_f64() * 1e3);
    println!("{:.1}", (memory(&comms) - before) / count as f64);
    let (begin, mut lists) = (Instant::now(), 0_u32);
    while begin.elapsed() < LISTING {
        let list: Value =
            serde_json::from_slice(&engine.request("GET", "/containers/json", &Value::Null)?)?;
        if list.as_array().map_or(0, Vec::len) < count {
            bail!("a list without all {count}");
        }
        lists += 1;
    }
    println!("{:.1}", f64::from(lists) / begin.elapsed().as_secs_f64());
    ids.iter().try_for_each(|id| engine.remove(id))
}

/// The same container for engines that take a bundle, with the same namespaces, mounts,
/// capabilities and system calls as ours.
fn bundle(model: &str, folder: &str) -> Result<()> {
    let mut config: Value = serde_json::from_str(&fs::read_to_string(model)?)?;
    config["root"]["path"] = json!(format!("{folder}/rootfs"));
    config["process"]["args"] = json!(["/bin/true"]);
    config["linux"]["cgroupsPath"] = json!("/peer");
    if let Some(mounts) = config["mounts"].as_array_mut() {
        // They are files of that container only.
        mounts.retain(|mount| mount["type"] != "bind");
    }
    fs::write(format!("{folder}/config.json"), config.to_string()).context("writing the bundle")
}

/// KiB that belong to the processes of these names, shared pages by their share (Pss).
fn memory(comms: &[&str]) -> f64 {
    let Ok(items) = fs::read_dir("/proc") else { return 0.0 };
    let of = |folder: std::path::PathBuf| {
        let comm = fs::read_to_string(folder.join("comm")).ok()?;
        comms.iter().find(|wanted| comm.trim() == **wanted)?;
        let text = fs::read_to_string(folder.join("smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().trim_end_matches(" kB").trim().parse::<f64>().ok()
    };
    items.flatten().filter_map(|item| of(item.path())).sum()
}

fn print_median(mut times: Vec<Duration>) {
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    println!("{:.1}", median.as_secs_f64() * 1e3);
}
