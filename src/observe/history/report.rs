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
    /// The image there that it is about; `None`: it is about the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageOfRow>,
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

/// An image, and what somebody wanted to do with it, at the gateway.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ImageOfRow {
    /// The repository; empty: various ones, or what is about none.
    pub repository: String,
    /// `pull`, `push`, `catalog` or `search`; `request` for what no registry has.
    pub action: String,
}

/// A rule as it was when it decided; it may be gone, or stand elsewhere now.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleOfRow {
    /// `registry`, `service`, `deny` or `images`.
    pub kind: String,
    /// Its entry; empty for a `deny`.
    pub entry: String,
    /// Its pattern; of `images` the key with its value.
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
    /// The names and images that were denied most, or would have been.
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

/// A name that was denied, or would have been; or an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeniedName {
    /// The name.
    pub name: String,
    /// The image there, if it is not the name that was denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageOfRow>,
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

impl ImageOfRow {
    /// What was wanted at a registry's host: `registry.example/team/app`, with what was to be done if it was no pull.
    pub fn at(&self, host: &str) -> String {
        let Self { repository, action } = self;
        let path = if repository.is_empty() { String::new() } else { format!("/{repository}") };
        if action == "pull" { format!("{host}{path}") } else { format!("{host}{path} ({action})") }
    }
}

/// A name as it was wanted, or the image there.
pub fn wanted(name: &str, image: Option<&ImageOfRow>) -> String {
    image.map_or_else(|| name.to_owned(), |image| image.at(name))
}

impl HistoryRow {
    /// The name, or the image there; `None`: various ones.
    pub fn wanted(&self) -> Option<String> {
        self.name.as_ref().map(|name| wanted(name, self.image.as_ref()))
    }
}

impl DeniedName {
    /// The name, or the image there.
    pub fn wanted(&self) -> String {
        wanted(&self.name, self.image.as_ref())
    }
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

/// A name, and the image there if it is about that.
type Wanted = (String, Option<ImageOfRow>);

/// Sums under way.
#[derive(Debug, Default)]
pub(super) struct Adding {
    hours: BTreeMap<String, Hour>,
    totals: BTreeMap<(Option<String>, VerdictWord, String), u64>,
    denied: HashMap<Wanted, (DeniedName, BTreeSet<IpAddr>)>,
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
        let wanted = (name, row.image);
        let (known, clients) = self.denied.entry(wanted.clone()).or_insert_with(|| {
            let (name, image) = wanted;
            let denied = DeniedName {
                name,
                image,
                verdict: row.verdict,
                reason: row.reason.clone(),
                count: 0,
                first: row.first.clone(),
                last: row.last.clone(),
                clients: Vec::new(),
                after: None,
                line: None,
            };
            (denied, BTreeSet::new())
        });
        if clients.len() < MAX_CLIENTS {
            clients.extend(row.client);
        }
        known.count += row.count;
        if row.first < known.first {
            known.first = row.first;
        }
        if row.last >= known.last {
            (known.last, known.verdict, known.reason) = (row.last, row.verdict, row.reason);
            known.after = row.after.or(known.after.take());
        }
    }

    pub(super) fn finish(self, top: usize, reaches_back_to: SystemTime) -> Stats {
        let sum = |((group, verdict, reason), count)| Sum { group, verdict, reason, count };
        let mut totals: Vec<Sum> = self.totals.into_iter().map(sum).collect();
        totals.sort_by_key(|sum| std::cmp::Reverse(sum.count));
        let with_clients = |(denied, clients): (DeniedName, BTreeSet<IpAddr>)| DeniedName {
            line: denied.after.as_ref().map(|_| Pull::line(&denied.name)),
            clients: clients.into_iter().collect(),
            ..denied
        };
        let mut denied: Vec<DeniedName> = self.denied.into_values().map(with_clients).collect();
        denied.sort_by(|one, other| {
            let by_wanted = || (&one.name, &one.image).cmp(&(&other.name, &other.image));
            other.count.cmp(&one.count).then_with(by_wanted)
        });
        denied.truncate(top);
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
