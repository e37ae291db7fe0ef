//! What assertions say of policies, and that they say nothing else.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::name::DomainName;
use crate::policy::compile::{Compiled, Options, load, test};

/// Two groups, a registry of each, a deny, and Docker Hub's images.
const POLICY: &str = r#"version = 1
[[registry]]
name = "ours"
hosts = ["ours.example", "*.wild.example"]
[[registry]]
name = "trial"
hosts = ["trial.example"]
mode = "audit"
[[registry]]
preset = "docker-hub"
path = "inspect"
[[images]]
registry = "docker-hub"
official = "allow"
verified-publishers = "allow"
allow = ["@build-tools"]
push = ["mycompany/*"]
[[deny]]
hosts = ["bad.wild.example"]
reason = "SEC-7"
[[group]]
name = "ci"
clients = ["10.0.0.0/8"]
registries = ["*"]
[[group]]
name = "default"
registries = ["trial", "docker-hub"]
"#;

fn options() -> Options {
    Options { has_gateway: true, ..Options::default() }
}

fn with(asserts: &str, now: SystemTime) -> Result<Compiled, Vec<Diagnostic>> {
    load(vec![Source::new("p.toml", format!("{POLICY}{asserts}"))], &options(), now)
}

/// What is said of one assertion: nothing if it holds.
fn said(assert: &str) -> Option<String> {
    let text = format!("[[assert]]\n{assert}\n");
    with(&text, SystemTime::UNIX_EPOCH).err().map(|faults| {
        assert_eq!(faults.iter().filter(|fault| fault.is_fault()).count(), 1, "{faults:?}");
        faults.into_iter().find(Diagnostic::is_fault).map(|fault| fault.message).unwrap_or_default()
    })
}

#[test]
fn an_assertion_that_holds_says_nothing() {
    for assert in [
        "name = \"ours.example\"\ngroup = \"ci\"\nexpect = \"allow\"",
        "name = \"ours.example\"\nclient = \"10.1.2.3\"\nexpect = \"allow\"",
        "name = \"ours.example\"\nclient = \"192.0.2.1\"\nexpect = \"deny\"",
        "name = \"bad.wild.example\"\nexpect = \"deny\"",
        "name = \"trial.example\"\nexpect = \"audit\"",
        "name = \"localhost\"\nexpect = \"allow\"",
        "image = \"nginx\"\nexpect = \"allow\"",
        "image = \"docker.io/mycompany/app\"\npush = true\nexpect = \"allow\"",
        "image = \"docker.io/library/nginx\"\npush = true\nexpect = \"deny\"",
        "image = \"ghcr.io/a/b\"\nexpect = \"deny\"",
        "image = \"ours.example/a/b\"\ngroup = \"ci\"\nexpect = \"allow\"",
    ] {
        assert_eq!(said(assert), None, "{assert}");
    }
}

#[test]
fn one_that_does_not_says_what_is_decided_for_whom_and_why() {
    for (assert, message) in [
        (
            "name = \"ours.example\"\ngroup = \"ci\"\nexpect = \"deny\"",
            "`ours.example` for group `ci`: deny is expected, allow is decided: allowed by registry `ours`",
        ),
        (
            "name = \"ours.example\"\nexpect = \"allow\"",
            "`ours.example` for everyone (group `default`): allow is expected, deny is decided: not for this group: ours",
        ),
        (
            "name = \"bad.wild.example\"\nclient = \"10.0.0.1\"\nexpect = \"audit\"",
            "`bad.wild.example` for 10.0.0.1 (group `ci`): audit is expected, deny is decided: denied: SEC-7",
        ),
        (
            "image = \"docker.io/foo/bar\"\nexpect = \"deny\"",
            "`docker.io/foo/bar` for everyone (group `ci`): deny is expected, undecided is decided: the badge that Docker \
             Hub gives `foo` decides",
        ),
    ] {
        assert_eq!(said(assert).as_deref(), Some(message), "{assert}");
    }
}

#[test]
fn a_failed_assertion_is_pointed_at_with_the_rule_that_decided() {
    let asserts = "[[assert]]\nname = \"a.wild.example\"\ngroup = \"ci\"\nexpect = \"deny\"\n";
    let fault = with(asserts, SystemTime::UNIX_EPOCH).unwrap_err().into_iter().find(Diagnostic::is_fault).unwrap();
    let at = fault.excerpt.as_ref().unwrap();
    assert_eq!((at.text.as_str(), at.column), ("expect = \"deny\"", 10));
    assert_eq!(fault.hint.as_deref(), Some("`*.wild.example` at p.toml:4:26 decides: change that, or the assertion"));
}

#[test]
fn what_is_no_assertion_is_a_fault_with_a_remedy() {
    for (assert, message) in [
        ("name = \"a.example\"", "`expect` is missing"),
        ("expect = \"deny\"", "an assertion about nothing"),
        ("name = \"a.example\"\nimage = \"nginx\"\nexpect = \"deny\"", "a name and an image"),
        ("name = \"a.example\"\npush = true\nexpect = \"deny\"", "`push` belongs to an image"),
        ("name = \"a..example\"\nexpect = \"deny\"", "`a..example` is not a name: an empty label"),
        ("name = \"a.example\"\nexpect = \"block\"", "unknown value `block`"),
        ("name = \"a.example\"\nclient = \"10.0.0.0/8\"\nexpect = \"deny\"", "`10.0.0.0/8` is not an address"),
        ("name = \"a.example\"\nclient = \"10.0.0.1\"\ngroup = \"ci\"\nexpect = \"deny\"", "a client and a group"),
        ("name = \"a.example\"\ngroup = \"cii\"\nexpect = \"deny\"", "unknown group `cii`"),
        ("image = \"Foo/bar\"\nexpect = \"deny\"", "`Foo/bar`: upper-case letters, which no repository's name has"),
    ] {
        let told = said(assert);
        let begins = told.as_ref().is_some_and(|told| told.starts_with(message.split(':').next().unwrap_or_default()));
        assert!(begins, "{assert}: {told:?}");
    }
}

#[test]
fn every_failed_assertion_is_told_and_time_passing_makes_none_fail() {
    let year = Duration::from_hours(24 * 365);
    let exception =
        "[[registry]]\nname = \"x\"\nhosts = [\"x.example\"]\ngroups = [\"ci\"]\nexpires = 2009-01-01T00:00:00Z\n";
    let holds = format!("{exception}[[assert]]\nname = \"x.example\"\ngroup = \"ci\"\nexpect = \"allow\"\n");
    for years in [1, 60] {
        assert!(with(&holds, SystemTime::UNIX_EPOCH + year * years).is_ok(), "{years}");
    }
    let fails = holds.replace("expect = \"allow\"", "expect = \"deny\"");
    let faults = with(&format!("{fails}{}", fails.replace(exception, "")), SystemTime::UNIX_EPOCH + year * 60);
    let faults: Vec<_> = faults.unwrap_err().into_iter().filter(Diagnostic::is_fault).collect();
    assert_eq!(faults.len(), 2);
    assert!(faults[0].hint.as_ref().unwrap().contains("has expired, but is still written"), "{}", faults[0]);
}

#[test]
fn assertions_change_neither_the_digest_nor_what_is_decided() {
    let assert = "[[assert]]\nname = \"ours.example\"\ngroup = \"ci\"\nexpect = \"allow\"\n";
    let [without, with] = ["", assert].map(|asserts| with(asserts, SystemTime::UNIX_EPOCH).unwrap().snapshot);
    assert_eq!(without.digest(), with.digest());
    assert_eq!(without.rule_count(), with.rule_count());
}

#[test]
fn a_test_tells_of_every_assertion_whether_it_holds() {
    let asserts =
        "[[assert]]\nname = \"ours.example\"\nexpect = \"deny\"\n[[assert]]\nname = \"x.example\"\nexpect = \"deny\"\n";
    let source = Source::new("p.toml", format!("{POLICY}{asserts}"));
    let tested = test(vec![source], &options(), SystemTime::UNIX_EPOCH).unwrap();
    let told: Vec<_> = tested.iter().map(|tested| (tested.subject.as_str(), tested.holds())).collect();
    assert_eq!(told, [("ours.example", false), ("x.example", true)]);
    assert!(test(vec![Source::new("p.toml", "version = 2")], &options(), SystemTime::UNIX_EPOCH).is_err());
}

proptest! {
    #[test]
    fn an_assertion_holds_exactly_if_it_expects_what_is_judged(
        host in "(a\\.)?(ours|wild|bad\\.wild|trial|other)\\.example|ghcr\\.io|localhost",
        client in prop::sample::select(vec!["10.0.0.1", "192.0.2.1", "fd00::1"]),
    ) {
        let snapshot = with("", SystemTime::UNIX_EPOCH).map_err(|_| TestCaseError::fail("the policy is good"))?.snapshot;
        let name: DomainName = host.parse().map_err(|_| TestCaseError::fail("a name"))?;
        let asker = Asker { client: client.parse().map_err(|_| TestCaseError::fail("an address"))?, listener: None };
        let decided = snapshot.judge(&asker, name.as_name()).verdict.word();
        for expect in ["allow", "deny", "audit"] {
            let assert = format!("name = {host:?}\nclient = {client:?}\nexpect = {expect:?}");
            prop_assert_eq!(said(&assert).is_none(), decided == expect, "{}", assert);
        }
    }
}
