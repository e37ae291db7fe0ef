//! Questions on their way into the log and into memory, and the limit that keeps a client in a loop from filling a disk.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::info;

use crate::event::{Decision, Event, EventRule, Subject};
use crate::name::DomainName;
use crate::observe::pulls::{Pull, Pulls};
use crate::observe::query_log::QueryLog;
use crate::observe::recent::{LogEntry, Recent, RuleReport, VerdictWord};
use crate::observe::totals::Totals;
use crate::record_type;

/// Takes events until their last sender is gone: each into `recent`, and within the limit into the log, or each into the
/// log's own file. What a client asked for before a name that nothing lists is told to the history of `totals`, too, which
/// are then brought to their end: nobody is left who could decide anything.
pub async fn run(mut events: mpsc::Receiver<Event>, recent: Arc<Recent>, totals: Option<Arc<Totals>>, lines: QueryLog) {
    let history = totals.as_ref().and_then(|totals| totals.history());
    let (mut limiter, mut pulls) = (Limiter::default(), Pulls::default());
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = events.recv() => {
                let Some(event) = event else { break };
                let after = pulls.follow(&event);
                if let (Some(history), Some(pull)) = (history, &after) {
                    history.note(&event, pull);
                }
                if !event.wanted {
                    continue;
                }
                let is_admitted = lines.is_file() || limiter.admit(&event, Instant::now());
                let entry = LogEntry { id: recent.next_id(), after, ..LogEntry::from(event.clone()) };
                if is_admitted && !lines.write(&entry) {
                    log(&event, entry.after.as_ref());
                }
                recent.push(entry);
            }
            _ = ticks.tick() => limiter.close(Instant::now()).iter().for_each(Suppressed::log),
        }
    }
    limiter.close_all().iter().for_each(Suppressed::log);
    // It waits for a disk, which no thread should that answers.
    let _panic = tokio::task::spawn_blocking(move || {
        lines.flush();
        if let Some(totals) = totals {
            totals.finish();
        }
    })
    .await;
}

fn log(event: &Event, after: Option<&Pull>) {
    let client = event.client.ip();
    let name = &event.name;
    let group = event.group.as_deref();
    let rule = event.rule.as_ref().map(rule_text);
    let rule = rule.as_deref();
    let reason = &event.reason;
    let after = after.map(|pull| pull.name.as_str());
    match (&event.subject, event.decision) {
        (Subject::Question { record_type, .. }, decision) => {
            let record_type = record_type::name(*record_type);
            match decision {
                Decision::Deny => info!(%client, group, %name, %record_type, reason, rule, after, "query denied"),
                Decision::Audit => {
                    info!(%client, group, %name, %record_type, reason, rule, after, "query would be denied");
                }
                Decision::Allow => info!(%client, group, %name, %record_type, reason, rule, "query allowed"),
            }
        }
        (Subject::Connection, Decision::Deny) => info!(%client, group, %name, reason, rule, "connection refused"),
        (Subject::Connection, Decision::Audit) => {
            info!(%client, group, %name, reason, rule, "connection would be refused");
        }
        (Subject::Connection, Decision::Allow) => info!(%client, group, %name, reason, rule, "connection passed on"),
        (Subject::Image { repository, action }, Decision::Deny) => {
            info!(%client, group, %name, repository, action, reason, rule, "image denied");
        }
        (Subject::Image { repository, action }, Decision::Audit) => {
            info!(%client, group, %name, repository, action, reason, rule, "image would be denied");
        }
        (Subject::Image { repository, action }, Decision::Allow) => {
            info!(%client, group, %name, repository, action, reason, rule, "image allowed");
        }
    }
}

fn rule_text(rule: &EventRule) -> String {
    match &rule.place {
        Some(place) => format!("{} ({place})", rule.pattern),
        None => rule.pattern.clone(),
    }
}

impl From<Event> for LogEntry {
    /// The entry of an event on its own; its number is given when it is kept.
    fn from(event: Event) -> Self {
        let (mut record_type, mut rcode, mut image, mut action) = (None, None, None, None);
        match event.subject {
            Subject::Question { record_type: number, rcode: code } => {
                record_type = Some(record_type::name(number).into_owned());
                rcode = Some(rcode_word(code));
            }
            Subject::Connection => {}
            Subject::Image { repository, action: word } => {
                image = Some(repository).filter(|repository| !repository.is_empty());
                action = Some(word.to_owned());
            }
        }
        Self {
            id: 0,
            at: timestamp(event.at),
            client: event.client.ip(),
            listener: event.listener,
            transport: event.transport.to_owned(),
            name: event.name.to_string(),
            record_type,
            image,
            action,
            verdict: VerdictWord::from(event.decision),
            reason: event.reason,
            group: event.group,
            entry: event.entry,
            rule: event.rule.map(RuleReport::from),
            after: None,
            rcode,
        }
    }
}

impl From<Decision> for VerdictWord {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Allow => Self::Allow,
            Decision::Deny => Self::Deny,
            Decision::Audit => Self::Audit,
        }
    }
}

impl From<EventRule> for RuleReport {
    fn from(rule: EventRule) -> Self {
        Self::new(rule.pattern, rule.place)
    }
}

/// A moment in UTC, to the millisecond (RFC 3339); empty for one that no calendar has.
pub fn timestamp(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map(|at| format!("{at:.3}")).unwrap_or_default()
}

/// Such a moment as people read it, without its seconds: `2026-11-28 14:02`.
pub fn to_the_minute(timestamp: &str) -> String {
    timestamp.get(..16).unwrap_or(timestamp).replace('T', " ")
}

/// The response code's name (RFC 6895 §2.3), its number if we never send it.
fn rcode_word(rcode: u16) -> String {
    match rcode {
        0 => "NOERROR".to_owned(),
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        3 => "NXDOMAIN".to_owned(),
        4 => "NOTIMP".to_owned(),
        5 => "REFUSED".to_owned(),
        other => other.to_string(),
    }
}

/// Lets the first question of a client for a name through and counts the next ones until the client's window ends.
///
/// ```text
/// a client's window (10 s) holds at most 50 names; a question for one more is counted only
/// at most 100 clients have a window;               a question of one more is counted only
/// ```
#[derive(Debug, Default)]
struct Limiter {
    clients: HashMap<IpAddr, Window>,
    /// Questions of clients that got no window.
    crowd: u64,
}

/// What is logged once in a window: a name, the image there that is meant, and what was decided.
type Topic = (DomainName, Option<String>, Decision);

#[derive(Debug)]
struct Window {
    opened: Instant,
    repeated: HashMap<Topic, u64>,
    /// Questions for names that found no room.
    more: u64,
}

/// Questions that were not logged one by one.
#[derive(Debug, PartialEq, Eq)]
enum Suppressed {
    Repeated { client: IpAddr, name: DomainName, image: Option<String>, decision: Decision, count: u64 },
    ManyNames { client: IpAddr, count: u64 },
    ManyClients { count: u64 },
}

impl Limiter {
    fn admit(&mut self, event: &Event, now: Instant) -> bool {
        let client = event.client.ip();
        if !self.clients.contains_key(&client) && self.clients.len() >= MAX_CLIENTS {
            self.crowd += 1;
            return false;
        }
        let window = self.clients.entry(client).or_insert_with(|| Window::open(now));
        window.admit((event.name.clone(), event.image().map(str::to_owned), event.decision))
    }

    /// Ends the windows that have lasted their time.
    fn close(&mut self, now: Instant) -> Vec<Suppressed> {
        let ended = self.clients.extract_if(|_, window| now.duration_since(window.opened) >= WINDOW);
        let mut suppressed: Vec<_> = ended.flat_map(|(client, window)| window.suppressed(client)).collect();
        if !suppressed.is_empty() || self.clients.len() < MAX_CLIENTS {
            suppressed.extend(self.take_crowd());
        }
        suppressed
    }

    fn close_all(&mut self) -> Vec<Suppressed> {
        let crowd = self.take_crowd();
        self.clients.drain().flat_map(|(client, window)| window.suppressed(client)).chain(crowd).collect()
    }

    fn take_crowd(&mut self) -> Option<Suppressed> {
        let count = std::mem::take(&mut self.crowd);
        (count > 0).then_some(Suppressed::ManyClients { count })
    }
}

impl Window {
    fn open(now: Instant) -> Self {
        Self { opened: now, repeated: HashMap::new(), more: 0 }
    }

    fn admit(&mut self, key: Topic) -> bool {
        if let Some(count) = self.repeated.get_mut(&key) {
            *count += 1;
            return false;
        }
        if self.repeated.len() >= MAX_NAMES {
            self.more += 1;
            return false;
        }
        self.repeated.insert(key, 0);
        true
    }

    fn suppressed(self, client: IpAddr) -> impl Iterator<Item = Suppressed> {
        let repeated = self.repeated.into_iter().filter(|(_, count)| *count > 0);
        let more = (self.more > 0).then_some(Suppressed::ManyNames { client, count: self.more });
        repeated
            .map(move |((name, image, decision), count)| Suppressed::Repeated { client, name, image, decision, count })
            .chain(more)
    }
}

impl Suppressed {
    fn log(&self) {
        match self {
            Self::Repeated { client, name, image, decision: Decision::Deny, count } => {
                info!(%client, %name, image, count, "denied again");
            }
            Self::Repeated { client, name, image, decision: Decision::Audit, count } => {
                info!(%client, %name, image, count, "would be denied again");
            }
            Self::Repeated { client, name, image, decision: Decision::Allow, count } => {
                info!(%client, %name, image, count, "allowed again");
            }
            Self::ManyNames { client, count } => info!(%client, count, "queries for many other names not logged"),
            Self::ManyClients { count } => info!(count, "queries of many other clients not logged"),
        }
    }
}

/// How long repetitions are counted before the count is logged.
const WINDOW: Duration = Duration::from_secs(10);
/// How often ended windows are looked for.
const TICK: Duration = Duration::from_secs(1);
/// Names of one client in one window.
const MAX_NAMES: usize = 50;
/// Clients that have a window at a time.
const MAX_CLIENTS: usize = 100;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::event::Bearing;

    fn denied(client: [u8; 4], name: &str) -> Event {
        let listener = SocketAddr::from(([127, 0, 0, 1], 53));
        Event {
            at: SystemTime::UNIX_EPOCH,
            client: SocketAddr::from((client, 4000)),
            listener,
            transport: "udp",
            name: name.parse().unwrap(),
            subject: Subject::Question { record_type: 1, rcode: 3 },
            decision: Decision::Deny,
            bearing: Bearing::Unlisted,
            wanted: true,
            reason: "unlisted".into(),
            group: Some("ci".into()),
            entry: None,
            rule: None,
        }
    }

    const CLIENT: [u8; 4] = [10, 0, 0, 1];

    #[test]
    fn a_loop_is_one_line_and_then_a_count() {
        let (mut limiter, now) = (Limiter::default(), Instant::now());
        let admitted = (0..1000).filter(|_| limiter.admit(&denied(CLIENT, "ghcr.io"), now)).count();
        assert_eq!(admitted, 1);
        assert_eq!(limiter.close(now), []);
        let suppressed = limiter.close(now + WINDOW);
        let (client, name) = (IpAddr::from(CLIENT), "ghcr.io".parse().unwrap());
        assert_eq!(
            suppressed,
            [Suppressed::Repeated { client, name, image: None, decision: Decision::Deny, count: 999 }]
        );
        assert!(limiter.admit(&denied(CLIENT, "ghcr.io"), now + WINDOW), "a new window begins");
    }

    #[test]
    fn another_client_and_another_verdict_are_not_repetitions() {
        let (mut limiter, now) = (Limiter::default(), Instant::now());
        assert!(limiter.admit(&denied(CLIENT, "ghcr.io"), now));
        assert!(limiter.admit(&denied([10, 0, 0, 2], "ghcr.io"), now));
        assert!(limiter.admit(&Event { decision: Decision::Allow, ..denied(CLIENT, "ghcr.io") }, now));
    }

    #[test]
    fn random_names_of_one_client_are_limited_and_counted() {
        let (mut limiter, now) = (Limiter::default(), Instant::now());
        let admitted = (0..500).filter(|n| limiter.admit(&denied(CLIENT, &format!("n{n}.example")), now)).count();
        assert_eq!(admitted, MAX_NAMES);
        let client = IpAddr::from(CLIENT);
        assert_eq!(limiter.close(now + WINDOW), [Suppressed::ManyNames { client, count: 500 - MAX_NAMES as u64 }]);
    }

    #[test]
    fn many_clients_are_limited_and_counted() {
        let (mut limiter, now) = (Limiter::default(), Instant::now());
        let clients = (0..200).map(|n| [10, 0, 1, n]);
        let admitted = clients.filter(|client| limiter.admit(&denied(*client, "ghcr.io"), now)).count();
        assert_eq!(admitted, MAX_CLIENTS);
        assert_eq!(limiter.close_all(), [Suppressed::ManyClients { count: 100 }]);
    }

    #[test]
    fn an_entry_shows_a_strange_name_escaped() {
        let entry = LogEntry::from(denied(CLIENT, r"a\010b.example"));
        assert_eq!((entry.name.as_str(), entry.rcode.as_deref()), (r"a\010b.example", Some("NXDOMAIN")));
        assert_eq!(entry.at, "1970-01-01T00:00:00.000Z");
    }

    #[tokio::test]
    async fn every_event_is_kept_for_the_log_command_also_those_not_logged() {
        let (sender, events) = mpsc::channel(10);
        let recent = Arc::new(Recent::default());
        for _ in 0..5 {
            sender.send(denied(CLIENT, "ghcr.io")).await.unwrap();
        }
        drop(sender);
        run(events, Arc::clone(&recent), None, QueryLog::default()).await;
        let kept = recent.last(10, &super::super::recent::Filter::default());
        assert_eq!(kept.iter().map(|entry| entry.id).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    }
    #[tokio::test]
    async fn an_event_told_for_its_bearing_alone_is_not_kept_but_explains_the_next() {
        let (sender, events) = mpsc::channel(10);
        let recent = Arc::new(Recent::default());
        let registry = Event { bearing: Bearing::Registry, wanted: false, ..denied(CLIENT, "registry.example") };
        sender.send(Event { entry: Some("lab".into()), ..registry }).await.unwrap();
        sender.send(denied(CLIENT, "cdn.example")).await.unwrap();
        drop(sender);
        run(events, Arc::clone(&recent), None, QueryLog::default()).await;
        let kept = recent.last(10, &super::super::recent::Filter::default());
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].after.as_ref().unwrap().registry, "lab");
    }
}
