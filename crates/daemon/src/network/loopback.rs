//! Published ports on the host's own 127.0.0.1. The packet filter cannot lead these packets out of
//! the loopback interface without opening the host's local services to the containers. So a
//! connection is passed on by the daemon, as docker-proxy does.

use super::record::{self, Network};
use corral_engine::spec::{Port, Snapshot};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// After an error that would come again at once.
const PAUSE: Duration = Duration::from_secs(1);
/// A UDP client that gets no answer for so long is forgotten, as by docker-proxy.
const IDLE: Duration = Duration::from_secs(90);
/// UDP clients of one port at a time.
const MOST_CLIENTS: usize = 256;
const LARGEST_DATAGRAM: usize = 65_507;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

/// Where connections come, and where they go.
pub(super) type Route = (Entrance, SocketAddr);
pub(super) type Entrance = (Protocol, SocketAddr);

/// The listeners at work.
#[derive(Debug, Default)]
pub(super) struct Proxies(Mutex<BTreeMap<Route, AbortHandle>>);

impl Proxies {
    /// Listens where it is wanted, and nowhere else. Connections that there are go on.
    pub(super) fn apply(&self, wanted: &BTreeSet<Route>) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|route, task| {
            let stays = wanted.contains(route) && !task.is_finished();
            if !stays {
                task.abort();
            }
            stays
        });
        for route in wanted {
            if running.contains_key(route) {
                continue;
            }
            match start(*route) {
                Ok(task) => drop(running.insert(*route, task)),
                Err(error) => eprintln!("publishing a port on {}: {error}", route.0.1),
            }
        }
    }
}

/// What the running containers publish. A port of every address is one of 127.0.0.1 too.
pub(super) fn routes(networks: &[Network], containers: &[Arc<Snapshot>]) -> BTreeSet<Route> {
    let networks: Vec<&Network> = networks.iter().collect();
    let mut routes = BTreeMap::new();
    for container in containers.iter().filter(|container| container.status.is_up()) {
        let Some(endpoint) = record::published(container, &networks) else { continue };
        for port in &container.spec.ports {
            if let Some(at) = entrance(port) {
                let to = SocketAddr::new(endpoint.address.into(), port.container_port);
                routes.entry(at).or_insert(to);
            }
        }
    }
    routes.into_iter().collect()
}

fn entrance(port: &Port) -> Option<Entrance> {
    let address = match port.host_ip.as_str() {
        "" | "0.0.0.0" | "::" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        text => text.parse::<IpAddr>().ok().filter(IpAddr::is_loopback)?,
    };
    let protocol = match port.protocol.as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    (port.host_port > 0).then(|| (protocol, SocketAddr::new(address, port.host_port)))
}

fn start(((protocol, at), to): Route) -> std::io::Result<AbortHandle> {
    let task = match protocol {
        Protocol::Tcp => {
            let listener = std::net::TcpListener::bind(at)?;
            listener.set_nonblocking(true)?;
            tokio::spawn(serve_tcp(TcpListener::from_std(listener)?, to))
        }
        Protocol::Udp => {
            let socket = std::net::UdpSocket::bind(at)?;
            socket.set_nonblocking(true)?;
            tokio::spawn(serve_udp(Arc::new(UdpSocket::from_std(socket)?), to))
        }
    };
    Ok(task.abort_handle())
}

async fn serve_tcp(listener: TcpListener, to: SocketAddr) {
    loop {
        let Ok((mut client, _)) = listener.accept().await else {
            // Mostly a lack of descriptors: the next try would fail at once too.
            sleep(PAUSE).await;
            continue;
        };
        tokio::spawn(async move {
            // A connection that the container refuses is closed: the client sees that.
            if let Ok(mut container) = TcpStream::connect(to).await {
                let _ = copy_bidirectional(&mut client, &mut container).await;
            }
        });
    }
}

/// Each client has a socket of its own towards the container, by which its answers come back.
async fn serve_udp(socket: Arc<UdpSocket>, to: SocketAddr) {
    let mut clients: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let (ended, mut gone) = unbounded_channel();
    let mut buffer = vec![0_u8; LARGEST_DATAGRAM];
    loop {
        let got = tokio::select! {
            Some(client) = gone.recv() => {
                clients.remove(&client);
                continue;
            }
            got = socket.recv_from(&mut buffer) => got,
        };
        let Ok((count, from)) = got else {
            sleep(PAUSE).await;
            continue;
        };
        let target = match clients.get(&from) {
            Some(target) => Arc::clone(target),
            None if clients.len() >= MOST_CLIENTS => continue,
            None => {
                let Ok(target) = connect(to).await.map(Arc::new) else { continue };
                clients.insert(from, Arc::clone(&target));
                let ends = (Arc::clone(&socket), Arc::clone(&target));
                tokio::spawn(return_answers(ends, from, ended.clone()));
                target
            }
        };
        // A datagram may be lost: its sender knows that.
        let _ = target.send(&buffer[..count]).await;
    }
}

async fn connect(to: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect(to).await?;
    Ok(socket)
}

async fn return_answers(
    (socket, target): (Arc<UdpSocket>, Arc<UdpSocket>),
    client: SocketAddr,
    ended: UnboundedSender<SocketAddr>,
) {
    let mut buffer = vec![0_u8; LARGEST_DATAGRAM];
    while let Ok(Ok(count)) = timeout(IDLE, target.recv(&mut buffer)).await {
        let _ = socket.send_to(&buffer[..count], client).await;
    }
    let _ = ended.send(client);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::record::predefined;
    use corral_engine::spec::{ContainerSpec, Endpoint, State, Status};
    use serde_json::json;

    fn endpoint(network: &str, address: &str) -> Endpoint {
        serde_json::from_value(json!({
            "network": network, "network_id": network, "endpoint_id": address, "bridge": network,
            "address": address, "prefix": 16, "gateway": "10.0.0.1", "mac": "02:42:0a:00:00:02",
            "aliases": [], "has_dns": true, "internal": false, "mtu": 0,
        }))
        .unwrap()
    }

    #[test]
    fn a_port_leads_to_the_first_network_that_is_not_internal() {
        let network = |name: &str, internal| {
            let [bridge, ..] = predefined();
            Network { id: name.to_owned(), name: name.to_owned(), internal, ..bridge }
        };
        let networks = [network("a", true), network("b", false), network("c", false)];
        let endpoints = [("a", "10.1.0.2"), ("c", "10.3.0.2"), ("b", "10.2.0.2")];
        let spec = ContainerSpec {
            endpoints: endpoints.map(|(network, address)| endpoint(network, address)).into(),
            ports: vec![Port {
                host_port: 8080,
                container_port: 80,
                protocol: "tcp".to_owned(),
                ..Port::default()
            }],
            ..ContainerSpec::default()
        };
        let at = |state| {
            let status = Status { state, ..Status::default() };
            let container = Snapshot { id: "x".to_owned(), spec: spec.clone(), status };
            routes(&networks, &[Arc::new(container)])
        };
        let entrance = (Protocol::Tcp, "127.0.0.1:8080".parse().unwrap());
        let expected = BTreeSet::from([(entrance, "10.3.0.2:80".parse().unwrap())]);
        assert_eq!(at(State::Running), expected);
        assert_eq!(at(Status::default().state), BTreeSet::new());
    }

    #[test]
    fn loopback_is_where_a_port_says_or_where_it_says_nothing() {
        for (host_ip, protocol, expected) in [
            ("", "tcp", Some("127.0.0.1:80")),
            ("0.0.0.0", "tcp", Some("127.0.0.1:80")),
            ("127.0.0.2", "tcp", Some("127.0.0.2:80")),
            ("::1", "tcp", Some("[::1]:80")),
            ("10.0.0.1", "tcp", None),
            ("", "udp", Some("127.0.0.1:80")),
            ("", "sctp", None),
        ] {
            let port = Port {
                host_ip: host_ip.to_owned(),
                host_port: 80,
                container_port: 8080,
                protocol: protocol.to_owned(),
            };
            let found = entrance(&port).map(|(_, address)| address.to_string());
            assert_eq!(found.as_deref(), expected, "{host_ip} {protocol}");
        }
    }
}
