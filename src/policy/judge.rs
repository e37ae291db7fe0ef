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
use crate::policy::document::{Mode, Unlisted};
use crate::policy::matcher::Rule;
use crate::policy::preset::Preset;
use crate::policy::snapshot::{Catalogue, EntryKind, GroupRef, RuleRef, Snapshot};

/// Who asks, and where they reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The client's address; IPv4-mapped IPv6 addresses count as IPv4.
    pub client: IpAddr,
    /// The listener that took the question, as configured (a wildcard listener by its wildcard address); `None` when a
    /// person asks through `check` without one.
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

    /// The `[[deny]]` that forbids `target`, a name that the answer to an allowed question leads to.
    pub fn denied_target(&self, group: Option<GroupRef<'_>>, target: NameRef<'_>) -> Option<RuleRef<'_>> {
        self.find(self.own(group), target).deny
    }

    /// Whether `group` may resolve a name below `name`. A `[[deny]]` of that name is not subtracted.
    pub fn has_allowed_below(&self, group: Option<GroupRef<'_>>, name: NameRef<'_>) -> bool {
        let group = self.own(group);
        let forwards = self.terms(group).is_some_and(|terms| terms.unlisted == Unlisted::Forward);
        forwards
            || self.statics.has_below(name)
            || self.ancestors.any(&self.matcher, name, |grant| self.grants[grant as usize].includes(group))
            || self.has_glob_below(group, name)
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
        let found = self.find(group, name);
        if let Some(rule) = found.deny {
            return Verdict::Deny(Denial::Listed(rule));
        }
        let Some(terms) = self.terms(group) else { return soften(self.groups.mode, Denial::NoGroup) };
        if let Some(rule) = found.allow {
            return match rule.entry().mode {
                Mode::Enforce => Verdict::Allow(Permit::Rule(rule)),
                Mode::Audit => Verdict::Audit(Denial::OnTrial(rule)),
            };
        }
        if let Some(rule) = found.other {
            return soften(terms.mode, Denial::OtherGroup(rule));
        }
        if let Some(preset) = self.catalogue.find(name) {
            return soften(terms.mode, Denial::Catalogue(preset));
        }
        match terms.unlisted {
            Unlisted::Forward => Verdict::Allow(Permit::Unlisted),
            Unlisted::Deny => soften(terms.mode, Denial::Unlisted),
        }
    }

    /// The best rule of each sort that matches `name`.
    fn find(&self, group: Option<u32>, name: NameRef<'_>) -> Found<'_> {
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

    /// What holds for the clients of `group`; `None`: there are groups, and the client is in none.
    fn terms(&self, group: Option<u32>) -> Option<Terms> {
        match group.and_then(|index| self.groups.list.get(index as usize)) {
            Some(group) => Some(Terms { mode: group.mode, unlisted: group.unlisted }),
            None if self.groups.list.is_empty() => Some(Terms { mode: self.groups.mode, unlisted: Unlisted::Deny }),
            None => None,
        }
    }

    fn has_glob_below(&self, group: Option<u32>, name: NameRef<'_>) -> bool {
        let mut found = false;
        self.matcher.visit_globs_below(name, |rule| {
            let entry = self.entry_of(rule);
            found |= entry.kind != EntryKind::Deny && self.grants(entry, group);
        });
        found
    }

    /// A group of this snapshot by number; one of another snapshot counts as none.
    fn own(&self, group: Option<GroupRef<'_>>) -> Option<u32> {
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
    fn find(&self, name: NameRef<'_>) -> Option<&'static Preset> {
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
}

impl<'s> Denial<'s> {
    /// The rule that the denial is about.
    pub fn rule(self) -> Option<RuleRef<'s>> {
        match self {
            Self::Listed(rule) | Self::OtherGroup(rule) | Self::OnTrial(rule) => Some(rule),
            Self::Catalogue(_) | Self::Unlisted | Self::NoGroup | Self::NoPolicy => None,
        }
    }

    /// One word for metrics and machine-readable output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Listed(_) => "listed",
            Self::OtherGroup(_) => "other-group",
            Self::Catalogue(_) => "catalogue",
            Self::OnTrial(_) => "on-trial",
            Self::Unlisted => "unlisted",
            Self::NoGroup => "no-group",
            Self::NoPolicy => "no-policy",
        }
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
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(rule) => match &rule.entry().reason {
                Some(reason) => write!(f, "denied: {reason}"),
                None => f.write_str("denied by the policy"),
            },
            Self::OtherGroup(rule) => write!(f, "{} `{}` is not for this group", rule.entry().kind, rule.entry().name),
            Self::Catalogue(preset) => write!(f, "registry `{}` is not allowed", preset.id),
            Self::OnTrial(rule) => write!(f, "{} `{}` is on trial", rule.entry().kind, rule.entry().name),
            Self::Unlisted => f.write_str("not on the allowlist"),
            Self::NoGroup => f.write_str("no group takes this client"),
            Self::NoPolicy => f.write_str("no valid policy is in force"),
        }
    }
}
