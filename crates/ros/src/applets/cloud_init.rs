//! `ros cloud-init-save`: saves what the first data source of the list with content gives. The
//! container cloud-init reads the sources on this machine. cloud-init-network reads all others, at
//! the same time, with one deadline. At worst, malicious input makes this container exit with an
//! error. The boot then continues with the configuration that is there.

mod azure;
mod drives;
mod save;

use anyhow::{Context, Result};
use corral_cloud::{InstanceData, fetch_all, http::Http, seed, vmware};
use corral_config::names::{DataSource, Provider, shown_url};
use corral_machine::block;
use corral_machine::console::log;
use corral_machine::files::write_atomic;
use corral_machine::mounts;
use corral_resolve::cloud_init::{
    CONFIG_DRIVE, CloudInitMark, MARK, NOCLOUD_DRIVE, local_sources, network_sources, reads_sources,
};
use corral_resolve::effective::load_config;
use corral_resolve::imported_keys;
use corral_resolve::layers;
use corral_resolve::root::Root;
use drives::{MOUNT_POINT, mount, mount_shared};
use save::Stage;
use std::path::Path;
use std::time::{Duration, Instant};

/// Reads the sources of this machine.
pub(crate) fn run_local() -> Result<()> {
    let config = load_config()?;
    let mut mark = CloudInitMark::load(&Root::machine());
    for source in local_sources(&config) {
        match read_local(&source) {
            Ok(Some((found, url))) if is_something(&found, url.as_ref()) => {
                mark.problems
                    .extend(found.problems.iter().map(|problem| format!("{source}: {problem}")));
                mark.includes.extend(url);
                if keep(Stage::Local, &source, &found, &mut mark) && !needs_network(&mark) {
                    forget_fetched(&mut mark);
                }
                break;
            }
            Ok(_) => println!("{source}: nothing found"),
            Err(error) => mark.problems.push(format!("{source}: {error:#}")),
        }
    }
    finish(&mark)
}

/// Does what has just been saved name URLs or sources on the network?
fn needs_network(mark: &CloudInitMark) -> bool {
    let layers = layers::load(&Root::machine()).layers;
    !mark.includes.is_empty() || reads_sources(mark, &corral_config::resolve(&layers), &layers)
}

/// What an earlier boot fetched has no effect once user data names nothing to fetch. Until then it
/// stays until it has been fetched again.
fn forget_fetched(mark: &mut CloudInitMark) {
    if let Err(error) = save::remove_fetched() {
        mark.problems.push(format!("{error:#}"));
    }
}

/// Reads the sources on the network, and fetches what local user data includes.
pub(crate) fn run_network() -> Result<()> {
    let config = load_config()?;
    let mut mark = CloudInitMark::load(&Root::machine());
    let stage = if mark.local.is_some() { Stage::NetworkAfterLocal } else { Stage::Network };
    let includes = std::mem::take(&mut mark.includes);
    let timeout = Duration::from_secs(config.rancher.cloud_init.timeout.max(1));
    let deadline = Instant::now() + timeout;
    if includes.is_empty() && !reads_sources(&mark, &config, &layers::load(&Root::machine()).layers)
    {
        import_keys(&mut mark);
        return finish(&mark);
    }
    let sources = network_sources(&config);
    let names: Vec<String> = sources
        .iter()
        .map(ToString::to_string)
        .chain(includes.iter().map(|url| shown_url(url)))
        .collect();
    log(&format!("cloud-init: querying {} (at most {} s)", names.join(", "), timeout.as_secs()));
    let found = match fetch_includes(&includes, deadline) {
        Ok(Some(found)) => Some(("include".to_owned(), found)),
        Ok(None) => query_network(&sources, timeout, &mut mark),
        Err(error) => {
            mark.problems.push(format!("#include: {error:#}"));
            None
        }
    };
    match &found {
        Some((source, found)) => {
            mark.problems
                .extend(found.problems.iter().map(|problem| format!("{source}: {problem}")));
            save_with_includes(stage, source, found, &mut mark, deadline);
            azure::report(&sources, source, &mut mark.problems);
        }
        None => log("cloud-init: no data source has data; continuing with what is known"),
    }
    import_keys(&mut mark);
    finish(&mark)
}

/// Fetches the keys of `ssh_import_id`, also of the user data that has just been saved.
fn import_keys(mark: &mut CloudInitMark) {
    let config = corral_config::resolve(&layers::load(&Root::machine()).layers);
    if !imported_keys::wanted(&config).is_empty() {
        log("cloud-init: fetching the keys of ssh_import_id");
        let outcome = imported_keys::fetch(&config);
        mark.problems.extend(outcome.problems);
        // `ros import-keys` fetches them then.
        mark.keys_are_late = outcome.clock_is_wrong;
        mark.problems.extend(mark.keys_are_late.then(|| imported_keys::LATE.to_owned()));
    }
}

fn query_network(
    sources: &[DataSource],
    timeout: Duration,
    mark: &mut CloudInitMark,
) -> Option<(String, InstanceData)> {
    let line = corral_machine::cmdline::load().unwrap_or_default();
    let answer = fetch_all(sources, &line, timeout, |open, left| {
        log(&format!("cloud-init: waiting for {} ({left} s left)", open.join(", ")));
    });
    answer.failures.iter().for_each(|failure| println!("{failure}"));
    let winner = azure::complete(sources, answer.winner, &mut mark.problems);
    if winner.is_none() {
        mark.problems.extend(answer.failures);
    }
    winner.map(|(source, found)| (source.to_string(), found))
}

fn fetch_includes(urls: &[String], deadline: Instant) -> Result<Option<InstanceData>> {
    if urls.is_empty() {
        return Ok(None);
    }
    let http = Http::new(deadline)?;
    let mut all = Vec::new();
    for url in urls {
        let text = http.get(url)?.with_context(|| format!("{}: not found", shown_url(url)))?;
        all.push(text);
    }
    // Several documents become one multipart message; a single one is kept as it is.
    let user_data = match all.as_slice() {
        [one] => one.clone(),
        _ => save::join(&all),
    };
    Ok(Some(InstanceData { user_data: Some(user_data), ..InstanceData::default() }))
}

/// User data from the network may include more URLs; they are fetched now, once.
fn save_with_includes(
    stage: Stage,
    source: &str,
    found: &InstanceData,
    mark: &mut CloudInitMark,
    deadline: Instant,
) {
    if keep(stage, &source, found, mark) && stage == Stage::Network {
        forget_fetched(mark);
    }
    let more = std::mem::take(&mut mark.includes);
    match fetch_includes(&more, deadline) {
        Ok(Some(included)) => {
            keep(Stage::NetworkAfterLocal, &"include", &included, mark);
        }
        Ok(None) => {}
        Err(error) => mark.problems.push(format!("#include: {error:#}")),
    }
    // Includes of included documents are not followed.
    mark.includes.clear();
}

/// True if its user data replaces what was there, with nothing of it still to be fetched.
fn keep(
    stage: Stage,
    source: &dyn ToString,
    found: &InstanceData,
    mark: &mut CloudInitMark,
) -> bool {
    let name = source.to_string();
    println!("{name}: taken");
    let mut is_complete = false;
    match save::save(stage, found) {
        Ok(saved) => {
            is_complete = saved.is_complete;
            mark.problems.extend(saved.problems);
            mark.includes.extend(saved.includes);
        }
        Err(error) => mark.problems.push(format!("{name}: {error:#}")),
    }
    match stage {
        Stage::Local => mark.local = Some(name),
        Stage::Network | Stage::NetworkAfterLocal => mark.network = Some(name),
    }
    is_complete
}

pub(super) fn finish(mark: &CloudInitMark) -> Result<()> {
    mark.problems.iter().for_each(|problem| println!("{problem}"));
    write_atomic(Path::new(MARK), &serde_json::to_vec(mark)?, 0o600)
}

/// What a local source has, and a URL to fetch instead; None if the source is not there.
type Held = Option<(InstanceData, Option<String>)>;

fn is_something(found: &InstanceData, url: Option<&String>) -> bool {
    !found.is_empty() || url.is_some()
}

fn read_local(source: &DataSource) -> Result<Held> {
    match source {
        DataSource::ConfigDrive(None) => read_drive(&[CONFIG_DRIVE], read_seed),
        DataSource::ConfigDrive(Some(path)) if path == MOUNT_POINT => {
            read_drive(&[CONFIG_DRIVE], read_seed)
        }
        DataSource::NoCloud(None) => read_drive(&[NOCLOUD_DRIVE], read_seed),
        DataSource::ConfigDrive(Some(path)) | DataSource::NoCloud(Some(path)) => {
            Ok(Some((seed::read(Path::new(path)), None)))
        }
        DataSource::File(path) => {
            let user_data = Some(seed::read_file(Path::new(path))?);
            Ok(Some((InstanceData { user_data, ..InstanceData::default() }, None)))
        }
        DataSource::Vmware(Some(file)) => vmware::read(Some(Path::new(file))),
        DataSource::Vmware(None) => {
            let on_cd =
                read_drive(&vmware::CDS, |folder| vmware::read(Some(&folder.join(vmware::ON_CD))))?;
            let on_cd = on_cd.filter(|(found, url)| is_something(found, url.as_ref()));
            on_cd.map_or_else(|| vmware::read(None), |held| Ok(Some(held)))
        }
        DataSource::Service(Provider::Azure, _) => azure::copy_from_cd().map(|()| None),
        DataSource::Url(_) | DataSource::CommandLine | DataSource::Service(..) => Ok(None),
    }
}

fn read_seed(folder: &Path) -> Result<Held> {
    Ok(Some((seed::read(folder), None)))
}

/// Reads the drive, or the shared folder, that has one of these labels.
fn read_drive(labels: &[&str], read: impl Fn(&Path) -> Result<Held>) -> Result<Held> {
    let volumes = block::load_volumes();
    let is_wanted = |label: &str| labels.iter().any(|wanted| wanted.eq_ignore_ascii_case(label));
    let shared = labels.iter().find(|label| block::has_shared_folder(label));
    match (volumes.iter().find(|volume| is_wanted(&volume.system.label)), shared) {
        (Some(volume), _) => mount(volume)?,
        (None, Some(tag)) => mount_shared(tag)?,
        (None, None) => return Ok(None),
    }
    let held = read(Path::new(MOUNT_POINT));
    mounts::unmount(Path::new(MOUNT_POINT), true)?;
    held
}
