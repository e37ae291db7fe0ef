//! What became of a client's question or request, told to whoever writes logs, over a bounded channel.
//!
//! Whether an event may be told is checked before any of it is built, so that a client in a loop costs neither memory
//! nor disk: a full channel or a used-up budget drops the event and counts it.

pub mod images;
pub mod latency;
pub mod tally;
pub mod tap;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use tokio::sync::mpsc;

use self::tally::Tallies;
use self::tap::{Tap, Tapped};
use crate::config::QueryLog;
use crate::diagnostic::Place;
use crate::name::DomainName;

/// One question or request, and what it was answered.
#[derive(Clone, Debug)]
pub struct Event {
    /// When it was answered.
    pub at: SystemTime,
    /// Who asked.
    pub client: SocketAddr,
    /// The address that was asked.
    pub listener: SocketAddr,
    /// How it came, in a word: `udp`, `tcp`, `tls`, `https`; `gateway`, `connect`.
    pub transport: &'static str,
    /// The name asked for, or connected to.
    pub name: DomainName,
    /// What was wanted of it.
    pub subject: Subject,
    /// What was decided.
    pub decision: Decision,
    /// What it may have to do with a pull.
    pub bearing: Bearing,
    /// Whether the settings want it logged; if not, it is told for what it says of later ones.
    pub wanted: bool,
    /// Why, in a few words.
    pub reason: String,
    /// The client's group.
    pub group: Option<String>,
    /// The registry, service or deny that decided.
    pub entry: Option<String>,
    /// The rule that decided.
    pub rule: Option<EventRule>,
}

/// What somebody wants of a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// To resolve it.
    Question {
        /// The record type asked for.
        record_type: u16,
        /// The answer's response code (RFC 6895 §2.3).
        rcode: u16,
    },
    /// A connection to it.
    Connection,
    /// An image there.
    Image {
        /// The repository; empty for what is about none.
        repository: String,
        /// What is done with it, in a word: `pull`, `push`, `catalog`, `search`.
        action: &'static str,
    },
}

/// A verdict without its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Decision {
    /// It resolves.
    Allow,
    /// It does not.
    Deny,
    /// It resolves, and would not if the policy were enforced.
    Audit,
}

/// What a question may have to do with a pull. Registries send downloads to other hosts, and nobody but the client knows
/// to which: that a client asked for one after the other is all that can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearing {
    /// It is for a registry that the client may use: a pull may have begun.
    Registry,
    /// It is for a name that nothing lists: where a pull was sent to, perhaps.
    Unlisted,
    /// Nothing.
    None,
}

/// A rule, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRule {
    /// The pattern as the policy has it.
    pub pattern: String,
    /// Its place; `None` for a rule that no file holds.
    pub place: Option<Place>,
}

/// Takes events, within limits.
#[derive(Clone, Debug)]
pub struct EventSink {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    wanted: QueryLog,
    follows_pulls: bool,
    queue: mpsc::Sender<Event>,
    budget: Budget,
    /// For questions that nobody wants logged.
    background: Budget,
    over_budget: AtomicU64,
    queue_full: AtomicU64,
    tallies: Arc<Tallies>,
    tap: OnceLock<Tap>,
}

/// How many events a sink takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many may wait to be read.
    pub queue: usize,
    /// How many a second.
    pub per_second: u32,
    /// Whether somebody wants to know what a client asked for before a name that nothing lists, also of questions that
    /// are not logged.
    pub follows_pulls: bool,
}

impl Limits {
    /// For a log with a file of its own, which somebody rotates: some megabytes a second at most.
    pub fn of_a_file() -> Self {
        Self { queue: 8 * QUEUE, per_second: 40 * EVENTS_PER_SECOND, ..Self::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { queue: QUEUE, per_second: EVENTS_PER_SECOND, follows_pulls: false }
    }
}

/// How many events were dropped, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// More than the budget of a second.
    pub over_budget: u64,
    /// The reader was too slow.
    pub queue_full: u64,
}

impl Event {
    /// The repository that it is about.
    pub fn image(&self) -> Option<&str> {
        match &self.subject {
            Subject::Image { repository, .. } => Some(repository),
            Subject::Question { .. } | Subject::Connection => None,
        }
    }
}

impl EventSink {
    /// A sink for the questions that `wanted` names, and the end from which they are read.
    pub fn new(wanted: QueryLog) -> (Self, mpsc::Receiver<Event>) {
        Self::with_limits(wanted, Limits::default())
    }

    /// The same within these limits.
    pub fn with_limits(wanted: QueryLog, limits: Limits) -> (Self, mpsc::Receiver<Event>) {
        let Limits { queue, per_second, follows_pulls } = limits;
        let (sender, receiver) = mpsc::channel(queue);
        let inner = Inner {
            wanted,
            follows_pulls,
            queue: sender,
            budget: Budget::new(per_second),
            background: Budget::new(BACKGROUND_PER_SECOND),
            over_budget: AtomicU64::new(0),
            queue_full: AtomicU64::new(0),
            tallies: Arc::default(),
            tap: OnceLock::new(),
        };
        (Self { inner: Arc::new(inner) }, receiver)
    }

    /// Tells an event of this kind, built only if there is a use and room for it.
    pub(crate) fn tell(&self, decision: Decision, bearing: Bearing, build: impl FnOnce() -> Event) {
        self.tell_at(Instant::now(), decision, bearing, build);
    }

    /// The same for a caller who knows what time it is.
    pub(crate) fn tell_at(&self, now: Instant, decision: Decision, bearing: Bearing, build: impl FnOnce() -> Event) {
        let Inner { wanted, follows_pulls, queue, budget, background, over_budget, queue_full, .. } = &*self.inner;
        let is_wanted = wants(*wanted, decision);
        if !is_wanted {
            // Without it, a denial says less: no loss to count.
            let is_of_use = match bearing {
                Bearing::Registry => *follows_pulls || *wanted != QueryLog::Off,
                Bearing::Unlisted => *follows_pulls,
                Bearing::None => false,
            };
            if !is_of_use || !background.spend(now) {
                return;
            }
        } else if !budget.spend(now) {
            over_budget.fetch_add(1, Ordering::Relaxed);
            return;
        }
        match queue.try_reserve() {
            Ok(place) => place.send(Event { wanted: is_wanted, ..build() }),
            Err(_full_or_closed) => {
                queue_full.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Where everything is counted, told or not.
    pub fn tallies(&self) -> &Arc<Tallies> {
        &self.inner.tallies
    }

    /// Begins to hand whole messages of the questions that `wanted` names to the end that is returned; `None`: somebody
    /// takes them already.
    pub fn tap(&self, wanted: QueryLog) -> Option<mpsc::Receiver<Tapped>> {
        let (tap, messages) = Tap::new(wanted);
        self.inner.tap.set(tap).ok().map(|()| messages)
    }

    /// Hands whole messages on, if somebody takes them.
    pub(crate) fn tell_message(&self, decision: Decision, build: impl FnOnce() -> Tapped) {
        if let Some(tap) = self.inner.tap.get() {
            tap.take(decision, build);
        }
    }

    /// How many messages were dropped so far; `None`: nobody takes them.
    pub fn dropped_messages(&self) -> Option<u64> {
        self.inner.tap.get().map(Tap::dropped)
    }

    /// How many events were dropped so far.
    pub fn dropped(&self) -> Dropped {
        Dropped {
            over_budget: self.inner.over_budget.load(Ordering::Relaxed),
            queue_full: self.inner.queue_full.load(Ordering::Relaxed),
        }
    }
}

fn wants(wanted: QueryLog, decision: Decision) -> bool {
    match wanted {
        QueryLog::Off => false,
        QueryLog::Denied => decision != Decision::Allow,
        QueryLog::All => true,
    }
}

/// So many a second, counted in whole seconds: one word that all workers share, the second above, the count below.
#[derive(Debug)]
struct Budget {
    start: Instant,
    per_second: u32,
    spent: AtomicU64,
}

impl Budget {
    fn new(per_second: u32) -> Self {
        Self { start: Instant::now(), per_second, spent: AtomicU64::new(0) }
    }

    fn spend(&self, now: Instant) -> bool {
        let second = now.saturating_duration_since(self.start).as_secs() << 32;
        let spend = |spent: u64| {
            let count = if spent & SECOND_MASK == second { spent & !SECOND_MASK } else { 0 };
            (count < u64::from(self.per_second)).then_some(second | (count + 1))
        };
        self.spent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}

const SECOND_MASK: u64 = 0xffff_ffff_0000_0000;
/// A line is about 300 bytes: at most 150 kB a second reach the log, whatever clients do.
const EVENTS_PER_SECOND: u32 = 500;
/// Pulls begin less often than this on all but the busiest servers, and a hundred events cost nothing.
const BACKGROUND_PER_SECOND: u32 = 100;
/// Two seconds of events while the reader is busy.
const QUEUE: usize = 1024;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn event(decision: Decision) -> Event {
        let address = SocketAddr::from(([127, 0, 0, 1], 53));
        Event {
            at: SystemTime::UNIX_EPOCH,
            client: address,
            listener: address,
            transport: "udp",
            name: DomainName::root(),
            subject: Subject::Question { record_type: 1, rcode: 0 },
            decision,
            bearing: Bearing::None,
            wanted: true,
            reason: String::new(),
            group: None,
            entry: None,
            rule: None,
        }
    }

    fn told(wanted: QueryLog) -> Vec<Decision> {
        let (sink, mut events) = EventSink::new(wanted);
        for decision in [Decision::Allow, Decision::Deny, Decision::Audit] {
            sink.tell(decision, Bearing::None, || event(decision));
        }
        std::iter::from_fn(|| events.try_recv().ok()).map(|event| event.decision).collect()
    }

    #[test]
    fn only_what_the_settings_want_is_told() {
        assert_eq!(told(QueryLog::Off), []);
        assert_eq!(told(QueryLog::Denied), [Decision::Deny, Decision::Audit]);
        assert_eq!(told(QueryLog::All), [Decision::Allow, Decision::Deny, Decision::Audit]);
    }

    #[test]
    fn an_event_that_is_dropped_is_counted_and_never_built() {
        let (sink, _events) =
            EventSink::with_limits(QueryLog::All, Limits { queue: 1, per_second: 2, follows_pulls: false });
        sink.tell(Decision::Deny, Bearing::Unlisted, || event(Decision::Deny));
        sink.tell(Decision::Deny, Bearing::Unlisted, || unreachable!("the queue is full"));
        sink.tell(Decision::Deny, Bearing::Unlisted, || unreachable!("the budget is spent"));
        assert_eq!(sink.dropped(), Dropped { over_budget: 1, queue_full: 1 });
    }

    #[test]
    fn an_allowed_question_for_a_registry_is_told_but_not_as_wanted() {
        for (queries, told) in [(QueryLog::Off, None), (QueryLog::Denied, Some(false)), (QueryLog::All, Some(true))] {
            let (sink, mut events) = EventSink::new(queries);
            sink.tell(Decision::Allow, Bearing::Registry, || event(Decision::Allow));
            assert_eq!(events.try_recv().ok().map(|event| event.wanted), told, "{queries:?}");
        }
    }

    #[test]
    fn who_follows_pulls_is_told_of_both_ends_of_one_without_a_log() {
        let limits = Limits { follows_pulls: true, ..Limits::default() };
        let (sink, mut events) = EventSink::with_limits(QueryLog::Off, limits);
        sink.tell(Decision::Allow, Bearing::Registry, || event(Decision::Allow));
        sink.tell(Decision::Deny, Bearing::Unlisted, || event(Decision::Deny));
        sink.tell(Decision::Deny, Bearing::None, || unreachable!("it belongs to no pull"));
        let told: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).map(|event| event.wanted).collect();
        assert_eq!(told, [false, false]);
    }

    #[test]
    fn allowed_questions_that_nobody_wants_leave_room_for_denials() {
        let (sink, mut events) = EventSink::new(QueryLog::Denied);
        for _ in 0..10_000 {
            sink.tell(Decision::Allow, Bearing::Registry, || event(Decision::Allow));
        }
        sink.tell(Decision::Deny, Bearing::Unlisted, || event(Decision::Deny));
        let told: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).map(|event| event.decision).collect();
        assert_eq!(told.last(), Some(&Decision::Deny));
        assert_eq!(sink.dropped(), Dropped::default());
    }

    #[test]
    fn the_budget_is_new_each_second() {
        let budget = Budget::new(2);
        let spent = |after| budget.spend(budget.start + Duration::from_millis(after));
        assert_eq!([0, 10, 20, 1000, 1001, 1999, 2000].map(spent), [true, true, false, true, true, false, true]);
    }
}
