//! The verdict on one question: a plain function over plain values. No I/O, no clock, no lock, no allocation.
//!
//! The rows, in order:
//!
//! 1. names answered from here: allow
//! 2. a `[[deny]]` for the asker's group: deny, never softened
//! 3. a rule of an entry the group has: allow; audit if the registry is on trial
//! 4. a rule of an entry others have, or a registry of the catalogue: deny
//! 5. the rest: deny, or allow where the group forwards what nobody lists
//!
//! In a group under audit the denials of rows 4 and 5 become audits. So do those of a client that no group takes, when
//! the policy's own mode is audit.

use std::cmp::Reverse;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::name::NameRef;
use crate::policy::apart;
use crate::policy::document::{Mode, RecordTypes, Unlisted};
use crate::policy::matcher::{Rule, Tails};
use crate::policy::preset::Preset;
use crate::policy::probe::Regime;
use crate::policy::reason::Reason;
use crate::policy::snapshot::{Catalogue, EntryKind, GroupRef, RuleRef, Snapshot};

/// Who asks, and where they reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The client's address; IPv4-mapped IPv6 addresses count as IPv4.
    pub client: IpAddr,
    /// The address that was asked; a listener's own wildcard address where that is not known. `None` when a person asks
    /// through `check` without one.
    pub listener: Option<SocketAddr>,
}

/// What was decided, and for whom.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement<'s> {
    /// What was decided.
    pub verdict: Verdict<'s>,
    /// The asker's group; `None` when no group takes them, or there is none.
    pub group: Option<GroupRef<'s>>,
}

/// Whether a name resolves, with the rule or the reason.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'s> {
    /// It resolves.
    Allow(Permit<'s>),
    /// It does not.
    Deny(Denial<'s>),
    /// It resolves, and counts as would-deny.
    Audit(Denial<'s>),
}

/// Why a name is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit<'s> {
    /// The rule of a registry or service.
    Rule(RuleRef<'s>),
    /// It is answered from here.
    Static,
    /// Nothing lists it, and the group forwards such names.
    Unlisted,
}

/// Why a name is denied.
#[derive(Clone, Copy, Debug)]
pub enum Denial<'s> {
    /// A `[[deny]]`.
    Listed(RuleRef<'s>),
    /// A rule of an entry that only other groups have.
    OtherGroup(RuleRef<'s>),
    /// A known registry that the policy does not allow.
    Catalogue(&'static Preset),
    /// A registry with `mode = "audit"`.
    OnTrial(RuleRef<'s>),
    /// Nothing lists it.
    Unlisted,
    /// There are groups, and none takes this client.
    NoGroup,
    /// No valid policy could be had.
    NoPolicy,
}

impl Snapshot {
    /// Judges a question. Allocates nothing and cannot fail; what matches nothing is denied.
    pub fn judge(&self, asker: &Asker, name: NameRef<'_>) -> Judgement<'_> {
        self.judge_in(self.groups.of(asker.client, asker.listener), name)
    }

    /// Judges a name as for a client of `group`; `None`: a client that no group takes.
    pub fn judge_as(&self, group: Option<GroupRef<'_>>, name: NameRef<'_>) -> Judgement<'_> {
        self.judge_in(self.own(group), name)
    }

    /// Why the answer to an allowed question of `asker`, who is in `group`, must not lead to `target`: a `[[deny]]`, or
    /// where the entry `inspects` targets, anything that a question for it would be denied for.
    pub fn denial_of_target(
        &self,
        asker: &Asker,
        group: Option<GroupRef<'_>>,
        target: NameRef<'_>,
        inspects: bool,
    ) -> Option<Denial<'_>> {
        if let Some(rule) = self.denied_target(group, target) {
            return Some(Denial::Listed(rule));
        }
        if !inspects {
            return None;
        }
        match self.judge(asker, target).verdict {
            Verdict::Audit(Denial::OnTrial(_)) | Verdict::Allow(_) => None,
            Verdict::Deny(denial) | Verdict::Audit(denial) => Some(denial),
        }
    }

    /// The `[[deny]]` that forbids `target`, a name that the answer to an allowed question leads to.
    pub fn denied_target(&self, group: Option<GroupRef<'_>>, target: NameRef<'_>) -> Option<RuleRef<'_>> {
        self.find(self.own(group), &Tails::of(target)).deny
    }

    /// Whether `group` may resolve a name below `name`. A `[[deny]]` of that name is not subtracted.
    pub fn has_allowed_below(&self, group: Option<GroupRef<'_>>, name: NameRef<'_>) -> bool {
        let group = apart::written(self.own(group));
        let forwards = self.terms(group).is_some_and(|terms| terms.unlisted == Unlisted::Forward);
        forwards
            || self.statics.has_below(name)
            || self.ancestors.any(&self.matcher, name, |grant| self.grants[grant as usize].includes(group))
            || self.has_wildcard_below(group, name)
    }

    /// What this policy is to the clients of `group`; `None`: to those that no group takes.
    pub fn regime(&self, group: Option<GroupRef<'_>>) -> Regime {
        let group = self.own(group);
        match self.terms(group) {
            _ if self.is_deny_all => Regime::NoPolicy,
            Some(Terms { mode, unlisted }) => Regime::Rules { mode, unlisted },
            None if self.mode_of(group) == Mode::Audit => Regime::Rules { mode: Mode::Audit, unlisted: Unlisted::Deny },
            None => Regime::NoGroup,
        }
    }

    /// The shipped registry that has this host, for whatever purpose.
    pub fn preset_with(&self, name: NameRef<'_>) -> Option<&'static Preset> {
        Catalogue::with_all_hosts().find(&Tails::of(name))
    }

    fn judge_in(&self, group: Option<u32>, name: NameRef<'_>) -> Judgement<'_> {
        let verdict = self.verdict(group, name);
        Judgement { verdict, group: group.map(|index| GroupRef { snapshot: self, index }) }
    }

    fn verdict(&self, group: Option<u32>, name: NameRef<'_>) -> Verdict<'_> {
        if self.statics.contains(name) {
            return Verdict::Allow(Permit::Static);
        }
        if self.is_deny_all {
            return Verdict::Deny(Denial::NoPolicy);
        }
        let tails = Tails::of(name);
        let found = self.find(group, &tails);
        if let Some(rule) = found.deny {
            return Verdict::Deny(Denial::Listed(rule));
        }
        let Some(terms) = self.terms(group) else { return soften(self.mode_of(group), Denial::NoGroup) };
        if let Some(rule) = found.allow {
            return match rule.entry().mode {
                Mode::Enforce => Verdict::Allow(Permit::Rule(rule)),
                Mode::Audit => Verdict::Audit(Denial::OnTrial(rule)),
            };
        }
        if let Some(rule) = found.other {
            return soften(terms.mode, Denial::OtherGroup(rule));
        }
        if let Some(preset) = self.catalogue.find(&tails) {
            return soften(terms.mode, Denial::Catalogue(preset));
        }
        match terms.unlisted {
            Unlisted::Forward => Verdict::Allow(Permit::Unlisted),
            Unlisted::Deny => soften(terms.mode, Denial::Unlisted),
        }
    }

    /// The best rule of each sort that matches `name`.
    fn find(&self, group: Option<u32>, name: &Tails<'_>) -> Found<'_> {
        let mut found = Found::default();
        self.matcher.visit(name, |rule| {
            let entry = self.entry_of(rule);
            let sort = match (entry.kind, self.grants(entry, group)) {
                (EntryKind::Deny, true) => &mut found.deny,
                (EntryKind::Deny, false) => return,
                (EntryKind::Registry | EntryKind::Service, true) => &mut found.allow,
                (EntryKind::Registry | EntryKind::Service, false) => &mut found.other,
            };
            if sort.is_none_or(|best| rank(rule) > rank(best.rule)) {
                *sort = Some(RuleRef { snapshot: self, rule });
            }
        });
        found
    }

    /// What a denial means to the clients of `group`.
    pub(super) fn mode_of(&self, group: Option<u32>) -> Mode {
        let apart = group.and_then(apart::mode);
        apart.unwrap_or_else(|| self.terms(group).map_or(self.groups.mode, |terms| terms.mode))
    }

    /// What holds for the clients of `group`; `None`: there are groups, and the client is in none.
    fn terms(&self, group: Option<u32>) -> Option<Terms> {
        let terms = |mode, unlisted| Terms { mode: group.and_then(apart::mode).unwrap_or(mode), unlisted };
        match apart::written(group).and_then(|index| self.groups.list.get(index as usize)) {
            Some(group) => Some(terms(group.mode, group.unlisted)),
            None if self.groups.list.is_empty() => Some(terms(self.groups.mode, Unlisted::Deny)),
            None => None,
        }
    }

    fn has_wildcard_below(&self, group: Option<u32>, name: NameRef<'_>) -> bool {
        let mut found = false;
        self.matcher.visit_wildcards_below(&Tails::of(name), |rule| {
            let entry = self.entry_of(rule);
            found |= entry.kind != EntryKind::Deny && self.grants(entry, group);
        });
        found
    }

    /// A group of this snapshot by number; one of another snapshot counts as none.
    pub(super) fn own(&self, group: Option<GroupRef<'_>>) -> Option<u32> {
        group.filter(|group| std::ptr::eq(group.snapshot, self)).map(|group| group.index)
    }
}

/// The rules that match one name, the best of each sort.
#[derive(Default)]
struct Found<'s> {
    deny: Option<RuleRef<'s>>,
    allow: Option<RuleRef<'s>>,
    other: Option<RuleRef<'s>>,
}

/// What a group's clients get for names that none of its rules match.
struct Terms {
    mode: Mode,
    unlisted: Unlisted,
}

/// Which of two matching rules wins, the greater one: exact, then more literal labels, then the earlier.
fn rank(rule: Rule<'_>) -> (bool, u8, Reverse<u32>) {
    (rule.is_exact(), rule.literal_labels(), Reverse(rule.offset()))
}

/// A denial that audit turns into a mere count.
fn soften(mode: Mode, denial: Denial<'_>) -> Verdict<'_> {
    match mode {
        Mode::Enforce => Verdict::Deny(denial),
        Mode::Audit => Verdict::Audit(denial),
    }
}

impl Catalogue {
    /// The registry that a name is known to belong to.
    fn find(&self, name: &Tails<'_>) -> Option<&'static Preset> {
        let mut best: Option<Rule<'_>> = None;
        self.matcher.visit(name, |rule| {
            if best.is_none_or(|best| rank(rule) > rank(best)) {
                best = Some(rule);
            }
        });
        best.map(|rule| self.presets[rule.entry() as usize])
    }
}

impl<'s> Verdict<'s> {
    /// Whether the name resolves: allowed, or under audit.
    pub fn resolves(self) -> bool {
        !matches!(self, Self::Deny(_))
    }

    /// `allow`, `deny` or `audit`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allow(_) => "allow",
            Self::Deny(_) => "deny",
            Self::Audit(_) => "audit",
        }
    }

    /// The rule that decided.
    pub fn rule(self) -> Option<RuleRef<'s>> {
        match self {
            Self::Allow(permit) => permit.rule(),
            Self::Deny(denial) | Self::Audit(denial) => denial.rule(),
        }
    }
}

impl<'s> Permit<'s> {
    /// The rule that allows it.
    pub fn rule(self) -> Option<RuleRef<'s>> {
        match self {
            Self::Rule(rule) => Some(rule),
            Self::Static | Self::Unlisted => None,
        }
    }

    /// Whether records of this type are handed out; `default` are the types where no entry says.
    pub fn hands_out(self, record_type: u16, default: &[u16]) -> bool {
        match self.types() {
            Some(RecordTypes::Any) => true,
            Some(RecordTypes::Only(types)) => types.contains(&record_type),
            None => default.contains(&record_type),
        }
    }

    /// The record types that the entry has for itself.
    pub fn types(self) -> Option<&'s RecordTypes> {
        self.rule().and_then(|rule| rule.entry().types.as_ref())
    }
}

impl<'s> Denial<'s> {
    /// The rule that the denial is about.
    pub fn rule(self) -> Option<RuleRef<'s>> {
        match self {
            Self::Listed(rule) | Self::OtherGroup(rule) | Self::OnTrial(rule) => Some(rule),
            Self::Catalogue(_) | Self::Unlisted | Self::NoGroup | Self::NoPolicy => None,
        }
    }

    /// What is shown of it, if that is the same whatever it is about.
    pub fn fixed_text(&self) -> Option<&'static str> {
        match self {
            Self::Unlisted => Some("not on the allowlist"),
            Self::NoGroup => Some("no group for this client"),
            Self::NoPolicy => Some("no valid policy in force"),
            Self::Listed(_) | Self::OtherGroup(_) | Self::Catalogue(_) | Self::OnTrial(_) => None,
        }
    }

    /// One word for metrics and machine-readable output.
    pub fn word(self) -> &'static str {
        Reason::from(&self).word()
    }
}

impl PartialEq for Denial<'_> {
    fn eq(&self, other: &Self) -> bool {
        let preset = |denial: &Self| match denial {
            Self::Catalogue(preset) => Some(preset.id.as_str()),
            _ => None,
        };
        self.word() == other.word() && self.rule() == other.rule() && preset(self) == preset(other)
    }
}

impl Eq for Denial<'_> {}

impl fmt::Display for Verdict<'_> {
    /// The reason, in a few words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow(permit) => permit.fmt(f),
            Self::Deny(denial) | Self::Audit(denial) => denial.fmt(f),
        }
    }
}

impl fmt::Display for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => write!(f, "allowed by {} `{}`", rule.entry().kind, rule.entry().name),
            Self::Static => f.write_str("answered by the resolver itself"),
            Self::Unlisted => f.write_str("unlisted, which this group forwards"),
        }
    }
}

impl fmt::Display for Denial<'_> {
    /// What it is comes first: an extended DNS error has room for some 25 characters beside a cookie.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(rule) => match &rule.entry().reason {
                Some(reason) => write!(f, "denied: {reason}"),
                None => f.write_str("denied by the policy"),
            },
            Self::OtherGroup(rule) => write!(f, "not for this group: {}", rule.entry().name),
            Self::Catalogue(preset) => write!(f, "not allowed: {}", preset.id),
            Self::OnTrial(rule) => write!(f, "on trial: {}", rule.entry().name),
            Self::Unlisted | Self::NoGroup | Self::NoPolicy => f.write_str(self.fixed_text().unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::diagnostic::Source;
    use crate::name::DomainName;
    use crate::policy::compile::{Options, load};
    use crate::policy::document::CnamePolicy;

    fn policy(text: &str) -> Snapshot {
        with(text, &Options::default())
    }

    fn with(text: &str, options: &Options) -> Snapshot {
        let source = Source::new("p.toml", format!("version = 1\n{text}"));
        load(vec![source], options, SystemTime::UNIX_EPOCH).unwrap_or_else(|faults| panic!("{}", faults[0])).snapshot
    }

    fn audited(text: &str) -> Snapshot {
        with(text, &Options { mode: Mode::Audit, ..Options::default() })
    }

    fn name(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    /// The verdict for a client, in two words, and the entry that decided.
    fn verdict(snapshot: &Snapshot, client: &str, host: &str) -> String {
        let asker = Asker { client: client.parse().unwrap(), listener: None };
        told(snapshot.judge(&asker, name(host).as_name()))
    }

    fn told(judgement: Judgement<'_>) -> String {
        let entry = judgement.verdict.rule().map(|rule| rule.entry().name.as_str());
        match judgement.verdict {
            Verdict::Allow(Permit::Rule(_)) => format!("allow {}", entry.unwrap()),
            Verdict::Allow(Permit::Static) => "allow static".to_owned(),
            Verdict::Allow(Permit::Unlisted) => "allow unlisted".to_owned(),
            Verdict::Deny(denial) | Verdict::Audit(denial) => format!("{} {}", judgement.verdict.word(), denial.word()),
        }
    }

    /// Two groups, each with a registry of its own, and a deny for one of them.
    const TWO_GROUPS: &str = r#"
        [[registry]]
        name = "ours"
        hosts = ["ours.example", "*.shared.example"]
        [[registry]]
        name = "theirs"
        hosts = ["theirs.example"]
        [[deny]]
        hosts = ["bad.shared.example"]
        groups = ["us"]
        [[group]]
        name = "us"
        clients = ["10.0.0.0/8", "fd00::/16"]
        registries = ["ours"]
        [[group]]
        name = "them"
        clients = ["10.1.0.0/16"]
        listen = ["172.18.0.1:53"]
        registries = ["*"]
        unlisted = "forward"
    "#;

    // ── which group ──

    #[test]
    fn the_fixed_reasons_fit_an_extended_dns_error_beside_a_cookie() {
        for reason in [Denial::Unlisted, Denial::NoGroup, Denial::NoPolicy].map(|denial| denial.to_string()) {
            assert!(reason.len() <= 25, "{reason}");
        }
    }

    #[test]
    fn without_groups_every_client_may_use_everything() {
        let snapshot = policy("[[registry]]\nname = \"r\"\nhosts = [\"r.example\"]\n");
        assert_eq!(verdict(&snapshot, "8.8.8.8", "r.example"), "allow r");
        assert_eq!(verdict(&snapshot, "2001:db8::1", "R.Example."), "allow r");
        assert_eq!(verdict(&snapshot, "8.8.8.8", "a.r.example"), "deny unlisted");
    }

    #[test]
    fn the_longest_range_that_holds_the_client_decides_the_group() {
        let snapshot = policy(TWO_GROUPS);
        assert_eq!(verdict(&snapshot, "10.2.0.1", "theirs.example"), "deny other-group");
        assert_eq!(verdict(&snapshot, "10.1.0.1", "theirs.example"), "allow theirs");
    }

    #[test]
    fn an_ipv4_mapped_client_is_its_ipv4_address() {
        let snapshot = policy(TWO_GROUPS);
        assert_eq!(verdict(&snapshot, "::ffff:10.1.0.1", "theirs.example"), "allow theirs");
        assert_eq!(verdict(&snapshot, "fd00::1", "ours.example"), "allow ours");
    }

    #[test]
    fn the_listener_decides_before_any_range() {
        let snapshot = policy(TWO_GROUPS);
        let asker = Asker { client: "10.2.0.1".parse().unwrap(), listener: Some("172.18.0.1:53".parse().unwrap()) };
        let judgement = snapshot.judge(&asker, name("theirs.example").as_name());
        assert_eq!(judgement.group.unwrap().name(), "them");
        assert_eq!(told(judgement), "allow theirs");
    }

    #[test]
    fn a_group_on_a_wildcard_address_takes_who_reaches_no_other_group() {
        let text =
            TWO_GROUPS.to_owned() + "[[group]]\nname = \"everywhere\"\nlisten = [\"0.0.0.0:53\", \"[::]:5353\"]\n";
        let snapshot = policy(&text);
        for (listener, group) in [
            ("172.18.0.1:53", "them"),
            ("172.18.0.2:53", "everywhere"),
            ("0.0.0.0:53", "everywhere"),
            ("[fd00::1]:5353", "everywhere"),
            ("172.18.0.2:5353", "everywhere"),
        ] {
            let asker = Asker { client: "192.0.2.1".parse().unwrap(), listener: Some(listener.parse().unwrap()) };
            let judgement = snapshot.judge(&asker, name("ghcr.io").as_name());
            assert_eq!(judgement.group.unwrap().name(), group, "{listener}");
        }
    }

    #[test]
    fn a_client_that_no_group_claims_falls_to_the_settings_group_then_to_default_then_to_none() {
        let with_default = format!("{TWO_GROUPS}\n[[group]]\nname = \"default\"\nregistries = [\"ours\"]\n");
        let settings = Options { group: Some("them".to_owned()), ..Options::default() };
        let group = |snapshot: &Snapshot| {
            let asker = Asker { client: "192.0.2.1".parse().unwrap(), listener: None };
            snapshot.judge(&asker, name("x.example").as_name()).group.map(|group| group.name().to_owned())
        };
        assert_eq!(group(&with(&with_default, &settings)).as_deref(), Some("them"));
        assert_eq!(group(&policy(&with_default)).as_deref(), Some("default"));
        assert_eq!(group(&policy(TWO_GROUPS)), None);
    }

    // ── the rows ──

    #[test]
    fn static_and_built_in_names_are_allowed_to_everyone() {
        let options = Options { statics: vec![name("host.docker.internal")], ..Options::default() };
        let snapshot = with(TWO_GROUPS, &options);
        for host in ["host.docker.internal", "localhost", "a.localhost", "probe.pullgate.internal"] {
            assert_eq!(verdict(&snapshot, "192.0.2.1", host), "allow static", "{host}");
        }
        for host in ["why.pullgate", "why.quay.io.pullgate", "why.localhost"] {
            assert_eq!(verdict(&snapshot, "192.0.2.1", host), "allow static", "{host}");
        }
        for host in ["pullgate", "quay.io.pullgate", "why.quay.io.xpullgate", "a.xlocalhost"] {
            assert_eq!(verdict(&snapshot, "192.0.2.1", host), "deny no-group", "{host}");
        }
        assert_eq!(verdict(&snapshot, "192.0.2.1", "docker.internal"), "deny no-group");
    }

    #[test]
    fn a_deny_beats_an_allow_of_the_same_group_only() {
        let snapshot = policy(TWO_GROUPS);
        assert_eq!(verdict(&snapshot, "10.2.0.1", "bad.shared.example"), "deny listed");
        assert_eq!(verdict(&snapshot, "10.2.0.1", "good.shared.example"), "allow ours");
        assert_eq!(verdict(&snapshot, "10.1.0.1", "bad.shared.example"), "allow ours");
    }

    #[test]
    fn a_deny_for_everyone_beats_even_an_exact_allow_and_is_not_softened_by_audit() {
        let snapshot = audited(
            "[[registry]]\nname = \"r\"\nhosts = [\"a.x.example\"]\n[[deny]]\nhosts = [\".x.example\"]\nreason = \"SEC-7\"\n",
        );
        assert_eq!(verdict(&snapshot, "10.0.0.1", "a.x.example"), "deny listed");
        let judgement = snapshot.judge_as(None, name("a.x.example").as_name());
        assert_eq!(judgement.verdict.to_string(), "denied: SEC-7");
    }

    #[test]
    fn a_registry_on_trial_resolves_and_counts_as_would_deny() {
        let snapshot = policy("[[registry]]\nname = \"r\"\nhosts = [\"r.example\"]\nmode = \"audit\"\n");
        assert_eq!(verdict(&snapshot, "10.0.0.1", "r.example"), "audit on-trial");
    }

    #[test]
    fn what_other_groups_have_is_denied_also_where_unlisted_names_are_forwarded() {
        let text = TWO_GROUPS.replace("registries = [\"*\"]", "registries = [\"theirs\"]");
        let snapshot = policy(&text);
        assert_eq!(verdict(&snapshot, "10.1.0.1", "ours.example"), "deny other-group");
    }

    #[test]
    fn a_registry_of_the_catalogue_is_denied_where_unlisted_names_are_forwarded() {
        let snapshot = policy(TWO_GROUPS);
        assert_eq!(verdict(&snapshot, "10.1.0.1", "ghcr.io"), "deny catalogue");
        assert_eq!(verdict(&snapshot, "10.1.0.1", "www.example.org"), "allow unlisted");
        assert_eq!(verdict(&snapshot, "10.2.0.1", "ghcr.io"), "deny catalogue");
    }

    #[test]
    fn what_nobody_lists_is_denied_single_labels_and_the_root_too() {
        let snapshot = policy("[[registry]]\nname = \"r\"\nhosts = [\"*.r.example\", \"r-*.r.example\"]\n");
        for host in ["www.example.org", "com", ".", "r.example", "xr.example"] {
            assert_eq!(verdict(&snapshot, "10.0.0.1", host), "deny unlisted", "{host}");
        }
    }

    #[test]
    fn in_a_group_under_audit_denials_for_lack_of_an_allow_become_audits() {
        let text = TWO_GROUPS.replace("registries = [\"ours\"]", "registries = [\"ours\"]\nmode = \"audit\"");
        let snapshot = policy(&text);
        assert_eq!(verdict(&snapshot, "10.2.0.1", "theirs.example"), "audit other-group");
        assert_eq!(verdict(&snapshot, "10.2.0.1", "ghcr.io"), "audit catalogue");
        assert_eq!(verdict(&snapshot, "10.2.0.1", "www.example.org"), "audit unlisted");
        assert_eq!(verdict(&snapshot, "10.2.0.1", "ours.example"), "allow ours");
        assert_eq!(verdict(&snapshot, "10.2.0.1", "bad.shared.example"), "deny listed");
    }

    #[test]
    fn a_group_may_enforce_under_a_policy_that_audits() {
        let text = TWO_GROUPS.replace("registries = [\"ours\"]", "registries = [\"ours\"]\nmode = \"enforce\"");
        let snapshot = audited(&text);
        assert_eq!(verdict(&snapshot, "10.2.0.1", "www.example.org"), "deny unlisted");
        assert_eq!(verdict(&snapshot, "10.1.0.1", "ghcr.io"), "audit catalogue");
    }

    #[test]
    fn a_client_that_no_group_takes_is_denied_everything_unless_the_policy_audits() {
        assert_eq!(verdict(&policy(TWO_GROUPS), "192.0.2.1", "ours.example"), "deny no-group");
        assert_eq!(verdict(&audited(TWO_GROUPS), "192.0.2.1", "ours.example"), "audit no-group");
    }

    #[test]
    fn under_deny_all_nothing_resolves_whatever_the_mode_but_the_resolvers_own_names() {
        let options = Options { mode: Mode::Audit, statics: vec![name("static.example")], ..Options::default() };
        let snapshot = Snapshot::deny_all(&options);
        assert_eq!(verdict(&snapshot, "10.0.0.1", "ghcr.io"), "deny no-policy");
        assert_eq!(verdict(&snapshot, "10.0.0.1", "static.example"), "allow static");
    }

    // ── who may use what ──

    #[test]
    fn a_group_has_what_it_inherits_and_what_entries_say_of_it() {
        let snapshot = policy(
            r#"
            [[registry]]
            name = "a"
            hosts = ["a.example"]
            [[registry]]
            name = "b"
            hosts = ["b.example"]
            groups = ["base"]
            [[service]]
            name = "c"
            names = ["c.example"]
            [[group]]
            name = "base"
            registries = ["a"]
            [[group]]
            name = "middle"
            inherits = "base"
            [[group]]
            name = "default"
            inherits = "middle"
            services = ["*"]
        "#,
        );
        for host in ["a", "b", "c"] {
            assert_eq!(verdict(&snapshot, "10.0.0.1", &format!("{host}.example")), format!("allow {host}"));
        }
        let entries = |group: &str| snapshot.find_group(group).unwrap().entries().count();
        assert_eq!((entries("base"), entries("middle"), entries("default")), (2, 2, 3));
    }

    // ── the winner ──

    #[test]
    fn among_allowing_rules_exact_wins_then_more_literal_labels_then_file_order() {
        let snapshot = policy(
            r#"
            [[registry]]
            name = "wide"
            hosts = [".example.com"]
            [[registry]]
            name = "narrow"
            hosts = ["*.b.example.com"]
            cname = "inspect"
            [[registry]]
            name = "glob"
            hosts = ["*-x.b.example.com", "a-*.c.example.com"]
            [[registry]]
            name = "exact"
            hosts = ["a-x.b.example.com"]
            private-addresses = true
        "#,
        );
        for (host, entry) in [
            ("a-x.b.example.com", "exact"),
            ("b-x.b.example.com", "narrow"),
            ("a-y.c.example.com", "glob"),
            ("b.c.example.com", "wide"),
        ] {
            assert_eq!(verdict(&snapshot, "10.0.0.1", host), format!("allow {entry}"), "{host}");
        }
        let winner = |host| snapshot.judge_as(None, name(host).as_name()).verdict.rule().unwrap().entry();
        assert_eq!(winner("a-x.b.example.com").private_addresses, Some(true));
        assert_eq!(winner("b-x.b.example.com").cname, CnamePolicy::Inspect);
    }

    #[test]
    fn a_rule_of_ones_own_wins_over_a_tighter_one_of_others() {
        let snapshot = policy(
            r#"
            [[registry]]
            name = "wide"
            hosts = ["*.example.com"]
            [[registry]]
            name = "exact"
            hosts = ["a.example.com"]
            [[group]]
            name = "default"
            registries = ["wide"]
        "#,
        );
        assert_eq!(verdict(&snapshot, "10.0.0.1", "a.example.com"), "allow wide");
    }

    // ── targets and ancestors ──

    #[test]
    fn a_deny_catches_the_target_of_a_chain_for_its_groups() {
        let snapshot = policy(TWO_GROUPS);
        let denied = |group: &str, target: &str| {
            snapshot.denied_target(snapshot.find_group(group), name(target).as_name()).is_some()
        };
        assert!(denied("us", "bad.shared.example"));
        assert!(!denied("us", "unlisted.example"));
        assert!(!denied("them", "bad.shared.example"));
    }

    #[test]
    fn a_name_above_an_allowed_one_is_known_for_those_who_may_use_it() {
        let text = TWO_GROUPS.replace("unlisted = \"forward\"", "");
        let snapshot = policy(&text.replace("theirs.example\"", "a.theirs.example\", \"x-*.deep.glob.example\""));
        let below =
            |group: &str, host: &str| snapshot.has_allowed_below(snapshot.find_group(group), name(host).as_name());
        for host in ["example", "shared.example", "."] {
            assert!(below("us", host) && below("them", host), "{host}");
        }
        for host in ["theirs.example", "glob.example", "deep.glob.example"] {
            assert!(!below("us", host) && below("them", host), "{host}");
        }
        for host in ["ours.example", "a.theirs.example", "x-1.deep.glob.example", "org", "other.example"] {
            assert!(!below("us", host) && !below("them", host), "{host}");
        }
        assert!(!below("nobody", "example"), "a client without a group has nothing below anything");
    }

    #[test]
    fn what_is_denied_below_a_name_makes_no_ancestor_of_it() {
        let snapshot =
            policy("[[registry]]\nname = \"r\"\nhosts = [\"*.ok.example\"]\n[[deny]]\nhosts = [\"*.evil.example\"]\n");
        assert!(snapshot.has_allowed_below(None, name("ok.example").as_name()));
        assert!(!snapshot.has_allowed_below(None, name("evil.example").as_name()));
    }

    #[test]
    fn where_unlisted_names_are_forwarded_anything_may_stand_below() {
        let snapshot = policy(TWO_GROUPS);
        assert!(snapshot.has_allowed_below(snapshot.find_group("them"), name("ghcr.io").as_name()));
    }

    #[test]
    fn a_group_of_an_earlier_snapshot_counts_as_none() {
        let (old, new) = (policy(TWO_GROUPS), policy(TWO_GROUPS));
        assert_eq!(told(new.judge_as(old.find_group("us"), name("ours.example").as_name())), "deny no-group");
    }

    #[test]
    fn a_verdict_tells_the_file_and_line_of_its_rule() {
        let snapshot = policy(TWO_GROUPS);
        let judgement = snapshot.judge_as(snapshot.find_group("us"), name("a.shared.example").as_name());
        let rule = judgement.verdict.rule().unwrap();
        assert_eq!(
            (rule.pattern().to_string(), rule.place().unwrap().to_string()),
            ("*.shared.example".into(), "p.toml:5:34".into())
        );
        assert_eq!(judgement.verdict.to_string(), "allowed by registry `ours`");
    }
}
