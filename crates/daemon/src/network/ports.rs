//! Ports of the host that containers publish: each belongs to one running container.

use corral_engine::error::EngineError;
use corral_engine::spec::{ContainerSpec, Port, Snapshot};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Arc;

/// Chooses the ports that a container leaves to us, so that no other running container has them.
pub(crate) fn choose(
    containers: &[Arc<Snapshot>],
    spec: &mut ContainerSpec,
) -> Result<(), EngineError> {
    let is_taken = |port: &Port, number: u16| {
        let mut others = containers
            .iter()
            .filter(|other| other.status.is_up())
            .flat_map(|other| &other.spec.ports);
        others.any(|other| other.host_port == number && other.protocol == port.protocol)
    };
    for port in &mut spec.ports {
        if port.host_port == 0 {
            port.host_port = (0..64)
                .filter_map(|_| free(&port.protocol))
                .find(|number| !is_taken(port, *number))
                .ok_or_else(|| EngineError::Failed("no free port on the host".to_owned()))?;
        }
    }
    Ok(())
}

/// A port that the kernel finds free.
fn free(protocol: &str) -> Option<u16> {
    let any = (Ipv4Addr::UNSPECIFIED, 0);
    let bound = match protocol {
        "udp" => UdpSocket::bind(any).and_then(|socket| socket.local_addr()),
        _ => TcpListener::bind(any).and_then(|socket| socket.local_addr()),
    };
    bound.ok().map(|address| address.port())
}

/// Refuses ports that another running container publishes: a container is not started beside it.
pub(crate) fn check(
    containers: &[Arc<Snapshot>],
    id: &str,
    spec: &ContainerSpec,
) -> Result<(), EngineError> {
    for port in &spec.ports {
        let clash = containers.iter().filter(|other| other.status.is_up() && other.id != id).find(
            |other| {
                other.spec.ports.iter().any(|taken| {
                    let same_address = taken.host_ip == port.host_ip
                        || taken.host_ip.is_empty()
                        || port.host_ip.is_empty();
                    taken.host_port == port.host_port
                        && taken.protocol == port.protocol
                        && same_address
                })
            },
        );
        if let Some(other) = clash {
            return Err(EngineError::Failed(format!(
                "port {}/{} is already allocated to {}",
                port.host_port, port.protocol, other.spec.name
            )));
        }
    }
    Ok(())
}
