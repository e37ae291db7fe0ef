//! `pullgate discover` as a program: against a registry of this process, without TLS since it is on this machine.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use serde_json::Value;

use crate::harness::{Ended, PATIENCE, Place, Upstream, pullgate};

const POLICY: &str = "[[registry]]\nname = \"lab\"\nhosts = [\"registry.example\"]\nprivate-addresses = true\n";
const LINE: &str = "redirects = [\"cdn.example\"]\n";

/// A registry whose blobs are at `cdn.example`, on the same port; its own name is whatever it is asked by.
fn registry() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || answer(&stream.unwrap(), port));
        }
    });
    port
}

/// Answers one request; whoever begins with a handshake is left.
fn answer(mut stream: &TcpStream, port: u16) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut lines = BufReader::new(stream).lines();
    let Some(Ok(line)) = lines.next() else { return };
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let body = format!(r#"{{"config":{{"digest":"{}"}},"layers":[{{"digest":"{}"}}]}}"#, digest("1"), digest("2"));
    let (status, header, body) = match line.split([' ', '?']).nth(1).unwrap_or_default() {
        "/v2/" | "/layer" => ("200 OK", String::new(), "{}"),
        "/v2/app/manifests/1" => ("200 OK", String::new(), body.as_str()),
        path if path.contains("/blobs/") => {
            ("307 Elsewhere", format!("Location: http://cdn.example:{port}/layer?sig=s3cret\r\n"), "")
        }
        _ => ("404 Not Found", String::new(), ""),
    };
    let body = if line.starts_with("HEAD") { "" } else { body };
    let length = body.len();
    let _ = write!(stream, "HTTP/1.1 {status}\r\n{header}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
}

fn place() -> Place {
    Place::new(POLICY, Upstream::answering([127, 0, 0, 1]))
}

/// Walks the registry's image, away from this user's proxies and credentials.
fn discover(place: &Place, port: u16, options: &[&str]) -> Ended {
    let image = format!("registry.example:{port}/app:1");
    let mut command = place.command(&[&["discover", &image], options].concat());
    for variable in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "DOCKER_AUTH_CONFIG"] {
        command.env_remove(variable);
    }
    let command = command.env("DOCKER_CONFIG", place.path("nowhere")).env("XDG_RUNTIME_DIR", place.path("nowhere"));
    Ended::from(command.output().unwrap())
}

fn report(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[test]
fn discover_names_the_missing_host_and_the_line_for_it() {
    let (place, port) = (place(), registry());
    let ended = discover(&place, port, &["--json"]);
    let found = report(&ended);
    assert_eq!((ended.code, &found["judged_by"], &found["end"]), (Some(1), &Value::from("files"), &Value::Null));
    let hosts: Vec<_> =
        found["hosts"].as_array().unwrap().iter().map(|host| (&host["host"], &host["verdict"])).collect();
    let expected =
        [("registry.example", "allow"), ("cdn.example", "deny")].map(|(a, b)| (Value::from(a), Value::from(b)));
    assert_eq!(hosts, expected.iter().map(|(a, b)| (a, b)).collect::<Vec<_>>());
    assert_eq!(found["add"][0]["toml"], LINE);
    let text = discover(&place, port, &[]);
    for words in ["cdn.example", "307", "to add to registry `lab` (", LINE, "judged by the policy files"] {
        assert!(text.stdout.contains(words), "{words}: {}", text.stdout);
    }
    assert!(!format!("{ended:?}{text:?}").contains("s3cret"));
    place.write_policy(&format!("{POLICY}{LINE}"));
    let mended = discover(&place, port, &["--json"]);
    assert_eq!((mended.code, &report(&mended)["add"]), (Some(0), &Value::Array(Vec::new())));
}

#[test]
fn a_running_server_judges_and_through_it_denied_hosts_do_not_resolve() {
    let (server, port) = (place().serve(), registry());
    let found = report(&discover(&server.place, port, &["--json"]));
    assert_eq!((&found["judged_by"], &found["hosts"][1]["verdict"]), (&Value::from("server"), &Value::from("deny")));
    let ended = discover(&server.place, port, &["--json", "--through"]);
    let found = report(&ended);
    assert_eq!((ended.code, &found["hosts"][1]["host"]), (Some(1), &Value::from("cdn.example")));
    assert_eq!(found["hosts"][1]["answered"][0], "its name has no address");
    assert_eq!(found["add"][0]["toml"], LINE, "seen from here as from anywhere");
}

#[test]
fn a_pull_that_cannot_be_walked_to_its_end_is_no_success() {
    let place = place();
    let ended = place.run(&["discover", &format!("registry.example:{}/app:gone", registry()), "--json"]);
    assert_eq!(ended.code, Some(69), "{ended:?}");
    assert!(report(&ended)["end"].as_str().unwrap().contains("answers 404 for `app` at gone"), "{ended:?}");
}

#[test]
fn presets_that_nobody_answers_for_have_not_drifted() {
    // An address of this machine that nobody listens at.
    let place = Place::new(POLICY, Upstream::answering([127, 53, 53, 53]));
    let mut command = place.command(&["discover", "--presets", "--json"]);
    for variable in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
        command.env_remove(variable);
    }
    let ended = Ended::from(command.output().unwrap());
    let drifts = report(&ended);
    assert_eq!(ended.code, Some(69), "{ended:?}");
    let hub = drifts.as_array().unwrap().iter().find(|drift| drift["preset"] == "docker-hub").unwrap();
    assert_eq!(
        (&hub["hosts"][0]["host"], &hub["hosts"][0]["state"]),
        (&Value::from("registry-1.docker.io"), &Value::from("on"))
    );
}

#[test]
fn a_command_line_that_says_nothing_to_walk_is_refused() {
    for arguments in [
        &["discover"][..],
        &["discover", "https://ghcr.io/a"],
        &["discover", "ghcr.io/a", "--presets"],
        &["discover", "ghcr.io/a", "--platform", "linux"],
        &["discover", "ghcr.io/a", "--repeat", "0"],
        &["discover", "ghcr.io/a", "--platform", "linux/amd64", "--all-platforms"],
    ] {
        assert_eq!(pullgate(arguments).output().unwrap().status.code(), Some(64), "{arguments:?}");
    }
}
