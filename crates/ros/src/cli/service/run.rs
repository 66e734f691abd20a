//! `ros service`: runs the docker command of the engine that owns the service, on the service's
//! container.

use crate::applets::user_services::HASH_LABEL;
use crate::prompt::confirm;
use crate::resolve;
use crate::resolve::services::is_of_system;
use anyhow::{Context, Result, bail};
use clap::Args;
use corral_engine::client::{Client, ask};
use corral_engine::protocol::Request;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command as Process, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a service may take to be there: its image may have to be pulled, and it may wait for others.
const PATIENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(250);
/// It makes the services of the user's Docker.
const USER_SERVICES: &str = "user-services";

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Then show what they write
    #[arg(long)]
    foreground: bool,
    /// Make them anew even if nothing changed
    #[arg(long)]
    force_recreate: bool,
    /// Has no effect: what did not change is never made anew, and nothing is built here
    #[arg(short, long, hide = true)]
    detach: bool,
    #[arg(long, hide = true)]
    no_build: bool,
    #[arg(long, hide = true)]
    no_recreate: bool,
    /// Names of services
    services: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Ask nothing
    #[arg(short, long)]
    force: bool,
    /// Their volumes without a name, too
    #[arg(short)]
    volumes: bool,
    #[command(flatten)]
    names: Names,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// How many of the last lines
    #[arg(long, default_value_t = 100)]
    lines: u32,
    /// Go on with what comes
    #[arg(long)]
    follow: bool,
    /// Names of services; all if none is given
    services: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Names {
    /// Names of services
    #[arg(required = true)]
    pub(super) services: Vec<String>,
}

/// Who runs a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    System,
    User,
}

impl Engine {
    fn client(self) -> Process {
        Process::new(match self {
            Engine::System => "/usr/bin/system-docker",
            Engine::User => "/usr/bin/docker",
        })
    }

    /// What it prints.
    fn ask(self, arguments: &[&str]) -> Result<String> {
        let output =
            self.client().args(arguments).stdin(Stdio::null()).output().context("starting docker")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// With our terminal.
    fn tell(self, arguments: &[&str]) -> Result<()> {
        let status = self.client().args(arguments).status().context("starting docker")?;
        if status.success() { Ok(()) } else { bail!("docker {} failed", arguments.join(" ")) }
    }

    pub(super) fn has_image(self, image: &str) -> bool {
        self.ask(&["image", "inspect", "--format", "{{.Id}}", image]).is_ok()
    }

    pub(super) fn pull(self, image: &str) -> Result<()> {
        self.tell(&["pull", image])
    }
}

/// What there is of a service.
#[derive(Debug)]
struct State {
    id: String,
    /// Docker's word.
    status: String,
    exit_code: String,
}

/// A service, as the configuration that is stored has it.
#[derive(Debug, Clone)]
struct Service {
    name: String,
    container: String,
    image: String,
    engine: Engine,
}

impl Service {
    fn load_all() -> Vec<Service> {
        let resolved = resolve::stored();
        let of_system = resolved.plan.services.iter().map(|service| Service {
            name: service.name.to_string(),
            container: service.name.to_string(),
            image: service.image.clone(),
            engine: Engine::System,
        });
        let others = resolved.config.rancher.services.iter().filter(|(_, value)| !is_of_system(value));
        let of_user = others.map(|(name, definition)| {
            let text = |key: &str| definition.get(key).and_then(|value| value.as_str()).map(str::to_owned);
            Service {
                name: name.clone(),
                container: text("container_name").unwrap_or_else(|| name.clone()),
                image: text("image").unwrap_or_default(),
                engine: Engine::User,
            }
        });
        of_system.chain(of_user).collect()
    }

    /// Those of these names; all if there is none.
    fn load(names: &[String]) -> Result<Vec<Service>> {
        let all = Service::load_all();
        if names.is_empty() {
            return Ok(all);
        }
        let find = |name: &String| {
            let found = all.iter().find(|service| service.name == *name).cloned();
            // One that was disabled may still have its container.
            found.or_else(|| Service::left_over(name)).with_context(|| format!("No such service: {name}"))
        };
        names.iter().map(find).collect()
    }

    /// A container of that name that a configuration had made, and not somebody by hand.
    fn left_over(name: &str) -> Option<Service> {
        let service = |engine| Service {
            name: name.to_owned(),
            container: name.to_owned(),
            image: String::new(),
            engine,
        };
        let client = Client::connect(|_, _| {}).ok();
        let containers = client.and_then(|client| client.list().ok()).unwrap_or_default();
        if containers.iter().any(|container| container.spec.name == name && container.status.planned) {
            return Some(service(Engine::System));
        }
        let format = format!("{{{{index .Config.Labels \"{HASH_LABEL}\"}}}}");
        let hash = Engine::User.ask(&["container", "inspect", "--format", &format, name]).ok()?;
        (!hash.is_empty()).then(|| service(Engine::User))
    }

    fn state(&self) -> Option<State> {
        match self.engine {
            Engine::System => self.state_in_system(),
            Engine::User => self.state_in_docker(),
        }
    }

    /// As PID 1 says it: Docker has no word for one that is being stopped, to be made from another definition.
    fn state_in_system(&self) -> Option<State> {
        let container = Client::connect(|_, _| {}).ok()?.inspect(&self.container).ok()?;
        let status = match container.status.state {
            corral_engine::spec::State::Stopping => "stopping",
            _ => container.status.word(),
        };
        Some(State {
            id: container.id,
            status: status.to_owned(),
            exit_code: container.status.exit_code.to_string(),
        })
    }

    fn state_in_docker(&self) -> Option<State> {
        let format = "{{.Id}} {{.State.Status}} {{.State.ExitCode}}";
        let said = self.engine.ask(&["container", "inspect", "--format", format, &self.container]).ok()?;
        let mut words = said.split(' ').map(str::to_owned);
        Some(State { id: words.next()?, status: words.next()?, exit_code: words.next()? })
    }

    fn tell(&self, arguments: &[&str]) -> Result<()> {
        self.engine.tell(&[arguments, &[self.container.as_str()]].concat())
    }

    /// Waits until it runs, or has done its work. What somebody had stopped before is started.
    fn wait(&self, stopped: Option<&str>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.state() {
                Some(state) if state.status == "running" => return Ok(()),
                Some(state) if stopped == Some(&state.id) => {
                    return self.engine.ask(&["start", &self.container]).map(drop);
                }
                Some(state) if state.status == "exited" && state.exit_code == "0" => return Ok(()),
                Some(state) if state.status == "exited" => {
                    let (name, code) = (&self.name, state.exit_code);
                    bail!("{name} ended with {code}; ros service logs {name} shows what it said");
                }
                _ => {}
            }
            if Instant::now() > deadline {
                let name = &self.name;
                bail!("{name} is not there after {} s; ros why {name} says more", PATIENCE.as_secs());
            }
            thread::park_timeout(PAUSE);
        }
    }
}

/// One word of docker's for each.
pub(super) fn each(names: &[String], arguments: &[&str]) -> Result<()> {
    Service::load(names)?.iter().try_for_each(|service| service.tell(arguments))
}

/// `ros service up`.
pub(super) fn up(options: &Up) -> Result<()> {
    let services = if options.services.is_empty() { Vec::new() } else { Service::load(&options.services)? };
    if options.force_recreate {
        services.iter().filter(|service| service.state().is_some()).try_for_each(Service::forget)?;
    }
    let is_stopped = |state: &State| state.status != "running";
    let stopped: Vec<Option<String>> =
        services.iter().map(|service| service.state().filter(is_stopped).map(|state| state.id)).collect();
    ask(Request::Reload).context("putting the configuration into force")?;
    for (service, stopped) in services.iter().zip(&stopped) {
        service.wait(stopped.as_deref())?;
        println!("{}: up", service.name);
    }
    if options.foreground { show(&services, &["--follow"]) } else { Ok(()) }
}

impl Service {
    /// Takes its container away; who made it makes another.
    fn forget(&self) -> Result<()> {
        self.engine.ask(&["rm", "--force", &self.container])?;
        match self.engine {
            Engine::System => Ok(()),
            Engine::User => Engine::System.ask(&["restart", USER_SERVICES]).map(drop),
        }
    }
}

/// `ros service rm`.
pub(super) fn remove(options: &Remove) -> Result<()> {
    let services = Service::load(&options.names.services)?;
    let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
    if !options.force && !confirm(&format!("Going to remove {}. Are you sure?", names.join(", ")))? {
        return Ok(());
    }
    let arguments: &[&str] =
        if options.volumes { &["rm", "--force", "--volumes"] } else { &["rm", "--force"] };
    // What was disabled goes for good.
    ask(Request::Reload).context("putting the configuration into force")?;
    let mut there = services.iter().filter(|service| service.state().is_some());
    there.try_for_each(|service| service.tell(arguments))
}

/// `ros service pull`.
pub(super) fn pull(names: &[String], go_on: bool) -> Result<()> {
    for service in Service::load(names)? {
        if corral_engine::image::lookup::is_embedded(&service.image) && service.engine == Engine::System {
            println!("{}: {} is part of the system", service.name, service.image);
            continue;
        }
        match service.engine.pull(&service.image) {
            Err(error) if go_on => eprintln!("{}: {error:#}", service.name),
            pulled => pulled?,
        }
    }
    Ok(())
}

/// `ros service ps`.
pub(super) fn ps(names: &[String], quiet: bool) -> Result<()> {
    let services = Service::load(names)?;
    let mut rows = vec![["NAME", "COMMAND", "STATUS", "PORTS"].map(str::to_owned)];
    for engine in [Engine::System, Engine::User] {
        let wanted = |container: &str| {
            services.iter().any(|service| service.engine == engine && service.container == container)
        };
        let format = "{{.Names}}\t{{.Command}}\t{{.Status}}\t{{.Ports}}\t{{.ID}}";
        if !services.iter().any(|service| service.engine == engine) {
            continue;
        }
        let said = engine.ask(&["ps", "--all", "--format", format]).unwrap_or_else(|error| {
            eprintln!("the user's Docker does not answer: {error:#}");
            String::new()
        });
        for line in said.lines() {
            let mut cells = line.split('\t');
            let mut cell = || cells.next().unwrap_or_default().to_owned();
            let row = [cell(), cell(), cell(), cell()];
            if !wanted(&row[0]) {
                continue;
            }
            if quiet {
                println!("{}", cell());
            }
            rows.push(row);
        }
    }
    if !quiet {
        print_table(&rows);
    }
    Ok(())
}

fn print_table(rows: &[[String; 4]]) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let [name, command, status] = [0, 1, 2].map(width);
    for [a, b, c, d] in rows {
        println!("{}", format!("{a:name$}  {b:command$}  {c:status$}  {d}").trim_end());
    }
}

/// `ros service logs`.
pub(super) fn logs(options: &Logs) -> Result<()> {
    let lines = format!("--tail={}", options.lines);
    let mut arguments = vec![lines.as_str()];
    arguments.extend(options.follow.then_some("--follow"));
    let mut services = Service::load(&options.services)?;
    if options.services.is_empty() {
        services.retain(|service| service.state().is_some());
    }
    show(&services, &arguments)
}

/// What they write, each line with the name of who wrote it.
fn show(services: &[Service], arguments: &[&str]) -> Result<()> {
    thread::scope(|scope| {
        let mut clients = Vec::new();
        for service in services {
            let mut client = service.engine.client();
            client.arg("logs").args(arguments).arg(&service.container);
            client.stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut client = client.spawn().context("starting docker")?;
            let (out, err) = (client.stdout.take(), client.stderr.take());
            scope.spawn(move || out.into_iter().for_each(|stream| prefix(&service.name, stream)));
            scope.spawn(move || err.into_iter().for_each(|stream| prefix(&service.name, stream)));
            clients.push((service, client));
        }
        for (service, mut client) in clients {
            if !client.wait()?.success() {
                bail!("{}: there are no logs", service.name);
            }
        }
        Ok(())
    })
}

fn prefix(name: &str, stream: impl Read) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    while matches!(stream.read_until(b'\n', &mut line), Ok(1..)) {
        let text = String::from_utf8_lossy(&line);
        if writeln!(std::io::stdout(), "{name}_1 | {}", text.trim_end_matches('\n')).is_err() {
            return;
        }
        line.clear();
    }
}
