//! `ros service-files`, in its own container if something is to be fetched: service files of
//! `rancher.services_include` that are named by URL, or by name in a repository. When it has ended,
//! the configuration is resolved again with the fetched files. `ros service`, `ros console` and
//! `ros engine` fetch through it.

use anyhow::{Context, Result, bail};
use corral_cloud::http::Http;
use corral_config::names::shown_url;
use corral_config::{Config, yaml};
use corral_machine::console::log;
use corral_machine::files::write_atomic;
use corral_plan::compose;
use corral_plan::resolved::Environment;
use corral_resolve::catalogue;
use corral_resolve::effective::load_config;
use corral_resolve::index::Index;
use corral_resolve::root::Root;
use std::time::{Duration, Instant};

/// How long a server that does not answer is tried again. No command waits for it.
const TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// The same when a user at a terminal waits.
const INTERACTIVE_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Parser)]
pub(crate) struct Options {
    /// Print what the repositories have, as JSON
    #[arg(long)]
    index: bool,
    /// Fetch these; without any, all that are missing
    places: Vec<String>,
}

/// Fetches what is missing, or what is requested.
pub(crate) fn run(options: &Options) -> Result<()> {
    let config = load_config()?;
    if options.index {
        println!("{}", serde_json::to_string(&load_index(&config)?)?);
        return Ok(());
    }
    if !options.places.is_empty() {
        let http = Http::new(Instant::now() + INTERACTIVE_TIMEOUT)?;
        return options
            .places
            .iter()
            .try_for_each(|place| fetch_first(&http, &catalogue::urls(place, &config)?));
    }
    let http = Http::new(Instant::now() + TIMEOUT)?;
    let missing = catalogue::missing(&Root::machine(), &config);
    let failures = missing.iter().filter_map(|urls| fetch_first(&http, urls).err());
    let failures: Vec<String> = failures.map(|error| format!("{error:#}")).collect();
    for failure in &failures {
        log(&format!("services_include: {failure}"));
    }
    if failures.is_empty() {
        Ok(())
    } else {
        bail!("{} service files could not be fetched", failures.len())
    }
}

/// The merged lists of all repositories. One that does not answer is reported.
fn load_index(config: &Config) -> Result<Index> {
    let http = Http::new(Instant::now() + INTERACTIVE_TIMEOUT)?.brief();
    let mut all = Index::default();
    for (name, repository) in &config.rancher.repositories {
        let url = format!("{}/index.yml", repository.url.trim_end_matches('/'));
        match fetch_index(&http, &url) {
            Ok(index) => {
                all.services.extend(index.services);
                all.consoles.extend(index.consoles);
                all.engines.extend(index.engines);
            }
            Err(error) => {
                eprintln!("rancher.repositories.{name}: {error:#}");
                all.missing.push(name.clone());
            }
        }
    }
    Ok(all)
}

fn fetch_index(http: &Http, url: &str) -> Result<Index> {
    let shown = shown_url(url);
    let text = http.get_text(url, &[])?.with_context(|| format!("{shown}: not found"))?;
    yaml::from_str(&text).map_err(|error| anyhow::anyhow!("{shown}:{error}"))
}

/// The first repository that has the file is used.
fn fetch_first(http: &Http, urls: &[String]) -> Result<()> {
    for url in urls {
        let Some(bytes) = http.get(url)? else { continue };
        let shown = shown_url(url);
        let text = String::from_utf8(bytes).with_context(|| format!("{shown}: not text"))?;
        // A page that reports "not found" is no service file, and is not saved.
        if let Err(error) = compose::parse_with(&shown, &text, &Environment::new()) {
            bail!("{error}");
        }
        eprintln!("{shown}: fetched");
        return write_atomic(&catalogue::kept(url), text.as_bytes(), 0o600);
    }
    let places: Vec<String> = urls.iter().map(|url| shown_url(url)).collect();
    bail!("{}: not found", places.join(", "))
}
