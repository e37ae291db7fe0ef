//! The policy read the plain way: every rule in turn, label by label, as the page about policies has it. Knows nothing
//! of packets, and of the snapshot only what it lists: groups, entries and rules.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::LazyLock;

use crate::config::Settings;
use crate::dns::Peer;
use crate::event::{Bearing, Decision};
use crate::name::{DomainName, NameRef};
use crate::policy::document::{Mode, Unlisted};
use crate::policy::preset::catalogue;
use crate::policy::probe::PROBE_NAME;
use crate::policy::snapshot::{EntryKind, GroupRef, RuleRef, Snapshot};

/// The policy as it is to one client.
pub(super) struct Policy<'a> {
    snapshot: &'a Snapshot,
    settings: &'a Settings,
    group: Option<GroupRef<'a>>,
    /// The mode that an overlay gives this client, whatever its group's is.
    apart: Option<Mode>,
}

/// What is decided about a name.
#[derive(Clone, Debug)]
pub(super) struct Ruling<'a> {
    pub(super) decision: Decision,
    pub(super) bearing: Bearing,
    /// In a few words.
    pub(super) reason: String,
    /// The rule that decided.
    pub(super) rule: Option<RuleRef<'a>>,
    /// Whether the name is answered from here.
    pub(super) is_local: bool,
}

/// What holds for names that no rule of the client's allows.
#[derive(Clone, Copy)]
enum Terms {
    /// So much for those nothing lists.
    Of(Mode, Unlisted),
    /// There are groups, and none takes the client.
    NoGroup(Mode),
}

impl<'a> Policy<'a> {
    /// The policy to whoever asks.
    pub(super) fn of(snapshot: &'a Snapshot, settings: &'a Settings, peer: &Peer) -> Self {
        let apart = snapshot.mode_apart(peer.address());
        Self { snapshot, settings, group: group_of(snapshot, settings, peer), apart }
    }

    /// The client's group.
    pub(super) fn group_name(&self) -> Option<&'a str> {
        self.group.and_then(GroupRef::known_name)
    }

    /// The first row that applies.
    pub(super) fn judge(&self, name: NameRef<'_>) -> Ruling<'a> {
        if self.is_local(name) {
            let reason = "answered by the resolver itself".to_owned();
            return Ruling { is_local: true, ..Ruling::new(Decision::Allow, reason, None) };
        }
        if self.snapshot.is_deny_all() {
            return Ruling::new(Decision::Deny, "no valid policy in force".to_owned(), None);
        }
        if let Some(denied) = self.denied(name) {
            return denied;
        }
        let (mode, unlisted) = match self.terms() {
            Terms::Of(mode, unlisted) => (mode, unlisted),
            Terms::NoGroup(mode) => return Ruling::lacking(mode, "no group for this client".to_owned(), None),
        };
        let granting = |granted: bool| move |rule: &RuleRef<'a>| allows(*rule) && self.has(*rule) == granted;
        if let Some(rule) = self.best(name, granting(true)) {
            return Ruling::allowed(rule);
        }
        if let Some(rule) = self.best(name, granting(false)) {
            return Ruling::lacking(mode, format!("not for this group: {}", rule.entry().name), Some(rule));
        }
        if let Some(registry) = known_registry(name) {
            return Ruling::lacking(mode, format!("not allowed: {registry}"), None);
        }
        match unlisted {
            Unlisted::Forward => Ruling::new(Decision::Allow, "unlisted, which this group forwards".to_owned(), None),
            Unlisted::Deny => {
                let ruling = Ruling::lacking(mode, "not on the allowlist".to_owned(), None);
                Ruling { bearing: Bearing::Unlisted, ..ruling }
            }
        }
    }

    /// Why an answer must not lead to `target`: a `[[deny]]`, or where targets are inspected, whatever a question for it
    /// would be denied for.
    pub(super) fn objection(&self, target: NameRef<'_>, inspects: bool) -> Option<Ruling<'a>> {
        self.denied(target).or_else(|| {
            let ruling = self.judge(target);
            let on_trial = ruling.rule.is_some_and(|rule| rule.entry().mode == Mode::Audit && self.has(rule));
            (inspects && ruling.decision != Decision::Allow && !on_trial).then_some(ruling)
        })
    }

    /// Whether what would be denied is only counted for this client.
    pub(super) fn is_audited(&self) -> bool {
        let (Terms::Of(mode, _) | Terms::NoGroup(mode)) = self.terms();
        mode == Mode::Audit && !self.snapshot.is_deny_all()
    }

    /// What the probe says of it.
    pub(super) fn regime(&self) -> String {
        let word = |mode: Mode| if mode == Mode::Audit { "audit" } else { "enforce" };
        match self.terms() {
            _ if self.snapshot.is_deny_all() => "no-policy".to_owned(),
            Terms::Of(mode, Unlisted::Deny) => format!("{} unlisted=deny", word(mode)),
            Terms::Of(mode, Unlisted::Forward) => format!("{} unlisted=forward", word(mode)),
            Terms::NoGroup(Mode::Audit) => "audit unlisted=deny".to_owned(),
            Terms::NoGroup(Mode::Enforce) => "no-group".to_owned(),
        }
    }

    /// Whether the client may resolve something below `name`. A rule that matches `name` itself is not counted, nor is
    /// a `[[deny]]` below it subtracted.
    pub(super) fn has_allowed_below(&self, name: NameRef<'_>) -> bool {
        let labels: Vec<&[u8]> = name.labels().collect();
        let local = self.local_names();
        matches!(self.terms(), Terms::Of(_, Unlisted::Forward))
            || labels.last() == Some(&&b"pullgate"[..])
            || local.iter().any(|local| local.as_name() != name && local.as_name().is_within(name))
            || self.rules().any(|(rule, pattern)| allows(rule) && self.has(rule) && matches_below(&pattern, &labels))
    }

    /// What the client is told at `name` of the name that stands between its first label and its last.
    pub(super) fn facts(&self, name: NameRef<'_>, client: IpAddr, contact: Option<&str>) -> Vec<String> {
        let labels: Vec<String> = name.labels().map(text_of).collect();
        let asked = labels[1..labels.len() - 1].join(".");
        let group = self.group_name().map(|group| format!("group={group}"));
        let ask = contact.map(|contact| format!("ask={contact}"));
        if asked.is_empty() {
            let usage = ["usage=dig TXT why.quay.io.pullgate".to_owned(), format!("client={client}")];
            let mode = format!("mode={}", self.regime());
            return usage.into_iter().chain(group).chain([mode]).chain(ask).collect();
        }
        let asked: DomainName = asked.parse().expect("labels of a name");
        let ruling = self.judge(asked.as_name());
        let verdict = match ruling.decision {
            Decision::Allow => "allow",
            Decision::Deny => "deny",
            Decision::Audit => "audit",
        };
        let reason = ruling.word();
        let mut facts = vec![format!("verdict={verdict}"), format!("name={}", asked.as_name())];
        facts.push(format!("client={client}"));
        facts.extend(group);
        facts.extend([format!("reason={reason}"), format!("why={}", ruling.reason)]);
        if let Some(rule) = ruling.rule {
            let entry = &rule.entry().name;
            facts.extend((!entry.is_empty()).then(|| format!("entry={entry}")));
            let place = rule.place().expect("a rule of a file");
            let file = place.path.to_string_lossy();
            let file = file.rsplit('/').next().unwrap_or_default();
            facts.push(format!("rule={} at {file}:{}", rule.pattern(), place.line));
        }
        match ruling.decision {
            Decision::Allow => return facts,
            Decision::Deny | Decision::Audit if reason == "catalogue" => {
                let registry = ruling.reason.strip_prefix("not allowed: ").unwrap_or_default();
                facts.push(format!("registry={registry}"));
            }
            Decision::Deny | Decision::Audit if reason == "unlisted" => facts.extend(self.near(asked.as_name())),
            Decision::Deny | Decision::Audit => {}
        }
        facts.into_iter().chain(ask).collect()
    }

    /// A registry that has the name among its hosts; else the rule that is nearest, of the first 500, and the line for a
    /// redirect host.
    fn near(&self, name: NameRef<'_>) -> Vec<String> {
        if let Some(registry) = registry_with(name) {
            return vec![format!("registry={registry}")];
        }
        let name = name.to_string();
        let mine =
            self.rules().take(500).filter(|(rule, _)| allows(*rule) && self.group.is_none_or(|_| self.has(*rule)));
        let distances = mine.map(|(_, pattern)| (strsim::osa_distance(&pattern, &name), pattern));
        let nearest = distances.filter(|(distance, _)| *distance <= 2).min();
        let near = nearest.map(|(_, nearest)| format!("near={nearest}"));
        near.into_iter().chain([format!("line=redirects = [\"{name}\"]")]).collect()
    }

    fn denied(&self, name: NameRef<'_>) -> Option<Ruling<'a>> {
        let rule = self.best(name, |rule| rule.entry().kind == EntryKind::Deny && self.has(*rule))?;
        let reason = rule.entry().reason.as_ref();
        let reason = reason.map_or("denied by the policy".to_owned(), |reason| format!("denied: {reason}"));
        Some(Ruling::new(Decision::Deny, reason, Some(rule)))
    }

    fn terms(&self) -> Terms {
        let anybodys = self.apart.unwrap_or(self.snapshot.mode());
        match self.group {
            Some(group) => Terms::Of(self.apart.unwrap_or(group.mode()), group.unlisted()),
            None if self.snapshot.groups().next().is_none() => Terms::Of(anybodys, Unlisted::Deny),
            None => Terms::NoGroup(anybodys),
        }
    }

    /// Whether a rule is for the client.
    fn has(&self, rule: RuleRef<'a>) -> bool {
        self.group.map_or_else(|| rule.is_for_everyone(), |group| rule.is_for(group))
    }

    /// All rules with their patterns, in file order.
    fn rules(&self) -> impl Iterator<Item = (RuleRef<'a>, String)> {
        self.snapshot.rules().map(|rule| (rule, rule.pattern().to_string()))
    }

    /// Of the rules that match, the exact one, else the one with the most literal labels, else the first.
    fn best(&self, name: NameRef<'_>, wanted: impl Fn(&RuleRef<'a>) -> bool) -> Option<RuleRef<'a>> {
        let labels: Vec<&[u8]> = name.labels().collect();
        let matching = self.rules().filter(|(rule, pattern)| wanted(rule) && matches(pattern, &labels));
        let ranked = (0..).zip(matching).map(|(order, (rule, pattern))| (rank(&pattern, order), rule));
        ranked.max_by_key(|(rank, _)| *rank).map(|(_, rule)| rule)
    }

    fn is_local(&self, name: NameRef<'_>) -> bool {
        is_local(name) || asks_why(name) || self.local_names().iter().any(|local| local.as_name() == name)
    }

    fn local_names(&self) -> Vec<DomainName> {
        let built_in = ["localhost", PROBE_NAME].map(|name| name.parse().expect("a name written here"));
        self.settings.statics.keys().cloned().chain(built_in).collect()
    }
}

impl<'a> Ruling<'a> {
    fn new(decision: Decision, reason: String, rule: Option<RuleRef<'a>>) -> Self {
        Self { decision, bearing: Bearing::None, reason, rule, is_local: false }
    }

    /// Why, in the word that metrics have for it.
    fn word(&self) -> &'static str {
        let begins = |words: &str| self.reason.starts_with(words);
        match (self.decision, self.rule) {
            (Decision::Allow, _) if self.is_local => "static",
            (Decision::Allow, Some(_)) => "rule",
            (Decision::Allow, None) => "forwarded",
            (_, Some(rule)) if rule.entry().kind == EntryKind::Deny => "listed",
            (_, Some(_)) if begins("on trial") => "on-trial",
            (_, Some(_)) => "other-group",
            (_, None) if begins("not allowed") => "catalogue",
            (_, None) if begins("no group") => "no-group",
            (_, None) if begins("no valid policy") => "no-policy",
            (_, None) => "unlisted",
        }
    }

    /// A denial for lack of an allow: audit lets it pass.
    fn lacking(mode: Mode, reason: String, rule: Option<RuleRef<'a>>) -> Self {
        let decision = if mode == Mode::Audit { Decision::Audit } else { Decision::Deny };
        Self::new(decision, reason, rule)
    }

    fn allowed(rule: RuleRef<'a>) -> Self {
        let entry = rule.entry();
        if entry.mode == Mode::Audit {
            return Self::new(Decision::Audit, format!("on trial: {}", entry.name), Some(rule));
        }
        let (kind, bearing) = match entry.kind {
            EntryKind::Registry => ("registry", Bearing::Registry),
            EntryKind::Service | EntryKind::Deny => ("service", Bearing::None),
        };
        let ruling = Self::new(Decision::Allow, format!("allowed by {kind} `{}`", entry.name), Some(rule));
        Self { bearing, ..ruling }
    }
}

/// The group that listens where the client asked, on that address or on all; else the one with the longest range that
/// holds it; else the settings' for clients without one; else the one named `default`.
fn group_of<'a>(snapshot: &'a Snapshot, settings: &Settings, peer: &Peer) -> Option<GroupRef<'a>> {
    let asked = |ip| SocketAddr::new(ip, peer.listener.port());
    let mut listeners = vec![peer.listener, asked(Ipv6Addr::UNSPECIFIED.into())];
    if peer.listener.is_ipv4() {
        listeners.insert(1, asked(Ipv4Addr::UNSPECIFIED.into()));
    }
    let listening = |listener: &SocketAddr| snapshot.groups().find(|group| group.listen().contains(listener));
    let ranges = snapshot.groups().flat_map(|group| group.clients().iter().map(move |range| (range, group)));
    let holding = ranges.filter(|(range, _)| range.contains(&peer.address()));
    let fallback = settings.policy.group.as_deref().unwrap_or("default");
    listeners
        .iter()
        .find_map(listening)
        .or_else(|| holding.max_by_key(|(range, _)| range.prefix_len()).map(|(_, group)| group))
        .or_else(|| snapshot.find_group(fallback))
}

/// The known registry that a name belongs to.
fn known_registry(name: NameRef<'_>) -> Option<&'static str> {
    static PATTERNS: LazyLock<Vec<(String, &str)>> = LazyLock::new(|| {
        let patterns = catalogue().iter().flat_map(|preset| {
            preset.catalogue_patterns().into_iter().map(|pattern| (pattern.to_string(), preset.id.as_str()))
        });
        patterns.collect()
    });
    best_of(&PATTERNS, name)
}

/// The known registry with a host of that name, for whatever purpose.
fn registry_with(name: NameRef<'_>) -> Option<&'static str> {
    static PATTERNS: LazyLock<Vec<(String, &str)>> = LazyLock::new(|| {
        let patterns = catalogue().iter().flat_map(|preset| {
            let hosts = preset.hosts.iter().filter(|host| !host.name.contains('<'));
            hosts.map(|host| (host.name.clone(), preset.id.as_str()))
        });
        patterns.collect()
    });
    best_of(&PATTERNS, name)
}

/// Of patterns with what they stand for, what the best that matches does.
fn best_of(patterns: &[(String, &'static str)], name: NameRef<'_>) -> Option<&'static str> {
    let labels: Vec<&[u8]> = name.labels().collect();
    let matching = (0..).zip(patterns).filter(|(_, (pattern, _))| matches(pattern, &labels));
    matching.max_by_key(|(order, (pattern, _))| rank(pattern, *order)).map(|(_, (_, meaning))| *meaning)
}

/// Whether a name is answered with this machine's own addresses.
pub(super) fn is_local(name: NameRef<'_>) -> bool {
    name.labels().last() == Some(b"localhost")
}

/// Whether a name asks about another one.
fn asks_why(name: NameRef<'_>) -> bool {
    let labels: Vec<&[u8]> = name.labels().collect();
    labels.len() > 1 && labels[0] == b"why" && labels[labels.len() - 1] == b"pullgate"
}

/// A label as it is written, every byte by its number.
fn text_of(label: &[u8]) -> String {
    label.iter().fold(String::new(), |text, byte| format!("{text}\\{byte:03}"))
}

fn allows(rule: RuleRef<'_>) -> bool {
    rule.entry().kind != EntryKind::Deny
}

/// The greater one wins.
fn rank(pattern: &str, order: u32) -> (bool, usize, Reverse<u32>) {
    let is_exact = !pattern.contains('*') && !pattern.starts_with('.');
    let literal = pattern.split('.').filter(|label| !label.is_empty() && !label.contains('*')).count();
    (is_exact, literal, Reverse(order))
}

/// How many labels more than its own a pattern's names have, at least and at most; and its own labels.
fn read(pattern: &str) -> ((usize, usize), Vec<&[u8]>) {
    let (more, labels) = match (pattern.strip_prefix("*."), pattern.strip_prefix('.')) {
        (Some(base), _) => ((1, usize::MAX), base),
        (None, Some(base)) => ((0, usize::MAX), base),
        (None, None) => ((0, 0), pattern),
    };
    (more, labels.split('.').map(str::as_bytes).collect())
}

/// Whether a pattern matches a name, label by label.
fn matches(pattern: &str, name: &[&[u8]]) -> bool {
    let ((least, most), own) = read(pattern);
    let Some(more) = name.len().checked_sub(own.len()) else { return false };
    (least..=most).contains(&more)
        && name[..more].iter().all(|label| is_host_label(label))
        && own.iter().zip(&name[more..]).all(|(own, label)| label_matches(own, label))
}

/// Whether a pattern goes on below a name: whether its last labels match it, and at least one more is left.
fn matches_below(pattern: &str, name: &[&[u8]]) -> bool {
    let ((least, _), own) = read(pattern);
    let Some(more) = own.len().checked_sub(name.len()) else { return false };
    more + least > 0 && own[more..].iter().zip(name).all(|(own, label)| label_matches(own, label))
}

fn label_matches(pattern: &[u8], label: &[u8]) -> bool {
    if pattern.contains(&b'*') { is_host_label(label) && glob_matches(pattern, label) } else { pattern == label }
}

/// A `*` is one character and then, perhaps, more.
fn glob_matches(pattern: &[u8], label: &[u8]) -> bool {
    match (pattern, label) {
        ([b'*', rest @ ..], [_, after @ ..]) => glob_matches(rest, after) || glob_matches(pattern, after),
        ([own, rest @ ..], [byte, after @ ..]) => own == byte && glob_matches(rest, after),
        ([], []) => true,
        _ => false,
    }
}

/// What a wildcard may stand for.
fn is_host_label(label: &[u8]) -> bool {
    label.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}
