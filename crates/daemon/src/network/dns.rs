//! Names of containers, answered on the bridges of networks that clients made. A query for any
//! other name is passed on to the host's name servers as it came, and so is the answer.

use crate::table::Table;
use corral_engine::spec::Snapshot;
use hickory_proto::op::{Edns, Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use rustix::net::sockopt::set_ip_freebind;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// Seconds that an answer may be kept: containers come and go.
const LIFE: u32 = 5;
/// How long another server may take.
const TIMEOUT: Duration = Duration::from_secs(4);
/// After an error that would come again at once.
const PAUSE: Duration = Duration::from_secs(1);
/// Questions at a time in one network.
const AT_ONCE: usize = 256;
const PORT: u16 = 53;
/// Bytes of a datagram that each client takes: RFC 1035, 4.2.1.
const SMALLEST: u16 = 512;
/// More would be sent in several packets, of which one may be lost: RFC 9715.
const LARGEST: u16 = 1232;

/// The servers at work, by the address of the bridge.
#[derive(Debug, Default)]
pub(super) struct Servers(Mutex<HashMap<Ipv4Addr, Vec<AbortHandle>>>);

impl Servers {
    /// Answers on a bridge from now on. The address need not be there yet.
    pub(super) fn serve(&self, address: Ipv4Addr, network: &str, table: &Table) {
        let server = Arc::new(Server {
            network: network.to_owned(),
            table: table.clone(),
            slots: Semaphore::new(AT_ONCE),
        });
        let at = SocketAddr::new(IpAddr::V4(address), PORT);
        let mut tasks = Vec::new();
        match bind_udp(at) {
            Ok(socket) => tasks
                .push(tokio::spawn(Arc::clone(&server).run_udp(Arc::new(socket))).abort_handle()),
            Err(error) => eprintln!("starting the DNS server on {at}: {error}"),
        }
        match bind_tcp(at) {
            Ok(listener) => tasks.push(tokio::spawn(server.run_tcp(listener)).abort_handle()),
            Err(error) => eprintln!("starting the DNS server on {at}: {error}"),
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(address, tasks);
    }

    /// Stops answering on a bridge.
    pub(super) fn forget(&self, address: Ipv4Addr) {
        let tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&address);
        tasks.into_iter().flatten().for_each(|task| task.abort());
    }
}

fn bind_udp(at: SocketAddr) -> std::io::Result<UdpSocket> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    set_ip_freebind(&socket, true)?;
    bind(&socket, &at)?;
    UdpSocket::from_std(socket.into())
}

fn bind_tcp(at: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    set_ip_freebind(&socket, true)?;
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(64)
}

/// The server of one network.
struct Server {
    network: String,
    table: Table,
    slots: Semaphore,
}

impl Server {
    async fn run_udp(self: Arc<Server>, socket: Arc<UdpSocket>) {
        let mut buffer = vec![0_u8; usize::from(u16::MAX)];
        loop {
            let Ok((count, from)) = socket.recv_from(&mut buffer).await else {
                sleep(PAUSE).await;
                continue;
            };
            let (server, socket, question) =
                (Arc::clone(&self), Arc::clone(&socket), buffer[..count].to_vec());
            tokio::spawn(async move {
                let Ok(_slot) = server.slots.try_acquire() else { return };
                if let Some(answer) = server.answer(&question, from.ip(), false).await {
                    // A client repeats its query if the answer is lost.
                    let _ = socket.send_to(&answer, from).await;
                }
            });
        }
    }

    async fn run_tcp(self: Arc<Server>, listener: TcpListener) {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Mostly a lack of descriptors: the next try would fail at once too.
                sleep(PAUSE).await;
                continue;
            };
            let server = Arc::clone(&self);
            tokio::spawn(async move {
                let Ok(_slot) = server.slots.try_acquire() else { return };
                let _ = timeout(TIMEOUT * 2, server.serve_stream(stream)).await;
            });
        }
    }

    async fn serve_stream(&self, mut stream: TcpStream) -> std::io::Result<()> {
        loop {
            let question = read_framed(&mut stream).await?;
            let client = stream.peer_addr()?.ip();
            let Some(answer) = self.answer(&question, client, true).await else { return Ok(()) };
            write_framed(&mut stream, &answer).await?;
        }
    }

    async fn answer(&self, question: &[u8], client: IpAddr, by_stream: bool) -> Option<Vec<u8>> {
        let message = parse_question(question)?;
        if let Some(answer) = answer_from(&message, &self.network, &self.table.all(), client) {
            return encode(answer, if by_stream { u16::MAX } else { datagram_size(&message) });
        }
        if let Some(answer) = query_upstream(question, by_stream).await {
            return Some(answer);
        }
        let mut failed = reply(&message);
        failed.metadata.response_code = ResponseCode::ServFail;
        failed.to_vec().ok()
    }
}

/// Bytes of a datagram that this client takes, and that is sent in one packet.
pub fn datagram_size(question: &Message) -> u16 {
    let wanted = question.edns.as_ref().map_or(SMALLEST, |edns| edns.max_payload());
    wanted.clamp(SMALLEST, LARGEST)
}

/// The bytes of an answer, at most so many. One that is cut says so in its header: the client then
/// queries by TCP. One that does not has some of the addresses.
pub fn encode(mut answer: Message, size: u16) -> Option<Vec<u8>> {
    let size = usize::from(size);
    loop {
        let bytes = answer.to_vec().ok()?;
        if bytes.len() <= size || answer.answers.is_empty() {
            return Some(bytes);
        }
        // No record takes more than its share of the message.
        let records = answer.answers.len();
        let dropped = (records * (bytes.len() - size)).div_ceil(bytes.len());
        answer.answers.truncate(records - dropped);
        answer.metadata.truncation = true;
    }
}

/// A question. What is none is dropped: two servers that answer each other's answers would not
/// stop.
pub fn parse_question(bytes: &[u8]) -> Option<Message> {
    Message::from_vec(bytes)
        .ok()
        .filter(|message| message.metadata.message_type == MessageType::Query)
}

/// The answer if the question is for a container of this network. A client may have names of its
/// own for other containers.
pub fn answer_from(
    message: &Message,
    network: &str,
    containers: &[Arc<Snapshot>],
    client: IpAddr,
) -> Option<Message> {
    let query = message.queries.first()?;
    let mut answer = reply(message);
    let name = query.name().to_ascii();
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let linked = linked(&name, network, containers, client);
    let mut is_ours = false;
    for container in containers.iter().filter(|container| container.status.is_up()) {
        let mut endpoints = container.spec.endpoints.iter();
        let Some(endpoint) = endpoints.find(|endpoint| endpoint.network_id == network) else {
            continue;
        };
        let address = endpoint.address;
        let own =
            [container.spec.name.as_str(), &container.id[..12], container.spec.hostname.as_str()];
        let mut names = own.into_iter().chain(endpoint.aliases.iter().map(String::as_str));
        let is_linked = linked.is_some_and(|other| is_named(container, other));
        if is_linked || names.any(|own| !own.is_empty() && own.eq_ignore_ascii_case(&name)) {
            is_ours = true;
            let data = match (query.query_type(), &endpoint.v6) {
                (RecordType::A, _) => RData::A(A(address)),
                (RecordType::AAAA, Some(v6)) => RData::AAAA(AAAA(v6.address)),
                _ => continue,
            };
            answer.add_answer(Record::from_rdata(query.name().clone(), LIFE, data));
        } else if query.query_type() == RecordType::PTR && name == reverse(address) {
            is_ours = true;
            let full = format!("{}.{}.", container.spec.name, endpoint.network);
            if let Ok(full) = Name::from_ascii(&full) {
                answer.add_answer(Record::from_rdata(
                    query.name().clone(),
                    LIFE,
                    RData::PTR(PTR(full)),
                ));
            }
        }
    }
    is_ours.then_some(answer)
}

/// The container that the one at an address has this name for.
fn linked<'a>(
    name: &str,
    network: &str,
    containers: &'a [Arc<Snapshot>],
    client: IpAddr,
) -> Option<&'a str> {
    let endpoints = containers.iter().flat_map(|container| &container.spec.endpoints);
    let mut of_client = endpoints.filter(|endpoint| {
        endpoint.network_id == network
            && (IpAddr::V4(endpoint.address) == client
                || endpoint.v6.is_some_and(|v6| IpAddr::V6(v6.address) == client))
    });
    let links = &of_client.next()?.links;
    let link = links.iter().find(|(_, alias)| alias.eq_ignore_ascii_case(name));
    link.map(|(container, _)| container.as_str())
}

fn is_named(container: &Snapshot, name: &str) -> bool {
    container.spec.name == name || (name.len() >= 12 && container.id.starts_with(name))
}

fn reverse(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("{d}.{c}.{b}.{a}.in-addr.arpa")
}

fn reply(to: &Message) -> Message {
    let mut answer = Message::new(to.metadata.id, MessageType::Response, to.metadata.op_code);
    answer.metadata.recursion_desired = to.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.add_queries(to.queries.iter().cloned());
    answer.edns = to.edns.as_ref().map(|_| {
        let mut edns = Edns::new();
        edns.set_max_payload(LARGEST);
        edns
    });
    answer
}

/// Sends the query to the host's name servers, one after the other, until one answers.
async fn query_upstream(question: &[u8], by_stream: bool) -> Option<Vec<u8>> {
    let text = tokio::fs::read_to_string("/etc/resolv.conf").await.ok()?;
    let servers = text
        .lines()
        .filter_map(|line| line.strip_prefix("nameserver")?.trim().parse::<IpAddr>().ok());
    for server in servers {
        let at = SocketAddr::new(server, PORT);
        let answered = async {
            if by_stream {
                query_by_stream(question, at).await
            } else {
                query_by_datagram(question, at).await
            }
        };
        if let Ok(Ok(answer)) = timeout(TIMEOUT, answered).await {
            return Some(answer);
        }
    }
    None
}

async fn query_by_datagram(question: &[u8], server: SocketAddr) -> std::io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    // A port of its own for each question: the kernel takes answers from that server only.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    // As large as the client allows: this is its own question.
    let mut answer = vec![0_u8; usize::from(u16::MAX)];
    loop {
        let count = socket.recv(&mut answer).await?;
        if answer.get(..2) == question.get(..2) {
            answer.truncate(count);
            return Ok(answer);
        }
    }
}

async fn query_by_stream(question: &[u8], server: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write_framed(&mut stream, question).await?;
    read_framed(&mut stream).await
}

async fn read_framed(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut bytes = vec![0_u8; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn write_framed(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    let length = u16::try_from(bytes.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], bytes].concat()).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_engine::protocol::Action;
    use corral_engine::spec::{Endpoint, MacAddress, State};
    use hickory_proto::op::{OpCode, Query};

    fn question(name: &str) -> Message {
        let mut question = Message::new(7, MessageType::Query, OpCode::Query);
        question.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        question
    }

    fn address(number: u8) -> Ipv4Addr {
        Ipv4Addr::new(172, 20, 0, number)
    }

    /// A running container in the network `n`, with names that it alone knows.
    fn container(name: &str, number: u8, links: &[(&str, &str)]) -> Arc<Snapshot> {
        let own = |(container, alias): &(&str, &str)| (container.to_string(), alias.to_string());
        let endpoint = Endpoint {
            network: "net".to_owned(),
            network_id: "n".to_owned(),
            endpoint_id: "e".to_owned(),
            bridge: "br-n".to_owned(),
            address: address(number),
            prefix: 16,
            gateway: address(1),
            mac: MacAddress::default(),
            aliases: Vec::new(),
            has_dns: true,
            internal: false,
            mtu: 0,
            v6: None,
            links: links.iter().map(own).collect(),
            requested: Default::default(),
        };
        let mut container =
            Snapshot { id: name.repeat(32), spec: Default::default(), status: Default::default() };
        container.spec.name = name.to_owned();
        container.status.state = State::Running;
        container.spec.endpoints.push(endpoint);
        Arc::new(container)
    }

    #[test]
    fn a_container_is_found_by_its_name_and_answers_are_not_answered() {
        let containers = [container("web", 2, &[])];
        let client = address(9).into();
        let asked = parse_question(&question("WEB.").to_vec().unwrap()).unwrap();
        let answer = answer_from(&asked, "n", &containers, client).unwrap();
        assert_eq!((answer.answers.len(), answer.metadata.id), (1, 7));
        assert!(answer_from(&asked, "another", &containers, client).is_none());
        assert!(answer_from(&question("db."), "n", &containers, client).is_none());
        assert!(parse_question(&answer.to_vec().unwrap()).is_none());
    }

    /// So many containers that have the name `all` too.
    fn replicas(count: u8) -> Vec<Arc<Snapshot>> {
        let replica = |number: u8| {
            let mut replica = container(&format!("{number:02x}"), number, &[]);
            Arc::make_mut(&mut replica).spec.endpoints[0].aliases.push("all".to_owned());
            replica
        };
        (2..2 + count).map(replica).collect()
    }

    #[test]
    fn a_datagram_has_what_fits_and_says_that_it_is_cut() {
        let all = replicas(200);
        // What the client takes, the bytes that it gets at most, and the records at least.
        for (wanted, most, records) in
            [(None, 512, 29), (Some(100), 512, 28), (Some(1000), 1000, 57), (Some(4096), 1232, 70)]
        {
            let mut question = question("all.");
            question.edns = wanted.map(|size| {
                let mut edns = Edns::new();
                edns.set_max_payload(size);
                edns
            });
            let answer = answer_from(&question, "n", &all, address(9).into()).unwrap();
            let bytes = encode(answer, datagram_size(&question)).unwrap();
            let cut = Message::from_vec(&bytes).unwrap();
            assert!(bytes.len() <= most && cut.metadata.truncation, "{wanted:?}: {}", bytes.len());
            assert!(cut.answers.len() >= records, "{wanted:?}: {}", cut.answers.len());
            assert_eq!(cut.edns.is_some(), wanted.is_some());
        }
        let answer = answer_from(&question("all."), "n", &all[..9], address(9).into()).unwrap();
        let fits = Message::from_vec(&encode(answer, SMALLEST).unwrap()).unwrap();
        assert_eq!((fits.answers.len(), fits.metadata.truncation), (9, false));
    }

    #[test]
    fn a_client_gets_by_tcp_what_was_cut() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (at, table) = (Ipv4Addr::new(127, 53, 0, 1), Table::default());
            for replica in replicas(200) {
                let Snapshot { id, status, spec } = Arc::unwrap_or_clone(replica);
                table.update(id, &Action::Known, status, Some(spec));
            }
            let servers = Servers::default();
            servers.serve(at, "n", &table);
            let bytes = question("all.").to_vec().unwrap();
            let server = SocketAddr::new(at.into(), PORT);
            let cut = query_by_datagram(&bytes, server).await.unwrap();
            assert!(cut.len() <= 512 && Message::from_vec(&cut).unwrap().metadata.truncation);
            let all = query_by_stream(&bytes, server).await.unwrap();
            assert_eq!(Message::from_vec(&all).unwrap().answers.len(), 200);
            servers.forget(at);
        });
    }

    #[test]
    fn a_link_is_a_name_for_one_container_only() {
        let containers = [container("web", 2, &[("db", "store")]), container("db", 3, &[])];
        let asked = question("store.");
        let answer = answer_from(&asked, "n", &containers, address(2).into()).unwrap();
        assert_eq!(answer.answers.len(), 1);
        assert!(answer_from(&asked, "n", &containers, address(3).into()).is_none());
    }
}
