//! `ros support-bundle`: one archive with what is needed to find out what is wrong with a machine,
//! and without its secrets. Logs of the owner's containers are not in it.

mod redact;

use crate::output::Output;
use crate::resolve::layers;
use crate::resolve::root::Root;
use anyhow::{Context, Result};
use clap::Args;
use corral_engine::time;
use corral_machine::files::write_atomic;
use corral_machine::program;
use flate2::Compression;
use flate2::write::GzEncoder;
use redact::Redactor;
use rustix::fs::{Gid, Uid, chown};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long each program may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of each file; of a longer one the end.
const MOST: usize = 8 << 20;
const ROS: &str = "/usr/bin/ros";

/// Each file of the archive, with the programs whose output it is.
const FILES: [(&str, &[&[&str]]); 16] = [
    ("status.txt", &[&[ROS, "status"]]),
    ("status.json", &[&[ROS, "status", "--format", "json"]]),
    ("why.txt", &[&[ROS, "why"]]),
    ("config.yml", &[&[ROS, "config", "export", "--full"]]),
    ("config-status.txt", &[&[ROS, "config", "status"]]),
    ("boot.txt", &[&[ROS, "boot"]]),
    ("services.txt", &[&[ROS, "service", "ps"]]),
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
    ("logs.txt", &[&[ROS, "logs", "--system", "-n", "20000"]]),
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
    let redactor = Redactor::new(&corral_config::merged(&layers::load(&Root::machine()).layers));
    let files: Vec<(&str, String)> =
        FILES.iter().map(|(name, programs)| (*name, collect(programs, &redactor))).collect();
    let bytes = pack(&name, &files)?;
    // Readable by its owner only: addresses and names are no secrets, but not for all either.
    let file = std::path::absolute(&file).with_context(|| format!("writing {}", file.display()))?;
    write_atomic(&file, &bytes, 0o600)?;
    give_to_caller(&file)?;
    let files = files.iter().map(|(name, _)| (*name).to_owned()).collect();
    options.format.print(&Written { archive: file, bytes: bytes.len(), files }, |written| {
        println!(
            "{}: {} files; passwords, keys and tokens are left out, look through it all the same",
            written.archive.display(),
            written.files.len()
        );
    })
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
    let deadline = Instant::now() + PATIENCE;
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

/// The user who called sudo fetches the file, for example by scp.
fn give_to_caller(file: &Path) -> Result<()> {
    let id = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let (Some(user), Some(group)) = (id("SUDO_UID"), id("SUDO_GID")) else { return Ok(()) };
    chown(file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))
        .with_context(|| format!("chown {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use serde_json::json;
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
        let redactor = Redactor::new(&json!({"rancher": {"password": "hunter22"}}));
        let text = collect(&[&["/no/such/program"], &["echo", "hunter22 is here"]], &redactor);
        assert!(text.contains("starting /no/such/program"), "{text}");
        assert!(text.contains("(hidden) is here") && !text.contains("hunter22"), "{text}");
    }
}
