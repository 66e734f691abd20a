//! `docker run --link`: another container under a name of one's own. In a network that clients
//! create the name server answers for it. On the default bridge it is in the hosts file, with
//! variables that describe the other container.
//! <https://docs.docker.com/engine/network/links/>

use crate::shared::Shared;
use corral_engine::error::EngineError;
use corral_engine::image::lookup;
use corral_engine::spec::{ContainerSpec, Link, Snapshot};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// `name[:alias]`.
pub fn parse(text: &str) -> Result<(String, String), EngineError> {
    let (name, alias) = text.split_once(':').unwrap_or((text, text));
    let (name, alias) = (name.trim_start_matches('/'), alias.trim_start_matches('/'));
    // As `inspect` shows it: /container:/own_name/alias.
    let alias = alias.rsplit('/').next().unwrap_or(alias);
    if name.is_empty() || alias.is_empty() {
        return Err(EngineError::BadRequest(format!("bad format for links: {text}")));
    }
    Ok((name.to_owned(), alias.to_owned()))
}

/// Gives a new container its links, in its first network.
pub(super) fn connect(
    shared: &Shared,
    spec: &mut ContainerSpec,
    links: &[String],
) -> Result<(), EngineError> {
    let links = links.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?;
    if links.is_empty() {
        return Ok(());
    }
    let Some(first) = spec.endpoints.first_mut() else {
        return Err(EngineError::BadRequest(
            "conflicting options: links need a network of their own, not host, none or container"
                .to_owned(),
        ));
    };
    if first.has_dns {
        first.links.extend(links);
        return Ok(());
    }
    let network = first.network_id.clone();
    for (name, alias) in links {
        // "Not found" would be the image for docker run, which would pull it.
        let other = shared.find(&name).map_err(|error| {
            EngineError::BadRequest(format!("could not get container for {name}: {error}"))
        })?;
        let endpoint = other.spec.endpoints.iter().find(|each| each.network_id == network);
        let endpoint = endpoint.ok_or_else(|| {
            EngineError::BadRequest(format!("cannot link to {name}: it is not on the same network"))
        })?;
        let env = variables(shared, &other, &spec.name, &alias, endpoint.address);
        let container = other.spec.name.clone();
        spec.links.push(Link { container, alias, address: endpoint.address, env });
    }
    Ok(())
}

fn variables(
    shared: &Shared,
    other: &Snapshot,
    own_name: &str,
    alias: &str,
    address: Ipv4Addr,
) -> Vec<String> {
    let image = lookup::find(&other.spec.image_id);
    let of_image = image.as_ref().map(|image| image.config.env.as_slice()).unwrap_or_default();
    let env: Vec<String> = of_image.iter().chain(&other.spec.env).cloned().collect();
    let record = shared.records.get(&other.id).unwrap_or_default();
    let exposed = record.config["ExposedPorts"].as_object();
    let exposed = exposed.into_iter().flat_map(serde_json::Map::keys).cloned();
    let of_image = image.iter().flat_map(|image| image.config.exposed_ports.keys()).cloned();
    let published = other.spec.ports.iter();
    let published = published.map(|port| format!("{}/{}", port.container_port, port.protocol));
    let ports: BTreeSet<(u16, String)> =
        exposed.chain(of_image).chain(published).filter_map(|text| port(&text)).collect();
    render(own_name, alias, address, &ports, &env)
}

fn port(text: &str) -> Option<(u16, String)> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    Some((number.parse().ok()?, protocol.to_owned()))
}

/// `DB_NAME=/web/db`, `DB_PORT_80_TCP_ADDR=…`, `DB_ENV_KEY=…`: as Docker writes them.
fn render(
    own_name: &str,
    alias: &str,
    address: Ipv4Addr,
    ports: &BTreeSet<(u16, String)>,
    env: &[String],
) -> Vec<String> {
    let prefix = alias.to_uppercase().replace('-', "_");
    let mut lines = Vec::new();
    if let Some((number, protocol)) = ports.first() {
        lines.push(format!("{prefix}_PORT={protocol}://{address}:{number}"));
    }
    for (number, protocol) in ports {
        let key = format!("{prefix}_PORT_{number}_{}", protocol.to_uppercase());
        lines.push(format!("{key}={protocol}://{address}:{number}"));
        lines.push(format!("{key}_ADDR={address}"));
        lines.push(format!("{key}_PORT={number}"));
        lines.push(format!("{key}_PROTO={protocol}"));
    }
    lines.push(format!("{prefix}_NAME=/{own_name}/{alias}"));
    let own = env.iter().filter(|line| !line.starts_with("HOME=") && !line.starts_with("PATH="));
    lines.extend(own.filter(|line| line.contains('=')).map(|line| format!("{prefix}_ENV_{line}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_a_container_and_an_alias() {
        for (text, expected) in [
            ("db", Some(("db", "db"))),
            ("db:store", Some(("db", "store"))),
            ("/db:/web/store", Some(("db", "store"))),
            (":x", None),
            ("", None),
        ] {
            let found = parse(text).ok();
            let found = found.as_ref().map(|(name, alias)| (name.as_str(), alias.as_str()));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn variables_describe_the_other_container() {
        let ports = BTreeSet::from([(80, "tcp".to_owned())]);
        let env = ["A=1", "PATH=/bin", "HOME=/"].map(str::to_owned);
        let lines = render("web", "my-db", Ipv4Addr::new(172, 18, 0, 2), &ports, &env);
        let expected = [
            "MY_DB_PORT=tcp://172.18.0.2:80",
            "MY_DB_PORT_80_TCP=tcp://172.18.0.2:80",
            "MY_DB_PORT_80_TCP_ADDR=172.18.0.2",
            "MY_DB_PORT_80_TCP_PORT=80",
            "MY_DB_PORT_80_TCP_PROTO=tcp",
            "MY_DB_NAME=/web/my-db",
            "MY_DB_ENV_A=1",
        ];
        assert_eq!(lines, expected);
    }
}
