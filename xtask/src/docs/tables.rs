//! The tables of the manual that are generated from the code.

use crate::paths;
use anyhow::{Context, Result};
use corral_config::schema::manual;
use corral_config::yaml;
use corral_plan::service::{Network, Service, Sharing, Source};
use std::fmt::Write;
use std::fs;
use std::path::Path;

const END: &str = "<!-- end of the table -->";

/// A table in a page of the manual.
struct Table {
    page: &'static str,
    /// The line that stands before it.
    begin: &'static str,
    text: String,
}

/// Writes the tables into the manual.
pub(super) fn write() -> Result<()> {
    for table in tables()? {
        let text = table.put_into(&read(&paths::root().join(table.page))?)?;
        fs::write(paths::root().join(table.page), text)
            .with_context(|| format!("writing {}", table.page))?;
    }
    Ok(())
}

/// Pages whose tables are not what the code generates.
pub(super) fn outdated() -> Result<Vec<&'static str>> {
    let mut pages = Vec::new();
    for table in tables()? {
        let text = read(&paths::root().join(table.page))?;
        if table.put_into(&text)? != text {
            pages.push(table.page);
        }
    }
    Ok(pages)
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}

fn tables() -> Result<[Table; 3]> {
    Ok([
        Table {
            page: "docs/configuration-reference.md",
            begin: "<!-- table of keys: written by `cargo xtask docs`, checked by tidy -->\n",
            text: manual::table(),
        },
        Table {
            page: "docs/system-services.md",
            begin: "<!-- table of services: written by `cargo xtask docs`, checked by tidy -->\n",
            text: services()?,
        },
        Table {
            page: "docs/service-catalogue.md",
            begin: "<!-- catalogue: written by `cargo xtask docs`, checked by tidy -->\n",
            text: catalogue()?,
        },
    ])
}

impl Table {
    fn put_into(&self, text: &str) -> Result<String> {
        let (before, rest) = text
            .split_once(self.begin)
            .with_context(|| format!("{} has no place for its table", self.page))?;
        let (_, after) =
            rest.split_once(END).with_context(|| format!("{}: the table has no end", self.page))?;
        Ok(format!("{before}{}{}{END}{after}", self.begin, self.text))
    }
}

/// The table of services: what each may do, sees and shares, and why.
fn services() -> Result<String> {
    let mut table = String::from(
        "| service | capabilities | network, namespaces | mounts and devices | why |\n\
         |---|---|---|---|---|\n",
    );
    let folder = paths::root().join("images");
    let os: serde_json::Value =
        yaml::from_str(&read(&folder.join("os.yml"))?).context("reading images/os.yml")?;
    for name in os["services"].as_array().into_iter().flatten().filter_map(|name| name.as_str()) {
        let file = folder.join(name).join("compose.yml");
        let text = read(&file)?;
        let parsing = || format!("reading {}", file.display());
        let tree = yaml::parse(&text).with_context(parsing)?;
        for service in corral_plan::compose::parse(name, &text).with_context(parsing)?.services {
            let definition = tree.get("services").and_then(|all| all.get(service.name.as_str()));
            let why = definition.and_then(|keys| keys.get("x-why")).map(yaml::Node::to_value);
            let why = why.as_ref().and_then(|why| why.as_str());
            let why =
                why.with_context(|| format!("{}: {} has no x-why", file.display(), service.name))?;
            writeln!(
                table,
                "| `{}` | {} | {} | {} | {why} |",
                service.name,
                capabilities(&service),
                namespaces(&service),
                mounts(&service)
            )?;
        }
    }
    Ok(table)
}

/// The catalogue: each name with what it is for and where it runs, or what to use instead.
fn catalogue() -> Result<String> {
    let mut table =
        String::from("| name | what it is for | runs in, or use instead |\n|---|---|---|\n");
    let mut files = fs::read_dir(paths::root().join("images/catalog"))
        .and_then(|items| items.map(|item| Ok(item?.path())).collect::<Result<Vec<_>, _>>())
        .context("reading images/catalog")?;
    files.sort();
    for file in files {
        let shown = file.display().to_string();
        let text = read(&file)?;
        let tree = yaml::parse(&text).with_context(|| format!("reading {shown}"))?;
        let value = |key: &str| tree.get(key)?.to_value().as_str().map(str::to_owned);
        let about = value("x-about").with_context(|| format!("{shown} has no x-about"))?;
        let rest = match value("x-not-available") {
            Some(why) => why,
            None => runs_in(&corral_plan::compose::parse(&shown, &text)?.services),
        };
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        writeln!(table, "| `{name}` | {about} | {rest} |")?;
    }
    Ok(table)
}

/// The engine, and the images.
fn runs_in(services: &[Service]) -> String {
    let is_of_system = services.iter().any(|service| service.labels.system);
    let mut images: Vec<String> =
        services.iter().map(|service| format!("`{}`", service.image)).collect();
    images.dedup();
    let engine = if is_of_system { "the system engine" } else { "your Docker" };
    format!("{engine}: {}", images.join(", "))
}

fn capabilities(service: &Service) -> String {
    match (service.privileged, service.cap_add.as_slice()) {
        (true, _) => "**all** (privileged)".to_owned(),
        (false, []) => "none".to_owned(),
        (false, some) => some.join(", "),
    }
}

fn namespaces(service: &Service) -> String {
    let network = match &service.network {
        Network::Host => "host's network",
        Network::None => "no network",
        Network::Service(_) | Network::Bridges(_) => "bridge",
    };
    let shared = [("pid", &service.pid), ("ipc", &service.ipc), ("uts", &service.uts)];
    let shared =
        shared.iter().filter(|(_, sharing)| **sharing == Sharing::Host).map(|(name, _)| *name);
    let words: Vec<&str> = [network].into_iter().chain(shared).collect();
    words.join(", ")
}

/// Mounts that every service has (its own program, the release's facts) are left out.
fn mounts(service: &Service) -> String {
    let path = |volume: &corral_plan::service::Volume| match &volume.source {
        Source::Path(path) if path.starts_with("/usr/bin/ros") || path == "/usr/share/ros" => None,
        Source::Path(path) => {
            Some(format!("{path}{}", if volume.read_only { " (ro)" } else { "" }))
        }
        Source::Volume(name) => Some(name.clone()),
    };
    let devices = service.devices.iter().cloned();
    let rules = service.device_rules.iter().map(|rule| format!("devices `{rule}`"));
    service
        .volumes
        .iter()
        .filter_map(path)
        .chain(devices)
        .chain(rules)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use corral_config::{Layer, Source, defaults, schema, yaml};

    #[test]
    fn the_json_schema_takes_what_the_checker_takes_and_refuses_unknown_keys() {
        let validator = jsonschema::validator_for(&schema::json::schema()).unwrap();
        let cases = [
            ("hostname: a\nruncmd: [a, [b, c]]\nmounts:\n- [/dev/vdb, /mnt, ext4, '']\n", true),
            ("rancher:\n  network: {interfaces: {eth0: {dhcp: true, mtu: '1500'}}}\n", true),
            ("users:\n- {name: joe, groups: docker, sudo: false}\n", true),
            ("rancher: {ssh: {port: 0}, shutdown_timeout: 86400}\n", true),
            ("rancher: {ssh: {port: 70000}}\n", false),
            ("rancher: {network: {interfaces: {eth0: {mtu: 67}}}}\n", false),
            ("hostnam: a\n", false),
            ("mounts: [[only]]\n", false),
            ("rancher: [a]\n", false),
        ];
        for (text, good) in cases {
            let value = yaml::parse(text).unwrap().to_value();
            assert_eq!(validator.is_valid(&value), good, "{text}");
            let layer = Layer::parse(Source::File("f".to_owned()), text);
            assert_eq!(layer.problems.is_empty(), good, "{text}: {:?}", layer.problems);
        }
        assert!(validator.is_valid(&defaults().value));
    }
}
