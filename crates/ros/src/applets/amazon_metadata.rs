//! `ros amazon-metadata`, in the container of the catalogue's service of that name: what an EC2
//! machine is, as variables of `rancher.environment`. They are stored, or removed when the machine
//! has no such value any more. Services that use them are recreated if they have changed.

use anyhow::{Context, Result};
use corral_cloud::ec2;
use corral_config::Config;
use corral_config::names::{DataSource, Provider};
use corral_resolve::effective::load_config;
use corral_resolve::store;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Docker waits for this service.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn run() -> Result<()> {
    let config = load_config()?;
    let facts = ec2::facts(address(&config).as_deref(), Instant::now() + TIMEOUT)?;
    let facts = facts.context("there is no metadata service of EC2")?;
    let Changes { new, gone } = changes(&config.rancher.environment, facts);
    if new.is_empty() && gone.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = new.keys().chain(&gone).map(String::as_str).collect();
    println!("rancher.environment: {}", names.join(", "));
    let gone: Vec<String> = gone.iter().map(|name| format!("rancher.environment.{name}")).collect();
    store::replace(&json!({ "rancher": { "environment": new } }), &gone)
}

/// The address that the configuration has for the data source.
fn address(config: &Config) -> Option<String> {
    config.rancher.cloud_init.datasources.iter().find_map(|source| match source.parse() {
        Ok(DataSource::Service(Provider::Ec2, address)) => address,
        _ => None,
    })
}

/// What differs from the configuration.
#[derive(Debug, PartialEq, Eq)]
struct Changes {
    new: BTreeMap<String, String>,
    /// Names of variables.
    gone: Vec<String>,
}

/// A fact without a value is gone. One that is not among them could not be read, and stays.
fn changes(known: &BTreeMap<String, String>, facts: BTreeMap<String, String>) -> Changes {
    let (absent, there): (BTreeMap<String, String>, BTreeMap<String, String>) =
        facts.into_iter().partition(|(_, value)| value.is_empty());
    let is_new = |(name, value): &(String, String)| known.get(name) != Some(value);
    Changes {
        new: there.into_iter().filter(is_new).collect(),
        gone: absent.into_keys().filter(|name| known.contains_key(name)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_changed_is_stored() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let known = map(&[("A", "1"), ("B", "2"), ("D", "5"), ("E", "6")]);
        // D is not there any more, E could not be read, and F was never there.
        let facts = map(&[("A", "1"), ("B", "3"), ("C", "4"), ("D", ""), ("F", "")]);
        let changes = changes(&known, facts);
        assert_eq!(changes.new, map(&[("B", "3"), ("C", "4")]));
        assert_eq!(changes.gone, ["D"]);
    }
}
