//! A User-Mode Linux machine: Linux as a program of this machine, with the unchanged system image.
//! It needs no privileges.
//! <https://docs.kernel.org/virt/uml/user_mode_linux_howto_v2.html>

use crate::console::ConsoleLog;
use crate::cpu::Cpu;
use crate::image::UmlImage;
use crate::options::{APPEND, Options};
use crate::slirp::Slirp;
use anyhow::{Context, Result, ensure};
use command_fds::{CommandFdExt, FdMapping};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

/// The kernel's first descriptor that is a network card.
const FIRST_CARD: i32 = 10;
/// Magic number and version of a request to the kernel's management console
/// (`arch/um/drivers/mconsole.h`).
const MCONSOLE_MAGIC: u32 = 0xcafe_babe;
const MCONSOLE_VERSION: u32 = 2;
const MCONSOLE_DATA: usize = 512;
const TIMEOUT: Duration = Duration::from_secs(20);

/// A running kernel and the networks of its cards.
#[derive(Debug)]
pub struct Uml {
    pub child: Child,
    /// The other end of the first serial line, unless that is a terminal. Hanging up would end a
    /// login there.
    pub(crate) keyboard: Option<UnixStream>,
    console: Option<ConsoleLog>,
    networks: Vec<Slirp>,
    folder: PathBuf,
    next_disk: usize,
    _cpu: Cpu,
}

/// Where the first serial line goes.
#[derive(Debug)]
pub enum Line {
    /// The other end of this.
    Stream(UnixStream),
    /// To `console.log` in the machine's folder, and from a keyboard.
    Log,
}

impl Uml {
    /// Starts a machine. Two machines cannot use `folder` at the same time.
    pub fn start(folder: &Path, options: &Options, image: &UmlImage, line: Line) -> Result<Uml> {
        has_room_for(options.memory)?;
        let cpu = Cpu::claim(&image.cpus)?;
        let mut networks = Vec::new();
        let mut cards = Vec::new();
        let mut arguments: Vec<OsString> = Vec::new();
        for number in 0..options.nics {
            let (ours, theirs) = card()?;
            // QEMU's default addresses: stories and configurations may use them here too.
            let address = format!("52:54:00:12:34:{:02x}", 0x56 + number);
            let descriptor = FIRST_CARD + i32::try_from(number)?;
            arguments.push(
                format!("vec{number}:transport=fd,fd={descriptor},depth=64,gro=1,mac={address}")
                    .into(),
            );
            cards.push(FdMapping { parent_fd: theirs, child_fd: descriptor });
            if options.recorded.contains(&number) {
                record(ours, &folder.join(format!("net{number}.packets")))?;
            } else {
                networks.push(Slirp::start(folder, number, ours, cpu.command(&image.slirp))?);
            }
        }
        for (ours, theirs) in &options.forwards {
            networks
                .first()
                .context("a port cannot be forwarded without a card")?
                .forward(*ours, *theirs)?;
        }
        let (disks, next_disk) = disks(options, image);
        arguments.extend(disks);
        // The kernel warns about a socket that an earlier run left.
        let _ = fs::remove_dir_all(folder.join("uml"));
        fs::create_dir_all(folder.join("uml"))?;
        let mut command = cpu.command(&image.kernel);
        command.arg(format!("mem={}M", options.memory)).arg("umid=machine");
        command.arg(argument("uml_dir=", &folder.join("uml"), "/"));
        command.arg(argument("initrd=", &image.initrd, "")).arg("seccomp=on");
        command.args(arguments).args(["con=null", "ssl=null", "ssl0=fd:0,fd:1", "root=98:0"]);
        command.arg(format!("{APPEND} {}", options.append));
        let (mut keyboard, mut console) = (None, None);
        let stream = match line {
            Line::Stream(stream) => stream,
            Line::Log => {
                let (ours, theirs) = UnixStream::pair()?;
                console = Some(ConsoleLog::start(ours.try_clone()?, &folder.join("console.log"))?);
                keyboard = Some(ours);
                theirs
            }
        };
        command.stdin(OwnedFd::from(stream.try_clone()?)).stdout(OwnedFd::from(stream));
        command.stderr(File::create(folder.join("machine.log"))?);
        command.fd_mappings(cards).context("two cards with one descriptor")?;
        let child = command.spawn().context("starting User-Mode Linux by util-linux")?;
        let folder = folder.to_path_buf();
        Ok(Uml { child, keyboard, console, networks, folder, next_disk, _cpu: cpu })
    }

    /// Process ids of the networks.
    pub(crate) fn networks(&self) -> impl Iterator<Item = u32> {
        self.networks.iter().map(Slirp::pid)
    }

    /// The machine's helper processes keep running although this story ends.
    pub(crate) fn leave_on(&mut self) {
        self.networks.drain(..).for_each(std::mem::forget);
        self.console.take().into_iter().for_each(std::mem::forget);
    }

    /// The machine has exited: waits until its log has all the console output.
    pub(crate) fn finish_console(&mut self) {
        if let Some(console) = &mut self.console {
            console.finish();
        }
    }

    /// Plugs in a disk while the machine runs.
    pub fn plug_in(&mut self, disk: &Path) -> Result<()> {
        self.request(&format!("config ubd{}={}", self.next_disk, disk.display()))?;
        self.next_disk += 1;
        Ok(())
    }

    /// Requests a list of all tasks from the kernel, on its console; an error if it does not
    /// answer.
    pub(crate) fn show_tasks(&self) -> Result<()> {
        self.request("sysrq t")
    }

    /// One request to the kernel's management console.
    fn request(&self, request: &str) -> Result<()> {
        let ours = self.folder.join("uml/request");
        let _ = fs::remove_file(&ours);
        let socket = UnixDatagram::bind(&ours)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        let mut message = Vec::new();
        for number in [MCONSOLE_MAGIC, MCONSOLE_VERSION, u32::try_from(request.len())?] {
            message.extend(number.to_ne_bytes());
        }
        message.extend(request.as_bytes());
        message.resize(12 + MCONSOLE_DATA, 0);
        socket
            .send_to(&message, self.folder.join("uml/machine/mconsole"))
            .context("reaching the kernel")?;
        // An error number, "more follows", the length, and the message.
        let mut reply = [0; 12 + MCONSOLE_DATA];
        let length = socket.recv(&mut reply).with_context(|| format!("{request}: no answer"))?;
        let answer = String::from_utf8_lossy(reply.get(12..length).unwrap_or_default());
        ensure!(reply[..4] == [0; 4], "{request}: {answer}");
        Ok(())
    }
}

/// The kernel keeps its memory in a file, and dies of SIGBUS when that file system is full. A
/// container's /dev/shm has 64 MiB.
fn has_room_for(mebibytes: u32) -> Result<()> {
    let folder = memory_folder();
    let data =
        rustix::fs::statvfs(&folder).with_context(|| format!("looking at {}", folder.display()))?;
    let room = (data.f_blocks * data.f_frsize) >> 20;
    ensure!(
        room >= u64::from(mebibytes),
        "{} has {room} MiB, the machine's memory of {mebibytes} MiB does not fit: \
         enlarge it (docker run --shm-size=4g), or set TMPDIR to a larger folder",
        folder.display()
    );
    Ok(())
}

/// The same choice as `choose_tempdir` in `arch/um/os-Linux/mem.c`.
fn memory_folder() -> PathBuf {
    const TMPFS: u64 = 0x0102_1994;
    let mut variables = ["TMPDIR", "TMP", "TEMP"].into_iter().filter_map(std::env::var_os);
    if let Some(folder) = variables.find(|folder| !folder.is_empty()) {
        return PathBuf::from(folder);
    }
    let is_tmpfs = |path: &Path| {
        rustix::fs::statfs(path).is_ok_and(|data| data.f_type.cast_unsigned() == TMPFS)
    };
    let shared = Path::new("/dev/shm");
    if is_tmpfs(shared) { shared.to_path_buf() } else { PathBuf::from("/tmp") }
}

/// The two ends of a card's cable.
fn card() -> Result<(UnixDatagram, OwnedFd)> {
    let (ours, theirs) = UnixDatagram::pair().context("making a network card")?;
    for end in [&ours, &theirs] {
        // Room for a burst; the kernel drops packets that do not fit, as a card does.
        rustix::net::sockopt::set_socket_send_buffer_size(end, 1 << 20)?;
        rustix::net::sockopt::set_socket_recv_buffer_size(end, 1 << 20)?;
    }
    Ok((ours, theirs.into()))
}

/// Records the packets that a card sends; they get no answer.
fn record(card: UnixDatagram, file: &Path) -> Result<()> {
    let mut file = File::create(file)?;
    std::thread::spawn(move || {
        let mut packet = [0; 1 << 16];
        while let Ok(length @ 1..) = card.recv(&mut packet) {
            if file.write_all(&packet[..length]).is_err() {
                break;
            }
        }
    });
    Ok(())
}

/// The system image first, as in QEMU. Also returns the number of the next disk.
fn disks(options: &Options, image: &UmlImage) -> (Vec<OsString>, usize) {
    let readable = |path: &PathBuf| (path.clone(), "r");
    let mut all = vec![readable(&image.system)];
    all.extend(options.disks.iter().map(|path| (path.clone(), "")));
    all.extend(options.sticks.iter().chain(&options.config_drive).map(readable));
    let count = all.len();
    let arguments = all
        .into_iter()
        .enumerate()
        .map(|(number, (path, flags))| argument(&format!("ubd{number}{flags}="), &path, ""));
    (arguments.collect(), count)
}

fn argument(before: &str, path: &Path, after: &str) -> OsString {
    let mut text = OsString::from(before);
    text.push(path);
    text.push(after);
    text
}
