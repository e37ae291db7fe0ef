//! Entries that run out: said before they do, with whom to ask, wherever somebody looks.

use std::time::{Duration, SystemTime};

use crate::harness::{Place, Upstream};

const DAY: u64 = 86_400;

/// A policy with an entry that ends in five days, one that ends in a hundred, and one that ended yesterday.
fn policy() -> String {
    let moment = |moment: SystemTime| format!("{:.0}", jiff::Timestamp::try_from(moment).unwrap());
    let now = SystemTime::now();
    let later = |days| moment(now + Duration::from_secs(days * DAY + 3600));
    let ended = moment(now - Duration::from_secs(DAY));
    let entry = |name: &str, more: &str| {
        format!("[[registry]]\nname = \"{name}\"\nhosts = [\"{name}.example\"]\nexpires = {more}\n")
    };
    let terms = "\nowner = \"platform\"\nticket = \"SEC-118\"\ngroups = [\"ci\"]";
    format!(
        "{}{}{}[[group]]\nname = \"ci\"\n[[group]]\nname = \"default\"\nregistries = [\"*\"]\n",
        entry("late", &later(100)),
        entry("soon", &format!("{}{terms}", later(5))),
        entry("gone", &ended),
    )
}

#[test]
fn an_entry_that_runs_out_is_listed_counted_and_warned_of_and_one_that_ended_is_called_so() {
    let place = Place::new(&policy(), Upstream::start());
    let linted = place.run(&["policy", "lint"]);
    assert!(linted.stdout.contains("`soon` ends soon, at ") && !linted.stdout.contains("`late`"), "{}", linted.stdout);
    let mut server = place.serve();
    let logged = server.wait_logged("a policy entry ends soon");
    for part in ["soon", "5d", "platform", "SEC-118", "a.toml:9"] {
        assert!(logged.contains(part), "{part}: {logged}");
    }

    let status = server.place.run(&["status"]);
    let lines: Vec<&str> = status.stdout.lines().filter(|line| line.contains("registry ")).collect();
    assert_eq!(lines.len(), 3, "{}", status.stdout);
    assert!(
        lines[0].starts_with("  ended    registry gone for default: at ") && lines[0].contains("is left out"),
        "{}",
        lines[0]
    );
    assert!(lines[1].starts_with("  expires  registry soon for ci, default: 5d "), "{}", lines[1]);
    assert!(lines[1].contains(", owner platform, ticket SEC-118, ") && lines[1].ends_with("/a.toml:9"), "{}", lines[1]);
    assert!(lines[2].starts_with("  expires  registry late for default: 100d "), "{}", lines[2]);

    let status = server.place.run(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    let left: Vec<_> =
        status["exceptions"].as_array().unwrap().iter().map(|one| (&one["days_left"], &one["ended"])).collect();
    let expected = [(0, true), (5, false), (100, false)].map(|(days, ended)| (days.into(), ended.into()));
    assert_eq!(left, expected.iter().map(|(days, ended)| (days, ended)).collect::<Vec<_>>());

    let metrics = server.request("GET /v1/metrics");
    assert!(metrics.contains("pullgate_exceptions{state=\"running\"} 2\n"), "{metrics}");
    let labels = "{kind=\"registry\",entry=\"soon\",owner=\"platform\",ticket=\"SEC-118\"} ";
    assert!(metrics.contains(&format!("pullgate_exception_expires_timestamp_seconds{labels}")), "{metrics}");
}

#[test]
fn what_is_put_on_top_for_a_while_is_no_entry_that_runs_out() {
    let server = Place::new(&policy(), Upstream::start()).serve();
    assert_eq!(server.place.run(&["allow", "new.example", "--group", "ci", "--for", "2h"]).code, Some(0));
    let status = server.place.run(&["status"]).stdout;
    assert!(status.contains("  overlay  allow new.example"), "{status}");
    assert_eq!(status.lines().filter(|line| line.starts_with("  expires  ")).count(), 2, "{status}");
}
