//! `ros persist`: what survives a restart. `ros reset`: deletes the state, but for what is to be
//! kept.

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use corral_config::yaml;
use corral_init::boot::reset::{KEPT_KEYS, RESET};
use corral_init::boot::state::{self, PERSISTENT_PATHS, PROBLEM_FILE};
use corral_install::power;
use corral_machine::files::write_atomic;
use corral_resolve::effective::load_config;
use corral_terminal::output::Output;
use corral_terminal::prompt::confirm;
use serde::Serialize;
use serde_json::json;
use std::fs;
use std::path::Path;

/// What may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Keep {
    /// The configuration: what `ros config` and cloud-init stored, and /etc/docker
    Config,
    /// The ssh keys of the owner, and the machine's own
    Keys,
    /// Images of both engines
    Images,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What to keep, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHAT")]
    keep: Vec<Keep>,
    /// Do not ask for confirmation
    #[arg(short, long, visible_alias = "yes", visible_short_alias = 'y')]
    force: bool,
    /// Do not restart: the reset is done at the next start
    #[arg(long)]
    no_reboot: bool,
}

/// What becomes of a path at a restart.
#[derive(Debug, Serialize)]
struct Row {
    /// `kept`, `in memory`, `rebuilt`, or `–` for what this machine does not decide.
    fate: &'static str,
    path: &'static str,
    about: &'static str,
}

/// `ros persist`.
pub(crate) fn show(output: Output) -> Result<()> {
    let on_disk = state::is_on_disk();
    let problem = fs::read_to_string(PROBLEM_FILE).ok();
    output.print(&rows(on_disk), |rows| {
        if let Some(problem) = problem {
            println!("the state disk does not work: {}", problem.trim());
        }
        for Row { fate, path, about } in rows {
            println!("{}", format!("{fate:<10} {path:<24} {about}").trim_end());
        }
        if !on_disk {
            println!("\nThis machine runs from memory: nothing survives a restart.");
        }
    })
}

fn rows(on_disk: bool) -> Vec<Row> {
    let kept = if on_disk { "kept" } else { "in memory" };
    let state = PERSISTENT_PATHS.into_iter().map(|path| (kept, path, about(path)));
    let rest = [
        (
            "rebuilt",
            "the console",
            "/usr, /root and the rest of /etc: recreated from its image at each start",
        ),
        ("rebuilt", "/etc of the system", "rendered at each start from the configuration"),
        ("rebuilt", "/, /usr of the system", "read-only: the version that runs"),
        ("in memory", "/run", ""),
        ("in memory", "/tmp", ""),
        ("–", "/mnt, /media", "mount points of other disks"),
    ];
    state.chain(rest).map(|(fate, path, about)| Row { fate, path, about }).collect()
}

fn about(path: &str) -> &'static str {
    match path {
        "/home" => "homes of the users",
        "/opt" => "yours",
        "/etc/docker" => "daemon.json, certificates of registries (certs.d) and of Docker",
        "/var/lib/docker" => "images, containers and volumes of your Docker",
        "/var/lib/system-docker" => "those of the system's engine",
        "/var/lib/rancher" => "configuration, keys",
        _ => "logs",
    }
}

/// `ros reset`.
pub(crate) fn reset(options: &Options) -> Result<()> {
    if !state::is_on_disk() {
        bail!("this machine runs from memory: a restart is a reset; `sudo reboot` does it");
    }
    println!(
        "At the next start everything on the state disk is deleted but: {}",
        kept(&options.keep)
    );
    if !options.keep.contains(&Keep::Config) && !options.keep.contains(&Keep::Keys) {
        println!(
            "WARNING: without config and keys no user can log in, unless the kernel's command line \
             or a data source provides a login"
        );
    }
    if !options.force && !confirm("Continue")? {
        bail!("nothing was changed");
    }
    if options.keep.contains(&Keep::Keys) && !options.keep.contains(&Keep::Config) {
        keep_keys()?;
    }
    let names = options.keep.iter().filter_map(|keep| keep.to_possible_value());
    let text: String = names.map(|value| format!("{}\n", value.get_name())).collect();
    write_atomic(Path::new(RESET), text.as_bytes(), 0o600).context("storing the request")?;
    if options.no_reboot {
        return Ok(());
    }
    power::request("reboot", &power::Options::default())
}

/// The keys are part of the configuration, which is not kept.
fn keep_keys() -> Result<()> {
    let keys = load_config()?.ssh_authorized_keys;
    let text =
        yaml::to_string(&json!({ "ssh_authorized_keys": keys })).map_err(anyhow::Error::msg)?;
    let text = format!("#cloud-config\n{text}");
    write_atomic(Path::new(KEPT_KEYS), text.as_bytes(), 0o600).context("keeping the ssh keys")
}

fn kept(keep: &[Keep]) -> String {
    let names: Vec<String> = keep
        .iter()
        .filter_map(|keep| Some(keep.to_possible_value()?.get_name().to_owned()))
        .collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}
