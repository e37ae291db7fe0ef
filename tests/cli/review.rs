//! What a change would change, shown before it is made: to the operator, in a pull request, to code scanning.

use crate::harness::{Ended, Place, Upstream};

const ALLOW_A: &str = "[[registry]]\nname = \"a\"\nhosts = [\"a.example\"]\n";
const BUCKETS: &str = "[[registry]]\nname = \"b\"\nhosts = [\"*.s3.amazonaws.com\"]\n";

fn place(policy: &str) -> Place {
    Place::new(policy, Upstream::start())
}

/// `policy diff` of two policies, each in a folder of its own, without a server.
fn diff(old: &str, new: &str, arguments: &[&str]) -> Ended {
    let (old, new) = (place(old), place(new));
    let [old_folder, new_folder] = [&old, &new].map(|place| place.path("policy.d").display().to_string());
    new.run(&[&["policy", "diff", &old_folder, &new_folder], arguments].concat())
}

#[test]
fn a_diff_for_a_pull_request_puts_what_opens_to_strangers_first() {
    let ended = diff(ALLOW_A, BUCKETS, &["--format", "markdown"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines[0], "### Policy: 2 changes, 1 of them open more");
    assert!(
        lines[4].starts_with("| **opens to strangers** | `*.s3.amazonaws.com` | everyone | – | `allow` |"),
        "{lines:?}"
    );
    assert!(lines[5].starts_with("| closes | `a.example` |"), "{lines:?}");
    let accepted = diff(ALLOW_A, &format!("{BUCKETS}accept-shared-suffix = true\n"), &["--format", "markdown"]);
    assert!(accepted.stdout.contains("| **opens** | `*.s3.amazonaws.com` |"), "{}", accepted.stdout);
    assert_eq!(diff(ALLOW_A, ALLOW_A, &["--format", "markdown"]).stdout, "### Policy: no verdict differs\n");
}

#[test]
fn a_diff_for_code_scanning_has_a_place_for_every_result() {
    let ended = diff(ALLOW_A, BUCKETS, &["--format", "sarif"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let log: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let results = log["runs"][0]["results"].as_array().unwrap();
    let levels: Vec<_> = results.iter().map(|result| result["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["error", "note"]);
    for result in results {
        let place = &result["locations"][0]["physicalLocation"];
        assert!(place["artifactLocation"]["uri"].as_str().unwrap().ends_with("policy.d/a.toml"), "{result}");
        assert!(place["region"]["startLine"].as_u64().unwrap() >= 1);
    }
    let same = diff(ALLOW_A, ALLOW_A, &["--format", "sarif"]);
    let log: serde_json::Value = serde_json::from_str(&same.stdout).unwrap();
    assert_eq!((same.code, &log["runs"][0]["results"]), (Some(0), &serde_json::json!([])));
}

#[test]
fn a_faulty_new_policy_is_said_in_the_form_that_was_asked_for() {
    let faulty = "[[regsitry]]\n";
    let markdown = diff(ALLOW_A, faulty, &["--format", "markdown"]);
    assert_eq!(markdown.code, Some(78));
    assert!(markdown.stdout.starts_with("### Policy: 1 fault, a server refuses it whole\n"), "{}", markdown.stdout);
    let sarif = diff(ALLOW_A, faulty, &["--format", "sarif"]);
    let log: serde_json::Value = serde_json::from_str(&sarif.stdout).unwrap();
    assert_eq!((sarif.code, &log["runs"][0]["results"][0]["ruleId"]), (Some(78), &"fault".into()));
    let text = diff(ALLOW_A, faulty, &[]);
    assert_eq!((text.code, text.stdout.as_str()), (Some(78), ""));
    assert!(text.stderr.contains("unknown key `regsitry`"), "{}", text.stderr);
}

#[test]
fn json_tells_of_each_change_which_way_it_goes_and_where_it_stands() {
    let ended = diff(ALLOW_A, BUCKETS, &["--json"]);
    let changes: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&changes[0]["subject"], &changes[0]["direction"]), (&"*.s3.amazonaws.com".into(), &"opens".into()));
    assert_eq!((&changes[0]["line"], &changes[1]["direction"]), (&4.into(), &"closes".into()));
    assert!(changes[0]["strangers"].is_string());
    assert_eq!(diff(ALLOW_A, BUCKETS, &["--format", "json"]).stdout.len(), ended.stdout.len());
    assert_eq!(diff(ALLOW_A, BUCKETS, &["--json", "--format", "text"]).code, Some(64));
}

#[test]
fn a_dry_run_says_what_a_reload_would_come_to_and_changes_nothing() {
    let server = place(ALLOW_A).serve();
    let dry = server.place.run(&["reload", "--dry-run"]);
    assert_eq!((dry.code, dry.stdout.as_str()), (Some(0), "would change nothing: the files say what is in force\n"));

    // A faulty file beside it keeps the look of every two seconds from taking the new one first.
    std::fs::write(server.place.path("policy.d/b.toml"), "version = 1\n[[regsitry]]\n").unwrap();
    server.place.write_policy(&ALLOW_A.replace("a.example", "b.example"));
    let dry = server.place.run(&["reload", "--dry-run"]);
    assert_eq!(dry.code, Some(78), "{dry:?}");
    assert!(dry.stderr.contains("b.toml:2:3: unknown key `regsitry`"), "{}", dry.stderr);
    assert!(dry.stderr.contains("would be refused"), "{}", dry.stderr);
    assert_eq!((server.ask("a.example").0, server.ask("b.example").0), (0, 3));
    let json = server.place.run(&["reload", "--dry-run", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((json.code, &report["result"]), (Some(78), &"refused".into()));
}
