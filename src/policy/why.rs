//! `why.NAME.pullgate`: where a client is told what the policy makes of NAME for it, one fact a line.
//!
//! What it tells is about the client that asks, and about where a rule stands it tells a file's name only: any client may
//! ask.

use std::fmt::Write as _;

use crate::name::{DomainName, NameBuf, NameRef};
use crate::policy::judge::{Asker, Denial, Judgement, Permit, Verdict};
use crate::policy::reason::Reason;
use crate::policy::snapshot::{EntryKind, GroupRef, RuleRef, Snapshot};

/// What a client wants to know.
#[derive(Clone, Copy, Debug)]
pub struct Inquiry<'a> {
    /// What decides.
    pub snapshot: &'a Snapshot,
    /// Who asks.
    pub asker: Asker,
    /// The name; the root stands for none.
    pub subject: NameRef<'a>,
    /// Whom people ask about the policy.
    pub contact: Option<&'a str>,
}

/// The name that is asked about by way of `name`: the root for `why.pullgate`; `None`: it asks about none.
pub fn subject(name: NameRef<'_>) -> Option<DomainName> {
    if !is_why(name) {
        return None;
    }
    let wire = name.as_wire();
    let inner = [&wire[FIRST.len()..wire.len() - LAST.len()], &[0]].concat();
    NameBuf::read(&inner).ok().map(|inner| inner.as_name().to_owned())
}

/// Whether `name` asks about another one.
pub(super) fn is_why(name: NameRef<'_>) -> bool {
    name.as_wire().starts_with(FIRST) && is_below_last(name)
}

/// Whether names that ask about others are below `name`, or may be.
pub(super) fn is_below_last(name: NameRef<'_>) -> bool {
    name.labels().last() == Some(LAST_LABEL)
}

impl Inquiry<'_> {
    /// What there is to say: `key=value`, each short enough for a string of a TXT record.
    pub fn facts(&self) -> Vec<String> {
        let Judgement { verdict, group } = self.snapshot.judge(&self.asker, self.subject);
        let mut facts = Facts::default();
        if self.subject.is_root() {
            facts.add("usage", "dig TXT why.quay.io.pullgate");
            facts.add("client", self.asker.client);
            facts.add_some("group", group.and_then(GroupRef::known_name));
            facts.add("mode", self.snapshot.regime(group));
            facts.add_some("ask", self.contact);
            return facts.0;
        }
        facts.add("verdict", verdict.word());
        facts.add("name", self.subject);
        facts.add("client", self.asker.client);
        facts.add_some("group", group.and_then(GroupRef::known_name));
        facts.add("reason", Reason::from(&verdict).word());
        facts.add("why", verdict);
        if let Some(rule) = verdict.rule() {
            facts.add_some("entry", Some(&rule.entry().name).filter(|name| !name.is_empty()));
            facts.add("rule", written(rule));
        }
        match verdict {
            Verdict::Allow(Permit::Rule(_) | Permit::Static | Permit::Unlisted) => return facts.0,
            Verdict::Deny(Denial::Catalogue(preset)) | Verdict::Audit(Denial::Catalogue(preset)) => {
                facts.add("registry", &preset.id);
            }
            Verdict::Deny(Denial::Unlisted) | Verdict::Audit(Denial::Unlisted) => self.add_near(group, &mut facts),
            Verdict::Deny(_) | Verdict::Audit(_) => {}
        }
        facts.add_some("ask", self.contact);
        facts.0
    }

    /// Which registry, or else which rule of the client's, may have been meant; and the line for a host that a registry
    /// leads to.
    fn add_near(&self, group: Option<GroupRef<'_>>, facts: &mut Facts) {
        let preset = self.snapshot.preset_with(self.subject);
        let is_own = |rule: &RuleRef<'_>| group.is_none_or(|group| rule.is_for(group));
        let near = || nearest(self.snapshot.rules().take(MAX_COMPARED).filter(is_own), self.subject);
        if let Some(preset) = preset {
            facts.add("registry", &preset.id);
        } else {
            facts.add_some("near", near());
            facts.add("line", redirects(self.subject));
        }
    }
}

/// The line of policy with which `name` would be one of a registry's redirect hosts.
pub fn redirects(name: impl std::fmt::Display) -> String {
    format!("redirects = [\"{name}\"]")
}

/// Of rules that allow something the pattern that differs from `name` by a slip of the keyboard.
pub fn nearest<'s>(rules: impl Iterator<Item = RuleRef<'s>>, name: NameRef<'_>) -> Option<String> {
    let name = name.to_string();
    let mut best: Option<(usize, String)> = None;
    let mut text = String::new();
    for rule in rules.filter(|rule| rule.entry().kind != EntryKind::Deny) {
        text.clear();
        let _ = write!(text, "{}", rule.pattern());
        if text.len().abs_diff(name.len()) > MAX_SLIPS {
            continue;
        }
        let distance = strsim::osa_distance(&text, &name);
        if distance <= MAX_SLIPS && best.as_ref().is_none_or(|(least, nearest)| (distance, &text) < (*least, nearest)) {
            best = Some((distance, text.clone()));
        }
    }
    best.map(|(_, text)| text)
}

/// A rule and where it is written, without the folders.
fn written(rule: RuleRef<'_>) -> String {
    let Some(place) = rule.place() else { return rule.pattern().to_string() };
    let file = place.path.file_name().unwrap_or(place.path.as_os_str());
    format!("{} at {}:{}", rule.pattern(), file.display(), place.line)
}

#[derive(Default)]
struct Facts(Vec<String>);

impl Facts {
    fn add(&mut self, key: &str, value: impl std::fmt::Display) {
        let mut fact = format!("{key}={value}");
        let end = (0..=MAX_FACT.min(fact.len())).rev().find(|end| fact.is_char_boundary(*end));
        fact.truncate(end.unwrap_or_default());
        self.0.push(fact);
    }

    fn add_some(&mut self, key: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.add(key, value);
        }
    }
}

/// The first label of a name that asks about another one.
const FIRST: &[u8] = b"\x03why";
/// What follows the name that is asked about.
const LAST: &[u8] = b"\x08pullgate\x00";
const LAST_LABEL: &[u8] = b"pullgate";
/// What a string of a TXT record holds (RFC 1035 §3.3.14).
const MAX_FACT: usize = 255;
/// How many rules are compared with a misspelt name: it is done while clients wait, some 50 ns each.
const MAX_COMPARED: usize = 500;
/// How many characters a misspelt name may be off.
const MAX_SLIPS: usize = 2;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;
    use crate::diagnostic::Source;
    use crate::policy::compile::{Options, load};

    const POLICY: &str = "version = 1
[[registry]]
name = \"nexus\"
hosts = [\"nexus.corp.example\"]
[[registry]]
name = \"theirs\"
hosts = [\"theirs.example\"]
groups = [\"dev\"]
[[deny]]
hosts = [\"bad.example\"]
reason = \"SEC-7\"
[[group]]
name = \"ci\"
clients = [\"10.0.0.0/8\"]
registries = [\"nexus\"]
[[group]]
name = \"dev\"
clients = [\"10.9.0.0/16\"]
mode = \"audit\"
";

    fn name(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    fn facts(client: &str, about: &str) -> Vec<String> {
        let source = Source::new("/etc/pullgate/policy.d/a.toml", POLICY);
        let snapshot = load(vec![source], &Options::default(), SystemTime::now()).unwrap().snapshot;
        let subject = subject(name(&format!("why.{about}")).as_name()).unwrap();
        let asker = Asker { client: client.parse().unwrap(), listener: None };
        Inquiry { snapshot: &snapshot, asker, subject: subject.as_name(), contact: Some("platform team") }.facts()
    }

    #[test]
    fn a_client_is_told_what_a_name_is_to_it_and_whom_to_ask() {
        assert_eq!(
            facts("10.0.0.7", "quay.io.pullgate"),
            [
                "verdict=deny",
                "name=quay.io",
                "client=10.0.0.7",
                "group=ci",
                "reason=catalogue",
                "why=not allowed: quay-io",
                "registry=quay-io",
                "ask=platform team",
            ]
        );
        assert_eq!(
            facts("10.0.0.7", "nexus.corp.example.pullgate"),
            [
                "verdict=allow",
                "name=nexus.corp.example",
                "client=10.0.0.7",
                "group=ci",
                "reason=rule",
                "why=allowed by registry `nexus`",
                "entry=nexus",
                "rule=nexus.corp.example at a.toml:4",
            ]
        );
    }

    #[test]
    fn the_reason_says_what_to_do() {
        for (client, about, expected) in [
            ("10.0.0.7", "nexsu.corp.example", "near=nexus.corp.example"),
            ("10.0.0.7", "pkg-containers.githubusercontent.com", "registry=ghcr"),
            ("10.0.0.7", "theirs.example", "rule=theirs.example at a.toml:7"),
            ("10.0.0.7", "thiers.example", "reason=unlisted"),
            ("10.0.0.7", "thiers.example", "line=redirects = [\"thiers.example\"]"),
            ("10.0.0.7", "bad.example", "why=denied: SEC-7"),
            ("10.9.0.7", "quay.io", "verdict=audit"),
            ("192.0.2.1", "quay.io", "reason=no-group"),
            ("10.0.0.7", "localhost", "reason=static"),
            ("10.0.0.7", "why.quay.io.pullgate", "reason=static"),
        ] {
            let facts = facts(client, &format!("{about}.pullgate"));
            assert!(facts.iter().any(|fact| fact == expected), "{about}: {facts:?}");
        }
    }

    #[test]
    fn what_only_other_groups_may_is_nothing_to_hint_at() {
        let told = facts("10.0.0.7", "thiers.example.pullgate");
        assert!(!told.iter().any(|fact| fact.starts_with("near=")), "{told:?}");
    }

    #[test]
    fn without_a_name_the_client_is_told_how_to_ask() {
        let told = facts("10.9.0.7", "pullgate");
        assert_eq!(told[0], "usage=dig TXT why.quay.io.pullgate");
        assert!(told.contains(&"mode=audit unlisted=deny".to_owned()), "{told:?}");
    }

    #[test]
    fn only_names_between_why_and_pullgate_are_asked_about() {
        for (text, expected) in [
            ("why.quay.io.pullgate", Some("quay.io")),
            ("why.pullgate", Some(".")),
            ("why.a.pullgate", Some("a")),
            ("whyy.quay.io.pullgate", None),
            ("why.quay.io", None),
            ("why.quay.io.xpullgate", None),
            ("quay.io.pullgate", None),
            ("pullgate", None),
            (".", None),
            ("why\\.quay.pullgate", None),
        ] {
            let found = subject(name(text).as_name()).map(|subject| subject.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_found_between_whatever_bytes_it_has(labels in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 0..9)) {
            let wire = |labels: &[&[u8]]| {
                let mut wire: Vec<u8> = Vec::new();
                for label in labels {
                    wire.push(u8::try_from(label.len()).unwrap());
                    wire.extend_from_slice(label);
                }
                wire.push(0);
                NameBuf::read(&wire).unwrap().as_name().to_owned()
            };
            let inner: Vec<&[u8]> = labels.iter().map(Vec::as_slice).collect();
            let mut all: Vec<&[u8]> = vec![b"why"];
            all.extend(&inner);
            all.push(b"pullgate");
            let whole = wire(&all);
            prop_assert_eq!(subject(whole.as_name()), Some(wire(&inner)));
        }

        #[test]
        fn every_fact_fits_a_string_of_a_record(about in "[a-z]{1,60}(\\.\\PC{1,14}){0,3}") {
            if let Ok(name) = format!("why.{about}.pullgate").parse::<DomainName>()
                && subject(name.as_name()).is_some()
            {
                let told = facts("10.0.0.7", &format!("{about}.pullgate"));
                prop_assert!(told.iter().all(|fact| fact.len() <= 255), "{:?}", told);
            }
        }
    }
}
