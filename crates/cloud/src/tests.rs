//! Every provider against the shapes that its documentation shows, on a web server on loopback; and
//! servers that hang, fail or answer with a page.

use super::*;
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Mutex;

/// How a server of a test behaves.
#[derive(Debug, Clone)]
enum Manner {
    /// Serves the files below `fixtures/NAME`. EC2's requires a token, GCE's its header.
    Files(&'static str),
    /// The same, but answers 500 to what ends with this.
    FilesBut(&'static str, &'static str),
    /// Takes the connection, and says nothing.
    Hangs,
    /// Answers 500 to everything.
    Fails,
    /// Answers 500 so many times, then with a document.
    StartsSlowly(Arc<std::sync::atomic::AtomicI32>),
    /// Answers so many times that it has nothing any more, then as Azure's.
    BeginsEmpty(Arc<std::sync::atomic::AtomicI32>),
    /// Azure's wireserver; it keeps the reports.
    Wire(Arc<Mutex<Vec<String>>>),
    /// Answers everything with a page.
    Page,
}

/// Starts a server; returns its URL. It ends with the test's process.
fn serve(manner: Manner) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming().flatten() {
            match &manner {
                Manner::Hangs => kept.push(stream),
                manner => answer(stream, manner),
            }
        }
    });
    url
}

fn answer(mut stream: TcpStream, manner: &Manner) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = reader.by_ref().lines();
    let request = lines.next().unwrap().unwrap();
    let headers: Vec<String> =
        lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let has = |wanted: &str| headers.iter().any(|header| header.eq_ignore_ascii_case(wanted));
    let mut words = request.split([' ', '?']);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let (status, body) = match manner {
        Manner::Files(_) if method == "PUT" => (200, b"a-token".to_vec()),
        Manner::Files("ec2") if !has("X-aws-ec2-metadata-token: a-token") => (401, Vec::new()),
        Manner::Files("gce") if !has("Metadata-Flavor: Google") => (403, Vec::new()),
        Manner::Files("azure") if !has("Metadata: true") => (400, Vec::new()),
        Manner::FilesBut(_, failing) if path.ends_with(failing) => (500, Vec::new()),
        Manner::Files(name) | Manner::FilesBut(name, _) => {
            read_fixture(name, path).map_or((404, Vec::new()), |body| (200, body))
        }
        Manner::StartsSlowly(left)
            if left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) <= 0 =>
        {
            (200, b"#cloud-config\n".to_vec())
        }
        Manner::BeginsEmpty(left) if left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) > 0 => {
            (410, Vec::new())
        }
        Manner::BeginsEmpty(_) => (200, read_fixture("azure", path).unwrap()),
        Manner::Wire(_) if !has("x-ms-version: 2012-11-30") || !has("x-ms-agent-name: corral") => {
            (400, Vec::new())
        }
        Manner::Wire(reports) => {
            if method == "POST" {
                reports.lock().unwrap().push(read_body(&mut reader, &headers));
            }
            (200, read_fixture("azure", path).unwrap())
        }
        Manner::Page => (200, b"<html><body>Please log in to this network</body></html>".to_vec()),
        _ => (500, Vec::new()),
    };
    let _ = write!(
        stream,
        "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(&body);
}

fn read_body(reader: &mut impl Read, headers: &[String]) -> String {
    let mut lengths = headers.iter().filter_map(|header| {
        let (name, value) = header.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse().unwrap())
    });
    let mut body = vec![0; lengths.next_back().unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

fn read_fixture(name: &str, path: &str) -> Option<Vec<u8>> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/fixtures")).join(name);
    let file = root.join(path.trim_start_matches('/'));
    std::fs::read(if file.is_dir() { file.join("index") } else { file }).ok()
}

fn request(source: &str, url: &str, patience: Duration) -> Result<Option<InstanceData>> {
    fetch(&format!("{source}:{url}").parse().unwrap(), "", Instant::now() + patience)
}

fn found(source: &str, name: &'static str) -> InstanceData {
    request(source, &serve(Manner::Files(name)), Duration::from_secs(20)).unwrap().unwrap()
}

#[test]
fn ec2_gives_its_data_for_a_token() {
    let found = found("ec2", "ec2");
    assert_eq!(found.user_data.unwrap(), b"#cloud-config\nhostname: from-ec2\n");
    assert_eq!(found.metadata.hostname.as_deref(), Some("ip-10-0-0-5.ec2.internal"));
    assert_eq!(found.metadata.ssh_public_keys["other-key"], "ssh-ed25519 BBBB other-key");
    assert_eq!(
        (found.metadata.private_ipv4, found.metadata.public_ipv4),
        ("10.0.0.5".into(), "203.0.113.5".into())
    );
    assert_eq!(found.metadata.public_ipv6, "");
}

#[test]
fn facts_of_an_ec2_machine_are_variables_and_other_servers_have_none() {
    let facts = |manner| {
        ec2::facts(Some(&serve(manner)), Instant::now() + Duration::from_secs(20)).unwrap()
    };
    for failing in ["nothing", "/local-ipv4"] {
        let found = facts(Manner::FilesBut("ec2", failing)).unwrap();
        assert_eq!(found["AWS_INSTANCE_ID"], "i-0abcdef1234567890");
        assert_eq!(found["AWS_AVAILABILITY_ZONE"], "eu-central-1a");
        assert_eq!(found["AWS_SECURITY_GROUPS"], "default web");
        assert_eq!(found.contains_key("AWS_LOCAL_IPV4"), failing == "nothing");
        assert_eq!(found["AWS_AMI_ID"], "", "it has none");
    }
    assert!(facts(Manner::Page).is_none());
}

#[test]
fn gce_gives_keys_of_the_project_and_of_the_instance() {
    let found = found("gce", "gce");
    assert!(found.user_data.unwrap().starts_with(b"#!/bin/sh"));
    let keys: Vec<&str> = found.metadata.ssh_public_keys.values().map(String::as_str).collect();
    assert_eq!(keys, ["ssh-ed25519 CCCC joe@google", "ssh-rsa DDDD ann", "ssh-rsa EEEE bob"]);
    assert_eq!(found.metadata.public_ipv4, "198.51.100.7");
}

#[test]
fn digitalocean_says_how_the_machine_is_connected() {
    let found = found("digitalocean", "digitalocean");
    assert_eq!(found.metadata.hostname.as_deref(), Some("sample-droplet"));
    let network = found.network.unwrap();
    assert_eq!(
        network["interfaces"]["mac=04:01:2a:0f:2a:01"],
        json!({"dhcp": false,
            "addresses": ["104.131.20.105/18", "10.17.0.9/16",
                "2604:A880:0800:0010:0000:0000:017D:2001/64"],
            "gateway": "104.131.0.1", "gateway_ipv6": "2604:A880:0800:0010:0000:0000:0000:0001"})
    );
    assert_eq!(
        network["interfaces"]["mac=04:01:2a:0f:2a:02"],
        json!({"dhcp": false, "addresses": ["10.132.255.113/16"]})
    );
    assert_eq!(network["dns"]["nameservers"], json!(["2001:4860:4860::8844", "8.8.8.8"]));
}

#[test]
fn openstack_gives_what_its_config_drive_holds() {
    let found = found("openstack", "openstack");
    assert_eq!(found.metadata.hostname.as_deref(), Some("test.novalocal"));
    assert_eq!(
        found.network.unwrap()["interfaces"]["mac=fa:16:3e:aa:bb:cc"],
        json!({"dhcp": true, "mtu": 1450})
    );
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/fixtures/openstack"));
    assert_eq!(seed::read(&folder).metadata, found.metadata);
}

#[test]
fn packet_bonds_its_cards() {
    let found = found("packet", "packet");
    assert_eq!(found.metadata.ssh_public_keys.len(), 2);
    let network = found.network.unwrap();
    assert_eq!(network["interfaces"]["mac=0c:c4:7a:00:00:02"], json!({"bond": "bond0"}));
    let bond = &network["interfaces"]["bond0"];
    assert_eq!(bond["addresses"], json!(["147.75.0.3/31", "2604:1380::1/127", "10.99.0.3/31"]));
    assert_eq!((&bond["gateway"], &bond["bond_opts"]["mode"]), (&json!("147.75.0.2"), &json!("4")));
    assert_eq!(bond["post_up"], json!(["ip route replace 10.0.0.0/8 via 10.99.0.2"]));
}

#[test]
fn azure_gives_user_data_and_keys() {
    let found = found("azure", "azure");
    assert_eq!(found.user_data.unwrap(), b"#cloud-config\nhostname: a\n");
    assert_eq!(found.metadata.hostname.as_deref(), Some("examplevmname"));
    assert_eq!(found.metadata.ssh_public_keys["000"], "ssh-rsa AAAAB3 azure");
    assert_eq!(found.metadata.public_ipv4, "20.1.2.3");
}

#[test]
fn azures_service_is_asked_until_it_knows_the_machine() {
    let url = serve(Manner::BeginsEmpty(Arc::new(std::sync::atomic::AtomicI32::new(2))));
    let found = request("azure", &url, Duration::from_secs(20)).unwrap().unwrap();
    assert_eq!(found.metadata.hostname.as_deref(), Some("examplevmname"));
}

#[test]
fn azure_gets_the_report_that_the_machine_of_its_goal_state_is_ready() {
    let reports = Arc::new(Mutex::new(Vec::new()));
    azure::report_ready(Some(&serve(Manner::Wire(Arc::clone(&reports))))).unwrap();
    let reports = reports.lock().unwrap();
    assert_eq!(reports.len(), 1);
    for part in [
        "<GoalStateIncarnation>1<",
        "<ContainerId>a511aa6d-29e7-4f53-8788-55655dfe848f<",
        "<InstanceId>f6cd1d7ef1644557b9059345e5ba890c.web-1<",
        "<State>Ready<",
    ] {
        assert!(reports[0].contains(part), "{part} is not in {}", reports[0]);
    }
    assert!(azure::report_ready(Some(&serve(Manner::Page))).is_err());
}

#[test]
fn vendor_data_that_fails_is_not_taken_for_none() {
    for (source, name) in
        [("ec2", "vendor-data"), ("digitalocean", "vendor-data"), ("openstack", "vendor_data.json")]
    {
        let url = serve(Manner::FilesBut(source, name));
        let failed = request(source, &url, Duration::from_secs(20)).unwrap().unwrap();
        assert!(failed.unread.vendor_data && failed.user_data.is_some(), "{source}: {failed:?}");
        assert!(failed.problems[0].starts_with("vendor data: "), "{source}: {failed:?}");
        let none = found(source, source);
        assert_eq!((none.unread, none.problems), (Unread::default(), Vec::new()), "{source}");
    }
}

/// Vendor data takes no time from user data.
#[test]
fn what_not_every_server_knows_is_asked_for_once() {
    let begin = Instant::now();
    let http = Http::direct(begin + Duration::from_secs(60)).unwrap();
    for manner in [Manner::Hangs, Manner::Fails] {
        let url = serve(manner);
        assert!(http.once(Duration::from_millis(300)).get(&url).is_err());
    }
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
}

#[test]
fn a_network_that_fails_is_not_taken_for_none() {
    let url = serve(Manner::FilesBut("openstack", "network_data.json"));
    let found = request("openstack", &url, Duration::from_secs(3)).unwrap().unwrap();
    assert!(found.unread.network && found.network.is_none(), "{found:?}");
}

/// What every provider says is what the configuration takes.
#[test]
fn networks_of_providers_are_valid() {
    for (source, name) in
        [("digitalocean", "digitalocean"), ("openstack", "openstack"), ("packet", "packet")]
    {
        let value = json!({"rancher": {"network": found(source, name).network.unwrap()}});
        let layer = corral_config::Layer::from_value(corral_config::Source::Metadata, &value);
        assert_eq!(layer.problems, Vec::new(), "{source}");
    }
}

#[test]
fn a_server_that_starts_slowly_is_asked_again() {
    let left = Arc::new(std::sync::atomic::AtomicI32::new(2));
    let found =
        request("url", &serve(Manner::StartsSlowly(left)), Duration::from_secs(20)).unwrap();
    assert_eq!(found.unwrap().user_data.unwrap(), b"#cloud-config\n");
}

#[test]
fn pages_are_not_taken_for_metadata() {
    let url = serve(Manner::Page);
    for source in ["ec2", "gce", "digitalocean", "openstack", "packet", "azure"] {
        let answer = request(source, &url, Duration::from_secs(20));
        assert!(matches!(answer, Ok(None) | Err(_)), "{source} took a page: {answer:?}");
    }
}

#[test]
fn the_order_of_the_list_decides_and_the_deadline_holds() {
    let good = |name| serve(Manner::Files(name));
    let sources: Vec<DataSource> = [
        format!("ec2:{}", serve(Manner::Hangs)),
        format!("gce:{}", serve(Manner::Fails)),
        format!("url:{}/openstack/latest/user_data", good("openstack")),
        format!("openstack:{}", good("openstack")),
    ]
    .iter()
    .map(|source| source.parse().unwrap())
    .collect();
    let begin = Instant::now();
    let answer = fetch_all(&sources, "", Duration::from_secs(2), |_, _| {});
    assert!(begin.elapsed() < Duration::from_secs(8), "the deadline did not hold");
    assert_eq!(answer.winner.unwrap().0, sources[2]);
    assert!(
        answer.failures.len() == 2 && answer.failures[1].contains("500"),
        "{:?}",
        answer.failures
    );
    // With the good sources first, the others are not waited for.
    let sources: Vec<DataSource> = sources.into_iter().rev().collect();
    let begin = Instant::now();
    let answer = fetch_all(&sources, "", Duration::from_secs(60), |_, _| {});
    assert!(begin.elapsed() < Duration::from_secs(30));
    assert_eq!(answer.winner.unwrap().0, sources[0]);
}

#[test]
fn the_last_url_on_the_command_line_counts() {
    for (line, expected) in [
        ("a cloud-config-url=http://one cloud_config_url=http://two", Some("http://two")),
        ("cloud-config-url=http://one cloud-config-url=", Some("http://one")),
        ("cloud-config-url", None),
    ] {
        assert_eq!(url_on_command_line(line).as_deref(), expected, "{line}");
    }
}
