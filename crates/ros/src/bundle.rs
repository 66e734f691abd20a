//! `ros support-bundle`: one archive with what is needed to find out what is wrong with a machine,
//! and without its secrets. Logs of the owner's containers are not in it.

mod config;
mod line;
mod names;
mod redact;
mod secrets;

use anyhow::{Context, Result};
use clap::Args;
use corral_config::{Layer, Source};
use corral_engine::time;
use corral_machine::files::{read_at_most, write_atomic_for};
use corral_machine::program;
use corral_resolve::layers;
use corral_resolve::root::Root;
use corral_terminal::output::Output;
use flate2::Compression;
use flate2::write::GzEncoder;
use redact::Redactor;
use rustix::fs::{Gid, Uid};
use secrets::Secrets;
use serde::Serialize;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long each program may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of each file; of a longer one the end.
const MOST: usize = 8 << 20;
/// Bytes of a file of the configuration.
const LARGEST: u64 = 16 << 20;
const ROS: &str = "/usr/bin/ros";

/// Each file of the archive, with the programs whose output it is.
const FILES: [(&str, &[&[&str]]); 14] = [
    ("status.txt", &[&[ROS, "status"]]),
    ("status.json", &[&[ROS, "status", "--format", "json"]]),
    ("why.txt", &[&[ROS, "why"]]),
    ("config-status.txt", &[&[ROS, "config", "status"]]),
    ("boot.txt", &[&[ROS, "boot"]]),
    ("services-usage.txt", &[&[ROS, "top", "--once"]]),
    ("network.txt", &[&[ROS, "net"], &["/usr/bin/ip", "-s", "link"], &["/usr/bin/ip", "rule"]]),
    ("network.json", &[&[ROS, "net", "--format", "json"]]),
    ("firewall.txt", &[&["/usr/sbin/iptables-save"], &["/usr/sbin/ip6tables-save"]]),
    (
        "versions.txt",
        &[&[ROS, "os", "version"], &["uname", "-a"], &["docker", "version"], &["lsmod"]],
    ),
    (
        "disks.txt",
        &[
            &["lsblk", "-o", "NAME,SIZE,TYPE,FSTYPE,LABEL,MOUNTPOINTS"],
            &["df", "-h"],
            &["cat", "/proc/mounts"],
            &[ROS, "persist"],
        ],
    ),
    // No arguments of processes: they may have passwords.
    ("processes.txt", &[&["ps", "-eo", "pid,ppid,stat,rss,etime,comm"], &["free", "-m"]]),
    // No environment, no commands, no labels of the owner's containers.
    (
        "docker.txt",
        &[
            &["docker", "info"],
            &["docker", "ps", "-a", "--format", "{{.Names}}\t{{.Image}}\t{{.Status}}"],
            &["docker", "system", "df"],
        ],
    ),
    ("logs.txt", &[&[ROS, "logs", "--built-in", "-n", "20000"]]),
];

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Archive to write [default: support-HOST-TIME.tar.gz in this folder]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    format: Output,
}

/// What was written.
#[derive(Debug, Serialize)]
struct Written {
    archive: PathBuf,
    bytes: usize,
    files: Vec<String>,
}

/// Collects everything and writes the archive.
pub(crate) fn run(options: &Options) -> Result<()> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let moment = time::rfc3339(time::now());
    let moment: String = moment.chars().take(19).filter(char::is_ascii_alphanumeric).collect();
    let name = format!("support-{host}-{moment}Z");
    let file = options.output.clone().unwrap_or_else(|| format!("{name}.tar.gz").into());
    let root = Root::machine();
    let layers = layers::load(&root).layers;
    let redactor = Redactor::new(&secrets_of(&layers, layers::load_rejected(&root).as_ref()));
    let mut files = vec![
        ("config.yml", redactor.redact(&configuration(&layers))),
        ("services.json", redactor.redact(&services())),
    ];
    files.extend(FILES.iter().map(|(name, programs)| (*name, collect(programs, &redactor))));
    let bytes = pack(&name, &files)?;
    // Readable by its owner only: addresses and names are no secrets, but not for all either.
    let file = std::path::absolute(&file).with_context(|| format!("writing {}", file.display()))?;
    write_atomic_for(&file, &bytes, 0o600, caller())?;
    let files = files.iter().map(|(name, _)| (*name).to_owned()).collect();
    options.format.print(&Written { archive: file, bytes: bytes.len(), files }, |written| {
        println!(
            "{}: {} files; passwords, keys and tokens are left out, look through it all the same",
            written.archive.display(),
            written.files.len()
        );
    })
}

/// The secrets of every source, also of one that was overridden, rejected or replaced by its last
/// good copy.
fn secrets_of(layers: &[Layer], rejected: Option<&Layer>) -> Secrets {
    let mut secrets = Secrets::default();
    for layer in layers.iter().chain(rejected) {
        secrets.add_layer(layer);
        if let Source::File(path) = &layer.source
            && let Ok(bytes) = read_at_most(Path::new(path), LARGEST)
        {
            secrets.add_document(&bytes);
        }
    }
    secrets.add_command_line(&fs::read_to_string("/proc/cmdline").unwrap_or_default());
    secrets
}

/// The merged configuration.
fn configuration(layers: &[Layer]) -> String {
    let tree = corral_config::merged(layers);
    config::shown(tree).unwrap_or_else(|error| format!("the configuration is left out: {error}\n"))
}

/// The containers of services, without their commands.
fn services() -> String {
    let arguments = ["service", "ps", "--format", "json"];
    let deadline = Instant::now() + TIMEOUT;
    match program::output(Command::new(ROS).args(arguments), &[], deadline) {
        Ok(ended) => format!("{}{}", without_commands(&ended.stdout), ended.stderr),
        Err(error) => format!("{error:#}\n"),
    }
}

fn without_commands(rows: &str) -> String {
    const SHOWN: [&str; 5] = ["name", "engine", "state", "status", "ports"];
    let Ok(Value::Array(mut rows)) = serde_json::from_str(rows) else {
        return "the services are left out: `ros service ps` did not list them\n".to_owned();
    };
    for row in &mut rows {
        match row.as_object_mut() {
            Some(row) => row.retain(|key, _| SHOWN.contains(&key.as_str())),
            None => *row = Value::Null,
        }
    }
    format!("{:#}\n", Value::Array(rows))
}

/// The output of programs one after the other, without secrets.
fn collect(programs: &[&[&str]], redactor: &Redactor) -> String {
    let mut text = String::new();
    for words in programs {
        if programs.len() > 1 {
            text.push_str(&format!("$ {}\n", words.join(" ")));
        }
        text.push_str(&output_of(words));
        text.push('\n');
    }
    let text = redactor.redact(&text);
    let start = text.len().saturating_sub(MOST);
    let start = (start..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text[start..].to_owned()
}

/// What a program wrote. One that fails or is missing is a part of the answer.
fn output_of(words: &[&str]) -> String {
    let Some((program, arguments)) = words.split_first() else { return String::new() };
    let deadline = Instant::now() + TIMEOUT;
    match program::output(Command::new(program).args(arguments), &[], deadline) {
        Ok(ended) => format!("{}{}", ended.stdout, ended.stderr),
        Err(error) => format!("{error:#}\n"),
    }
}

/// A compressed tar archive; all files are in one folder.
fn pack(folder: &str, files: &[(&str, String)]) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(time::now().as_secs());
        archive
            .append_data(&mut header, format!("{folder}/{name}"), text.as_bytes())
            .with_context(|| format!("packing {name}"))?;
    }
    archive.into_inner().and_then(GzEncoder::finish).context("packing the archive")
}

/// The user who called sudo, and who fetches the file, for example by scp.
fn caller() -> Option<(Uid, Gid)> {
    let id = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let (user, group) = (id("SUDO_UID")?, id("SUDO_GID")?);
    // The last one stands for no user.
    let is_id = user != u32::MAX && group != u32::MAX;
    is_id.then(|| (Uid::from_raw(user), Gid::from_raw(group)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;

    #[test]
    fn an_archive_has_each_file_in_its_folder() {
        let bytes = pack("support-a", &[("one.txt", "1\n".to_owned())]).unwrap();
        let mut archive = tar::Archive::new(GzDecoder::new(bytes.as_slice()));
        let mut entries = archive.entries().unwrap();
        let mut entry = entries.next().unwrap().unwrap();
        assert_eq!(entry.path().unwrap().to_str(), Some("support-a/one.txt"));
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        assert_eq!(text, "1\n");
        assert!(entries.next().is_none());
    }

    #[test]
    fn a_program_that_is_missing_is_part_of_the_answer() {
        let mut secrets = Secrets::default();
        secrets.add_document(b"rancher: {password: hunter22}");
        let redactor = Redactor::new(&secrets);
        let text = collect(&[&["/no/such/program"], &["echo", "hunter22 is here"]], &redactor);
        assert!(text.contains("starting /no/such/program"), "{text}");
        assert!(text.contains("(hidden) is here") && !text.contains("hunter22"), "{text}");
    }

    #[test]
    fn services_have_no_commands() {
        let rows = r#"[{"name": "web", "command": "app hush", "status": "Up", "new": "hush"}]"#;
        let text = without_commands(rows);
        assert!(text.contains("web") && text.contains("Up") && !text.contains("hush"), "{text}");
        assert!(!without_commands("hush [").contains("hush"));
    }
}
