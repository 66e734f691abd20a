//! `ros service-files`, in a container of its own when something is to be fetched: service files of
//! `rancher.services_include` that are named by URL, or by their name in a repository. The configuration is resolved again
//! when it has ended, and what it fetched counts.

use super::load_config;
use crate::boot::say;
use crate::resolve::catalogue;
use anyhow::{Context, Result, bail};
use corral_config::names::shown_url;
use corral_machine::cloud::http::Http;
use corral_machine::files::write_atomic;
use corral_plan::compose;
use std::time::{Duration, Instant};

/// A server that does not answer is asked again for so long. Nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// Fetches what is missing.
pub(crate) fn run() -> Result<()> {
    let http = Http::new(Instant::now() + PATIENCE)?;
    let missing = catalogue::missing(&load_config()?);
    let failures = missing.iter().filter_map(|urls| fetch_first(&http, urls).err());
    let failures: Vec<String> = failures.map(|error| format!("{error:#}")).collect();
    for failure in &failures {
        say(&format!("services_include: {failure}"));
    }
    if failures.is_empty() { Ok(()) } else { bail!("{} service files could not be fetched", failures.len()) }
}

/// The first repository that has it counts.
fn fetch_first(http: &Http, urls: &[String]) -> Result<()> {
    for url in urls {
        let Some(bytes) = http.get(url)? else { continue };
        let shown = shown_url(url);
        let text = String::from_utf8(bytes).with_context(|| format!("{shown}: not text"))?;
        // A page that says that there is nothing is no service file, and is not kept.
        if let Err(error) = compose::parse_with(&shown, &text, &compose::Environment::new()) {
            bail!("{error}");
        }
        println!("{shown}: fetched");
        return write_atomic(&catalogue::kept(url), text.as_bytes(), 0o600);
    }
    let places: Vec<String> = urls.iter().map(|url| shown_url(url)).collect();
    bail!("{}: there is nothing", places.join(", "))
}
