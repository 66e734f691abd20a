//! The system engine alone on this build machine, in its own namespaces, with clients of other
//! projects. It takes seconds instead of a machine's minute. What needs a real machine is in
//! `scenarios/system_engine.rs`.

use crate::busybox;
use crate::cgroup::Cgroup;
use crate::folder::{Folder, folder};
use crate::image::Image;
use crate::process::{KillOnDrop, pause, tied, wait};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(60);

/// An engine that runs; it ends with the test.
#[derive(Debug)]
pub struct Sandbox {
    servers: Vec<Child>,
    image: Image,
    // Dropped in this order.
    engine: Engine,
    store: Store,
    folder: Folder,
}

impl Sandbox {
    /// Starts an engine with an empty store, and gives it the image `busybox`.
    pub fn start(name: &str, program: &str) -> Result<Sandbox> {
        let image = Image::find()?;
        let folder = folder(&format!("engine-{name}"))?;
        let store = Store::mount(&folder.join("store"))?;
        fs::copy(image.tools.join("seccomp.json"), folder.join("seccomp.json"))
            .context("the seccomp profile")?;
        fs::copy(image.tools.join("tini-static"), folder.join("tini-static"))
            .context("the small init")?;
        let engine = Engine::start(&image, &folder, &store, program)?;
        let sandbox = Sandbox { folder, store, engine, image, servers: Vec::new() };
        sandbox.wait_for_api()?;
        let archive = busybox::pack(&sandbox.image, &sandbox.folder)?;
        sandbox.docker(&format!("import {} busybox:latest", archive.display()))?;
        Ok(sandbox)
    }

    /// Kills the engine, as a power cut would, and starts it again on the same store.
    pub fn restart(&mut self, program: &str) -> Result<()> {
        self.engine.end();
        self.engine = Engine::start(&self.image, &self.folder, &self.store, program)?;
        self.wait_for_api()
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of the store on this machine.
    pub fn store(&self) -> PathBuf {
        self.store.path()
    }

    /// The path of the engine's socket on this machine.
    pub fn socket(&self) -> String {
        format!("/proc/{}/root/run/system-docker.sock", self.engine.pid)
    }

    /// A program of the tools (or of this machine) that is a client of this engine.
    pub fn client(&self, program: &str) -> Command {
        let tool = self.image.tools.join(program);
        let mut command = if tool.exists() { Command::new(tool) } else { Command::new(program) };
        command
            .env("DOCKER_HOST", format!("unix://{}", self.socket()))
            .env("DOCKER_CONFIG", self.folder.join("client"));
        command.stdin(Stdio::null());
        command
    }

    /// Runs a script in which `docker` is the CLI of Debian trixie, connected to this engine.
    /// Returns its output.
    pub fn run(&self, script: &str) -> Result<String> {
        let path =
            format!("{}:{}", self.image.tools.display(), std::env::var("PATH").unwrap_or_default());
        let output = self
            .client("bash")
            .env("PATH", path)
            .args(["-c", script])
            .output()
            .context("starting bash")?;
        checked(script, &output)
    }

    /// `docker …`.
    pub fn docker(&self, arguments: &str) -> Result<String> {
        self.run(&format!("docker {arguments}"))
    }

    /// Runs a script in the engine's namespaces, as root there.
    pub fn inside(&self, script: &str) -> Result<String> {
        let output =
            self.enter().args(["bash", "-c", script]).output().context("starting nsenter")?;
        checked(script, &output)
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.engine.pid.to_string(), "-m", "-p", "-n", "-u", "-i", "-C"]);
        command
    }

    /// `ros …`, as it would be on the machine.
    pub fn ros(&self, arguments: &str) -> Result<String> {
        self.inside(&format!("exec -a ros {} {arguments}", self.image.ros.display()))
    }

    /// `ros …` with a timeout in seconds; true if it finished before.
    pub fn ros_within(&self, seconds: u32, arguments: &str) -> Result<bool> {
        let ros = self.image.ros.display();
        let script = format!(
            "timeout {seconds} bash -c 'exec -a ros {ros} {arguments}' >/dev/null; echo $?"
        );
        match self.inside(&script)?.as_str() {
            "0" => Ok(true),
            // The exit status of timeout(1).
            "124" => Ok(false),
            other => bail!("ros {arguments} ended with {other}"),
        }
    }

    /// Starts a server in the engine's network; it ends with the test.
    pub fn serve(&mut self, program: &str, arguments: &[&str], port: u16) -> Result<()> {
        let tool = self.image.tools.join(program);
        let program = if tool.exists() { tool } else { PathBuf::from(program) };
        let log = File::create(self.folder.join(format!("server-{port}.log")))?;
        let mut command = tied(Path::new("nsenter"));
        command.args(["-t", &self.engine.pid.to_string(), "-n"]).arg(&program).args(arguments);
        let server = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        self.servers.push(server.with_context(|| format!("starting {}", program.display()))?);
        self.expect(&format!("exec 3<>/dev/tcp/127.0.0.1/{port}"))
    }

    /// Waits until a script in the engine's namespaces succeeds.
    pub fn expect(&self, script: &str) -> Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let last = self.inside(script);
            if last.is_ok() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "timed out: {:#}",
                    last.map_or_else(|error| error, |_| anyhow::anyhow!("nothing"))
                );
            }
            pause(Duration::from_millis(50));
        }
    }

    /// Waits until the output of `docker …` contains a text.
    pub fn expect_docker(&self, arguments: &str, text: &str) -> Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let last = self.docker(arguments)?;
            if last.contains(text) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("docker {arguments} never printed {text:?}; its last output: {last}");
            }
            pause(Duration::from_millis(50));
        }
    }

    /// Waits until the engine has exited by itself.
    pub fn expect_end(&mut self) -> Result<()> {
        let status = wait(&mut self.engine.outer, TIMEOUT)?;
        status.map(drop).context("the engine does not exit")
    }

    /// Waits until the engine answers.
    pub fn wait_for_api(&self) -> Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        while self.docker("version").is_err() {
            if Instant::now() > deadline {
                bail!(
                    "the engine does not answer: {}",
                    fs::read_to_string(self.folder.join("log")).unwrap_or_default()
                );
            }
            pause(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// The state disk, which outlives the engine's namespaces. It is not this machine's disk, because
/// an engine removes unused images from a disk that is nearly full. It is mounted in its own
/// namespace, and is gone when the process that holds it exits.
#[derive(Debug)]
struct Store {
    holder: KillOnDrop,
    folder: PathBuf,
}

impl Store {
    fn mount(folder: &Path) -> Result<Store> {
        fs::create_dir_all(folder)?;
        let mut holder = tied(Path::new("unshare"))
            .args(["--mount", "sh", "-c"])
            .arg("mount -t tmpfs -o size=1g store \"$0\" && echo mounted && exec sleep infinity")
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting unshare by setpriv (util-linux)")?;
        let output = holder.stdout.take();
        let store = Store { holder: KillOnDrop(holder), folder: folder.to_path_buf() };
        let mut line = String::new();
        BufReader::new(output.context("unshare has no output")?).read_line(&mut line)?;
        ensure!(
            line == "mounted\n",
            "the store cannot be mounted at {} (it needs root)",
            folder.display()
        );
        Ok(store)
    }

    /// The path on this machine.
    fn path(&self) -> PathBuf {
        let folder = self.folder.strip_prefix("/").unwrap_or(&self.folder);
        Path::new(&format!("/proc/{}/root", self.holder.0.id())).join(folder)
    }
}

/// The engine's namespaces.
#[derive(Debug)]
struct Engine {
    /// unshare, which exits after the first process in the namespaces.
    outer: Child,
    /// The id of that process on this machine; 0 if there is none yet.
    pid: i32,
    /// Removed last.
    _cgroup: Cgroup,
}

impl Engine {
    fn start(image: &Image, folder: &Path, store: &Store, program: &str) -> Result<Engine> {
        let cgroup = Cgroup::make()?;
        let log = File::create(folder.join("log"))?;
        // It runs in the mount namespace that has the store.
        let outer = tied(Path::new("nsenter"))
            .args(["-t", &store.holder.0.id().to_string(), "-m", "--", program])
            .arg(&image.ros)
            .arg(folder)
            .arg(cgroup.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting the sandbox by setpriv (util-linux)")?;
        let mut engine = Engine { outer, pid: 0, _cgroup: cgroup };
        let deadline = Instant::now() + TIMEOUT;
        loop {
            // unshare's only child is the first process of the namespaces.
            let children = format!("/proc/{0}/task/{0}/children", engine.outer.id());
            let children = fs::read_to_string(children).unwrap_or_default();
            if let Some(pid) = children.split_whitespace().next().and_then(|pid| pid.parse().ok()) {
                engine.pid = pid;
                return Ok(engine);
            }
            let log = || fs::read_to_string(folder.join("log")).unwrap_or_default();
            if let Some(status) = engine.outer.try_wait()? {
                bail!("the sandbox ended with {status}: {}", log());
            }
            ensure!(Instant::now() < deadline, "the sandbox did not start: {}", log());
            pause(Duration::from_millis(20));
        }
    }

    /// All processes of a PID namespace are killed with its first process. unshare is killed only
    /// if it has no child yet.
    fn end(&mut self) {
        if matches!(self.outer.try_wait(), Ok(None)) {
            let _ = match Pid::from_raw(self.pid) {
                Some(pid) => kill_process(pid, Signal::KILL).map_err(Into::into),
                None => self.outer.kill(),
            };
        }
        let _ = self.outer.wait();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end();
    }
}

fn checked(script: &str, output: &Output) -> Result<String> {
    let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    if !output.status.success() {
        bail!(
            "{script}\n{}: {text}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(text)
}
