//! `ros amazon-metadata`, in the container of the catalogue's service of that name: what an EC2
//! machine is, as variables of `rancher.environment`. They are stored, and services that use them
//! are recreated if they have changed.

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
    let new = changes(&config.rancher.environment, facts);
    if !new.is_empty() {
        println!("rancher.environment: {}", new.keys().cloned().collect::<Vec<_>>().join(", "));
        store::note(&json!({ "rancher": { "environment": new } }))?;
    }
    Ok(())
}

/// The address that the configuration has for the data source.
fn address(config: &Config) -> Option<String> {
    config.rancher.cloud_init.datasources.iter().find_map(|source| match source.parse() {
        Ok(DataSource::Service(Provider::Ec2, address)) => address,
        _ => None,
    })
}

fn changes(
    known: &BTreeMap<String, String>,
    facts: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    facts.into_iter().filter(|(name, value)| known.get(name) != Some(value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_changed_is_stored() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let known = map(&[("A", "1"), ("B", "2")]);
        assert_eq!(
            changes(&known, map(&[("A", "1"), ("B", "3"), ("C", "4")])),
            map(&[("B", "3"), ("C", "4"),])
        );
    }
}
