//! `ros service`: an action on a service is an action on its container, by the engine that runs it.

use super::of_release;
use super::state::Service;
use anyhow::{Context, Result, bail};
use clap::Args;
use corral_docker::{Client, Engine, LogRequest, cli};
use corral_engine::client::call;
use corral_engine::protocol::Request;
use corral_engine::time;
use corral_terminal::duration;
use corral_terminal::prompt::confirm;
use std::io::Write;
use std::thread;
use std::time::Duration;

/// It creates the services of the user's Docker.
const USER_SERVICES: &str = "user-services";

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Then follow their logs
    #[arg(long)]
    foreground: bool,
    /// Recreate their containers even if nothing changed
    #[arg(long)]
    force_recreate: bool,
    /// Has no effect: unchanged containers are never recreated, and nothing is built here
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
    /// Do not ask for confirmation
    #[arg(short, long, visible_alias = "yes", visible_short_alias = 'y')]
    force: bool,
    /// Also remove their anonymous volumes
    #[arg(short)]
    volumes: bool,
    #[command(flatten)]
    names: Names,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Number of lines from the end of the logs
    #[arg(short = 'n', long, visible_alias = "tail", default_value_t = 100)]
    lines: u32,
    /// Follow the logs
    #[arg(short, long)]
    follow: bool,
    /// Only lines that are younger than this: 90s, 10m, 1h30m
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    since: Option<Duration>,
    /// Names of services; all if none is given
    services: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Names {
    /// Names of services
    #[arg(required = true)]
    pub(super) services: Vec<String>,
}

/// An action on a container.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action<'a> {
    Start,
    /// After so many seconds the container is killed.
    Stop(u32),
    Restart(u32),
    Kill(&'a str),
    Remove {
        with_volumes: bool,
    },
}

impl Action<'_> {
    /// Runs the action and prints the container's name, as Docker's CLI does.
    fn run(self, service: &Service) -> Result<()> {
        let (client, container) = (service.client()?, service.container.as_str());
        let done = match self {
            Action::Start => client.start(container),
            Action::Stop(seconds) => client.stop(container, Some(seconds)),
            Action::Restart(seconds) => client.restart(container, Some(seconds)),
            Action::Kill(signal) => client.kill(container, signal),
            Action::Remove { with_volumes } => client.remove(container, with_volumes),
        };
        done.with_context(|| service.name.clone())?;
        println!("{container}");
        Ok(())
    }
}

/// Runs the action on the container of each service.
pub(super) fn each(names: &[String], action: Action<'_>) -> Result<()> {
    Service::load(names)?.iter().try_for_each(|service| action.run(service))
}

/// `ros service up`.
pub(super) fn up(options: &Up) -> Result<()> {
    let services =
        if options.services.is_empty() { Vec::new() } else { Service::load(&options.services)? };
    if options.force_recreate {
        services.iter().filter(|service| service.state_so_far().is_some()).try_for_each(forget)?;
    }
    let stopped = |service: &Service| service.state_so_far().filter(|state| !state.is_running());
    let stopped: Vec<Option<String>> =
        services.iter().map(|service| stopped(service).map(|state| state.id)).collect();
    call(Request::Reload).context("applying the configuration")?;
    for (service, stopped) in services.iter().zip(&stopped) {
        service.wait(stopped.as_deref())?;
        println!("{}: up", service.name);
    }
    if options.foreground {
        show(&services, &LogRequest { follow: true, ..LogRequest::default() })
    } else {
        Ok(())
    }
}

/// Removes the container. PID 1, or the service that creates those of the user's Docker, recreates
/// it.
fn forget(service: &Service) -> Result<()> {
    service.client()?.remove(&service.container, false)?;
    match service.engine {
        Engine::System => Ok(()),
        Engine::User => {
            Client::of(Engine::System)?.restart(USER_SERVICES, None).map_err(Into::into)
        }
    }
}

/// `ros service rm`.
pub(super) fn remove(options: &Remove) -> Result<()> {
    let services = Service::load(&options.names.services)?;
    let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
    if !options.force && !confirm(&format!("Going to remove {}. Are you sure?", names.join(", ")))?
    {
        return Ok(());
    }
    // What was disabled does not come back.
    call(Request::Reload).context("applying the configuration")?;
    for service in &services {
        if service.state()?.is_some() {
            Action::Remove { with_volumes: options.volumes }.run(service)?;
        }
    }
    Ok(())
}

/// `ros service pull`.
pub(super) fn pull(names: &[String], go_on: bool) -> Result<()> {
    for service in Service::load(names)? {
        if corral_engine::image::lookup::is_embedded(&service.image)
            && service.engine == Engine::System
        {
            println!("{}: {} is part of the system", service.name, service.image);
            continue;
        }
        if of_release::is_one(&service.image, service.engine) {
            // No public registry is queried for it: what it holds is run as root.
            println!(
                "{0}: {1} comes from a release: ros service enable {0}",
                service.name, service.image
            );
            continue;
        }
        match cli::pull(service.engine, &service.image) {
            Err(error) if go_on => eprintln!("{}: {error:#}", service.name),
            pulled => pulled?,
        }
    }
    Ok(())
}

/// `ros service logs`.
pub(super) fn logs(options: &Logs) -> Result<()> {
    let mut services = Service::load(&options.services)?;
    if options.services.is_empty() {
        services.retain(|service| service.state_so_far().is_some());
    }
    let (tail, follow) = (Some(options.lines), options.follow);
    let since = options.since.map(|age| time::now().saturating_sub(age));
    show(&services, &LogRequest { tail, follow, since, ..LogRequest::default() })
}

/// Prints what they write, each line with the name of its service.
fn show(services: &[Service], request: &LogRequest) -> Result<()> {
    let print_log = |service: &Service| {
        let print = |line: &str| writeln!(std::io::stdout(), "{}_1 | {line}", service.name).is_ok();
        let shown = service.client()?.logs(&service.container, request, print);
        shown.with_context(|| format!("{}: there are no logs", service.name))
    };
    thread::scope(|scope| {
        let threads: Vec<_> =
            services.iter().map(|service| scope.spawn(move || print_log(service))).collect();
        for thread in threads {
            let Ok(shown) = thread.join() else { bail!("a bug ended the thread that reads a log") };
            shown?;
        }
        Ok(())
    })
}
