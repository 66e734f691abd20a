//! The `ros` command (also `rancherctl`): one file for each command; each match arm is one call.

mod boot;
mod completion;
mod config;
mod engine;
mod environment;
mod file_here;
mod keys;
pub(crate) mod persist;
pub(crate) mod power;
#[cfg(any(feature = "manual", test))]
mod reference;
mod repository;
mod service;
mod switch;
mod tls;
mod toolbox;
mod top;

use crate::{applets, bundle, licenses, logs, net, status, why};
use clap::{CommandFactory, Parser, Subcommand};
use corral_engine::sys::signals;
use corral_install::{installer as install, upgrade};
use corral_machine::os_release::running_version;
use corral_resolve::switchable::CONSOLE;
use corral_terminal::output::Output;
use corral_terminal::report::{only_root, report, verdict};
use std::process::ExitCode;

/// Control and configure Corral.
#[derive(Debug, Parser)]
#[command(
    name = "ros",
    disable_version_flag = true,
    arg_required_else_help = true,
    after_help = "Examples:
  ros config get hostname            the active value
  ros config set hostname web-1      persists across reboots
  ros config apply --confirm 2m f    try a change; rolled back unless confirmed
  ros config validate -i my.yml      what is wrong with a file, and where
  ros status                         the machine on one screen
  ros why                            what is wrong, in plain words
  ros logs -f web                    what a service or a container writes
  ros boot                           what the boot waited for
  ros os version                     which version runs
  ros engine fsck                    whether the system's images are intact
  sudo reboot                        containers first, then the machine"
)]
struct Cli {
    /// Print the version
    #[arg(short = 'v', long)]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read and change the configuration
    #[command(
        visible_alias = "c",
        after_help = "Examples:
  ros config get rancher.network.dns
  ros config set rancher.docker.live_restore false
  ros config explain rancher.network            which source set what, and which one won
  ros config diff net.yml                       what merging a file would change
  ros config apply --confirm 2m net.yml         try it; rolled back unless confirmed
  ros config confirm                            it works: keep it
  ros config validate -i my.yml                 exit status 1 if there are errors
  ros config export -p > all.yml                with secrets, to be merged elsewhere"
    )]
    Config {
        #[command(subcommand)]
        command: config::Command,
    },
    /// Show the machine on one screen; exit status 1 if something is wrong
    #[command(after_help = "Examples:
  ros status
  ros status --format json | jq .findings")]
    Status(Output),
    /// Explain what is wrong with the machine, or with a service; exit status 1 if something is
    #[command(after_help = "Examples:
  ros why                            all that is wrong
  ros why web                        why this service or container is not up")]
    Why {
        /// Name of a service
        service: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Show what is logged: services, containers, the kernel, files below /var/log
    #[command(after_help = "Examples:
  ros logs                           the last 100 lines of all
  ros logs -f web kernel             a container and the kernel, as they write
  ros logs --since 10m               all of the last ten minutes
  ros logs --boot -1 -n 50           the end of the boot before this one
  ros logs /var/log/messages")]
    Logs(logs::Options),
    /// Show interfaces, addresses and who gave them, routes, DNS servers
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "Examples:
  ros net
  ros net --format json"
    )]
    Net {
        #[command(subcommand)]
        command: Option<Net>,
        #[command(flatten)]
        output: Output,
    },
    /// Show what the services of the system use: processor, memory, restarts
    #[command(after_help = "Examples:
  ros top                            until Ctrl-C
  ros top --once --format json")]
    Top(top::Options),
    /// Manage the ssh keys that may log in
    #[command(after_help = "Examples:
  ros keys list
  ros keys add gh:octocat            the keys of a user on GitHub
  ros keys add ~/.ssh/id_ed25519.pub
  ros keys remove me@laptop")]
    Keys {
        #[command(subcommand)]
        command: keys::Command,
    },
    /// Set the password of rancher
    #[command(after_help = "Examples:
  ros password                       asks, without showing what is typed
  ros password --stdin < file        its first line
  ros password --hash '$6$…'         as openssl passwd -6 prints it")]
    Password(keys::Password),
    /// Pack what is needed to find a problem into an archive, without secrets
    #[command(after_help = "Examples:
  ros support-bundle                 support-HOST-TIME.tar.gz in this folder
  ros support-bundle -o /tmp/web-1.tar.gz")]
    SupportBundle(bundle::Options),
    /// Show what the boot did and what it waited for
    #[command(after_help = "Examples:
  ros boot                           until the user's Docker ran
  ros boot --to console              until one could log in
  ros boot --trace boot.json         everything, for Perfetto")]
    Boot(boot::Options),
    /// Install the system onto a disk
    #[command(after_help = "Examples:
  ros install -d /dev/sda -c my.yml                  boots from BIOS and UEFI
  ros install -d /dev/vda -c https://host/my.yml -f  asks nothing, restarts at its end
  ros install -d /dev/sda --ssh-key gh:octocat --hostname web-1
  ros install -d /dev/sda --ssh-key my.pub --password        also on the console
  ros install -d /dev/sda --ssh-key my.pub --address 192.168.1.5/24 \\
    --gateway 192.168.1.1 --dns 192.168.1.1
  ros install -d /dev/sda -c my.yml --drivers always         for any other hardware too
  ros install -d /dev/vda -t generic -a rancher.debug=true
  ros install --adopt --plan -d /dev/sda             takes over RancherOS or BurmillaOS: what it
                                                     would keep and change, without doing it
  ros install --adopt -d /dev/sda")]
    Install(Box<install::options::Options>),
    /// The operating system: versions, upgrades
    #[command(after_help = "Examples:
  ros os list                             versions here, and those that rancher.upgrade.url lists
  ros os upgrade -i corral-1.2.0.oci.tar  from a file; no network is needed
  ros os upgrade -i host/corral:1.2.0     from a registry
  ros os upgrade -i corral-1.2.0.oci.tar --drivers always  with all drivers
  ros os upgrade --plan -i host/corral:1.2.0
  ros os rollback                         the version before is the default again")]
    Os {
        #[command(subcommand)]
        command: Os,
    },
    /// List consoles and switch between them
    #[command(after_help = "Examples:
  ros console list
  ros console switch debian
  ros console enable default                     from the next start on")]
    Console {
        #[command(subcommand)]
        command: switch::Command,
    },
    /// List and switch Docker engines; check the images of the system engine
    #[command(after_help = "Examples:
  ros engine list
  ros engine switch /mnt/docker-28.5.tar
  ros engine fsck                                whether the system's images are intact")]
    Engine {
        #[command(subcommand)]
        command: engine::Command,
    },
    /// Services, by their names in compose files
    #[command(
        visible_alias = "s",
        after_help = "Examples:
  ros service enable /var/lib/rancher/conf/site.yml
  ros service up web
  ros service logs --follow web
  ros service upgrade web                        a newer image, if it works"
    )]
    Service {
        #[command(subcommand)]
        command: service::Command,
    },
    /// Certificates for Docker over TLS
    #[command(after_help = "Examples:
  ros tls generate --server -H docker.example.com -H 192.0.2.7
  ros tls generate                               for the client: ~rancher/.docker")]
    Tls {
        #[command(subcommand)]
        command: tls::Command,
    },
    /// Open a shell in a container that sees all of the machine, with its files at /host
    #[command(after_help = "Examples:
  ros toolbox                                    from the console's image; no network is needed
  ros toolbox nicolaka/netshoot                  any image with the tools that you need
  ros toolbox nicolaka/netshoot tcpdump -i eth0
  ros toolbox corral/os-console ls /host")]
    Toolbox(toolbox::Options),
    /// Run a command with rancher.environment added to its environment
    #[command(after_help = "Examples:
  ros env ./backup.sh
  ros env sh -c 'echo $EXTRA'")]
    Env {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Print the device of LABEL=… or UUID=…; an empty line if there is none
    #[command(hide = true)]
    Dev { reference: String },
    /// Remove images of the system engine that are not in use
    Gc(engine::Clean),
    /// Show what survives a restart
    #[command(after_help = "Examples:
  ros persist
  ros persist --format json")]
    Persist(Output),
    /// Delete what is on the state disk, at the next start of the machine
    #[command(after_help = "Examples:
  ros reset --keep config,keys     as new, with the same configuration
  ros reset --keep config,keys,images")]
    Reset(persist::Options),
    /// Restart the machine
    #[command(after_help = "Examples:
  ros reboot                         containers first, then the machine
  ros reboot --kexec                 without the firmware
  ros reboot --force                 containers are not stopped")]
    Reboot(corral_install::power::Options),
    /// Switch the machine off
    #[command(after_help = "Examples:
  ros poweroff
  ros poweroff --force               containers are not stopped")]
    Poweroff(corral_install::power::Options),
    /// Halt the machine
    #[command(after_help = "Examples:
  ros halt
  ros halt --force                   containers are not stopped")]
    Halt(corral_install::power::Options),
    /// List the parts of the system with their licences, or print the texts of one
    #[command(after_help = "Examples:
  ros licenses
  ros licenses busybox               the texts of one part
  ros licenses --format json | jq -r '.[].license' | sort | uniq -c")]
    Licenses(licenses::Options),
    /// Print what completes these commands in a shell
    #[command(after_help = "Examples:
  eval \"$(ros completion bash)\"
  ros completion fish > ~/.config/fish/completions/ros.fish")]
    Completion { shell: completion::Kind },
    /// Write a manual page of each command, and `ros.md`, the page of all in the book
    #[cfg(feature = "manual")]
    #[command(hide = true)]
    Manual { folder: std::path::PathBuf },
}

#[derive(Debug, Subcommand)]
enum Net {
    /// The same as `ros net`
    #[command(after_help = "Examples:
  ros net status")]
    Status(Output),
}

#[derive(Debug, Subcommand)]
enum Os {
    /// Print the version that runs, and the result of an upgrade
    #[command(after_help = "Examples:
  ros os version")]
    Version,
    /// List versions
    #[command(after_help = "Examples:
  ros os list                        here, and those that rancher.upgrade.url lists
  ros os list --format json")]
    List(Output),
    /// Upgrade to another version; it becomes the default once it has passed its trial
    #[command(after_help = "Examples:
  ros os upgrade -i corral-1.2.0.oci.tar
  ros os upgrade -i host/corral:1.2.0
  ros os upgrade --plan -i host/corral:1.2.0      what would change
  ros os upgrade --drivers always -i FILE         of the version that runs: add all drivers
  ros os upgrade --downgrade -i FILE              of an older version
  ros os upgrade -y --kexec --trial-time 5m -i host/corral:1.2.0")]
    Upgrade(upgrade::Options),
    /// Make the previous version the default again
    #[command(after_help = "Examples:
  ros os rollback
  ros os rollback 1.1.0              a version of `ros os list`")]
    Rollback {
        /// Another version that is on this machine
        version: Option<String>,
    },
    /// Make PID 1 execute its binary again; containers, logs and clients continue
    #[command(after_help = "Examples:
  ros os reexec")]
    Reexec,
    /// Make PID 1 panic
    #[cfg(feature = "test-hooks")]
    #[command(hide = true)]
    Panic,
}

/// Parses the command line and runs the command. Programs of system containers are in `applets`.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    signals::unblock_all();
    if let [name, arguments @ ..] = arguments
        && let Some(program) = applets::find(name)
    {
        return run_program(name, || applets::run(program, arguments));
    }
    let cli = match Cli::try_parse_from(
        std::iter::once("ros".to_owned()).chain(arguments.iter().cloned()),
    ) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    signals::end_on_closed_pipe();
    if cli.version {
        println!("ros version v{}", running_version());
        return ExitCode::SUCCESS;
    }
    let Some(command) = cli.command else { return ExitCode::SUCCESS };
    if !is_root() && !works_for_everyone(&command) {
        return needs_root("ros");
    }
    if uses_network(&command)
        && let Err(error) = environment::add_proxies(arguments)
    {
        return report(Err(error));
    }
    dispatch(command)
}

/// These fetch lists, releases, manifests, documents and keys themselves. Images are pulled by the
/// engines.
fn uses_network(command: &Command) -> bool {
    matches!(
        command,
        Command::Install(_)
            | Command::Os { command: Os::List(_) | Os::Upgrade(_) }
            | Command::Keys { command: keys::Command::Add { .. } }
            | Command::Engine { .. }
            | Command::Service { .. }
    )
}

fn run_program(name: &str, program: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    if name != applets::ENGINE_DAEMON {
        signals::end_on_closed_pipe();
    }
    if is_root() { report(program()) } else { needs_root(name) }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Of a program that only root may run.
fn needs_root(program: &str) -> ExitCode {
    eprintln!("{}", only_root(program));
    ExitCode::FAILURE
}

/// What shows no secret, and what reads only files and sockets that are open to its user. PID 1's
/// control socket, the system engine's socket and files with secrets are root's.
fn works_for_everyone(command: &Command) -> bool {
    #[cfg(feature = "manual")]
    if matches!(command, Command::Manual { .. }) {
        return true;
    }
    if let Command::Config { command } = command {
        return command.works_for_everyone();
    }
    matches!(
        command,
        Command::Os { command: Os::Version | Os::List(_) }
            | Command::Status(_)
            | Command::Logs(_)
            | Command::Net { .. }
            | Command::Persist(_)
            | Command::Licenses(_)
            | Command::Completion { .. }
    )
}

fn os(command: &Os) -> anyhow::Result<()> {
    match command {
        Os::Version => {
            upgrade::list::version();
            Ok(())
        }
        Os::List(output) => upgrade::list::list(*output),
        Os::Upgrade(options) => upgrade::run(options),
        Os::Rollback { version } => upgrade::rollback(version.as_deref()),
        Os::Reexec => engine::reexec(),
        #[cfg(feature = "test-hooks")]
        Os::Panic => corral_engine::client::call(corral_engine::protocol::Request::Panic)
            .map(drop)
            .map_err(Into::into),
    }
}

fn dispatch(command: Command) -> ExitCode {
    match command {
        Command::Config { command } => config::run(command),
        Command::Status(output) => verdict(status::run(output)),
        Command::Why { service, output } => verdict(why::run(service.as_deref(), output)),
        Command::Logs(options) => report(logs::run(&options)),
        Command::Net { command: Some(Net::Status(output)), .. }
        | Command::Net { command: None, output } => report(net::show(output)),
        Command::Top(options) => report(top::run(&options)),
        Command::Keys { command } => report(keys::run(&command)),
        Command::Password(options) => report(keys::set_password(&options)),
        Command::SupportBundle(options) => report(bundle::run(&options)),
        Command::Boot(options) => report(boot::run(&options)),
        Command::Install(options) => report(install::run(&options)),
        Command::Os { command } => report(os(&command)),
        Command::Console { command } => report(switch::run(&CONSOLE, &command)),
        Command::Tls { command } => report(tls::run(&command)),
        Command::Toolbox(options) => report(toolbox::run(&options)),
        Command::Env { command } => report(environment::run(&command)),
        Command::Dev { reference } => report(environment::device(&reference)),
        Command::Engine { command } => report(engine::run(&command)),
        Command::Service { command } => report(service::run(&command)),
        Command::Gc(options) => report(engine::clean(&options)),
        Command::Persist(output) => report(persist::show(output)),
        Command::Reset(options) => report(persist::reset(&options)),
        Command::Reboot(options) => report(corral_install::power::request("reboot", &options)),
        Command::Poweroff(options) => report(corral_install::power::request("poweroff", &options)),
        Command::Halt(options) => report(corral_install::power::request("halt", &options)),
        Command::Licenses(options) => report(licenses::run(&options)),
        Command::Completion { shell } => {
            completion::print(shell, Cli::command());
            ExitCode::SUCCESS
        }
        #[cfg(feature = "manual")]
        Command::Manual { folder } => report(write_manual(&folder)),
    }
}

#[cfg(feature = "manual")]
fn write_manual(folder: &std::path::Path) -> anyhow::Result<()> {
    clap_mangen::generate_to(Cli::command(), folder)?;
    Ok(std::fs::write(folder.join("ros.md"), reference::page(Cli::command()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands whose examples are those of the group: `ros console --help`.
    const GROUPS: [&str; 3] = ["console", "engine", "service"];

    fn without_example(command: &clap::Command, path: &str, found: &mut Vec<String>) {
        let path = format!("{path} {}", command.get_name());
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        if !help.starts_with("Examples:\n") {
            found.push(path.clone());
        }
        let commands = command.get_subcommands().filter(|command| !command.is_hide_set());
        if !GROUPS.contains(&command.get_name()) {
            commands.for_each(|command| without_example(command, &path, found));
        }
    }

    #[test]
    fn the_help_of_each_command_has_an_example() {
        let mut found = Vec::new();
        without_example(&Cli::command(), "", &mut found);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn what_fetches_by_itself_has_the_proxies() {
        let parsed = |words: &str| Cli::try_parse_from(words.split(' ')).unwrap().command.unwrap();
        for words in ["ros keys add gh:octocat", "ros keys fetch gh:octocat", "ros os list"] {
            assert!(uses_network(&parsed(words)), "{words}");
        }
        for words in ["ros keys list", "ros keys remove me", "ros os version"] {
            assert!(!uses_network(&parsed(words)), "{words}");
        }
    }

    #[test]
    fn every_confirmation_is_given_by_the_same_flags() {
        for command in [
            "install -d /dev/x",
            "os upgrade",
            "reset",
            "console switch x",
            "engine switch x",
            "service rm x",
            "keys remove x",
        ] {
            for flag in ["-y", "--yes", "-f", "--force"] {
                let words = format!("ros {command} {flag}");
                let parsed = Cli::try_parse_from(words.split(' '));
                assert!(parsed.is_ok(), "{words}: {:?}", parsed.err());
            }
        }
    }
}
