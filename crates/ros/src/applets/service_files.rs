//! `ros service-files`, in a container of its own when something is to be fetched: service files of
//! `rancher.services_include` that are named by URL, or by their name in a repository. The configuration is resolved again
//! when it has ended, and what it fetched counts. `ros service`, `ros console` and `ros engine` have it fetch for them.

use crate::resolve::catalogue;
use crate::resolve::effective::load_config;
use crate::resolve::index::Index;
use crate::resolve::root::Root;
use anyhow::{Context, Result, bail};
use corral_cloud::http::Http;
use corral_config::names::shown_url;
use corral_config::{Config, yaml};
use corral_machine::console::say;
use corral_machine::files::write_atomic;
use corral_plan::compose;
use corral_plan::resolved::Environment;
use std::time::{Duration, Instant};

/// A server that does not answer is asked again for so long. Nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// When somebody at a terminal does.
const SOMEBODY_WAITS: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Parser)]
pub(crate) struct Options {
    /// Print what the repositories have, as JSON
    #[arg(long)]
    index: bool,
    /// Fetch these; what is missing if none is given
    places: Vec<String>,
}

/// Fetches what is missing, or what is asked for.
pub(crate) fn run(options: &Options) -> Result<()> {
    let config = load_config()?;
    if options.index {
        println!("{}", serde_json::to_string(&load_index(&config)?)?);
        return Ok(());
    }
    if !options.places.is_empty() {
        let http = Http::new(Instant::now() + SOMEBODY_WAITS)?;
        return options
            .places
            .iter()
            .try_for_each(|place| fetch_first(&http, &catalogue::urls(place, &config)?));
    }
    let http = Http::new(Instant::now() + PATIENCE)?;
    let missing = catalogue::missing(&Root::machine(), &config);
    let failures = missing.iter().filter_map(|urls| fetch_first(&http, urls).err());
    let failures: Vec<String> = failures.map(|error| format!("{error:#}")).collect();
    for failure in &failures {
        say(&format!("services_include: {failure}"));
    }
    if failures.is_empty() { Ok(()) } else { bail!("{} service files could not be fetched", failures.len()) }
}

/// The lists of all repositories, put together. One that does not answer costs only itself.
fn load_index(config: &Config) -> Result<Index> {
    let http = Http::new(Instant::now() + SOMEBODY_WAITS)?.brief();
    let mut all = Index::default();
    for (name, repository) in &config.rancher.repositories {
        let url = format!("{}/index.yml", repository.url.trim_end_matches('/'));
        match fetch_index(&http, &url) {
            Ok(index) => {
                all.services.extend(index.services);
                all.consoles.extend(index.consoles);
                all.engines.extend(index.engines);
            }
            Err(error) => eprintln!("rancher.repositories.{name}: {error:#}"),
        }
    }
    Ok(all)
}

fn fetch_index(http: &Http, url: &str) -> Result<Index> {
    let shown = shown_url(url);
    let text = http.get_text(url, &[])?.with_context(|| format!("{shown}: there is nothing"))?;
    yaml::from_str(&text).map_err(|error| anyhow::anyhow!("{shown}:{error}"))
}

/// The first repository that has it counts.
fn fetch_first(http: &Http, urls: &[String]) -> Result<()> {
    for url in urls {
        let Some(bytes) = http.get(url)? else { continue };
        let shown = shown_url(url);
        let text = String::from_utf8(bytes).with_context(|| format!("{shown}: not text"))?;
        // A page that says that there is nothing is no service file, and is not kept.
        if let Err(error) = compose::parse_with(&shown, &text, &Environment::new()) {
            bail!("{error}");
        }
        eprintln!("{shown}: fetched");
        return write_atomic(&catalogue::kept(url), text.as_bytes(), 0o600);
    }
    let places: Vec<String> = urls.iter().map(|url| shown_url(url)).collect();
    bail!("{}: there is nothing", places.join(", "))
}
