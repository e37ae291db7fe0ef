//! What the policy in force says by now of the names that were asked for, and where its entries stand.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::report::Place;
use crate::control::report::{PolicyReport, PolicyRule};
use crate::name::DomainName;
use crate::policy::pattern::Pattern;

/// A policy, indexed.
pub(super) struct Known<'p> {
    policy: &'p PolicyReport,
    exact: HashMap<DomainName, Vec<&'p PolicyRule>>,
    wildcards: Vec<(Pattern, &'p PolicyRule)>,
    /// The names of all entries.
    entries: BTreeSet<&'p str>,
    /// The registries of the files, each with its first rule's place.
    registries: BTreeMap<&'p str, Place>,
}

/// What holds for a name by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing<'p> {
    /// A rule allows it, or lets it through on trial.
    Allowed,
    /// A `[[deny]]` has it.
    Denied,
    /// Only other groups have it, by this entry.
    OfOthers(&'p PolicyRule),
    /// Nothing lists it.
    Open,
}

impl<'p> Known<'p> {
    pub(super) fn of(policy: &'p PolicyReport) -> Self {
        let mut known = Self {
            policy,
            exact: HashMap::new(),
            wildcards: Vec::new(),
            entries: BTreeSet::new(),
            registries: BTreeMap::new(),
        };
        for rule in &policy.rules {
            known.entries.insert(&rule.entry);
            if rule.kind == "registry" && rule.overlay.is_none() {
                let place = || Place { path: rule.path.clone(), line: rule.line };
                known.registries.entry(&rule.entry).or_insert_with(place);
            }
            let Ok(pattern) = Pattern::parse(&rule.pattern) else { continue };
            match pattern.exact() {
                Some(name) => known.exact.entry(name).or_default().push(rule),
                None => known.wildcards.push((pattern, rule)),
            }
        }
        known
    }

    /// What holds for the clients of `group`.
    pub(super) fn standing(&self, group: Option<&str>, name: &DomainName) -> Standing<'p> {
        let exact = self.exact.get(name).into_iter().flatten().copied();
        let wild = self.wildcards.iter().filter(|(pattern, _)| pattern.matches(name.as_name())).map(|(_, rule)| *rule);
        let mut standing = Standing::Open;
        for rule in exact.chain(wild) {
            let is_for = self.has_no_groups() || group.is_some_and(|group| rule.groups.iter().any(|own| own == group));
            match (rule.kind.as_str(), is_for) {
                ("deny", true) => return Standing::Denied,
                ("deny", false) => {}
                (_, true) => standing = Standing::Allowed,
                (_, false) if standing == Standing::Open => standing = Standing::OfOthers(rule),
                (_, false) => {}
            }
        }
        standing
    }

    /// Where a registry of the files stands.
    pub(super) fn registry(&self, name: &str) -> Option<&Place> {
        self.registries.get(name)
    }

    /// The names of all entries.
    pub(super) fn entries(&self) -> impl Iterator<Item = &'p str> {
        self.entries.iter().copied()
    }

    pub(super) fn has_entry(&self, name: &str) -> bool {
        self.entries.contains(name)
    }

    pub(super) fn has_no_groups(&self) -> bool {
        self.policy.groups.is_empty()
    }

    pub(super) fn has_group(&self, name: &str) -> bool {
        self.policy.groups.iter().any(|group| group.name == name)
    }
}
