//! Whole messages for those who read dnstap: queries and their answers, over a bounded channel.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use tokio::sync::mpsc;

use super::Decision;
use super::tally::Carrier;
use crate::config::QueryLog;
use crate::policy::reason::Reason;

/// A query and its answer, as they were on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tapped {
    /// Who asked.
    pub client: SocketAddr,
    /// The address that was asked.
    pub listener: SocketAddr,
    /// How it came.
    pub carrier: Carrier,
    /// What was decided.
    pub decision: Decision,
    /// Why.
    pub reason: Reason,
    /// When it came.
    pub asked: SystemTime,
    /// When it was answered.
    pub answered: SystemTime,
    /// The query.
    pub query: Box<[u8]>,
    /// The answer.
    pub answer: Box<[u8]>,
}

/// Takes messages without waiting.
#[derive(Debug)]
pub(super) struct Tap {
    wanted: QueryLog,
    queue: mpsc::Sender<Tapped>,
    dropped: AtomicU64,
}

impl Tap {
    /// A tap for the questions that `wanted` names, and the end from which they are read.
    pub(super) fn new(wanted: QueryLog) -> (Self, mpsc::Receiver<Tapped>) {
        let (queue, messages) = mpsc::channel(QUEUE);
        (Self { wanted, queue, dropped: AtomicU64::new(0) }, messages)
    }

    /// Takes a message, built only if it is wanted and there is room for it; else it is dropped, and counted.
    pub(super) fn take(&self, decision: Decision, build: impl FnOnce() -> Tapped) {
        if !super::wants(self.wanted, decision) {
            return;
        }
        match self.queue.try_reserve() {
            Ok(place) => place.send(build()),
            Err(_full_or_closed) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Two megabytes at most of the usual messages, while the reader is busy or away.
const QUEUE: usize = 4096;
