//! Assertions kept beside the policy: tested by a command, and the reason for a reload's refusal.

use crate::harness::{Place, Upstream};

const ALLOW_A: &str = "[[registry]]\nname = \"a\"\nhosts = [\"a.example\"]\n";

fn policy(expected: &str) -> String {
    format!("{ALLOW_A}[[assert]]\nname = \"a.example\"\nexpect = \"{expected}\"\n")
}

#[test]
fn the_command_ends_with_1_if_one_does_not_hold_and_names_the_rule() {
    let place = Place::new(&policy("allow"), Upstream::start());
    let ended = place.run(&["policy", "test"]);
    assert_eq!((ended.code, ended.stdout.lines().last()), (Some(0), Some("1 assertion: all hold")), "{ended:?}");

    place.write_policy(&policy("deny"));
    let folder = place.path("policy.d").display().to_string();
    let ended = place.run(&["policy", "test", &folder]);
    assert_eq!(ended.code, Some(1));
    for part in
        ["FAILED  `a.example` for everyone: deny is expected", "a.toml:7:10", "rule: a.example (", "a.toml:4:10"]
    {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }
    let json = place.run(&["policy", "test", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((json.code, &report["failed"]), (Some(1), &1.into()));
    let assertion = &report["assertions"][0];
    assert_eq!(
        (&assertion["holds"], &assertion["verdict"], &assertion["line"]),
        (&false.into(), &"allow".into(), &7.into())
    );

    place.write_policy("[[regsitry]]\n");
    assert_eq!(place.run(&["policy", "test"]).code, Some(78));
}

#[test]
fn lint_and_reload_refuse_a_policy_whose_assertions_do_not_hold() {
    let server = Place::new(&policy("allow"), Upstream::start()).serve();
    server.place.write_policy(&policy("deny").replace("a.example", "b.example"));
    let lint = server.place.run(&["policy", "lint"]);
    assert_eq!(lint.code, Some(78), "{lint:?}");
    let reload = server.place.run(&["reload"]);
    assert_eq!(reload.code, Some(78), "{reload:?}");
    assert!(reload.stderr.contains("policy.d/a.toml:7:10: `b.example` for everyone"), "{}", reload.stderr);
    assert!(reload.stderr.contains("`b.example` at "), "{}", reload.stderr);
    assert_eq!(server.ask("a.example").0, 0, "what was in force stays");
}
