//! Messages that containers send to the name server of their network: only questions are answered,
//! and by messages that belong to them.

use corral_daemon::network::dns::{answer_from, datagram_size, encode, parse_question};
use corral_engine::spec::{ContainerSpec, Endpoint, MacAddress, Snapshot, State, Status};
use hickory_proto::op::{Message, MessageType};
use std::net::Ipv4Addr;
use std::sync::Arc;

pub(crate) fn check(bytes: &[u8]) {
    let containers =
        [container("web", 2), container("db", 3), container("a.long.name-with_all", 4)];
    let client = Ipv4Addr::new(172, 20, 0, 2).into();
    let Some(question) = parse_question(bytes) else { return };
    if let Some(answer) = answer_from(&question, "network", &containers, client) {
        assert!(answer.answers.len() <= containers.len());
        let size = datagram_size(&question);
        if let Some(bytes) = encode(answer.clone(), size) {
            let cut = Message::from_vec(&bytes).expect("an answer is a message");
            assert!(bytes.len() <= usize::from(size) || cut.answers.is_empty(), "{}", bytes.len());
        }
        let Ok(bytes) = answer.to_vec() else { return };
        let read = Message::from_vec(&bytes).expect("an answer is a message");
        assert_eq!(read.metadata.message_type, MessageType::Response);
        assert_eq!((read.metadata.id, &read.queries), (question.metadata.id, &question.queries));
        assert_eq!(read.answers.len(), answer.answers.len());
        assert!(parse_question(&bytes).is_none(), "an answer is answered");
    }
    let mut answer = bytes.to_vec();
    answer[2] |= 0x80;
    assert!(parse_question(&answer).is_none(), "an answer is answered");
}

fn container(name: &str, number: u8) -> Arc<Snapshot> {
    let endpoint = Endpoint {
        network: "net".to_owned(),
        network_id: "network".to_owned(),
        endpoint_id: "endpoint".to_owned(),
        bridge: "br-net".to_owned(),
        address: Ipv4Addr::new(172, 20, 0, number),
        prefix: 16,
        gateway: Ipv4Addr::new(172, 20, 0, 1),
        mac: MacAddress::default(),
        aliases: vec![format!("alias{number}")],
        has_dns: true,
        internal: false,
        mtu: 0,
        v6: None,
        links: vec![("db".to_owned(), "store".to_owned())],
        requested: Default::default(),
    };
    let spec = ContainerSpec {
        name: name.to_owned(),
        endpoints: vec![endpoint],
        ..ContainerSpec::default()
    };
    let status = Status { state: State::Running, ..Status::default() };
    Arc::new(Snapshot { id: format!("{number:064x}"), spec, status })
}
