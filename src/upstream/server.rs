//! One upstream server: how to ask it, how quick it has been, whether it rests.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::answer::Answer;
use super::exchange::Plain;
use super::express::Begun;
use super::inquiry::{Inquiry, Transport, Trouble};

/// A server with its history. Shared by every route that leads to it.
#[derive(Debug)]
pub(super) struct Server {
    name: String,
    transport: Box<dyn Transport>,
    health: Mutex<Health>,
    asked: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    timed_out: AtomicU64,
}

#[derive(Debug, Default)]
struct Health {
    round_trip: Option<Duration>,
    strikes: u32,
    last_strike: Option<Instant>,
    /// Set while the server rests: when to try it again.
    probe_at: Option<Instant>,
}

/// What has been asked of one upstream server, and how it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerCounters {
    /// The server as configured, or its address.
    pub server: String,
    /// Attempts, probes of a resting server among them.
    pub asked: u64,
    /// Attempts that ended with an answer.
    pub answered: u64,
    /// Attempts that ended with a failure; the rest were given up since another server was quicker, or timed out.
    pub failed: u64,
    /// Attempts that it was silent to for longer than a question waits.
    pub timed_out: u64,
    /// Attempts that went over to TCP.
    pub streams: u64,
    /// Datagrams that were not the answer waited for: mismatched, malformed, forged.
    pub near_misses: u64,
    /// The smoothed round trip, if it ever answered.
    pub round_trip: Option<Duration>,
    /// Whether it is left alone for a while.
    pub resting: bool,
}

impl Server {
    pub(super) fn new(name: String, transport: Box<dyn Transport>) -> Self {
        let [asked, answered, failed, timed_out] = [const { AtomicU64::new(0) }; 4];
        Self { name, transport, health: Mutex::default(), asked, answered, failed, timed_out }
    }

    pub(super) async fn ask(&self, inquiry: &Inquiry) -> Result<Answer, Trouble> {
        self.count_asked();
        let outcome = self.transport.ask(inquiry).await;
        self.count_ended(outcome.is_ok());
        outcome
    }

    /// Brings an attempt to its end whose datagram is on its way.
    pub(super) async fn carry_on(&self, inquiry: &Inquiry, begun: Begun) -> Result<Answer, Trouble> {
        // Who began it dropped it only if this worker ends.
        let first = begun.datagram.await.unwrap_or(Err(Trouble::Spent));
        let outcome = match self.plain() {
            Some(plain) => plain.carry_on(inquiry, begun.edns, first).await,
            None => self.transport.ask(inquiry).await,
        };
        self.count_ended(outcome.is_ok());
        outcome
    }

    /// The way to ask it, if that is plain DNS.
    pub(super) fn plain(&self) -> Option<&Plain> {
        self.transport.plain()
    }

    /// Counts an attempt.
    pub(super) fn count_asked(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the end of an attempt.
    pub(super) fn count_ended(&self, answered: bool) {
        let counter = if answered { &self.answered } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an attempt that is waited for no longer.
    pub(super) fn count_timed_out(&self) {
        self.timed_out.fetch_add(1, Ordering::Relaxed);
    }

    /// Where the server stands among others: resting ones behind, by the time that is left of it; then by round trip.
    pub(super) fn rank(&self, now: Instant) -> (bool, Duration) {
        let health = self.health();
        let rest = health.probe_at.map(|at| at.saturating_duration_since(now));
        (rest.is_some(), rest.or(health.round_trip).unwrap_or(UNKNOWN_ROUND_TRIP))
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.health().round_trip
    }

    /// Takes an answer now to a question asked then into account: the server rests no longer. If it was sent to rest for
    /// keeping that very question, it was only slow, which its round trip now says.
    pub(super) fn succeeded(&self, asked: Instant, now: Instant) {
        let took = now.saturating_duration_since(asked);
        let mut health = self.health();
        if health.last_strike.is_some_and(|strike| strike >= asked) {
            health.strikes = health.strikes.saturating_sub(1);
        }
        health.round_trip = Some(health.round_trip.map_or(took, |known| (known * 7 + took) / 8));
        health.probe_at = None;
        if health.last_strike.is_some_and(|strike| now.saturating_duration_since(strike) >= FORGIVEN_AFTER) {
            health.strikes = 0;
        }
    }

    /// Lets the server rest: longer with each failure, also if it answered between them. Attempts that were under way
    /// at the last failure say nothing new.
    pub(super) fn failed(&self, asked: Instant) {
        let mut health = self.health();
        if health.last_strike.is_some_and(|strike| asked <= strike) {
            return;
        }
        let now = Instant::now();
        let rest = REST.saturating_mul(1 << health.strikes.min(8)).min(MAX_REST);
        health.strikes = health.strikes.saturating_add(1);
        health.last_strike = Some(now);
        health.probe_at = Some(now + rest);
    }

    /// Whether the server has rested long enough to be tried; true once, until that try has had its time.
    pub(super) fn claim_probe(&self, now: Instant) -> bool {
        let mut health = self.health();
        let due = health.probe_at.is_some_and(|at| at <= now);
        if due {
            health.probe_at = Some(now + REST);
        }
        due
    }

    /// Another server was asked and answered.
    pub(super) fn passed_over(&self) {
        let mut health = self.health();
        health.round_trip = health.round_trip.map(|known| known.saturating_sub(known / FORGOTTEN_PART));
    }

    pub(super) fn counters(&self) -> ServerCounters {
        let health = self.health();
        ServerCounters {
            server: self.name.clone(),
            asked: self.asked.load(Ordering::Relaxed),
            answered: self.answered.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            timed_out: self.timed_out.load(Ordering::Relaxed),
            streams: self.transport.streams(),
            near_misses: self.transport.near_misses(),
            round_trip: health.round_trip,
            resting: health.probe_at.is_some(),
        }
    }

    /// A poisoned lock holds numbers that are no worse than before.
    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What a server that was never asked is taken to need.
const UNKNOWN_ROUND_TRIP: Duration = Duration::from_millis(100);
/// How long a server rests after its first failure; doubled with each one soon after, up to [`MAX_REST`].
const REST: Duration = Duration::from_secs(1);
/// Low enough for a server to be back within half a minute of its recovery.
const MAX_REST: Duration = Duration::from_secs(16);
/// A failure this long ago does not make the next rest longer.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);
/// With each question that a server is passed over, this part of its round trip is forgotten, so that it gets another
/// try after some hundreds.
const FORGOTTEN_PART: u32 = 512;
