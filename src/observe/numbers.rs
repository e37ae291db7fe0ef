//! The numbers that people look at first, as one report: what was decided, how upstreams and the cache do.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::observe::log::timestamp;
use crate::observe::metrics::Metrics;
use crate::observe::trend::Moment;

/// How things go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    /// When, in UTC (RFC 3339).
    pub at: String,
    /// What was decided in each of the last seconds, oldest first; for a reader who has seen some, what came since.
    pub moments: Vec<Moment>,
    /// What was asked upstream.
    pub upstream: UpstreamNumbers,
    /// What the cache holds, and what it was good for.
    pub cache: CacheNumbers,
}

/// What was asked upstream since the start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpstreamNumbers {
    /// Questions that went there, refreshes among them.
    pub asked: u64,
    /// Questions that ended without a server's answer.
    pub failed: u64,
    /// Questions under way now.
    pub in_flight: usize,
    /// Each server that was or may be asked.
    pub servers: Vec<ServerNumbers>,
}

/// How a server does, since the start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerNumbers {
    /// The server as configured, or its address.
    pub server: String,
    /// Attempts.
    pub asked: u64,
    /// Attempts that ended with an answer.
    pub answered: u64,
    /// Attempts that ended with a failure.
    pub failed: u64,
    /// Attempts that it was silent to.
    pub timed_out: u64,
    /// The smoothed round trip in milliseconds, if it ever answered.
    pub round_trip: Option<f64>,
    /// Whether it is left alone for a while.
    pub resting: bool,
}

/// What the cache holds, and what it was good for since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheNumbers {
    /// Answers in it.
    pub entries: usize,
    /// The bytes that they take.
    pub bytes: usize,
    /// Allowed questions answered from it.
    pub hits: u64,
    /// Allowed questions that had to be resolved.
    pub misses: u64,
    /// Answers past their time, given because upstreams fail.
    pub stale: u64,
    /// Answers renewed before their time was up.
    pub refreshed: u64,
    /// Answers that had to leave it for others.
    pub evicted: u64,
}

impl Metrics {
    /// The numbers of now, for a reader who has seen the moments up to the number `seen`.
    pub fn numbers(&self, seen: u64) -> Numbers {
        let counters = self.resolver.counters();
        let servers = counters.servers.into_iter().map(|server| ServerNumbers {
            server: server.server,
            asked: server.asked,
            answered: server.answered,
            failed: server.failed,
            timed_out: server.timed_out,
            round_trip: server.round_trip.map(|round_trip| round_trip.as_secs_f64() * 1000.0),
            resting: server.resting,
        });
        let dns = self.pipeline.as_ref().map(|pipeline| pipeline.counters());
        let cache = CacheNumbers {
            entries: counters.cached,
            bytes: counters.cached_bytes,
            hits: dns.map_or(0, |dns| dns.cache_hits.value()),
            misses: dns.map_or(0, |dns| dns.cache_misses.value()),
            stale: dns.map_or(0, |dns| dns.answered_stale.value()),
            refreshed: counters.refreshed,
            evicted: counters.evicted,
        };
        Numbers {
            at: timestamp(SystemTime::now()),
            moments: self.totals.read(|sums| sums.trend.since(seen)),
            upstream: UpstreamNumbers {
                asked: counters.asked,
                failed: counters.failed,
                in_flight: counters.in_flight,
                servers: servers.collect(),
            },
            cache,
        }
    }
}
