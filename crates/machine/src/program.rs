//! Programs that are run to their end: what they read, how long they may take, and an error that
//! says which one failed, how, and what it complained of.
//!
//! They read and write files in memory instead of pipes. So a program that does not read its input
//! causes no SIGPIPE, and a child that it leaves behind does not hold its output open.

use crate::deadline;
use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How many lines of a complaint are shown: its last ones say what went wrong.
const LAST_LINES: usize = 10;
/// How long a killed program may take to end. One that hangs in a driver ends when the driver lets
/// it.
const KILL_TIME: Duration = Duration::from_secs(1);

/// Our programs, in a console of another image: each by its name. See
/// docs/decisions/0017-a-console-needs-a-shell-from-its-image.md.
const ELSEWHERE: &str = "/usr/lib/corral/bin";
/// What some of them read there, by a variable.
const VARIABLES: [(&str, &str); 2] = [
    ("MKE2FS_CONFIG", "/usr/lib/corral/etc/mke2fs.conf"),
    ("XTABLES_LIBDIR", "/usr/lib/corral/lib64/xtables"),
];

/// Is this a console of another image, with our programs in a folder of their own?
pub fn is_elsewhere() -> bool {
    Path::new(ELSEWHERE).exists()
}

/// Variables that our programs need there; none in our own images.
pub fn variables() -> &'static [(&'static str, &'static str)] {
    if is_elsewhere() { &VARIABLES } else { &[] }
}

/// Where a program of ours is: in our own images at this path.
pub fn path(own: &str) -> PathBuf {
    let name = Path::new(own).file_name().unwrap_or_default();
    let elsewhere = Path::new(ELSEWHERE).join(name);
    if elsewhere.exists() { elsewhere } else { PathBuf::from(own) }
}

/// A command that starts it.
pub fn of_system(own: &str) -> Command {
    let mut command = Command::new(path(own));
    command.envs(variables().iter().copied());
    command
}

/// A program that has ended, and what it wrote.
#[derive(Debug)]
pub struct Ended {
    program: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a program that has nothing to read; returns what it wrote to its standard output. An error
/// if it fails.
pub fn run(command: &mut Command) -> Result<String> {
    output(command, &[], None)?.success()
}

/// The same for a program that reads `input` from its standard input.
pub fn feed(command: &mut Command, input: &[u8]) -> Result<String> {
    output(command, input, None)?.success()
}

/// Runs a program and returns how it ended. At the deadline it is killed, which is an error;
/// without one it may take as long as it takes.
pub fn output(
    command: &mut Command,
    input: &[u8],
    deadline: impl Into<Option<Instant>>,
) -> Result<Ended> {
    let begin = Instant::now();
    let program = name(command);
    let (stdout, stderr) = (memory(&[])?, memory(&[])?);
    let stdin = if input.is_empty() { Stdio::null() } else { memory(input)?.into() };
    command.stdin(stdin).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let spawned = command.spawn();
    let mut child =
        spawned.with_context(|| format!("starting {}", command.get_program().display()))?;
    let Some(status) = wait(&mut child, deadline)? else {
        let _ = child.kill();
        let _ = wait(&mut child, deadline::after(KILL_TIME));
        bail!("{program}: did not finish within {} s and was killed", begin.elapsed().as_secs());
    };
    Ok(Ended { program, status, stdout: text(stdout)?, stderr: text(stderr)? })
}

/// Waits until a process has ended; None if it has not by the deadline. Without one, this waits as
/// long as it takes.
pub fn wait(child: &mut Child, deadline: impl Into<Option<Instant>>) -> Result<Option<ExitStatus>> {
    let handle =
        pidfd_open(Pid::from_child(child), PidfdFlags::empty()).context("watching a process")?;
    deadline::poll(&mut [PollFd::new(&handle, PollFlags::IN)], deadline)
        .context("watching a process")?;
    child.try_wait().context("reading the exit status of a process")
}

impl Ended {
    /// What it wrote to its standard output; an error if it failed.
    pub fn success(self) -> Result<String> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        match last_lines(&self.stderr) {
            lines if lines.is_empty() => bail!("{}: {}", self.program, self.status),
            lines => bail!("{}: {}: {lines}", self.program, self.status),
        }
    }

    /// In a line what it wrote last to its standard error; its exit status if it wrote nothing.
    pub fn complaint(&self) -> String {
        let lines = last_lines(&self.stderr);
        if lines.is_empty() { self.status.to_string() } else { lines }
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("; ")
}

/// Of a program its name without its folder.
fn name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    program.file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned()
}

/// A file in memory, read from its start.
fn memory(bytes: &[u8]) -> Result<File> {
    let file = memfd_create("program", MemfdFlags::CLOEXEC).context("making a file in memory")?;
    let mut file = File::from(file);
    file.write_all(bytes).and_then(|()| file.rewind()).context("writing a file in memory")?;
    Ok(file)
}

fn text(mut file: File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .context("reading what a program wrote")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_a_program_writes_comes_back() {
        assert_eq!(run(&mut shell("echo out; echo err >&2")).unwrap(), "out\n");
        let ended = output(&mut shell("echo out; echo err >&2; exit 7"), &[], None).unwrap();
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("out\n", "err\n"));
        assert_eq!((ended.status.code(), ended.complaint().as_str()), (Some(7), "err"));
    }

    #[test]
    fn an_error_has_the_name_the_status_and_the_last_lines() {
        let error = |script: &str| run(&mut shell(script)).unwrap_err().to_string();
        assert_eq!(
            error("echo; echo ' one' >&2; printf 'two\\r\\n\\n' >&2; exit 3"),
            "sh: exit status: 3: one; two"
        );
        assert_eq!(error("echo out; exit 3"), "sh: exit status: 3");
        assert_eq!(error("kill -9 $$"), "sh: signal: 9 (SIGKILL)");
        let long = error("seq 1 100 >&2; false");
        assert_eq!(long, "sh: exit status: 1: 91; 92; 93; 94; 95; 96; 97; 98; 99; 100");
        let missing = run(&mut Command::new("/no/such/program")).unwrap_err();
        assert_eq!(missing.to_string(), "starting /no/such/program");
    }

    #[test]
    fn any_input_is_read_or_left() {
        let input = vec![b'x'; 1 << 20];
        assert_eq!(feed(&mut Command::new("cat"), &input).unwrap().len(), input.len());
        assert_eq!(feed(&mut shell("exit 0"), &input).unwrap(), "");
        assert_eq!(run(&mut Command::new("cat")).unwrap(), "");
    }

    #[test]
    fn a_deadline_ends_a_program_and_a_child_left_behind_holds_nothing_up() {
        let begin = Instant::now();
        let late = output(&mut shell("exec sleep 60"), &[], begin + Duration::from_millis(20))
            .unwrap_err();
        assert!(late.to_string().starts_with("sh: did not finish within "), "{late}");
        assert_eq!(run(&mut shell("sleep 60 & echo started")).unwrap(), "started\n");
        assert!(begin.elapsed() < Duration::from_secs(60));
        let mut child = Command::new("true").spawn().unwrap();
        assert!(wait(&mut child, None).unwrap().is_some_and(|status| status.success()));
    }
}
