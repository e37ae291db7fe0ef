//! Signals to people: what a webhook and a command are told by themselves.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::harness::{PATIENCE, Place, Upstream, question};

const POLICY: &str = "[[registry]]\nname = \"a\"\nhosts = [\"a.example\"]\n";

/// A webhook in this process, for messages one after another.
struct Webhook(TcpListener);

impl Webhook {
    fn start() -> Self {
        Self(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// The next message, with the head of its request.
    fn wait(&self, answer: &str) -> (String, Value) {
        let (stream, _) = self.0.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
        }
        let lower = head.to_lowercase();
        let length = lower.split("content-length: ").nth(1).unwrap().split_once('\r').unwrap().0.parse().unwrap();
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        write!(reader.get_mut(), "HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").unwrap();
        (head, serde_json::from_slice(&body).unwrap())
    }
}

/// A folder whose signals go to `webhook`, `more` is appended.
fn place(policy: &str, webhook: &Webhook, more: &str) -> Place {
    let place = Place::new(policy, Upstream::start());
    let signal = format!("[[signal]]\nurl = \"http://{}/hook\"\n{more}", webhook.address());
    place.write_settings("127.0.0.1:0", Upstream::start(), &signal);
    place
}

#[test]
fn a_refused_policy_is_told_with_file_and_line_once_and_so_is_its_end() {
    let webhook = Webhook::start();
    let place = place(POLICY, &webhook, "token-file = \"token\"\n");
    fs::write(place.path("token"), "s3cret\n").unwrap();
    let mut server = place.serve();
    server.place.write_policy("[[regsitry]]\n");
    let (head, told) = webhook.wait("500 Later");
    assert!(head.starts_with("POST /hook HTTP/1.1\r\n") && head.contains("authorization: Bearer s3cret"), "{head}");
    assert_eq!((&told["version"], &told["kind"], &told["status"]), (&1.into(), &"refused".into(), &"firing".into()));
    let fault = &told["details"]["faults"][0];
    assert!(fault["path"].as_str().unwrap().ends_with("policy.d/a.toml") && fault["line"] == 2, "{told}");
    assert!(told["summary"].as_str().unwrap().contains("unknown key `regsitry`"), "{told}");

    let (_, again) = webhook.wait("204 No Content");
    assert_eq!(again, told, "it is tried again until it is taken");
    assert_eq!(server.place.run(&["reload"]).code, Some(78), "the same again is not told again");
    server.place.write_policy(POLICY);
    let (_, told) = webhook.wait("200 OK");
    assert_eq!((&told["kind"], &told["status"]), (&"refused".into(), &"resolved".into()));
    server.wait_logged("signal sent");
    let metrics = server.request("GET /v1/metrics");
    for line in [
        "pullgate_signals_total{kind=\"refused\",result=\"sent\"} ",
        "pullgate_signals_total{kind=\"refused\",result=\"held-back\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line}{metrics}");
    }
}

#[test]
fn a_start_with_faulty_files_is_told_and_who_does_not_want_to_know_is_not() {
    let (wanting, other) = (Webhook::start(), Webhook::start());
    let more = format!("[[signal]]\nurl = \"http://{}/\"\non = [\"expiring\"]\n", other.address());
    let place = place("[[regsitry]]\n", &wanting, &more);
    let _server = place.serve();
    let (_, told) = wanting.wait("200 OK");
    assert_eq!((&told["kind"], &told["status"]), (&"degraded".into(), &"firing".into()));
    assert!(told["summary"].as_str().unwrap().contains("without any policy"), "{told}");
    other.0.set_nonblocking(true).unwrap();
    assert!(other.0.accept().is_err());
}

#[test]
fn a_name_that_was_never_denied_before_is_told_when_several_clients_ask_for_it() {
    let webhook = Webhook::start();
    let server = place(POLICY, &webhook, "on = [\"new-denied-name\"]\nclients = 2\n").serve();
    for last in 1..=3 {
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, last), 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(&question("new.example"), server.dns).unwrap();
        socket.recv(&mut [0; 500]).unwrap();
    }
    let (_, told) = webhook.wait("200 OK");
    let details = &told["details"];
    assert_eq!(
        (&told["kind"], &details["name"], &details["clients"]),
        (&"new-denied-name".into(), &"new.example".into(), &2.into())
    );
}

#[test]
fn an_entry_that_runs_out_is_told_with_whom_to_ask() {
    let webhook = Webhook::start();
    let end = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + 5000).unwrap();
    let policy = format!("{POLICY}expires = {end}\nowner = \"platform\"\n");
    let _server = place(&policy, &webhook, "[blocked]\ncontact = \"#registries\"\n").serve();
    let (_, told) = webhook.wait("200 OK");
    assert_eq!((&told["kind"], &told["contact"]), (&"expiring".into(), &"#registries".into()));
    let entry = &told["details"]["entry"];
    assert_eq!((&entry["name"], &entry["owner"], &entry["line"]), (&"a".into(), &"platform".into(), &5.into()));
}

#[test]
fn a_test_says_who_hears_it_and_a_command_gets_it_on_its_input() {
    let webhook = Webhook::start();
    let place = place(POLICY, &webhook, "");
    assert_eq!(place.run(&["signal", "test"]).code, Some(69), "nobody runs");
    let (script, file) = (place.path("notify"), place.path("told"));
    write_script(&script, &format!("#!/bin/sh\ncat > '{}'\n", file.display()));
    let more = format!("[[signal]]\ncommand = [{script:?}, \"-q\"]\n[[signal]]\ncommand = [\"/nonexistent\"]\n");
    let signal = format!("[[signal]]\nurl = \"http://{}/s3cret\"\n{more}", webhook.address());
    place.write_settings("127.0.0.1:0", Upstream::start(), &signal);
    let server = place.serve();
    let (tested, heard) = std::thread::scope(|scope| {
        let heard = scope.spawn(|| webhook.wait("200 OK").1);
        (server.place.run(&["signal", "test"]), heard.join().unwrap())
    });
    assert_eq!((tested.code, &heard["kind"]), (Some(1), &"test".into()), "{tested:?}");
    let lines: Vec<&str> = tested.stdout.lines().collect();
    assert_eq!(lines[0], format!("sent      http://{}", webhook.address()));
    assert_eq!(lines[1], format!("sent      {}", script.display()));
    assert!(lines[2].starts_with("not sent  /nonexistent: it cannot be run"), "{}", lines[2]);
    let told: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    assert_eq!(told["kind"], "test");
}

#[test]
fn without_signals_a_test_says_so() {
    let server = Place::new(POLICY, Upstream::start()).serve();
    let tested = server.place.run(&["signal", "test"]);
    assert!(tested.code == Some(1) && tested.stdout.starts_with("nobody is told anything"), "{tested:?}");
}

fn write_script(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
