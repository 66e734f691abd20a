//! The creation helper: takes one request from PID 1, executes it, reports and exits. The
//! container's first process, its child, is then PID 1's.

use super::{bundle, cleanup, files, host_dev, link, names, overlay, private, process};
use crate::error::{Failure, FailureKind};
use crate::image::lookup;
use crate::image::metadata::Image;
use crate::protocol::{HelperRequest, Join, Report};
use crate::spec::{ContainerSpec, Endpoint, ExecSpec};
use crate::sys::packet::{self, Received};
use crate::{paths, sys};
use anyhow::{Context, Result, bail};
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::fs;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Runs the helper on its socket to PID 1. Returns its exit code.
pub fn run(socket: &OwnedFd) -> i32 {
    sys::signals::unblock_all();
    super::kmsg_subscriber::install();
    let result = match packet::receive::<HelperRequest>(socket) {
        Ok(Received::Message(request, _)) => execute(request, socket),
        other => Err(anyhow::anyhow!("no request received: {other:?}")),
    };
    let (report, code) = match result {
        Ok(report) => (report, 0),
        Err(error) => (Report::Failed(explain(&format!("{error:#}"))), 1),
    };
    // PID 1 may not listen any more.
    let _ = packet::send(socket, &report, &[]);
    code
}

/// libcontainer looks for the program in a process that reports errors as text. Docker's clients
/// know these messages.
fn explain(message: &str) -> Failure {
    let found = message.split_once("executable '").and_then(|(_, rest)| rest.split_once('\''));
    match found {
        Some((name, reason)) if reason.contains("not found in $PATH") => Failure {
            kind: FailureKind::NotFound,
            message: format!("exec: {name:?}: executable file not found in $PATH"),
        },
        Some((name, reason)) if reason.contains("permissions") => Failure {
            kind: FailureKind::NotExecutable,
            message: format!("exec: {name:?}: permission denied"),
        },
        _ => Failure::other(message),
    }
}

fn execute(request: HelperRequest, socket: &OwnedFd) -> Result<Report> {
    match request {
        HelperRequest::Launch { id, spec, join } => launch(&id, &spec, &join, socket),
        HelperRequest::Exec { id, spec } => exec(&id, &spec, socket),
        HelperRequest::Cleanup { id, keep_children, remove } => {
            cleanup::run(&id, keep_children, remove)
        }
        HelperRequest::Network { pid, connect, disconnect } => {
            network(pid, connect.as_deref(), disconnect.as_deref())
        }
        HelperRequest::Go => bail!("a request to continue before any other"),
    }
}

fn launch(id: &str, spec: &ContainerSpec, join: &Join, socket: &OwnedFd) -> Result<Report> {
    let name = if spec.image_id.is_empty() { &spec.image } else { &spec.image_id };
    let image = lookup::find(name)?;
    overlay::mount(id, &spec.keep, &image)?;
    let spec = &overlay::leave_out_unusable(id, spec)?;
    let created = create(id, spec, &image, join).or_else(|error| {
        let plain = without_optional(spec);
        if plain.binds.len() == spec.binds.len() {
            return Err(error);
        }
        tracing::error!("{}: {error:#}; retrying without its optional volumes", spec.name);
        create(id, &plain, &image, join)
    })?;
    let Created { mut container, pid, master } = created;
    host_dev::show(spec, pid)?;
    if !spec.host_network && join.network.is_none() {
        link::attach(pid, &spec.endpoints, 0)?;
    }
    report(socket, &Report::Created { pid }, master.as_ref())?;
    match packet::receive::<HelperRequest>(socket)? {
        Received::Message(HelperRequest::Go, _) => {}
        other => bail!("PID 1 cancelled the start: {other:?}"),
    }
    container.start().with_context(|| format!("starting container {}", spec.name))?;
    Ok(Report::Started)
}

fn without_optional(spec: &ContainerSpec) -> ContainerSpec {
    let mut spec = spec.clone();
    spec.binds.retain(|bind| !bind.optional);
    spec
}

/// A container that waits to be started.
struct Created {
    container: Container,
    pid: i32,
    master: Option<OwnedFd>,
}

fn create(id: &str, spec: &ContainerSpec, image: &Image, join: &Join) -> Result<Created> {
    overlay::prepare_binds(id, spec)?;
    files::place(id, spec);
    names::write(id, spec)?;
    let config = bundle::config(id, spec, image, join)?;
    if let Some(folder) = config["process"]["cwd"].as_str().filter(|folder| *folder != "/") {
        overlay::prepare_folder(id, folder)?;
    }
    let folder = paths::bundle(id);
    private::make_folder(&folder)?;
    private::write_json(&folder.join("config.json"), &config)?;
    private::make_folder(Path::new(paths::RUNTIME_STATE))?;
    // What a killed helper left behind would be "already exists" to libcontainer.
    let _ = fs::remove_dir_all(Path::new(paths::RUNTIME_STATE).join(id));
    let terminal = Terminal::open(spec.tty, id)?;
    let container = builder(id)?
        .with_console_socket(terminal.path())
        .as_init(&folder)
        .with_systemd(false)
        .with_detach(true)
        .build()
        .with_context(|| format!("creating container {}", spec.name))?;
    let pid = container.pid().context("the container has no process")?.as_raw();
    Ok(Created { container, pid, master: terminal.receive()? })
}

fn network(pid: i32, connect: Option<&Endpoint>, disconnect: Option<&Endpoint>) -> Result<Report> {
    if let Some(endpoint) = disconnect {
        link::detach(endpoint)?;
    }
    if let Some(endpoint) = connect {
        link::attach(pid, std::slice::from_ref(endpoint), link::count_interfaces(pid))?;
    }
    Ok(Report::Done)
}

fn exec(id: &str, spec: &ExecSpec, socket: &OwnedFd) -> Result<Report> {
    let file = process::write(id, spec)?;
    let terminal = Terminal::open(spec.tty, &format!("{id}-{}", std::process::id()))?;
    let pid = builder(id)?
        .with_console_socket(terminal.path())
        .as_tenant()
        .with_detach(true)
        .with_process(Some(&file))
        .build()
        .context("starting the process in the container");
    let _ = fs::remove_file(&file);
    let pid = pid?.as_raw();
    let master = terminal.receive()?;
    report(socket, &Report::Created { pid }, master.as_ref())?;
    Ok(Report::Started)
}

fn builder(id: &str) -> Result<ContainerBuilder> {
    Ok(ContainerBuilder::new(id.to_owned(), SyscallType::default())
        .with_root_path(paths::RUNTIME_STATE)?)
}

fn report(socket: &OwnedFd, report: &Report, descriptor: Option<&OwnedFd>) -> Result<()> {
    let descriptors: Vec<BorrowedFd<'_>> = descriptor.iter().map(AsFd::as_fd).collect();
    packet::send(socket, report, &descriptors).context("reporting to PID 1")
}

/// The console socket of the OCI runtimes: the container sends the master of its pty through it.
struct Terminal(Option<(UnixListener, PathBuf)>);

impl Terminal {
    fn open(wanted: bool, name: &str) -> Result<Terminal> {
        if !wanted {
            return Ok(Terminal(None));
        }
        let path = PathBuf::from(format!("/run/corral/tty-{name}.sock"));
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).context("creating the console socket")?;
        Ok(Terminal(Some((listener, path))))
    }

    fn path(&self) -> Option<PathBuf> {
        self.0.as_ref().map(|(_, path)| path.clone())
    }

    fn receive(self) -> Result<Option<OwnedFd>> {
        let Some((listener, path)) = self.0 else { return Ok(None) };
        let (stream, _) = listener.accept().context("waiting for the terminal")?;
        let _ = fs::remove_file(path);
        receive_master(&stream).map(Some)
    }
}

fn receive_master(stream: &UnixStream) -> Result<OwnedFd> {
    let mut buffer = [0_u8; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(stream, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut rights) = message {
            return rights.next().context("no terminal received on the console socket");
        }
    }
    bail!("no terminal received on the console socket")
}
