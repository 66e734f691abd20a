//! A running machine: its console, its shell, its shutdown. Stories do not see which kind it is.
//! The machine ends with its story, also if the story fails.

use crate::disk_logs;
use crate::folder;
use crate::image::Image;
use crate::options::{Kind, Options};
use crate::process::{self, is_kept};
use crate::qemu::Qemu;
use crate::report;
use crate::servers::{self, free_port};
use crate::shell::{self, Login};
use crate::uml::{Line, Uml};
use anyhow::{Context, Result, bail, ensure};
use std::cell::Cell;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// How long a boot may take under software emulation on a busy host.
pub(crate) const BOOT: Duration = Duration::from_secs(300);
/// Between two checks of a machine.
const PAUSE: Duration = Duration::from_millis(100);
/// Console messages of a machine that has a problem.
const ALARMS: [&str; 11] = [
    "Kernel panic",
    "BUG:",
    "Oops:",
    "Out of memory",
    "oom-kill",
    "Call Trace:",
    "PID 1 panicked",
    "general protection",
    "blocked for more than",
    "panicked at",
    DAEMON_ENDED,
];

/// What PID 1 logs when the engine daemon has exited by itself.
pub const DAEMON_ENDED: &str = "the engine daemon ended with";

/// A machine that runs.
#[derive(Debug)]
pub struct Machine {
    emulator: Emulator,
    folder: PathBuf,
    pub login: Login,
    /// Port of this machine that reaches port 8080 of the guest.
    web_port: u16,
    started: Instant,
    /// How many boots the console had shown when a login was last waited for.
    boots: usize,
    alarms_expected: Vec<&'static str>,
    keyboard: Option<UnixStream>,
}

#[derive(Debug)]
enum Emulator {
    Uml(Uml),
    Qemu(Qemu),
}

impl Emulator {
    fn child(&mut self) -> &mut Child {
        match self {
            Emulator::Uml(uml) => &mut uml.child,
            Emulator::Qemu(qemu) => &mut qemu.child,
        }
    }

    /// The exit status, if the emulator has exited. Its log then has all the console output.
    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.child().try_wait()?;
        if let (Some(_), Emulator::Uml(uml)) = (status, &mut *self) {
            uml.finish_console();
        }
        Ok(status)
    }
}

impl Machine {
    /// Starts a machine. It boots while the story goes on.
    pub fn start(folder: &Path, options: Options) -> Result<Machine> {
        let image = Image::find()?;
        shell::make_key(folder)?;
        let (ssh_port, web_port) = (free_port()?, free_port()?);
        let mut options = options;
        if options.nics > 0 {
            options.forwards.extend([(ssh_port, 22), (web_port, 8080)]);
        }
        let _ = fs::remove_file(folder.join("console.log"));
        let kind = options.kind(&image);
        report::started(kind);
        ensure!(
            kind == Kind::Uml || image.system.exists(),
            "{} is not there, and this machine is QEMU's: run `cargo xtask image` first",
            image.system.display()
        );
        let (emulator, keyboard) = match (kind, &image.uml) {
            (Kind::Uml, Some(uml)) => {
                let mut uml = Uml::start(folder, &options, uml, Line::Log)?;
                let keyboard = uml.keyboard.take();
                (Emulator::Uml(uml), keyboard)
            }
            _ => (Emulator::Qemu(Qemu::start(folder, &options, &image)?), None),
        };
        let login =
            Login { folder: folder.to_path_buf(), port: ssh_port, user: "rancher".to_owned() };
        let mut machine = Machine {
            emulator,
            folder: folder.to_path_buf(),
            login,
            web_port,
            started: Instant::now(),
            boots: 0,
            alarms_expected: Vec::new(),
            keyboard,
        };
        println!("a machine ({}) starts: {}", kind.name(), machine.how_to_log_in());
        if is_kept() {
            // Here and not at the end of the story: a story that takes too long is killed.
            folder::keep(folder, machine.pid());
        }
        Ok(machine)
    }

    /// Time since the machine was switched on.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// All that the console showed so far.
    pub fn console(&self) -> String {
        let bytes = fs::read(self.folder.join("console.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', "")
    }

    /// Waits until the console has shown a text.
    pub fn expect_console(&mut self, text: &str) -> Result<()> {
        self.wait(BOOT, &format!("the console to show {text:?}"), |machine| {
            Ok(machine.console().contains(text))
        })
    }

    /// Types a line on the serial console.
    pub fn type_line(&mut self, text: &str) -> Result<()> {
        let keyboard = match (self.keyboard.take(), &self.emulator) {
            (Some(keyboard), _) => keyboard,
            (None, Emulator::Qemu(qemu)) => qemu.line()?,
            (None, Emulator::Uml(_)) => bail!("the keyboard is gone"),
        };
        // It stays connected: hanging up would end a login there.
        self.keyboard
            .insert(keyboard)
            .write_all(format!("{text}\r").as_bytes())
            .context("typing on the serial console")
    }

    /// Types a line again and again until the console shows a text. A password prompt discards what
    /// was typed a moment too early.
    pub fn type_until(&mut self, line: &str, text: &str) -> Result<()> {
        for _ in 0..10 {
            self.type_line(line)?;
            let shown = self.try_for(Duration::from_secs(6), text, |machine| {
                Ok(machine.console().contains(text))
            });
            if shown.is_ok() {
                return Ok(());
            }
        }
        bail!("typing {line:?} did not lead to {text:?}\n{}", self.last_lines())
    }

    /// Waits until a user can log in.
    pub fn expect_login(&mut self) -> Result<()> {
        self.wait_for_sshd("a login over ssh")?;
        self.wait_for_script(BOOT, "a login over ssh", "true")
    }

    /// Restarts the machine, and waits until it is up again.
    pub fn restart(&mut self) -> Result<()> {
        let boot_id = self.run("cat /proc/sys/kernel/random/boot_id")?;
        // The connection is lost with the machine: the result of ssh does not matter.
        let _ = self.run("sudo reboot");
        self.expect_next_boot(&boot_id)
    }

    /// Waits until the machine is up again after the boot with this id, with the timeout of a boot.
    pub fn expect_next_boot(&mut self, boot_id: &str) -> Result<()> {
        self.wait_for_sshd("the next boot")?;
        let script = format!("[ $(cat /proc/sys/kernel/random/boot_id) != {boot_id} ]");
        self.wait_for_script(BOOT, "the next boot", &script)
    }

    /// Waits until the user's Docker answers.
    pub fn expect_docker(&mut self) -> Result<()> {
        self.run("wait-for-docker").map(|_| ())
    }

    /// A login to the same machine as another user.
    pub fn login_as(&self, user: &str) -> Login {
        Login { user: user.to_owned(), ..self.login.clone() }
    }

    /// Runs a script in the machine.
    pub fn run(&self, script: &str) -> Result<String> {
        timed(script, || self.login.run(script)).with_context(|| self.last_lines())
    }

    /// Waits until a script in the machine succeeds.
    pub fn expect(&mut self, script: &str) -> Result<()> {
        self.wait_for_script(Duration::from_secs(60), script, script)
    }

    /// The same for what a boot starts by itself, with the timeout of a boot.
    pub fn expect_of_boot(&mut self, script: &str) -> Result<()> {
        self.wait_for_script(BOOT, script, script)
    }

    /// Waits until a web server on port 8080 of the machine answers with this text. Docker forwards
    /// connections as soon as its container runs, and resets them until a server listens there.
    pub fn expect_page(&mut self, text: &str) -> Result<()> {
        self.wait(Duration::from_secs(60), text, |machine| {
            Ok(servers::page(machine.web_port).is_ok_and(|page| page.contains(text)))
        })
    }

    /// Waits until sshd offers these methods to a user.
    pub fn expect_methods(&mut self, user: &str, methods: &str) -> Result<()> {
        self.wait(Duration::from_secs(60), methods, |machine| {
            Ok(machine.login.methods(user).is_ok_and(|offered| offered == methods))
        })
    }

    /// Shuts the machine down cleanly, as its owner would, and waits for that.
    pub fn power_off(&mut self) -> Result<()> {
        // Checked now, with the kernel's log, which is gone afterwards.
        self.check_alarms()?;
        // The connection is lost with the machine: the result of ssh does not matter.
        let _ = self.run("sudo poweroff");
        timed("the machine to switch itself off", || self.expect_end())
    }

    /// Waits until the machine has switched itself off.
    pub fn expect_end(&mut self) -> Result<()> {
        process::wait(self.emulator.child(), BOOT)?;
        if !self.has_ended()? {
            bail!("the machine did not end\n{}", self.last_lines());
        }
        // The next machine in this folder needs a new connection.
        self.login.hang_up();
        self.check_alarms()
    }

    /// Has the machine switched itself off? An error if its emulator ended in any other way.
    fn has_ended(&mut self) -> Result<bool> {
        match self.emulator.ended()? {
            Some(status) if !status.success() => bail!("{}", self.how_it_ended(status)),
            status => Ok(status.is_some()),
        }
    }

    fn how_it_ended(&self, status: ExitStatus) -> String {
        let log = fs::read_to_string(self.folder.join("machine.log")).unwrap_or_default();
        format!("the machine ended ({status}) {log}\n{}", self.last_lines())
    }

    /// Cuts the power without any warning to the machine.
    pub fn cut_power(mut self) -> Result<()> {
        self.check_alarms()?;
        self.emulator.child().kill()?;
        self.emulator.child().wait()?;
        Ok(())
    }

    /// Sends a command to the monitor of a PC; returns its answer.
    pub(crate) fn monitor(&self, command: &str) -> Result<String> {
        match &self.emulator {
            Emulator::Qemu(qemu) => qemu.monitor(command),
            Emulator::Uml(_) => bail!("{command}: only QEMU's machines have a monitor"),
        }
    }

    /// Plugs in a disk while the machine runs.
    pub fn plug_in(&mut self, disk: &Path) -> Result<()> {
        match &mut self.emulator {
            Emulator::Uml(uml) => uml.plug_in(disk),
            Emulator::Qemu(qemu) => qemu.plug_in(disk),
        }
    }

    /// All packets that a recorded card has sent so far. In QEMU also those that it got.
    pub fn packets(&self, nic: u32) -> Result<Vec<u8>> {
        let file = self.folder.join(format!("net{nic}.packets"));
        fs::read(&file).with_context(|| format!("reading {}", file.display()))
    }

    /// This story makes the machine show this alarm on purpose.
    pub fn expect_alarm(&mut self, alarm: &'static str) {
        self.alarms_expected.push(alarm);
    }

    /// This story makes the machine show alarms of any kind on purpose.
    pub fn expect_alarms(&mut self) {
        self.alarms_expected.extend(ALARMS);
    }

    /// Fails if the console showed an alarm.
    pub fn check_alarms(&self) -> Result<()> {
        let console = self.console();
        let mut unexpected = ALARMS.iter().filter(|alarm| !self.alarms_expected.contains(alarm));
        match unexpected.find(|alarm| console.contains(**alarm)) {
            Some(alarm) => {
                bail!("the console shows {alarm:?}\n{}\n{}", self.last_lines(), self.kernel_log())
            }
            None => Ok(()),
        }
    }

    /// Process id of the emulator.
    pub fn pid(&mut self) -> u32 {
        self.emulator.child().id()
    }

    /// The end of the console's log, for people who read why a story failed.
    pub fn last_lines(&self) -> String {
        let console = self.console();
        let lines: Vec<&str> = console.lines().filter(|line| !line.trim().is_empty()).collect();
        let folder = self.folder.display();
        format!(
            "logs are in {folder}; last lines of the console:\n{}",
            lines[lines.len().saturating_sub(40)..].join("\n")
        )
    }

    /// Saves what can be read from a machine that does not do what it should, for people who look
    /// into a failed story.
    fn keep_what_it_does(&self) {
        disk_logs::keep(&self.folder);
        if let Emulator::Uml(uml) = &self.emulator
            && let Err(error) = uml.show_tasks()
        {
            println!("its kernel: {error:#}");
        }
    }

    /// Waits until sshd answers, in a boot in which no login was waited for yet.
    ///
    /// A packet to a card that is not up yet is lost, and sent again seconds later: a new
    /// connection is faster. Once sshd may be there, closing a connection early costs more than it
    /// gains. It is work for a slow machine, and sshd refuses an address that closes too many.
    fn wait_for_sshd(&mut self, what: &str) -> Result<()> {
        let begin = Instant::now();
        let timeout = Cell::new(Duration::from_secs(2));
        self.wait(BOOT, what, |machine| {
            let boots = machine.boots_seen();
            if boots == machine.boots && begin.elapsed() < BOOT / 3 {
                // Before a restart, the old boot would answer.
                return Ok(machine.boots == 0 && machine.has_ssh_banner(Duration::from_secs(1)));
            }
            timeout.set((timeout.get() * 2).min(Duration::from_secs(60)));
            Ok(machine.has_ssh_banner(timeout.get()))
        })?;
        self.boots = self.boots_seen();
        Ok(())
    }

    /// How often PID 1 has logged on the console that the machine is up.
    fn boots_seen(&self) -> usize {
        let console = self.console();
        console
            .lines()
            .filter(|line| line.contains(" is up ") && line.contains(" s after the kernel"))
            .count()
    }

    /// The server sends its version first. QEMU's forwarding closes the connection as long as no
    /// server listens.
    fn has_ssh_banner(&self, timeout: Duration) -> bool {
        let banner = || -> std::io::Result<bool> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.login.port))?;
            stream.set_read_timeout(Some(timeout))?;
            let mut start = [0_u8; 4];
            stream.read_exact(&mut start)?;
            Ok(&start == b"SSH-")
        };
        banner().unwrap_or(false)
    }

    /// The last lines of the kernel's log, with call traces whose level is too low for the console.
    /// No lines if the machine does not answer any more.
    fn kernel_log(&self) -> String {
        let log = self
            .login
            .run_within(Duration::from_secs(60), "sudo dmesg | tail -n 80")
            .unwrap_or_default();
        format!("last lines of the kernel's log:\n{log}")
    }

    fn how_to_log_in(&mut self) -> String {
        let mut processes = self.pid().to_string();
        if let Emulator::Uml(uml) = &self.emulator {
            processes.extend(uml.networks().map(|pid| format!(" {pid}")));
        }
        let (port, key) = (self.login.port, self.login.folder.join("key"));
        format!(
            "log in: `ssh -p {port} -i {} {}@127.0.0.1`; its console: {}; \
             power it off: `kill {processes}`",
            key.display(),
            self.login.user,
            self.folder.join("console.log").display()
        )
    }

    /// A script that hangs is killed, and run again while there is time. The pause between two
    /// tries is as long as a try took, so that a slow machine has time for its own work.
    fn wait_for_script(&mut self, timeout: Duration, what: &str, script: &str) -> Result<()> {
        self.wait(timeout, what, |machine| {
            let begin = Instant::now();
            let done = machine.login.run_within(timeout, script).is_ok();
            if !done {
                process::pause(begin.elapsed().min(Duration::from_secs(5)));
            }
            Ok(done)
        })
    }

    pub(crate) fn wait(
        &mut self,
        timeout: Duration,
        what: &str,
        done: impl Fn(&Machine) -> Result<bool>,
    ) -> Result<()> {
        let waited = self.try_for(timeout, what, done);
        if waited.is_err() {
            self.keep_what_it_does();
        }
        waited
    }

    fn try_for(
        &mut self,
        timeout: Duration,
        what: &str,
        done: impl Fn(&Machine) -> Result<bool>,
    ) -> Result<()> {
        let deadline = Instant::now() + timeout;
        timed(what, || {
            while !done(self)? {
                if let Some(status) = self.emulator.ended()? {
                    bail!("waiting for {what}: {}", self.how_it_ended(status));
                }
                if Instant::now() > deadline {
                    bail!(
                        "waiting for {what}: {} s are over\n{}",
                        timeout.as_secs(),
                        self.last_lines()
                    );
                }
                // This also returns when the emulator exits. There is no event for the other
                // conditions.
                process::wait(self.emulator.child(), PAUSE)?;
            }
            Ok(())
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if is_kept() && matches!(self.emulator.child().try_wait(), Ok(None)) {
            println!("the machine stays on: {}", self.how_to_log_in());
            if let Emulator::Uml(uml) = &mut self.emulator {
                uml.leave_on();
            }
            return;
        }
        self.login.hang_up();
        let _ = self.emulator.child().kill();
        let _ = self.emulator.child().wait();
    }
}

/// Notes in the story's output how long a step took.
fn timed<T>(step: &str, work: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let result = work();
    println!("{:7.1} s  {step}", begin.elapsed().as_secs_f64());
    result
}
