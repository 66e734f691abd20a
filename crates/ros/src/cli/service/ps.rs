//! `ros service ps`: a table of the containers of services, as `docker ps` shows them.

use super::state::Service;
use anyhow::Result;
use corral_docker::{Client, Engine, Port, Summary};
use corral_terminal::output::{Output, table};
use serde::Serialize;

/// How many characters of a command are shown, and of an id.
const COMMAND: usize = 20;
const ID: usize = 12;

/// A container of a service.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    engine: Engine,
    id: String,
    command: String,
    /// `running`, `exited`, …
    state: String,
    /// In words.
    status: String,
    ports: Vec<Port>,
}

/// `ros service ps`.
pub(super) fn run(names: &[String], quiet: bool, output: Output) -> Result<()> {
    let rows = load(names)?;
    if quiet && output.is_text() {
        rows.iter().for_each(|row| println!("{}", row.id.get(..ID).unwrap_or(&row.id)));
        return Ok(());
    }
    output.print(&rows, |rows| print!("{}", table(&as_table(rows))))
}

fn load(names: &[String]) -> Result<Vec<Row>> {
    let services = Service::load(names)?;
    let mut rows = Vec::new();
    for engine in [Engine::System, Engine::User] {
        let wanted = |container: &str| {
            services
                .iter()
                .any(|service| service.engine == engine && service.container == container)
        };
        if !services.iter().any(|service| service.engine == engine) {
            continue;
        }
        let containers = Client::of(engine)?.containers().unwrap_or_else(|error| {
            eprintln!("{:#}", anyhow::Error::from(error));
            Vec::new()
        });
        for container in containers {
            let Some(name) = container.name().filter(|name| wanted(name)) else { continue };
            let name = name.to_owned();
            let Summary { id, command, state, status, ports, .. } = container;
            rows.push(Row { name, engine, id, command, state, status, ports });
        }
    }
    Ok(rows)
}

fn as_table(rows: &[Row]) -> Vec<[String; 4]> {
    let mut lines = vec![["NAME", "COMMAND", "STATUS", "PORTS"].map(str::to_owned)];
    lines.extend(rows.iter().map(|row| {
        let ports = spoken(row.ports.clone());
        [row.name.clone(), shortened(&row.command), row.status.clone(), ports]
    }));
    lines
}

/// In quotes, with an ellipsis where it is long.
fn shortened(command: &str) -> String {
    if command.chars().count() <= COMMAND {
        return format!("{command:?}");
    }
    let beginning: String = command.chars().take(COMMAND - 1).collect();
    format!("{:?}", format!("{beginning}…"))
}

/// `0.0.0.0:80->80/tcp, 0.0.0.0:8080->81/tcp`. Consecutive ports with equal numbers on both sides
/// become a range.
fn spoken(mut ports: Vec<Port>) -> String {
    ports.sort();
    let (mut ranges, mut mappings): (Vec<(Port, u16)>, Vec<String>) = Default::default();
    for port in ports {
        let is_published = !port.address.is_empty();
        if is_published && port.public_port != port.private_port {
            let (host, inside) =
                (address(&port.address, &port.public_port.to_string()), port.private_port);
            mappings.push(format!("{host}->{inside}/{}", port.protocol));
            continue;
        }
        let follows = |(first, last): &&mut (Port, u16)| {
            first.address == port.address
                && first.protocol == port.protocol
                && last.checked_add(1) == Some(port.private_port)
        };
        match ranges.iter_mut().find(follows) {
            Some((_, last)) => *last = port.private_port,
            None => ranges.push((port.clone(), port.private_port)),
        }
    }
    let range = |(first, last): (Port, u16)| {
        let numbers = match first.private_port {
            number if number == last => number.to_string(),
            number => format!("{number}-{last}"),
        };
        let host = match first.address.as_str() {
            "" => String::new(),
            host => format!("{}->", address(host, &numbers)),
        };
        format!("{host}{numbers}/{}", first.protocol)
    };
    ranges.into_iter().map(range).chain(mappings).collect::<Vec<_>>().join(", ")
}

/// With brackets around an address of IPv6.
fn address(host: &str, port: &str) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(address: &str, public_port: u16, private_port: u16, protocol: &str) -> Port {
        Port {
            address: address.to_owned(),
            public_port,
            private_port,
            protocol: protocol.to_owned(),
        }
    }

    #[test]
    fn ports_are_those_of_docker_ps() {
        let all = [
            (vec![], ""),
            (vec![port("", 0, 80, "tcp")], "80/tcp"),
            (
                vec![port("0.0.0.0", 80, 80, "tcp"), port("::", 80, 80, "tcp")],
                "0.0.0.0:80->80/tcp, [::]:80->80/tcp",
            ),
            (
                vec![port("0.0.0.0", 8080, 80, "tcp"), port("", 0, 53, "udp")],
                "53/udp, 0.0.0.0:8080->80/tcp",
            ),
            (vec![port("", 0, 9, "tcp"), port("", 0, 7, "tcp"), port("", 0, 8, "tcp")], "7-9/tcp"),
            (
                vec![port("127.0.0.1", 5, 5, "udp"), port("127.0.0.1", 6, 6, "udp")],
                "127.0.0.1:5-6->5-6/udp",
            ),
            (vec![port("", 0, 65535, "tcp"), port("", 0, 1, "tcp")], "1/tcp, 65535/tcp"),
        ];
        for (ports, expected) in all {
            assert_eq!(spoken(ports), expected);
        }
    }

    #[test]
    fn a_long_command_is_shortened() {
        assert_eq!(shortened("/bin/sh -c \"true\""), r#""/bin/sh -c \"true\"""#);
        assert_eq!(shortened("/usr/bin/ros netconf"), r#""/usr/bin/ros netconf""#);
        assert_eq!(shortened("/usr/bin/ros netconfig"), r#""/usr/bin/ros netcon…""#);
    }

    #[test]
    fn a_container_has_one_name_of_its_own() {
        let names = ["/web/db", "/db"].map(str::to_owned).to_vec();
        assert_eq!(Summary { names, ..Summary::default() }.name(), Some("db"));
        assert_eq!(Summary::default().name(), None);
    }
}
