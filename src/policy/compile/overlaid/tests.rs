//! What overlays change of a policy, and what they never do.

use std::time::Duration;

use super::*;
use crate::name::DomainName;
use crate::policy::document::Mode;
use crate::policy::judge::Asker;
use crate::policy::overlay::Order;
use crate::policy::probe::Regime;

const POLICY: &str = r#"version = 1
[[registry]]
name = "ours"
hosts = ["ours.example", "*.pass.example"]
path = "pass"
[[deny]]
hosts = ["*.bad.example"]
[[group]]
name = "ci"
clients = ["10.0.0.0/8"]
registries = ["ours"]
[[group]]
name = "heir"
clients = ["10.1.0.0/16"]
inherits = "ci"
[[group]]
name = "default"
[[assert]]
name = "new.example"
expect = "deny"
"#;

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn overlay(id: u64, change: Change, group: Option<&str>) -> Overlay {
    let order = Order {
        change,
        group: group.map(str::to_owned),
        client: None,
        by: "alice".into(),
        time: Some(Duration::from_secs(60)),
        ticket: None,
        reason: None,
    };
    order.accept(id, NOW).unwrap()
}

fn allow(name: &str) -> Change {
    Change::Allow(name.parse().unwrap())
}

fn block(pattern: &str) -> Change {
    Change::Block(Pattern::parse(pattern).unwrap())
}

fn on(policy: &str, overlays: &[Overlay]) -> Overlaid {
    let options = Options { has_gateway: true, statics: vec!["static.example".parse().unwrap()], ..Options::default() };
    load_overlaid(vec![Source::new("p.toml", policy)], overlays, &options, NOW).unwrap()
}

fn verdict(overlaid: &Overlaid, group: &str, name: &str) -> String {
    let (snapshot, name): (_, DomainName) = (&overlaid.compiled.snapshot, name.parse().unwrap());
    let verdict = snapshot.judge_as(snapshot.find_group(group), name.as_name()).verdict;
    format!("{} {}", verdict.word(), verdict.rule().map(|rule| rule.place().unwrap().to_string()).unwrap_or_default())
}

#[test]
fn an_allowed_name_is_so_for_its_group_alone_and_by_a_rule_that_names_the_overlay() {
    let overlaid = on(POLICY, &[overlay(3, allow("new.example"), Some("ci"))]);
    assert_eq!(verdict(&overlaid, "ci", "new.example"), "allow overlay-3:1:1");
    assert!(verdict(&overlaid, "heir", "new.example").starts_with("deny"), "nor for who inherits");
    assert!(verdict(&overlaid, "default", "new.example").starts_with("deny"));
    let everyone = on(POLICY, &[overlay(3, allow("new.example"), None)]);
    for group in ["ci", "heir", "default"] {
        assert_eq!(verdict(&everyone, group, "new.example"), "allow overlay-3:1:1");
    }
}

#[test]
fn what_the_files_allow_stays_as_they_have_it() {
    let overlaid = on(POLICY, &[overlay(1, allow("a.pass.example"), None)]);
    assert!(overlaid.idle.is_empty());
    for group in ["ci", "heir"] {
        assert_eq!(verdict(&overlaid, group, "a.pass.example"), "allow p.toml:4:26", "it still passes the gateway");
    }
    assert_eq!(verdict(&overlaid, "default", "a.pass.example"), "allow overlay-1:1:1");
    let idle = on(POLICY, &[overlay(1, allow("a.pass.example"), Some("ci"))]).idle;
    assert!(idle[0].1.message.ends_with("the policy files allow it already"), "{}", idle[0].1);
}

#[test]
fn no_overlay_beats_a_deny_of_the_files() {
    let overlaid = on(POLICY, &[overlay(1, allow("a.bad.example"), None)]);
    assert!(overlaid.idle[0].1.message.contains("a `[[deny]]` at p.toml:7:10 forbids it"), "{}", overlaid.idle[0].1);
    assert_eq!(verdict(&overlaid, "ci", "a.bad.example"), "deny p.toml:7:10");
}

#[test]
fn a_block_beats_what_the_files_and_other_overlays_allow_also_under_audit() {
    let overlays = [
        overlay(1, block("ours.example"), Some("ci")),
        overlay(2, allow("new.example"), None),
        overlay(3, block(".new.example"), Some("default")),
        overlay(4, Change::Mode(Mode::Audit), Some("ci")),
    ];
    let overlaid = on(POLICY, &overlays);
    assert_eq!(verdict(&overlaid, "ci", "ours.example"), "deny overlay-1:1:1");
    assert_eq!(verdict(&overlaid, "heir", "ours.example"), "allow p.toml:4:10");
    assert_eq!(verdict(&overlaid, "ci", "new.example"), "allow overlay-2:1:1");
    assert_eq!(verdict(&overlaid, "default", "new.example"), "deny overlay-3:1:1");
    assert!(verdict(&overlaid, "ci", "nowhere.example").starts_with("audit"));
    assert!(verdict(&overlaid, "heir", "nowhere.example").starts_with("deny"));
}

#[test]
fn a_mode_without_a_group_is_that_of_groups_that_do_not_say() {
    let policy = POLICY.replace("inherits = \"ci\"", "mode = \"enforce\"");
    let overlaid = on(&policy, &[overlay(1, Change::Mode(Mode::Audit), None)]);
    assert!(verdict(&overlaid, "ci", "nowhere.example").starts_with("audit"));
    assert!(verdict(&overlaid, "heir", "nowhere.example").starts_with("deny"));
}

#[test]
fn an_overlay_without_a_place_is_left_out_and_the_others_are_not() {
    let overlays = [
        overlay(1, block("static.example"), None),
        overlay(2, allow("new.example"), Some("gone")),
        overlay(3, allow("new.example"), None),
        overlay(4, Change::Mode(Mode::Audit), Some("gone")),
    ];
    let overlaid = on(POLICY, &overlays);
    let mut idle: Vec<_> = overlaid.idle.iter().map(|(id, _)| *id).collect();
    idle.sort_unstable();
    assert_eq!(idle, [1, 2, 4], "{:?}", overlaid.idle);
    assert_eq!(verdict(&overlaid, "ci", "new.example"), "allow overlay-3:1:1");
    assert!(overlaid.idle.iter().all(|(_, warning)| !warning.is_fault()));
}

#[test]
fn assertions_are_about_the_files_alone_and_the_digest_is_of_what_is_decided() {
    let [without, with] = [on(POLICY, &[]), on(POLICY, &[overlay(1, allow("new.example"), None)])];
    assert_ne!(without.compiled.snapshot.digest(), with.compiled.snapshot.digest());
    assert_eq!(without.compiled.snapshot.digest(), on(POLICY, &[]).compiled.snapshot.digest());
}

#[test]
fn without_groups_an_overlay_is_for_everyone() {
    let policy = "version = 1\n[[registry]]\nname = \"r\"\nhosts = [\"r.example\"]\n";
    let overlaid = on(policy, &[overlay(1, allow("new.example"), None), overlay(2, block("r.example"), None)]);
    let snapshot = &overlaid.compiled.snapshot;
    let word = |name: &str| snapshot.judge_as(None, name.parse::<DomainName>().unwrap().as_name()).verdict.word();
    assert_eq!([word("new.example"), word("r.example"), word("x.example")], ["allow", "deny", "deny"]);
}

/// The verdict for whoever asks from an address, with the group that is told.
fn asked(snapshot: &Snapshot, client: &str, name: &str) -> String {
    let asker = Asker { client: client.parse().unwrap(), listener: None };
    let judgement = snapshot.judge(&asker, name.parse::<DomainName>().unwrap().as_name());
    let group = judgement.group.and_then(GroupRef::known_name).unwrap_or("-");
    format!("{} {group}", judgement.verdict.word())
}

fn audit_of(client: &str) -> Overlay {
    Overlay { client: Some(client.parse().unwrap()), ..overlay(1, Change::Mode(Mode::Audit), None) }
}

#[test]
fn a_client_under_audit_stays_in_its_group_and_is_the_only_one() {
    let [without, with] = [on(POLICY, &[]), on(POLICY, &[audit_of("10.0.0.7")])];
    let snapshot = &with.compiled.snapshot;
    for (client, name, expected) in [
        ("10.0.0.7", "ours.example", "allow ci"),
        ("10.0.0.7", "nowhere.example", "audit ci"),
        ("::ffff:10.0.0.7", "nowhere.example", "audit ci"),
        ("10.0.0.7", "a.bad.example", "deny ci"),
        ("10.0.0.8", "nowhere.example", "deny ci"),
        ("10.1.0.7", "nowhere.example", "deny heir"),
    ] {
        assert_eq!(asked(snapshot, client, name), expected, "{client} {name}");
    }
    let ci = |snapshot: &Snapshot| {
        snapshot.groups().map(|group| (group.name().to_owned(), group.mode())).collect::<Vec<_>>()
    };
    assert_eq!(ci(snapshot), ci(&without.compiled.snapshot), "what is shown of the groups is what is written");
    assert_ne!(snapshot.digest(), without.compiled.snapshot.digest());
    let group =
        snapshot.judge(&Asker { client: "10.0.0.7".parse().unwrap(), listener: None }, name("a.example").as_name());
    let (apart, written) = (group.group.unwrap(), snapshot.find_group("ci").unwrap());
    assert_eq!((apart.mode(), written.mode()), (Mode::Audit, Mode::Enforce));
    assert_eq!(snapshot.group_numbered(apart.number()), Some(apart));
    assert_ne!(apart, written);
    assert!(snapshot.rules().filter(|rule| rule.is_for(written)).all(|rule| rule.is_for(apart)));
    assert!(matches!(snapshot.regime(Some(apart)), Regime::Rules { mode: Mode::Audit, .. }));
    assert!(snapshot.has_allowed_below(Some(apart), name("pass.example").as_name()));
}

#[test]
fn a_client_can_be_set_apart_where_there_are_no_groups_or_none_takes_it() {
    let policy = "version = 1\n[[registry]]\nname = \"r\"\nhosts = [\"r.example\"]\n";
    let group = format!("{policy}[[group]]\nname = \"g\"\nclients = [\"10.0.0.0/8\"]\nregistries = [\"r\"]\n");
    for (policy, client, expected) in [
        (policy, "10.0.0.7", ["allow -", "audit -"]),
        (policy, "10.0.0.8", ["allow -", "deny -"]),
        (&group, "192.0.2.1", ["audit -", "audit -"]),
        (&group, "192.0.2.2", ["deny -", "deny -"]),
    ] {
        let overlaid = on(policy, &[audit_of("10.0.0.7"), audit_of("192.0.2.1")]);
        let snapshot = &overlaid.compiled.snapshot;
        assert_eq!(["r.example", "x.example"].map(|name| asked(snapshot, client, name)), expected, "{client}");
        let asker = Asker { client: client.parse().unwrap(), listener: None };
        let group = snapshot.judge(&asker, name("r.example").as_name()).group;
        assert_eq!(group.map(|group| snapshot.group_numbered(group.number())), group.map(Some));
        assert_eq!(group.and_then(GroupRef::known_name), None);
    }
}

#[test]
fn one_client_can_be_held_to_a_policy_that_is_not_enforced() {
    let policy = POLICY
        .replace("name = \"ci\"\n", "name = \"ci\"\nmode = \"audit\"\n")
        .replace("expect = \"deny\"", "group = \"heir\"\nexpect = \"deny\"");
    let enforced = Overlay { change: Change::Mode(Mode::Enforce), ..audit_of("10.0.0.7") };
    let overlaid = on(&policy, &[enforced]);
    assert_eq!(asked(&overlaid.compiled.snapshot, "10.0.0.7", "nowhere.example"), "deny ci");
    assert_eq!(asked(&overlaid.compiled.snapshot, "10.0.0.8", "nowhere.example"), "audit ci");
}

fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}
