//! What is to be written next, added up; and the limit to what one client can make the history hold.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::seconds;
use crate::event::tally::Counted;
use crate::event::{Decision, Event};
use crate::name::DomainName;
use crate::observe::pulls::Pull;
use crate::observe::rule_hits::RuleKey;
use crate::policy::reason::Reason;
use crate::policy::snapshot::GroupRef;

/// Rows and hits that are not written yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) rows: HashMap<Topic, Times>,
    pub(super) rules: HashMap<RuleKey, Times>,
    /// What was asked for before: told by way of the log, and so maybe later than what it is about.
    pub(super) pulls: HashMap<Topic, Pull>,
    /// The names that each client has had in the hour under way, as hashes.
    names: HashMap<IpAddr, HashSet<u64>>,
    hasher: RandomState,
    hour: u64,
}

/// What the rows of an hour differ in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Topic {
    pub(super) hour: u64,
    /// `None`: of various clients, for various names.
    pub(super) about: Option<(IpAddr, Option<DomainName>)>,
    pub(super) group: Option<String>,
    pub(super) decision: Decision,
    pub(super) reason: Reason,
    pub(super) rule: Option<RuleKey>,
}

/// How often, and from when to when, in Unix time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) count: u64,
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Times {
    pub(super) fn merge(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

impl Pending {
    /// Takes a row of a table; how many decisions could not be.
    pub(super) fn add(&mut self, row: &Counted<'_>, now: u64) -> u64 {
        let hour = now / 3600;
        if hour != self.hour {
            (self.hour, self.names) = (hour, HashMap::new());
        }
        let times = Times { count: row.count, first: now, last: now };
        let rule = row.rule().map(RuleKey::of);
        if let Some(key) = &rule {
            merge(&mut self.rules, key, times);
        }
        let topic = |about| Topic {
            hour,
            about,
            group: row.group().map(GroupRef::name).map(str::to_owned),
            decision: row.decision,
            reason: row.reason,
            rule: rule.clone(),
        };
        let wide = |client| topic(Some((client, None)));
        match row.about {
            Some((client, name)) => self.add_about(&topic(Some((client, Some(name.to_owned())))), &wide(client), times),
            None => self.add_topic(&topic(None), times),
        }
    }

    /// Counts under `topic`, or where its client has had names enough under the `wider` one.
    fn add_about(&mut self, topic: &Topic, wider: &Topic, times: Times) -> u64 {
        if let Some(known) = self.rows.get_mut(topic) {
            known.merge(times);
            return 0;
        }
        let Some((client, _)) = topic.about else { return self.add_topic(topic, times) };
        if self.names.len() >= MAX_CLIENTS && !self.names.contains_key(&client) {
            return self.add_topic(wider, times);
        }
        let hash = self.hasher.hash_one(topic);
        let names = self.names.entry(client).or_default();
        let is_room = names.contains(&hash) || names.len() < NAMES_OF_A_CLIENT;
        if is_room {
            names.insert(hash);
        }
        self.add_topic(if is_room { topic } else { wider }, times)
    }

    fn add_topic(&mut self, topic: &Topic, times: Times) -> u64 {
        if self.rows.len() >= MAX_ROWS && !self.rows.contains_key(topic) {
            return times.count;
        }
        merge(&mut self.rows, topic, times);
        0
    }

    /// Notes what the client of `event` asked for shortly before a name that nothing lists.
    pub(super) fn note(&mut self, event: &Event, pull: &Pull) {
        let topic = Topic {
            hour: seconds(event.at) / 3600,
            about: Some((event.client.ip(), Some(event.name.clone()))),
            group: event.group.clone(),
            decision: event.decision,
            reason: Reason::Unlisted,
            rule: None,
        };
        if self.pulls.len() < MAX_PULLS {
            self.pulls.insert(topic, pull.clone());
        }
    }

    /// Takes back notes about rows that are still to come; those of hours that are over are forgotten.
    pub(super) fn take_back(&mut self, pulls: impl IntoIterator<Item = (Topic, Pull)>) {
        let current = self.hour;
        self.pulls.extend(pulls.into_iter().filter(|(topic, _)| topic.hour >= current));
    }

    /// All of it; what clients have had of the hour stays.
    pub(super) fn take(&mut self) -> Self {
        let Self { rows, rules, pulls, .. } = self;
        let (rows, rules, pulls) = (std::mem::take(rows), std::mem::take(rules), std::mem::take(pulls));
        Self { rows, rules, pulls, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.pulls.is_empty()
    }

    /// How many decisions there are.
    pub(super) fn count(&self) -> u64 {
        self.rows.values().map(|times| times.count).sum()
    }
}

fn merge<K: Clone + Eq + std::hash::Hash>(map: &mut HashMap<K, Times>, key: &K, times: Times) {
    match map.get_mut(key) {
        Some(known) => known.merge(times),
        None => drop(map.insert(key.clone(), times)),
    }
}

/// Names of one client in an hour that have rows of their own. A busy build host asks for some hundred.
const NAMES_OF_A_CLIENT: usize = 1000;
/// Clients whose names are counted.
const MAX_CLIENTS: usize = 2000;
/// Rows between two times of writing.
const MAX_ROWS: usize = 20_000;
const MAX_PULLS: usize = 1000;
