//! What is read from the history: rows, and sums over them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::moment;
use crate::name::DomainName;
use crate::observe::log;
use crate::observe::pulls::Pull;
use crate::observe::recent::VerdictWord;

/// What a client asked for in an hour, and what was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRow {
    /// The hour's beginning, in UTC (RFC 3339).
    pub hour: String,
    /// Who asked; `None`: various clients.
    pub client: Option<IpAddr>,
    /// The client's group.
    pub group: Option<String>,
    /// The name asked for or connected to; `None`: various names.
    pub name: Option<String>,
    /// What was decided.
    pub verdict: VerdictWord,
    /// Why, in a word.
    pub reason: String,
    /// The rule that decided.
    pub rule: Option<RuleOfRow>,
    /// For a name that nothing lists: the registry that the client asked for shortly before.
    pub after: Option<Pull>,
    /// How often.
    pub count: u64,
    /// When first, in UTC (RFC 3339).
    pub first: String,
    /// When last.
    pub last: String,
}

/// A rule as it was when it decided; it may be gone, or stand elsewhere now.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleOfRow {
    /// `registry`, `service` or `deny`.
    pub kind: String,
    /// Its entry; empty for a `deny`.
    pub entry: String,
    /// Its pattern.
    pub pattern: String,
}

/// Which rows a reader wants; an empty search wants all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Only what was asked since.
    pub since: Option<SystemTime>,
    /// Only of this client.
    pub client: Option<IpAddr>,
    /// Only of this group's clients; empty: of clients in no group.
    pub group: Option<String>,
    /// Only this name and the names below it.
    pub name: Option<DomainName>,
    /// Only what was decided so.
    pub verdict: Option<VerdictWord>,
}

/// Sums over the history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// How far the history reaches back, in UTC (RFC 3339).
    pub reaches_back_to: String,
    /// Decisions by the hour, oldest first; hours without any are left out.
    #[serde(default)]
    pub hours: Vec<Hour>,
    /// Decisions by group, verdict and reason, the most frequent first.
    pub totals: Vec<Sum>,
    /// The names that were denied most, or would have been.
    pub denied: Vec<DeniedName>,
    /// The rules that decided, the most frequent first.
    pub rules: Vec<RuleUse>,
}

/// What was decided within an hour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hour {
    /// Its beginning, in UTC (RFC 3339).
    pub hour: String,
    /// How many were allowed.
    pub allowed: u64,
    /// How many were denied.
    pub denied: u64,
    /// How many resolved only because of audit.
    pub audited: u64,
}

/// How often something was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// The clients' group.
    pub group: Option<String>,
    /// What was decided.
    pub verdict: VerdictWord,
    /// Why, in a word.
    pub reason: String,
    /// How often.
    pub count: u64,
}

/// A name that was denied, or would have been.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeniedName {
    /// The name.
    pub name: String,
    /// `deny` or `audit`, as it was last.
    pub verdict: VerdictWord,
    /// Why, in a word, as it was last.
    pub reason: String,
    /// How often.
    pub count: u64,
    /// When first, in UTC (RFC 3339).
    pub first: String,
    /// When last.
    pub last: String,
    /// Some of the clients, ten at most.
    pub clients: Vec<IpAddr>,
    /// The registry that a client asked for shortly before, if nothing lists the name.
    pub after: Option<Pull>,
    /// The line of policy with which the name would be one of that registry's redirect hosts.
    pub line: Option<String>,
}

/// How often a rule decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleUse {
    /// The rule.
    #[serde(flatten)]
    pub rule: RuleOfRow,
    /// How often.
    pub count: u64,
    /// When last, in UTC (RFC 3339).
    pub last: String,
}

impl Search {
    /// Whether it wants a row, whose time has been looked at.
    pub(super) fn wants(&self, row: &HistoryRow) -> bool {
        self.client.is_none_or(|client| row.client == Some(client))
            && self.group.as_ref().is_none_or(|group| row.group.as_deref().unwrap_or_default() == group)
            && self.verdict.is_none_or(|verdict| row.verdict == verdict)
            && self.name.as_ref().is_none_or(|name| {
                let own = row.name.as_ref().and_then(|own| own.parse::<DomainName>().ok());
                own.is_some_and(|own| own.as_name().is_within(name.as_name()))
            })
    }
}

/// Sums under way.
#[derive(Debug, Default)]
pub(super) struct Adding {
    hours: BTreeMap<String, Hour>,
    totals: BTreeMap<(Option<String>, VerdictWord, String), u64>,
    denied: HashMap<String, DeniedName>,
    clients: HashMap<String, BTreeSet<IpAddr>>,
    rules: BTreeMap<RuleOfRow, (u64, String)>,
}

impl Adding {
    pub(super) fn add(&mut self, row: HistoryRow) {
        self.add_hour(&row);
        *self.totals.entry((row.group.clone(), row.verdict, row.reason.clone())).or_default() += row.count;
        if let Some(rule) = &row.rule {
            let (count, last) = self.rules.entry(rule.clone()).or_default();
            *count += row.count;
            // Equally long, from the largest unit to the smallest: text in order is time in order.
            if row.last > *last {
                last.clone_from(&row.last);
            }
        }
        if row.verdict != VerdictWord::Allow {
            self.add_denied(row);
        }
    }

    fn add_hour(&mut self, row: &HistoryRow) {
        let first = || Hour { hour: row.hour.clone(), ..Hour::default() };
        let hour = self.hours.entry(row.hour.clone()).or_insert_with(first);
        match row.verdict {
            VerdictWord::Allow => hour.allowed += row.count,
            VerdictWord::Deny => hour.denied += row.count,
            VerdictWord::Audit => hour.audited += row.count,
        }
    }

    fn add_denied(&mut self, row: HistoryRow) {
        let Some(name) = row.name else { return };
        let clients = self.clients.entry(name.clone()).or_default();
        if clients.len() < MAX_CLIENTS {
            clients.extend(row.client);
        }
        let known = self.denied.entry(name.clone()).or_insert_with(|| DeniedName {
            name,
            verdict: row.verdict,
            reason: row.reason.clone(),
            count: 0,
            first: row.first.clone(),
            last: row.last.clone(),
            clients: Vec::new(),
            after: None,
            line: None,
        });
        known.count += row.count;
        if row.first < known.first {
            known.first = row.first;
        }
        if row.last >= known.last {
            (known.last, known.verdict, known.reason) = (row.last, row.verdict, row.reason);
            known.after = row.after.or(known.after.take());
        }
    }

    pub(super) fn finish(mut self, top: usize, reaches_back_to: SystemTime) -> Stats {
        let sum = |((group, verdict, reason), count)| Sum { group, verdict, reason, count };
        let mut totals: Vec<Sum> = self.totals.into_iter().map(sum).collect();
        totals.sort_by_key(|sum| std::cmp::Reverse(sum.count));
        let mut denied: Vec<DeniedName> = self.denied.into_values().collect();
        denied.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.name.cmp(&other.name)));
        denied.truncate(top);
        for name in &mut denied {
            name.clients = self.clients.remove(&name.name).unwrap_or_default().into_iter().collect();
            name.line = name.after.as_ref().map(|_| Pull::line(&name.name));
        }
        let used = |(rule, (count, last))| RuleUse { rule, count, last };
        let mut rules: Vec<RuleUse> = self.rules.into_iter().map(used).collect();
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.count));
        let hours = self.hours.into_values().collect();
        Stats { reaches_back_to: log::timestamp(reaches_back_to), hours, totals, denied, rules }
    }
}

/// A moment in Unix time as reports show it.
pub(super) fn timestamp(seconds: u64) -> String {
    log::timestamp(moment(seconds))
}

/// Clients that are named for a name.
const MAX_CLIENTS: usize = 10;
