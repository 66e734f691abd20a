//! The client against servers on real sockets. Each server does one thing that engines do, well or
//! badly.

use super::client::{Client, LogRequest, encoded};
use super::engine::Engine;
use super::error::Error;
use super::model::Summary;
use rustix::fs::Mode;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// For requests that are to time out.
const SHORT: Duration = Duration::from_millis(200);
/// For results that must arrive.
const SOON: Duration = Duration::from_secs(20);

/// A folder for a socket; it is removed with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "corral-docker-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server that sends one of these answers on each connection, in order, and then hangs up. Later
/// connections stay open without an answer. It returns the requests, heads and bodies.
fn serve(socket: &Path, answers: &[&'static [u8]]) -> Receiver<String> {
    let listener = UnixListener::bind(socket).unwrap();
    let (sender, requests) = channel();
    let answers = answers.to_vec();
    thread::spawn(move || {
        let mut silent = Vec::new();
        let mut answers = answers.into_iter();
        while let Ok((mut stream, _)) = listener.accept() {
            let request = read_request(&mut stream);
            if sender.send(request).is_err() {
                return;
            }
            match answers.next() {
                // A client may close the connection early.
                Some(answer) => drop(stream.write_all(answer)),
                None => silent.push(stream),
            }
        }
    });
    requests
}

fn read_request(stream: &mut UnixStream) -> String {
    let mut all = Vec::new();
    let mut buffer = [0_u8; 4096];
    loop {
        let count = stream.read(&mut buffer).unwrap();
        all.extend_from_slice(&buffer[..count]);
        assert!(count > 0, "the client hung up within its request");
        let text = String::from_utf8_lossy(&all).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if head.contains("transfer-encoding: chunked") {
            match body.ends_with("0\r\n\r\n") {
                true => return text,
                false => continue,
            }
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return text;
        }
    }
}

fn with(answers: &[&'static [u8]]) -> (Folder, Client, Receiver<String>) {
    let folder = Folder::new();
    let requests = serve(&folder.socket(), answers);
    let client = Client::at(Engine::User, folder.socket()).unwrap();
    (folder, client, requests)
}

#[test]
fn a_chunked_answer_is_put_together() {
    let (_folder, client, requests) =
        with(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
          c\r\n[{\"Id\":\"a1\",\r\n22\r\n\"Names\":[\"/web\"],\"Ports\":null},{}]\r\n0\r\n\r\n"]);
    let found = client.containers().unwrap();
    assert_eq!((found.len(), found[0].id.as_str(), found[0].names[0].as_str()), (2, "a1", "/web"));
    let request = requests.recv_timeout(SOON).unwrap();
    assert!(request.starts_with("GET /containers/json?all=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("host: docker\r\n"), "{request}");
}

#[test]
fn an_error_is_the_engines_own() {
    let (_folder, client, requests) = with(&[
        b"HTTP/1.1 409 Conflict\r\nContent-Length: 26\r\n\r\n{\"message\":\"in use\",\"x\":1}",
        b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\n\r\nno engine is here",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 26\r\n\r\n{\"message\":\"no such one\"}\n",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
    ]);
    assert_eq!(client.remove("web", false).unwrap_err().to_string(), "in use (HTTP status 409)");
    let error = client.start("web").unwrap_err().to_string();
    assert_eq!(error, "Internal Server Error (HTTP status 500)");
    assert_eq!(client.start("web").unwrap_err().to_string(), "no engine is here (HTTP status 502)");
    assert!(client.container("a b/c").unwrap().is_none());
    client.start("web").unwrap();
    client.remove("gone", true).unwrap();
    let error = client.containers().unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
    let requests: Vec<String> = requests.try_iter().collect();
    assert!(requests[0].starts_with("DELETE /containers/web?force=1 HTTP/1.1\r\n"), "{requests:?}");
    assert!(requests[3].starts_with("GET /containers/a%20b%2Fc/json "), "{requests:?}");
}

#[test]
fn a_body_is_sent_as_json() {
    let (_folder, client, requests) =
        with(&[b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"]);
    client.create("web", &serde_json::json!({"Image": "busybox"})).unwrap();
    let request = requests.recv_timeout(SOON).unwrap();
    assert!(request.contains("content-type: application/json\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\n{\"Image\":\"busybox\"}"), "{request}");
}

#[test]
fn an_archive_is_loaded_without_its_names() {
    let (folder, client, requests) = with(&[
        b"HTTP/1.1 200 OK\r\n\r\n\
          {\"stream\":\"Loaded image ID: sha256:1\\n\"}\n{\"stream\":\"something else\"}\n",
        b"HTTP/1.1 200 OK\r\n\r\n\
          {\"errorDetail\":{\"message\":\"x\"},\"error\":\"x\"}\n",
    ]);
    let file = folder.0.join("archive");
    std::fs::write(&file, "all of it").unwrap();
    let load = || client.load_unnamed(std::fs::File::open(&file).unwrap());
    assert_eq!(load().unwrap(), ["sha256:1"]);
    assert_eq!(load().unwrap_err().to_string(), "x");
    let request = requests.recv_timeout(SOON).unwrap();
    assert!(request.starts_with("POST /images/load?names=false HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\n9\r\nall of it\r\n0\r\n\r\n"), "{request}");
}

#[test]
fn a_server_that_hangs_is_given_up() {
    let (_folder, client, _requests) = with(&[]);
    let start = Instant::now();
    let error = client.ping(SHORT).unwrap_err();
    assert!(matches!(error, Error::Late { .. }), "{error}");
    assert!(error.to_string().contains("GET /_ping"), "{error}");
    assert!((SHORT..SOON).contains(&start.elapsed()));
}

#[test]
fn a_server_that_hangs_within_its_answer_is_given_up() {
    let folder = Folder::new();
    let listener = UnixListener::bind(folder.socket()).unwrap();
    let (done, is_done) = channel::<()>();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nO").unwrap();
        let _ = is_done.recv();
    });
    let client = Client::at(Engine::System, folder.socket()).unwrap();
    let error = client.ping(SHORT).unwrap_err();
    assert!(matches!(error, Error::Late { .. }), "{error}");
    drop(done);
    server.join().unwrap();
}

#[test]
fn a_server_that_hangs_up_early_is_named() {
    let (_folder, client, _requests) = with(&[
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Len",
        b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n[{\"Id\":",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[{}\r\n",
    ]);
    for number in 0..4 {
        let error = client.containers().unwrap_err();
        assert!(matches!(error, Error::Cut { .. }), "answer {number}: {error}");
        assert!(error.to_string().starts_with("the user's Docker "), "answer {number}: {error}");
    }
}

#[test]
fn a_socket_that_is_missing_or_left_over_is_named_with_what_to_do() {
    let folder = Folder::new();
    for (engine, advice) in [(Engine::User, "`ros why docker`"), (Engine::System, "PID 1 restarts")]
    {
        let client = Client::at(engine, folder.socket()).unwrap();
        let missing = client.ping(SOON).unwrap_err();
        drop(UnixListener::bind(folder.socket()).unwrap());
        let left_over = client.ping(SOON).unwrap_err();
        std::fs::remove_file(folder.socket()).unwrap();
        for error in [missing, left_over] {
            assert!(matches!(error, Error::Absent { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains(advice) && text.contains("/socket: "), "{text}");
        }
    }
}

#[test]
fn a_user_without_rights_is_sent_to_sudo() {
    let folder = Folder::new();
    let _listener = UnixListener::bind(folder.socket()).unwrap();
    rustix::fs::chmod(folder.socket(), Mode::empty()).unwrap();
    let socket = folder.socket();
    // Only this thread drops its rights.
    let error = thread::spawn(move || {
        if rustix::process::geteuid().is_root() {
            let unprivileged = Some(rustix::process::Uid::from_raw(65534));
            rustix::thread::set_thread_res_uid(unprivileged, unprivileged, unprivileged).unwrap();
        }
        Client::at(Engine::User, socket).unwrap().ping(SOON).unwrap_err()
    });
    let error = error.join().unwrap();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    assert!(error.to_string().contains("sudo"), "{error}");
}

#[test]
fn a_log_is_read_line_by_line_until_it_is_enough() {
    const INSPECTED: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n{\"Config\":{\"Tty\":false}}";
    const LOG: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n\x01\0\0\0\0\0\0\x04one\n\x02\0\0\0\0\0\0\x04two\n";
    let (_folder, client, requests) = with(&[INSPECTED, LOG, INSPECTED, LOG]);
    assert_eq!(client.last_lines("web", 5), "one\ntwo");
    let mut seen = Vec::new();
    let mut print = |line: &str| {
        seen.push(line.to_owned());
        false
    };
    let request = LogRequest { tail: Some(1), follow: true, ..LogRequest::default() };
    client.logs("web", &request, &mut print).unwrap();
    assert_eq!(seen, ["one"]);
    let paths: Vec<String> = requests.try_iter().collect();
    assert!(paths[1].starts_with("GET /containers/web/logs?stdout=1&stderr=1&tail=5&follow=0 "));
    assert!(paths[3].starts_with("GET /containers/web/logs?stdout=1&stderr=1&tail=1&follow=1 "));
}

#[test]
fn a_watcher_looks_again_after_an_event_and_after_the_end_of_events() {
    const EVENTS: &[u8] =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n0\r\n\r\n";
    let (_folder, client, requests) = with(&[EVENTS, EVENTS]);
    let mut looks = 0;
    let deadline = Instant::now() + SOON;
    let found = client.watch(&["web"], deadline, || {
        looks += 1;
        Ok((looks == 4).then_some("there"))
    });
    assert_eq!(found.unwrap(), Some("there"));
    let request = requests.recv_timeout(SOON).unwrap();
    assert!(request.starts_with("GET /events?since="), "{request}");
    assert!(request.contains("%22container%22%3A%5B%22web%22%5D"), "{request}");
    assert!(Instant::now() < deadline);
    let (_folder, client, requests) = with(&[EVENTS]);
    client.watch(&[], deadline, || Ok(Some(()))).unwrap();
    let request = requests.recv_timeout(SOON).unwrap();
    assert!(!request.contains("%22container%22%3A"), "{request}");
}

#[test]
fn a_watcher_gives_up_at_its_deadline_and_at_an_error() {
    let folder = Folder::new();
    let client = Client::at(Engine::User, folder.socket()).unwrap();
    let never: Option<()> = client.watch(&["web"], Instant::now() + SHORT, || Ok(None)).unwrap();
    assert!(never.is_none());
    let failed = client.watch(&["web"], Instant::now() + SOON, || -> anyhow::Result<Option<()>> {
        anyhow::bail!("it has ended")
    });
    assert_eq!(failed.unwrap_err().to_string(), "it has ended");
}

#[test]
fn a_follower_gets_all_containers_at_first_and_after_events() {
    const EVENTS: &[u8] =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n0\r\n\r\n";
    const LIST: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 54\r\n\r\n\
        [{\"Names\":[\"/a\"],\"Labels\":{\"x\":\"y\"},\"State\":\"exited\"}]";
    let (_folder, client, requests) = with(&[EVENTS, LIST, LIST, EVENTS, LIST]);
    let mut lists = 0;
    let mut take = |containers: Vec<Summary>| {
        assert_eq!(
            (containers[0].labels["x"].as_str(), containers[0].state.as_str()),
            ("y", "exited")
        );
        lists += 1;
        lists < 3
    };
    client.follow(&mut take).unwrap();
    client.follow(&mut take).unwrap();
    assert_eq!(lists, 3, "the first ends with the events, the second on request");
    let request = requests.recv_timeout(SOON).unwrap();
    assert!(request.starts_with("GET /events?filters="), "{request}");
}

#[test]
fn what_is_no_letter_is_encoded() {
    assert_eq!(encoded("a-1_b.c~/é &?", ""), "a-1_b.c~%2F%C3%A9%20%26%3F");
    assert_eq!(encoded("host:5000/team/page@sha256:ab", "/:@"), "host:5000/team/page@sha256:ab");
}
