//! What clients lack, from the history and from a command that is run, and the policy file that is made of it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::{Ended, Place, Server, Upstream, pullgate};

const NOERROR: u8 = 0;
const NXDOMAIN: u8 = 3;

const POLICY: &str = "[[registry]]\nname = \"lab\"\nhosts = [\"registry.example\"]\n[[deny]]\nhosts = [\"bad.example\"]\n\
    [[group]]\nname = \"ci\"\nclients = [\"127.0.0.0/8\"]\nregistries = [\"*\"]\n[[group]]\nname = \"default\"\n";

fn server() -> Server {
    Place::new(POLICY, Upstream::start()).serve()
}

fn learned(server: &Server, more: &[&str]) -> Value {
    let ended = server.place.run(&[&["learn", "--json"], more].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

/// The same, once what a name was asked for after is told of: that comes by way of the log.
fn learned_after(server: &Server, more: &[&str], proposals: usize) -> Value {
    loop {
        let report = learned(server, more);
        if report["proposals"].as_array().unwrap().len() >= proposals {
            return report;
        }
        std::thread::yield_now();
    }
}

#[test]
fn names_asked_for_after_a_registry_become_a_policy_file_that_allows_them() {
    let server = server();
    for name in ["registry.example", "cdn.example", "prod-a-blobs.s3.amazonaws.com", "bad.example"] {
        server.ask(name);
    }
    let report = learned_after(&server, &[], 2);
    let told: Vec<_> = report["proposals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|proposal| {
            (
                proposal["pattern"].as_str().unwrap(),
                proposal["risk"].as_str().unwrap(),
                proposal["home"]["entry"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(told, [("cdn.example", "low", "lab"), ("prod-a-blobs.s3.amazonaws.com", "medium", "lab")]);
    assert!(report["unexplained"][0]["why"].as_str().unwrap().contains("a `[[deny]]` has it"), "{report}");
    let table = server.place.run(&["learn", "--group", "ci", "--client", "127.0.0.1"]).stdout;
    for part in
        ["RISK", "low     cdn.example", "registry `lab` (", "1 time by 1 client", "note: prod-a-blobs", "--output FILE"]
    {
        assert!(table.contains(part), "{part}: {table}");
    }
    assert!(server.place.run(&["learn", "--client", "127.0.0.2"]).stdout.contains("nothing is missing"));

    let file = server.place.path("learned.toml").display().to_string();
    let written = server.place.run(&["learn", "--output", &file]);
    assert!(written.code == Some(0) && written.stdout.contains("learned.toml is written"), "{written:?}");
    assert_eq!(server.place.run(&["learn", "--output", &file]).code, Some(74), "it is there");
    assert_eq!(server.place.run(&["learn", "--output", &file, "--force"]).code, Some(0));
    assert_eq!(server.ask("cdn.example").0, NXDOMAIN, "nothing is put in force");
    let folder = server.place.path("policy.d/b.toml").display().to_string();
    let refused = server.place.run(&["learn", "--output", &folder, "--force"]);
    assert!(refused.code == Some(64) && refused.stderr.contains("is the policy folder"), "{refused:?}");

    fs::rename(&file, &folder).unwrap();
    let lint = server.place.run(&["policy", "lint"]);
    assert!(lint.code == Some(0) && lint.stdout.contains("0 warnings"), "{lint:?}");
    assert_eq!(server.place.run(&["reload"]).code, Some(0));
    assert_eq!((server.ask("cdn.example").0, server.ask("bad.example").0), (NOERROR, NXDOMAIN));
    let after = learned(&server, &[]);
    assert_eq!((after["proposals"].as_array().unwrap().len(), &after["allowed_by_now"]), (0, &2.into()));
}

#[test]
fn a_name_that_nothing_explains_is_proposed_only_when_asked_for() {
    let server = server();
    server.ask("telemetry.example");
    server.ask("ghcr.io");
    let report = learned(&server, &[]);
    assert_eq!(report["proposals"], Value::Array(Vec::new()));
    assert_eq!(report["unexplained"].as_array().unwrap().len(), 2);
    let toml = server.place.run(&["learn", "--all", "--toml"]).stdout;
    assert!(
        toml.contains("preset = \"ghcr\"\ngroups = [\"ci\"]\n") && toml.contains("\"telemetry.example\","),
        "{toml}"
    );
}

/// What `pullgate learn --run` with a command comes to.
fn run(server: &Server, command: &[&str]) -> Ended {
    let config = server.place.path("pullgate.toml").display().to_string();
    let arguments = [&["--config", &config, "learn", "--run", "--client", "127.0.0.1", "--"][..], command].concat();
    Ended::from(pullgate(&arguments).output().unwrap())
}

/// `pullgate learn --run` with `cat`, which ends with its input; the audit is on.
fn learning(server: &Server, more: &[&str]) -> (Child, String) {
    let config = server.place.path("pullgate.toml").display().to_string();
    let arguments =
        [&["--config", &config, "learn", "--run", "--client", "127.0.0.1"][..], more, &["--", "cat"]].concat();
    let mut command = pullgate(&arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    (child, line)
}

fn end(mut child: Child) -> (Option<i32>, String) {
    drop(child.stdin.take());
    read_to_end(&mut child)
}

fn read_to_end(child: &mut Child) -> (Option<i32>, String) {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    (child.wait().unwrap().code(), text)
}

#[test]
fn a_command_is_run_with_its_client_under_audit_and_what_it_asked_is_told() {
    let server = server();
    server.ask("before.example");
    let (child, line) = learning(&server, &["--json"]);
    assert!(line.contains("127.0.0.1 is under audit while `cat` runs"), "{line}");
    let overlay = server.place.run(&["overlay"]).stdout;
    assert!(
        overlay.contains("mode audit for client 127.0.0.1") && overlay.contains(": pullgate learn: cat"),
        "{overlay}"
    );
    let second = run(&server, &["true"]);
    assert!(second.code == Some(64) && second.stderr.contains("is on already"), "{second:?}");
    assert_eq!(["registry.example", "cdn.example"].map(|name| server.ask(name).0), [NOERROR; 2]);
    let (code, text) = end(child);
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &report["run"]["code"], &report["run"]["client"]), (Some(0), &0.into(), &"127.0.0.1".into()));
    assert_eq!(report["proposals"][0]["pattern"], "cdn.example", "{report}");
    assert_eq!(server.place.run(&["overlay"]).stdout, "nothing is on top of the policy files\n");
    assert_eq!(server.ask("cdn.example").0, NXDOMAIN);
}

#[test]
fn the_audit_ends_however_the_command_ends() {
    let server = server();
    let is_over = || server.place.run(&["overlay"]).stdout == "nothing is on top of the policy files\n";
    let (mut child, _) = learning(&server, &[]);
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    // Its input stays open: it is the signal that ends it.
    let (code, text) = read_to_end(&mut child);
    assert!(code == Some(1) && text.contains("the command was ended by a signal") && is_over(), "{text}");
    assert_eq!((run(&server, &["sh", "-c", "exit 7"]).code, is_over()), (Some(1), true));
    assert_eq!((run(&server, &["/nowhere/at-all"]).code, is_over()), (Some(74), true));
}

#[test]
fn without_a_history_nothing_is_opened() {
    let place = Place::new(POLICY, Upstream::start());
    let settings = place.path("pullgate.toml");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, format!("{text}[history]\nenabled = false\n")).unwrap();
    let server = place.serve();
    let ended = run(&server, &["true"]);
    assert!(ended.code == Some(69) && ended.stderr.contains("no history is kept"), "{ended:?}");
    assert!(!ended.stderr.contains("under audit"), "{ended:?}");
}
