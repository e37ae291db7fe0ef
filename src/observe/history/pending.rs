//! What is to be written next, added up; and the limit to what one client can make the history hold.

use std::hash::{BuildHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use foldhash::{HashMap, HashSet};
use hashbrown::Equivalent;

use super::seconds;
use crate::event::images::{ImageDecided, ImageSubject};
use crate::event::tally::Counted;
use crate::event::{Decision, Event};
use crate::name::{DomainName, NameRef};
use crate::observe::pulls::Pull;
use crate::observe::rule_hits::RuleKey;
use crate::policy::reason::Reason;
use crate::policy::snapshot::GroupRef;

/// Rows and hits that are not written yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) rows: ByTopic<Times>,
    pub(super) rules: HashMap<Arc<RuleKey>, Times>,
    /// What was asked for before: told by way of the log, and so maybe later than what it is about.
    pub(super) pulls: ByTopic<Pull>,
    /// The names that each client has had in the hour under way, as hashes.
    names: HashMap<IpAddr, HashSet<u64>>,
    hasher: RandomState,
    hour: u64,
}

type ByTopic<V> = hashbrown::HashMap<Topic, V, RandomState>;

/// What the rows of an hour differ in.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub(super) hour: u64,
    /// `None`: of various clients, for various names.
    pub(super) about: Option<(IpAddr, Option<DomainName>)>,
    /// The repository and what was done with it; `None`: it is about the name.
    pub(super) image: Option<(String, &'static str)>,
    pub(super) group: Option<String>,
    pub(super) decision: Decision,
    /// In a word.
    pub(super) reason: &'static str,
    pub(super) rule: Option<Arc<RuleKey>>,
}

/// The same, borrowed: what comes every second is found without being written out.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct TopicRef<'a> {
    hour: u64,
    fact: Fact<'a>,
}

/// What was decided: on a name or on an image.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::observe) struct Fact<'a> {
    about: Option<(IpAddr, Option<NameRef<'a>>)>,
    image: Option<(&'a str, &'static str)>,
    group: Option<&'a str>,
    decision: Decision,
    reason: &'static str,
    rule: Option<&'a Arc<RuleKey>>,
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
    /// Takes what was decided `count` times; how many of them could not be taken.
    pub(super) fn add(&mut self, fact: Fact<'_>, count: u64, now: u64) -> u64 {
        let hour = now / 3600;
        if hour != self.hour {
            (self.hour, self.names) = (hour, HashMap::default());
        }
        let times = Times { count, first: now, last: now };
        if let Some(key) = fact.rule {
            match self.rules.get_mut(key) {
                Some(known) => known.merge(times),
                None => drop(self.rules.insert(Arc::clone(key), times)),
            }
        }
        let topic = TopicRef { hour, fact };
        if let Some(known) = self.rows.get_mut(&topic) {
            known.merge(times);
            return 0;
        }
        let topic = if self.has_room_about(&topic) { topic } else { topic.of_various_names() };
        self.add_topic(topic, times)
    }

    /// Whether the client of a new topic has not had names enough this hour.
    fn has_room_about(&mut self, topic: &TopicRef<'_>) -> bool {
        let Some((client, _)) = topic.fact.about else { return true };
        if self.names.len() >= MAX_CLIENTS && !self.names.contains_key(&client) {
            return false;
        }
        let hash = self.hasher.hash_one(topic);
        let names = self.names.entry(client).or_default();
        names.contains(&hash) || (names.len() < NAMES_OF_A_CLIENT && names.insert(hash))
    }

    fn add_topic(&mut self, topic: TopicRef<'_>, times: Times) -> u64 {
        if let Some(known) = self.rows.get_mut(&topic) {
            known.merge(times);
        } else if self.rows.len() < MAX_ROWS {
            self.rows.insert(topic.to_owned(), times);
        } else {
            return times.count;
        }
        0
    }

    /// Notes what the client of `event` asked for shortly before a name that nothing lists.
    pub(super) fn note(&mut self, event: &Event, pull: &Pull) {
        let topic = Topic {
            hour: seconds(event.at) / 3600,
            about: Some((event.client.ip(), Some(event.name.clone()))),
            image: None,
            group: event.group.clone(),
            decision: event.decision,
            reason: Reason::Unlisted.word(),
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

impl<'a> Fact<'a> {
    /// A row of a table, which this rule decided.
    pub(in crate::observe) fn of(row: &Counted<'a>, rule: Option<&'a Arc<RuleKey>>) -> Self {
        Self {
            about: row.about.map(|(client, name)| (client, Some(name))),
            image: None,
            group: row.group().and_then(GroupRef::known_name),
            decision: row.facts.decision,
            reason: row.facts.reason.word(),
            rule,
        }
    }

    /// What was decided on an image, by this key.
    pub(in crate::observe) fn of_image(decided: &'a ImageDecided, rule: Option<&'a Arc<RuleKey>>) -> Self {
        let ImageDecided { about, group, action, decision, reason, key: _ } = decided;
        let repository = about.as_ref().map_or("", |subject| &subject.repository);
        Self {
            about: about.as_ref().map(|ImageSubject { client, host, .. }| (*client, Some(host.as_name()))),
            image: Some((repository, action)),
            group: group.as_deref(),
            decision: *decision,
            reason,
            rule,
        }
    }

    /// The same client's, whatever the name.
    fn of_various_names(self) -> Self {
        let about = self.about.map(|(client, _)| (client, None));
        Self { about, image: self.image.map(|(_, action)| ("", action)), ..self }
    }
}

impl Topic {
    fn borrowed(&self) -> TopicRef<'_> {
        let Self { hour, about, image, group, decision, reason, rule } = self;
        let fact = Fact {
            about: about.as_ref().map(|(client, name)| (*client, name.as_ref().map(DomainName::as_name))),
            image: image.as_ref().map(|(repository, action)| (repository.as_str(), *action)),
            group: group.as_deref(),
            decision: *decision,
            reason,
            rule: rule.as_ref(),
        };
        TopicRef { hour: *hour, fact }
    }
}

impl TopicRef<'_> {
    fn of_various_names(self) -> Self {
        Self { fact: self.fact.of_various_names(), ..self }
    }

    fn to_owned(self) -> Topic {
        let Fact { about, image, group, decision, reason, rule } = self.fact;
        Topic {
            hour: self.hour,
            about: about.map(|(client, name)| (client, name.map(NameRef::to_owned))),
            image: image.map(|(repository, action)| (repository.to_owned(), action)),
            group: group.map(str::to_owned),
            decision,
            reason,
            rule: rule.cloned(),
        }
    }
}

impl PartialEq for Topic {
    fn eq(&self, other: &Self) -> bool {
        self.borrowed() == other.borrowed()
    }
}

impl Eq for Topic {}

impl Hash for Topic {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrowed().hash(state);
    }
}

impl Equivalent<Topic> for TopicRef<'_> {
    fn equivalent(&self, topic: &Topic) -> bool {
        *self == topic.borrowed()
    }
}

/// Names of one client in an hour that have rows of their own. A busy build host asks for some hundred.
const NAMES_OF_A_CLIENT: usize = 1000;
/// Clients whose names are counted.
const MAX_CLIENTS: usize = 2000;
/// Rows between two times of writing.
const MAX_ROWS: usize = 20_000;
const MAX_PULLS: usize = 1000;
