//! How far groups are on their way from audit to enforcement.

use serde_json::Value;

use crate::harness::{Place, Server, Upstream};

const POLICY: &str = "[[registry]]\nname = \"r\"\nhosts = [\"registry.example\"]\n[[group]]\nname = \"ci\"\n\
    clients = [\"127.0.0.0/8\"]\nregistries = [\"*\"]\nmode = \"audit\"\n[[group]]\nname = \"default\"\n";

fn rollout(server: &Server) -> (Option<i32>, Value) {
    let ended = server.place.run(&["rollout", "--json"]);
    (ended.code, serde_json::from_str(&ended.stdout).unwrap())
}

#[test]
fn a_group_under_audit_is_told_which_names_it_would_lose_until_it_is_enforced() {
    let server = Place::new(POLICY, Upstream::start()).serve();
    for name in ["registry.example", "new.example", "new.example", "other.example"] {
        server.ask(name);
    }
    let (code, report) = rollout(&server);
    let ci = &report["groups"][0];
    assert_eq!((code, &ci["group"], &ci["mode"]), (Some(1), &"ci".into(), &"audit".into()));
    assert_eq!((&ci["clients"], &ci["asked_a_day"], &ci["would_deny_a_day"]), (&1.into(), &4.into(), &3.into()));
    assert_eq!(ci["names"][0]["name"], "new.example");
    let kinds: Vec<_> = ci["missing"].as_array().unwrap().iter().map(|lack| lack["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["names", "history"]);
    let text = server.place.run(&["rollout"]);
    let line = "ci: 2 names would be denied: new.example (2), other.example (1); run `pullgate learn --group ci`\n";
    assert!(text.code == Some(1) && text.stdout.contains(line), "{text:?}");
    assert!(
        text.stdout.contains("ci: the history reaches back only 0 days of 7\ndefault: enforced\n"),
        "{}",
        text.stdout
    );

    server.place.write_policy(&POLICY.replace("\"registry.example\"", "\".example\""));
    assert_eq!(server.place.run(&["reload"]).code, Some(0));
    let (code, report) = rollout(&server);
    assert_eq!((code, &report["groups"][0]["names_in_all"]), (Some(1), &0.into()), "it is judged by what is in force");
    assert_eq!(server.place.run(&["mode", "enforce", "--group", "ci", "--for", "1h"]).code, Some(0));
    let (code, report) = rollout(&server);
    assert_eq!((code, &report["groups"][0]["overlay"]["what"]), (Some(0), &"enforce".into()));
}

#[test]
fn without_a_server_or_a_history_it_says_so() {
    let place = Place::new(POLICY, Upstream::start());
    assert_eq!(place.run(&["rollout"]).code, Some(69));
    assert_eq!(place.run(&["rollout", "--days", "0"]).code, Some(64));
    let server = place.serve();
    let answer = server.request("GET /v1/rollout?days=x");
    assert!(answer.contains("`days` is not a number of days"), "{answer}");
}
