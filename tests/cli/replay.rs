//! What was asked in the last day, judged by a policy that is not in force.

use std::fs;

use serde_json::Value;

use crate::harness::{Place, Server, Upstream};

const POLICY: &str = "[[registry]]\nname = \"r\"\nhosts = [\"a.example\", \"b.example\"]\n[[group]]\nname = \"ci\"\n\
    clients = [\"127.0.0.0/8\"]\nregistries = [\"*\"]\n[[group]]\nname = \"default\"\n";

/// Names that were asked for: one of them is asked for under a policy without it.
const ASKED: [&str; 6] = ["a.example", "b.example", "b.example", "c.example", "d.example", "d.example"];

fn server() -> Server {
    let server = Place::new(POLICY, Upstream::start()).serve();
    for name in ASKED {
        server.ask(name);
    }
    server
}

/// The policy with `a` and `c` allowed, in another folder.
fn next(server: &Server) -> String {
    let folder = server.place.path("next");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.toml"), format!("version = 1\n{}", changed())).unwrap();
    folder.display().to_string()
}

fn changed() -> String {
    POLICY.replace("\"b.example\"", "\"c.example\"")
}

fn flips(replay: &Value) -> Vec<(&str, &str, &str, u64)> {
    let flips = replay["flips"].as_array().unwrap().iter();
    flips
        .map(|flip| {
            let text = |key: &str| flip[key].as_str().unwrap();
            (text("name"), text("old"), text("new"), flip["count"].as_u64().unwrap())
        })
        .collect()
}

const FLIPPED: [(&str, &str, &str, u64); 2] = [("b.example", "allow", "deny", 2), ("c.example", "deny", "allow", 1)];

#[test]
fn a_diff_against_the_running_server_tells_which_names_that_were_asked_for_would_flip() {
    let server = server();
    let folder = next(&server);
    let ended = server.place.run(&["policy", "diff", &folder]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for line in [
        "of 6 questions in the last 24h (the history reaches back to ",
        "), 2 names would be decided otherwise\n",
        "- b.example: allow -> deny  group ci  2 times by 127.0.0.1, last ",
        "+ c.example: deny -> allow  group ci  once by 127.0.0.1, last ",
    ] {
        assert!(ended.stdout.contains(line), "{line}: {}", ended.stdout);
    }
    let json: Value = serde_json::from_str(&server.place.run(&["policy", "diff", &folder, "--json"]).stdout).unwrap();
    assert_eq!((flips(&json["replay"]), json["changes"].as_array().unwrap().len()), (FLIPPED.to_vec(), 2));
    assert_eq!(json["replay"]["flips"][0]["clients"][0], "127.0.0.1");
    for option in [&["--no-replay"][..], &["--replay", "0"]] {
        let without = server.place.run(&[&["policy", "diff", &folder, "--json"], option].concat());
        let json: Value = serde_json::from_str(&without.stdout).unwrap();
        assert!(json.get("replay").is_none() && json["changes"].is_array(), "{json}");
    }
    let markdown = server.place.run(&["policy", "diff", &folder, "--format", "markdown"]).stdout;
    assert!(markdown.contains("| `b.example` | `ci` | allow | deny | 2 times by 127.0.0.1, last "), "{markdown}");
    let sarif = server.place.run(&["policy", "diff", &folder, "--format", "sarif"]).stdout;
    let sarif: Value = serde_json::from_str(&sarif).unwrap();
    let rules: Vec<_> =
        sarif["runs"][0]["results"].as_array().unwrap().iter().map(|result| result["ruleId"].as_str()).collect();
    assert_eq!(rules, ["opens", "closes", "would-be-missed", "was-asked"].map(Some));
    let own = server.place.path("policy.d").display().to_string();
    assert_eq!(server.place.run(&["policy", "diff", &own]).stdout, "", "the same policy decides alike");
    let two = server.place.run(&["policy", "diff", &own, &folder, "--replay", "1h"]);
    assert!(two.code == Some(64) && two.stderr.contains("name one folder"), "{two:?}");
    let list: Value =
        serde_json::from_str(&server.place.run(&["policy", "diff", &own, &folder, "--json"]).stdout).unwrap();
    assert!(list.is_array(), "two folders are compared as ever");
}

#[test]
fn what_is_on_top_of_the_files_is_on_top_of_any_others() {
    let server = server();
    let folder = next(&server);
    assert_eq!(server.place.run(&["mode", "audit", "--group", "ci", "--for", "1h"]).code, Some(0));
    assert_eq!(server.place.run(&["allow", "c.example", "--for", "1h"]).code, Some(0));
    let json: Value = serde_json::from_str(&server.place.run(&["policy", "diff", &folder, "--json"]).stdout).unwrap();
    assert_eq!(flips(&json["replay"]), FLIPPED);
}

#[test]
fn a_dry_run_tells_what_would_become_of_what_was_asked() {
    let server = server();
    server.place.write_policy(&changed());
    assert_eq!(server.place.run(&["reload"]).code, Some(0));
    // Files that are not in force, and stay so for as long as they do not change.
    assert_eq!(server.place.run(&["policy", "rollback", "1"]).code, Some(0));
    let ended = server.place.run(&["reload", "--dry-run"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for line in ["- b.example: allow -> deny  group ci  2 times by ", "would come into force: 2 changes of verdicts\n"]
    {
        assert!(ended.stdout.contains(line), "{line}: {}", ended.stdout);
    }
    let dry = |option: &[&str]| -> Value {
        let ended = server.place.run(&[&["reload", "--dry-run", "--json"], option].concat());
        serde_json::from_str(&ended.stdout).unwrap()
    };
    assert_eq!(flips(&dry(&["--replay", "1h"])["replay"]), FLIPPED);
    assert!(dry(&["--no-replay"]).get("replay").is_none());
    assert_eq!(server.place.run(&["reload", "--replay", "1h"]).code, Some(64));
    let answer = server.request("POST /v1/reload?dry-run=true&replay=soon");
    assert!(answer.contains("`replay` is not a time such as `24h`"), "{answer}");
}

#[test]
fn without_a_history_a_diff_is_what_it_was() {
    let place = Place::new(POLICY, Upstream::start());
    let settings = place.path("pullgate.toml");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, format!("{text}[history]\nenabled = false\n")).unwrap();
    let server = place.serve();
    let folder = next(&server);
    let ended = server.place.run(&["policy", "diff", &folder]);
    assert_eq!((ended.code, ended.stderr.as_str(), ended.stdout.lines().count()), (Some(1), "", 2), "{ended:?}");
    let asked_for = server.place.run(&["policy", "diff", &folder, "--replay", "1h"]);
    assert!(asked_for.stderr.contains("not replayed: the server refuses: no history is kept"), "{asked_for:?}");
}
