//! An earlier policy in force again, by the command line.

use crate::harness::{Place, Upstream};

const ALLOW_A: &str = "[[registry]]\nname = \"a\"\nhosts = [\"a.example\"]\n";

#[test]
fn an_earlier_policy_is_in_force_at_once_over_a_restart_and_until_it_is_ended() {
    let server = Place::new(ALLOW_A, Upstream::start()).serve();
    server.place.write_policy(&ALLOW_A.replace("a.example", "b.example"));
    assert_eq!(server.place.run(&["reload"]).code, Some(0));

    let ended = server.place.run(&["policy", "rollback", "1"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "in force: generation 3\n"), "{ended:?}");
    assert_eq!((server.ask("a.example").0, server.ask("b.example").0), (0, 3));
    let status = server.place.run(&["status"]);
    assert_eq!(status.code, Some(1));
    assert!(status.stdout.starts_with("rolled-back: "), "{}", status.stdout);
    assert!(status.stdout.contains("rolled back to generation 1 by "), "{}", status.stdout);
    assert!(server.request("GET /v1/metrics").contains("pullgate_policy_state{state=\"rolled-back\"} 1"));
    let history = server.place.run(&["policy", "history"]).stdout;
    let lines: Vec<&str> = history.lines().collect();
    assert!(lines[1].starts_with("2 ") && !lines[1].contains("in force"), "{history}");
    assert!(lines[2].starts_with("1 ") && lines[2].contains("in force, rolled back to by "), "{history}");

    let server = server.restart();
    assert_eq!((server.ask("a.example").0, server.ask("b.example").0), (0, 3));
    assert_eq!(server.place.run(&["policy", "rollback", "--end"]).code, Some(0));
    assert_eq!((server.ask("a.example").0, server.ask("b.example").0), (3, 0));
    assert_eq!(server.place.run(&["status"]).code, Some(0));
}

#[test]
fn what_is_not_kept_is_refused_and_no_rollback_is_no_command() {
    let server = Place::new(ALLOW_A, Upstream::start()).serve();
    let ended = server.place.run(&["policy", "rollback", "7"]);
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert!(
        ended.stderr.contains("generation 7 is not kept") && ended.stderr.contains("kept are 1"),
        "{}",
        ended.stderr
    );
    assert_eq!(server.place.run(&["policy", "rollback", "--end"]).code, Some(78));
    assert_eq!(server.place.run(&["policy", "rollback"]).code, Some(64));
    let json = server.place.run(&["policy", "history", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&report["generations"][0]["generation"], &report["rollback"]), (&1.into(), &serde_json::Value::Null));
}
