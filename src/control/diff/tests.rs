//! Which changes are seen, and which way they go.

use super::*;

fn rule(pattern: &str, kind: &str, mode: &str, groups: &[&str]) -> PolicyRule {
    PolicyRule {
        pattern: pattern.into(),
        kind: kind.into(),
        entry: "e".into(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        mode: mode.into(),
        data_path: "direct".into(),
        path: None,
        line: None,
        overlay: None,
    }
}

fn group(name: &str, mode: &str) -> GroupReport {
    GroupReport {
        name: name.into(),
        mode: mode.into(),
        unlisted: "deny".into(),
        clients: Vec::new(),
        path: None,
        line: None,
    }
}

fn shown(old: &PolicyReport, new: &PolicyReport) -> Vec<String> {
    let show = |change: Change| {
        let (old, new) = (change.old.unwrap_or_default(), change.new.unwrap_or_default());
        format!("{}/{}: {old}->{new}", change.group.unwrap_or_default(), change.subject)
    };
    changes(old, new, &[]).into_iter().map(show).collect()
}

#[test]
fn added_removed_and_changed_patterns_are_told_apart() {
    let old = [rule("a.example", "registry", "enforce", &[]), rule("b.example", "registry", "enforce", &[])];
    let new = [rule("b.example", "deny", "enforce", &[]), rule("c.example", "registry", "audit", &[])];
    let [old, new] = [old, new].map(|rules| PolicyReport { rules: rules.to_vec(), ..PolicyReport::default() });
    assert_eq!(shown(&old, &new), ["/a.example: allow->", "/b.example: allow->deny", "/c.example: ->audit"]);
}

#[test]
fn a_rule_that_moves_between_groups_and_a_groups_new_mode_are_changes() {
    let policy = |holder: &str, mode: &str| PolicyReport {
        groups: vec![group("ci", mode), group("dev", "enforce")],
        rules: vec![rule("a.example", "registry", "enforce", &[holder])],
        ..PolicyReport::default()
    };
    assert_eq!(
        shown(&policy("ci", "enforce"), &policy("dev", "audit")),
        ["ci/a.example: allow->", "ci/mode: enforce->audit", "dev/a.example: ->allow"]
    );
}

#[test]
fn clients_that_change_their_group_are_a_change() {
    let policy = |ci: &[&str], dev: &[&str]| {
        let with = |name, clients: &[&str]| GroupReport {
            clients: clients.iter().map(|range| (*range).to_owned()).collect(),
            ..group(name, "enforce")
        };
        PolicyReport { groups: vec![with("ci", ci), with("dev", dev)], ..PolicyReport::default() }
    };
    let (old, new) = (policy(&["10.1.0.0/16", "10.2.0.0/16"], &[]), policy(&["10.2.0.0/16"], &["10.1.0.0/16"]));
    assert_eq!(
        shown(&old, &new),
        ["ci/clients: 10.1.0.0/16, 10.2.0.0/16->10.2.0.0/16", "dev/clients: none->10.1.0.0/16"]
    );
    let turned = policy(&["10.2.0.0/16", "10.1.0.0/16"], &[]);
    assert_eq!(shown(&old, &turned), [""; 0]);
}

#[test]
fn a_path_that_changes_is_a_change() {
    let policy = |path: &str| {
        let rule = PolicyRule { data_path: path.into(), ..rule("a.example", "registry", "enforce", &[]) };
        PolicyReport { rules: vec![rule], ..PolicyReport::default() }
    };
    assert_eq!(shown(&policy("direct"), &policy("inspect")), ["/a.example: allow->allow (inspect)"]);
}

#[test]
fn images_that_change_are_a_change_for_each_group_of_their_table() {
    let policy = |groups: &[&str], keys: &[(&str, &str)]| {
        let key = |(key, value): &(&str, &str)| ImageKeyReport {
            key: (*key).into(),
            value: (*value).into(),
            path: "a.toml".into(),
            line: 1,
        };
        let images = ImagesReport {
            registry: "hub".into(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            mode: "enforce".into(),
            keys: keys.iter().map(key).collect(),
            path: "a.toml".into(),
            line: 1,
        };
        PolicyReport { groups: vec![group("ci", "enforce")], images: vec![images], ..PolicyReport::default() }
    };
    let old = policy(&["ci"], &[("allow", "prom/*"), ("push", "prom/*"), ("official", "deny")]);
    let new = policy(&["ci"], &[("push", "prom/*"), ("allow", "a/b"), ("official", "allow")]);
    assert_eq!(
        shown(&old, &new),
        [
            "ci/images of hub, a/b: ->allow",
            "ci/images of hub, official: deny->allow",
            "ci/images of hub, prom/*: allow, push->push",
        ]
    );
    assert_eq!(shown(&new, &policy(&[], &[])).len(), 4, "the mode as well");
}

#[test]
fn the_same_policy_in_another_order_is_no_change() {
    let rules = [rule("a.example", "registry", "enforce", &[]), rule("a.example", "deny", "enforce", &[])];
    let old = PolicyReport { rules: rules.to_vec(), ..PolicyReport::default() };
    let new = PolicyReport { rules: rules.into_iter().rev().collect(), ..PolicyReport::default() };
    assert_eq!(shown(&old, &new), [""; 0]);
}

#[test]
fn a_change_opens_or_closes_or_does_neither() {
    for (old, new, direction) in [
        (None, Some("allow"), Direction::Opens),
        (Some("allow"), None, Direction::Closes),
        (None, Some("deny"), Direction::Closes),
        (Some("deny"), None, Direction::Opens),
        (None, Some("audit"), Direction::Opens),
        (Some("audit"), Some("allow"), Direction::Opens),
        (Some("allow (inspect)"), Some("allow"), Direction::Opens),
        (Some("allow"), Some("allow (pass)"), Direction::Closes),
        (Some("allow"), Some("allow, deny"), Direction::Closes),
        (Some("allow"), Some("allow, push"), Direction::Opens),
        (Some("verified"), None, Direction::Changes),
    ] {
        assert_eq!(super::direction("x.example", old, new), direction, "{old:?} {new:?}");
    }
    for (old, new, direction) in [
        (Some("deny"), Some("forward"), Direction::Opens),
        (None, Some("deny"), Direction::Changes),
        (Some("deny"), None, Direction::Changes),
    ] {
        assert_eq!(super::direction("unlisted", old, new), direction, "{old:?} {new:?}");
    }
}

#[test]
fn a_change_has_the_place_of_the_rule_that_decides_and_what_is_gone_has_that_of_the_old_one() {
    let at = |pattern: &str, kind: &str, line| PolicyRule {
        path: Some("a.toml".into()),
        line: Some(line),
        ..rule(pattern, kind, "enforce", &[])
    };
    let old = PolicyReport { rules: vec![at("gone.example", "registry", 3)], ..PolicyReport::default() };
    let rules = vec![at("new.example", "registry", 4), at("new.example", "deny", 9)];
    let new = PolicyReport { rules, ..PolicyReport::default() };
    let lines: Vec<_> = changes(&old, &new, &[]).into_iter().map(|change| (change.subject, change.line)).collect();
    assert_eq!(lines, [("gone.example".to_owned(), Some(3)), ("new.example".to_owned(), Some(9))]);
}

#[test]
fn strangers_are_named_where_the_policy_warns_of_them_and_not_where_it_does_not() {
    let pattern = "*.s3.amazonaws.com";
    let message = shared_suffix::warning(&Pattern::parse(pattern).unwrap()).unwrap().message;
    let written =
        PolicyRule { path: Some("a.toml".into()), line: Some(4), ..rule(pattern, "registry", "enforce", &[]) };
    let new = PolicyReport { rules: vec![written], ..PolicyReport::default() };
    let warning = |line| FaultReport {
        path: "a.toml".into(),
        line: Some(line),
        column: Some(1),
        width: Some(1),
        text: None,
        message: message.clone(),
        hint: None,
    };
    let told = |warnings: &[FaultReport]| changes(&PolicyReport::default(), &new, warnings)[0].strangers.clone();
    assert_eq!(told(&[warning(4)]), Some(message.clone()));
    assert_eq!(told(&[warning(5)]), None);
    assert_eq!(told(&[]), None, "it was accepted");
    let closing = changes(&new, &PolicyReport::default(), &[warning(4)]);
    assert_eq!(closing[0].strangers, None);
}
