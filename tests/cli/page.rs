//! The page as a browser's requests meet it: whom it answers, under which headers, and what it tells for how many.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::harness::{PATIENCE, Place, Server, Upstream};

const POLICY: &str = "[[registry]]\nname = \"a\"\nhosts = [\"a.example\"]\n";
const STREAMS: usize = 16;

/// A server with a page, and where that is.
fn server(more: &str) -> (Server, SocketAddr) {
    let upstream = Upstream::start();
    let place = Place::new(POLICY, upstream);
    place.write_settings("127.0.0.1:0", upstream, &format!("[page]\nlisten = \"127.0.0.1:0\"\n{more}"));
    let mut server = place.serve();
    let line = server.wait_printed("  page ");
    let (_, address) = line.split_once("http://").unwrap();
    let address = address.trim_end_matches('/').parse().unwrap();
    (server, address)
}

fn connect(page: SocketAddr, line: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(page).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{line} HTTP/1.1\r\n{headers}\r\n").unwrap();
    stream
}

/// The whole answer to a request.
fn request(page: SocketAddr, line: &str, headers: &str) -> String {
    let mut answer = String::new();
    connect(page, line, headers).read_to_string(&mut answer).unwrap();
    answer
}

fn get(page: SocketAddr, path: &str) -> String {
    request(page, &format!("GET {path}"), "Host: localhost\r\n")
}

/// The body of an answer, which is JSON.
fn json(answer: &str) -> serde_json::Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// The stream of events, and its status line.
fn follow(page: SocketAddr) -> (BufReader<TcpStream>, String) {
    let mut events = BufReader::new(connect(page, "GET /events", "Host: localhost\r\n"));
    let mut status = String::new();
    events.read_line(&mut status).unwrap();
    (events, status.trim_end().to_owned())
}

/// The data of the next event of this kind that holds `text`.
fn event(events: &mut BufReader<TcpStream>, kind: &str, text: &str) -> serde_json::Value {
    let mut is_wanted = false;
    for line in events.lines().map(Result::unwrap) {
        match line.split_once(": ") {
            Some(("event", found)) => is_wanted = found == kind,
            Some(("data", data)) if is_wanted && data.contains(text) => return serde_json::from_str(data).unwrap(),
            _ => {}
        }
    }
    panic!("the stream ended without a {kind} with {text:?}");
}

/// The value of a metric.
fn metric(server: &Server, name: &str) -> String {
    let metrics = server.request("GET /v1/metrics");
    let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
    line.rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn the_page_is_one_document_under_strict_headers_for_those_who_call_it_by_its_name() {
    let (server, page) = server("names = [\"gate.corp.example\"]\n");
    for host in [&page.to_string(), "localhost:9000", "gate.corp.example"] {
        let answer = request(page, "GET /", &format!("Host: {host}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{host}: {answer}");
        assert!(answer.ends_with("</html>\n"), "{host}");
    }
    let answer = request(page, "GET /", "Host: evil.example\r\n");
    assert!(answer.starts_with("HTTP/1.1 421") && answer.contains("`[page] names`"), "{answer}");
    let answer = request(page, "GET /denied", "Host: localhost\r\nSec-Fetch-Site: cross-site\r\n");
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    for path in ["/", "/denied", "/nothing", "/check", "/check?name=a..b"] {
        let head = get(page, path).split("\r\n\r\n").next().unwrap().to_lowercase();
        for header in [
            "content-security-policy: default-src 'none'; style-src 'sha256-",
            "cache-control: no-store",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
            "cross-origin-opener-policy: same-origin",
        ] {
            assert!(head.contains(header), "{path}: no {header} in {head}");
        }
        assert!(!head.contains("access-control"), "{path}");
    }
    assert_eq!(metric(&server, "pullgate_page_refused_total{reason=\"host\"}"), "1");
    assert_eq!(metric(&server, "pullgate_page_refused_total{reason=\"site\"}"), "1");
}

#[test]
fn the_page_can_only_be_read() {
    let (_server, page) = server("");
    for path in ["/", "/events", "/check?name=a.example", "/v1/reload"] {
        let answer = request(page, &format!("POST {path}"), "Host: localhost\r\nContent-Length: 0\r\n");
        assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("allow: GET, HEAD"), "{path}: {answer}");
    }
    for path in ["/", "/events"] {
        let answer = request(page, &format!("HEAD {path}"), "Host: localhost\r\n");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{path}: {answer}");
    }
    assert!(get(page, "/v1/status").starts_with("HTTP/1.1 404"), "the control socket's paths are not here");
}

#[test]
fn the_stream_tells_how_things_stand_and_what_is_denied_and_a_changed_policy() {
    let (server, page) = server("");
    let ((mut events, _), (mut numbers, _)) = (follow(page), follow(page));
    assert_eq!(event(&mut events, "status", "")["state"], "ok");
    assert!(event(&mut numbers, "numbers", "")["upstream"]["servers"].is_array());
    server.ask("b.example");
    let told = event(&mut events, "denials", "b.example");
    assert_eq!((&told["entries"][0]["name"], &told["left_out"]), (&"b.example".into(), &0.into()));
    assert!(event(&mut numbers, "numbers", "\"denied\":1")["at"].is_string());
    server.place.write_policy("[[regsitry]]\n");
    let status = event(&mut events, "status", "degraded");
    assert_eq!((&status["faults"][0]["line"], &status["fault_count"]), (&2.into(), &1.into()));
}

#[test]
fn there_are_so_many_streams_and_one_too_many_is_told_when_to_come_back() {
    let (server, page) = server("");
    let mut streams: Vec<_> = (0..STREAMS).map(|_| follow(page)).collect();
    assert!(streams.iter().all(|(_, status)| status == "HTTP/1.1 200 OK"));
    let answer = get(page, "/events");
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 10"), "{answer}");
    assert!(get(page, "/").starts_with("HTTP/1.1 200"), "the page itself is there for everybody");
    assert_eq!(metric(&server, "pullgate_page_streams"), STREAMS.to_string());
    assert_eq!(metric(&server, "pullgate_page_refused_total{reason=\"full\"}"), "1");
    streams.pop();
    let begun = std::time::Instant::now();
    while follow(page).1 != "HTTP/1.1 200 OK" {
        assert!(begun.elapsed() < PATIENCE, "a stream that was left makes no room");
    }
}

#[test]
fn what_was_denied_comes_with_the_lines_to_add_and_without_a_history_from_the_log() {
    for (more, source) in [("", "history"), ("[history]\nenabled = false\n", "log")] {
        let (server, page) = server(more);
        let (mut events, _) = follow(page);
        event(&mut events, "denials", "");
        server.ask("quay.io");
        event(&mut events, "denials", "quay.io");
        let report = json(&get(page, "/denied?since=24h&top=5"));
        let name = &report["names"][0];
        assert_eq!((&report["source"], &name["name"]), (&source.into(), &"quay.io".into()), "{report}");
        assert_eq!(name["add"]["lines"], "[[registry]]\npreset = \"quay-io\"\n");
        assert_eq!(name["verdict_now"], "deny");
        server.place.write_policy("[[registry]]\npreset = \"quay-io\"\n");
        assert_eq!(server.place.run(&["reload"]).code, Some(0));
        let report = json(&get(page, "/denied"));
        let name = &report["names"][0];
        assert_eq!((&name["verdict_now"], &name["add"]), (&"allow".into(), &serde_json::Value::Null), "{report}");
        let socket = server.request("GET /v1/denied?top=1");
        assert_eq!(json(&socket)["names"][0]["name"], "quay.io");
        assert!(json(&server.request("GET /v1/numbers"))["cache"]["hits"].is_u64());
    }
}

#[test]
fn the_page_checks_names_as_the_command_does() {
    let (server, page) = server("");
    let asked = json(&get(page, "/check?name=a.example&client=192.0.2.1"));
    assert_eq!((&asked["verdict"], &asked["rule"]["line"]), (&"allow".into(), &4.into()));
    assert!(get(page, "/check?nmae=a.example").starts_with("HTTP/1.1 400"));
    let command = server.place.run(&["check", "b.example", "--json"]);
    let command: serde_json::Value = serde_json::from_str(&command.stdout).unwrap();
    let asked = json(&get(page, "/check?name=b.example"));
    let command = &command[0];
    assert_eq!((&command["add"], &command["verdict"]), (&asked["add"], &asked["verdict"]));
    assert!(asked["add"]["lines"].as_str().unwrap().contains("hosts = [\"b.example\"]"));
}

#[test]
fn unused_rules_come_in_a_number_that_a_page_can_show() {
    let (_server, page) = server("");
    let report = json(&get(page, "/unused?days=7&limit=0"));
    assert_eq!((&report["rules"], &report["left_out"]), (&serde_json::json!([]), &1.into()), "{report}");
}

#[test]
fn a_page_whose_port_is_taken_keeps_the_service_from_starting_and_says_so() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::new(POLICY, Upstream::start());
    let listen = taken.local_addr().unwrap();
    place.write_settings("127.0.0.1:0", Upstream::start(), &format!("[page]\nlisten = \"{listen}\"\n"));
    let ended = place.run(&["serve"]);
    assert_eq!(ended.code, Some(69), "{ended:?}");
    assert!(ended.stderr.contains(&format!("cannot listen on {listen} for the page")), "{}", ended.stderr);
}
