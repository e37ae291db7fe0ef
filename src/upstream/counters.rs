//! What the resolver has done so far, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use super::ServerCounters;

/// Counts since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Questions that went upstream, refreshes among them.
    pub asked: u64,
    /// Questions that waited for an equal one under way.
    pub coalesced: u64,
    /// Questions that ended without a server's answer.
    pub failed: u64,
    /// Questions turned away since too many were under way.
    pub busy: u64,
    /// Failed questions that a stale answer was found for.
    pub stale: u64,
    /// Answers renewed before their time was up.
    pub refreshed: u64,
    /// Questions under way now.
    pub in_flight: usize,
    /// Entries in the cache now.
    pub cached: usize,
    /// The bytes that they take.
    pub cached_bytes: usize,
    /// Entries that had to leave the cache for others.
    pub evicted: u64,
    /// Each server that was or may be asked.
    pub servers: Vec<ServerCounters>,
}

/// The totals as they are counted.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) asked: AtomicU64,
    pub(super) coalesced: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) busy: AtomicU64,
    pub(super) stale: AtomicU64,
    pub(super) refreshed: AtomicU64,
}

impl Totals {
    /// The totals now; what is no total is left empty.
    pub(super) fn counters(&self) -> Counters {
        let Self { asked, coalesced, failed, busy, stale, refreshed } = self;
        let [asked, coalesced, failed, busy, stale, refreshed] =
            [asked, coalesced, failed, busy, stale, refreshed].map(|total| total.load(Ordering::Relaxed));
        Counters { asked, coalesced, failed, busy, stale, refreshed, ..Counters::default() }
    }
}
