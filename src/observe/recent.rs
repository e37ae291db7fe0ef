//! The last questions worth a line, in memory: what `pullgate log` shows, and where it follows.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hyper::body::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::diagnostic::Place;
use crate::name::DomainName;
use crate::observe::pulls::Pull;

/// One question or request, and what became of it. Names are in presentation form, every odd byte escaped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// Its number, from 1 at the server's start: what a reader has seen.
    pub id: u64,
    /// When, in UTC (RFC 3339).
    pub at: String,
    /// Who asked.
    pub client: IpAddr,
    /// The listener that took it, as configured.
    pub listener: SocketAddr,
    /// `udp`, `tcp`, `tls` or `https` for questions; at the gateway `gateway` or `connect`.
    pub transport: String,
    /// The name asked for, or connected to.
    pub name: String,
    /// The record type asked for; only questions have one.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub record_type: Option<String>,
    /// The repository that a request at the gateway is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// What a request at the gateway does: `pull`, `push`, `catalog` or `search`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Allowed, denied, or denied if the policy were enforced.
    pub verdict: VerdictWord,
    /// Why, in a few words.
    pub reason: String,
    /// The client's group.
    pub group: Option<String>,
    /// The registry, service or deny that decided.
    pub entry: Option<String>,
    /// The rule that decided.
    pub rule: Option<RuleReport>,
    /// For a name that nothing lists: the registry that the client asked for shortly before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Pull>,
    /// The answer's response code, such as `NXDOMAIN`; only questions have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rcode: Option<String>,
}

/// A rule, and where it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleReport {
    /// The pattern as the policy has it.
    pub pattern: String,
    /// The file; `None` for a rule that no file holds.
    pub path: Option<PathBuf>,
    /// The line in it, from 1.
    pub line: Option<u32>,
}

/// A verdict in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerdictWord {
    /// It resolves.
    Allow,
    /// It does not.
    Deny,
    /// It resolves, and would not if the policy were enforced.
    Audit,
}

impl RuleReport {
    /// The rule of this pattern, from where it was written.
    pub fn new(pattern: String, place: Option<Place>) -> Self {
        let (path, line) = place.map(|place| (place.path.to_path_buf(), place.line)).unzip();
        Self { pattern, path, line }
    }
}

/// Which entries a reader wants; an empty filter wants all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only of this client.
    pub client: Option<IpAddr>,
    /// Only of this name and the names below it.
    pub name: Option<DomainName>,
}

/// What was denied since a reader last looked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denials {
    /// The number of the newest entry, denied or not: what the reader has seen now.
    pub seen: u64,
    /// The newest of them, newest first, those that differ in their time only together.
    pub entries: Vec<Denied>,
    /// How many beside these.
    pub left_out: u64,
}

/// An entry that was denied, or would have been.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    /// As it was last.
    #[serde(flatten)]
    pub entry: LogEntry,
    /// How often: with each record type, and repeated.
    pub times: u64,
}

/// The last entries, and who follows them.
#[derive(Debug, Default)]
pub struct Recent {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    last_id: u64,
    entries: VecDeque<LogEntry>,
    followers: Vec<Follower>,
    dropped_followers: u64,
}

#[derive(Debug)]
struct Follower {
    filter: Filter,
    queue: mpsc::Sender<Bytes>,
}

/// There are as many followers as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_FOLLOWERS} clients follow the log already")]
pub struct TooManyFollowers;

impl LogEntry {
    /// What happened, in a few words that are the same each time.
    pub fn message(&self) -> &'static str {
        let words = if self.record_type.is_some() {
            ["query allowed", "query denied", "query would be denied"]
        } else if self.action.is_some() {
            ["image allowed", "image denied", "image would be denied"]
        } else {
            ["connection passed on", "connection refused", "connection would be refused"]
        };
        let [allowed, denied, audited] = words;
        match self.verdict {
            VerdictWord::Allow => allowed,
            VerdictWord::Deny => denied,
            VerdictWord::Audit => audited,
        }
    }
}

impl fmt::Display for LogEntry {
    /// One line for people, without its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, client, name, verdict, reason, .. } = self;
        write!(f, "{at}  {verdict:5}  {client}  {name}")?;
        if let Some(image) = &self.image {
            write!(f, "/{image}")?;
        }
        if let Some(wanted) = self.record_type.as_ref().or(self.action.as_ref()) {
            write!(f, " {wanted}")?;
        }
        write!(f, "  {reason}")?;
        if let Some(group) = &self.group {
            write!(f, "  group {group}")?;
        }
        if let Some(rule) = &self.rule {
            write!(f, "  rule {rule}")?;
        }
        if let Some(pull) = &self.after {
            let line = Pull::line(name);
            write!(f, "  after {}; if that sends downloads there, add to {}: {line}", pull.name, pull.place())?;
        }
        Ok(())
    }
}

impl fmt::Display for VerdictWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Audit => "audit",
        })
    }
}

impl fmt::Display for RuleReport {
    /// The pattern, and where it is written: `ghcr.io (policy.d/a.toml:4)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pattern)?;
        match (&self.path, self.line) {
            (Some(path), Some(line)) => write!(f, " ({}:{line})", path.display()),
            _ => Ok(()),
        }
    }
}

impl Recent {
    /// Numbers and keeps `entry`, forgets the oldest one beyond the limit, and tells the followers. One that does not
    /// keep up is dropped.
    pub fn push(&self, mut entry: LogEntry) {
        let mut inner = self.lock();
        inner.last_id += 1;
        entry.id = inner.last_id;
        inner.tell(&entry);
        if inner.entries.len() == CAPACITY {
            inner.entries.pop_front();
        }
        inner.entries.push_back(entry);
    }

    /// The number that the entry gets which is kept next.
    pub(super) fn next_id(&self) -> u64 {
        self.lock().last_id + 1
    }

    /// The newest `limit` entries that `filter` wants, oldest first.
    pub fn last(&self, limit: usize, filter: &Filter) -> Vec<LogEntry> {
        let inner = self.lock();
        let newest = inner.entries.iter().rev().filter(|entry| filter.wants(entry)).take(limit);
        let mut entries: Vec<_> = newest.cloned().collect();
        entries.reverse();
        entries
    }

    /// What was denied, or would have been, beyond the number that a reader has `seen` last: `limit` at most, so that who
    /// looks now and then is told no more than he can read.
    pub fn denials(&self, seen: u64, limit: usize) -> Denials {
        let inner = self.lock();
        let mut denials = Denials { seen: inner.last_id, ..Denials::default() };
        for entry in inner.entries.iter().rev().take_while(|entry| entry.id > seen) {
            denials.add(entry, limit);
        }
        denials
    }

    /// Entries from now on, each as one server-sent event; ends when the reader is too slow.
    ///
    /// # Errors
    /// As many follow as may.
    pub fn follow(&self, filter: Filter) -> Result<mpsc::Receiver<Bytes>, TooManyFollowers> {
        let mut inner = self.lock();
        inner.followers.retain(|follower| !follower.queue.is_closed());
        if inner.followers.len() >= MAX_FOLLOWERS {
            return Err(TooManyFollowers);
        }
        let (queue, events) = mpsc::channel(FOLLOWER_QUEUE);
        // A first comment sends the answer's head on its way: the follower knows that it misses nothing from here on.
        let _ = queue.try_send(Bytes::from_static(b": following\n\n"));
        inner.followers.push(Follower { filter, queue });
        Ok(events)
    }

    /// How many followers were dropped because they did not keep up.
    pub fn dropped_followers(&self) -> u64 {
        self.lock().dropped_followers
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Denials {
    fn add(&mut self, entry: &LogEntry, limit: usize) {
        if entry.verdict == VerdictWord::Allow {
            return;
        }
        if let Some(known) = self.entries.iter_mut().find(|known| is_alike(&known.entry, entry)) {
            known.times += 1;
        } else if self.entries.len() < limit {
            self.entries.push(Denied { entry: entry.clone(), times: 1 });
        } else {
            self.left_out += 1;
        }
    }
}

fn is_alike(one: &LogEntry, other: &LogEntry) -> bool {
    one.name == other.name && one.client == other.client && one.image == other.image && one.verdict == other.verdict
}

impl Inner {
    fn tell(&mut self, entry: &LogEntry) {
        if self.followers.is_empty() {
            return;
        }
        let event = Bytes::from(server_sent_event(entry));
        self.followers.retain(|follower| {
            if !follower.filter.wants(entry) {
                return true;
            }
            match follower.queue.try_send(event.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Closed(_)) => false,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    self.dropped_followers += 1;
                    false
                }
            }
        });
    }
}

impl Filter {
    fn wants(&self, entry: &LogEntry) -> bool {
        self.client.is_none_or(|client| client == entry.client)
            && self.name.as_ref().is_none_or(|name| {
                entry.name.parse().is_ok_and(|own: DomainName| own.as_name().is_within(name.as_name()))
            })
    }
}

/// One event (WHATWG HTML §9.2): JSON has no line breaks, so one `data` line holds it.
fn server_sent_event(entry: &LogEntry) -> String {
    format!("data: {}\n\n", serde_json::to_string(entry).unwrap_or_default())
}

/// How many entries are kept.
pub const CAPACITY: usize = 10_000;
/// How many may follow at a time.
const MAX_FOLLOWERS: usize = 16;
/// How many events a follower may be behind.
const FOLLOWER_QUEUE: usize = 1_000;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A denied question for `name` from 127.0.0.1.
    pub(crate) fn denied(name: &str) -> LogEntry {
        LogEntry {
            id: 0,
            at: "2026-11-20T16:00:00Z".into(),
            client: IpAddr::from([127, 0, 0, 1]),
            listener: SocketAddr::from(([127, 0, 0, 1], 53)),
            transport: "udp".into(),
            name: name.into(),
            record_type: Some("A".into()),
            image: None,
            action: None,
            verdict: VerdictWord::Deny,
            reason: "unlisted".into(),
            group: None,
            entry: None,
            rule: None,
            after: None,
            rcode: Some("NXDOMAIN".into()),
        }
    }

    fn names(entries: &[LogEntry]) -> Vec<&str> {
        entries.iter().map(|entry| entry.name.as_str()).collect()
    }

    #[test]
    fn the_oldest_entry_makes_room_for_the_newest() {
        let recent = Recent::default();
        for number in 0..=CAPACITY {
            recent.push(denied(&format!("n{number}.example")));
        }
        let entries = recent.last(usize::MAX, &Filter::default());
        assert_eq!(entries.len(), CAPACITY);
        assert_eq!(entries[0].name, "n1.example");
    }

    #[test]
    fn the_newest_entries_come_oldest_first() {
        let recent = Recent::default();
        for name in ["a.example", "b.example", "c.example"] {
            recent.push(denied(name));
        }
        assert_eq!(names(&recent.last(2, &Filter::default())), ["b.example", "c.example"]);
    }

    #[test]
    fn a_name_filter_takes_the_name_and_what_is_below_but_no_look_alike() {
        let recent = Recent::default();
        for name in ["example.com", "a.example.com", "xexample.com", r"x\.example.com", "com"] {
            recent.push(denied(name));
        }
        let filter = Filter { name: Some("example.com".parse().unwrap()), ..Filter::default() };
        assert_eq!(names(&recent.last(10, &filter)), ["example.com", "a.example.com"]);
    }

    #[test]
    fn a_client_filter_takes_only_that_client() {
        let recent = Recent::default();
        recent.push(denied("a.example"));
        recent.push(LogEntry { client: IpAddr::from([10, 0, 0, 1]), ..denied("b.example") });
        let filter = Filter { client: Some(IpAddr::from([10, 0, 0, 1])), ..Filter::default() };
        assert_eq!(names(&recent.last(10, &filter)), ["b.example"]);
    }

    #[test]
    fn denials_since_a_look_come_newest_first_equal_ones_together_and_no_more_than_asked_for() {
        let recent = Recent::default();
        for name in ["a.example", "b.example", "a.example", "c.example", "d.example"] {
            recent.push(denied(name));
        }
        recent.push(LogEntry { verdict: VerdictWord::Allow, ..denied("e.example") });
        let shown = |denials: &Denials| {
            denials.entries.iter().map(|denied| (denied.entry.name.clone(), denied.times)).collect::<Vec<_>>()
        };
        let all = recent.denials(0, 3);
        assert_eq!(shown(&all), [("d.example".into(), 1), ("c.example".into(), 1), ("a.example".into(), 2)]);
        assert_eq!((all.seen, all.left_out), (6, 1));
        assert_eq!(shown(&recent.denials(3, 3)), [("d.example".into(), 1), ("c.example".into(), 1)]);
        assert_eq!(recent.denials(6, 3), Denials { seen: 6, ..Denials::default() });
    }

    #[test]
    fn a_follower_that_does_not_read_is_dropped_and_counted() {
        let recent = Recent::default();
        let mut slow = recent.follow(Filter::default()).unwrap();
        for _ in 0..=FOLLOWER_QUEUE {
            recent.push(denied("a.example"));
        }
        assert_eq!(recent.dropped_followers(), 1);
        let mut taken = 0;
        while slow.try_recv().is_ok() {
            taken += 1;
        }
        assert_eq!(taken, FOLLOWER_QUEUE);
        assert!(slow.is_closed());
    }

    #[test]
    fn followers_are_counted_and_a_gone_one_makes_room() {
        let recent = Recent::default();
        let mut followers: Vec<_> = (0..MAX_FOLLOWERS).map(|_| recent.follow(Filter::default()).unwrap()).collect();
        assert!(recent.follow(Filter::default()).is_err());
        followers.pop();
        assert!(recent.follow(Filter::default()).is_ok());
    }
}
