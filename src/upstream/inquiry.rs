//! One question on its way to servers: what it may cost, the ways to put it, and how that can fail.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::Question;
use super::answer::Answer;
use super::chain::Fault;
use super::exchange::Plain;

/// One way to put a question to one server. Dropping the future gives the attempt up.
#[async_trait]
pub(super) trait Transport: Send + Sync + std::fmt::Debug {
    /// Asks once, waiting as long as the caller lets it.
    async fn ask(&self, inquiry: &Inquiry) -> Result<Answer, Trouble>;

    /// The transport, if it is plain DNS: then questions can share its sockets.
    fn plain(&self) -> Option<&Plain> {
        None
    }

    /// How many messages came that were not the answer waited for.
    fn near_misses(&self) -> u64 {
        0
    }

    /// How many questions went over to TCP.
    fn streams(&self) -> u64 {
        0
    }
}

/// One question on its way, with what it may still cost.
#[derive(Debug)]
pub(super) struct Inquiry {
    pub(super) question: Arc<Question>,
    pub(super) max_ttl: Duration,
    packets_left: AtomicU8,
}

/// Why one server gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// Nobody listens there, or the connection broke.
    #[error("the server cannot be reached: {0}")]
    Dead(io::Error),
    /// It answered, with a failure or with something useless.
    #[error(transparent)]
    Failing(#[from] Fault),
    /// This host has no socket for the question; not the server's fault.
    #[error("no socket to ask with: {0}")]
    Local(io::Error),
    /// The question has cost all it may.
    #[error("the question has used up its packets")]
    Spent,
}

impl Inquiry {
    /// A question with its whole allowance.
    pub(super) fn new(question: impl Into<Arc<Question>>, max_ttl: Duration) -> Self {
        Self { question: question.into(), max_ttl, packets_left: AtomicU8::new(MAX_PACKETS) }
    }

    /// The same when one packet has been sent already.
    pub(super) fn after_a_packet(question: Arc<Question>, max_ttl: Duration) -> Self {
        Self { question, max_ttl, packets_left: AtomicU8::new(MAX_PACKETS - 1) }
    }

    /// Takes one packet off the allowance.
    pub(super) fn spend_packet(&self) -> Result<(), Trouble> {
        let spent = self.packets_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        spent.map(|_| ()).map_err(|_| Trouble::Spent)
    }

    /// Whether something is left of the allowance.
    pub(super) fn may_ask(&self) -> bool {
        self.packets_left.load(Ordering::Relaxed) > 0
    }
}

impl Trouble {
    /// Sorts an error of a connected socket: whether it is about the other end or about this host.
    pub(super) fn dead(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(nix::libc::EMFILE | nix::libc::ENFILE | nix::libc::ENOBUFS | nix::libc::ENOMEM) => Self::Local(error),
            _ => Self::Dead(error),
        }
    }
}

/// All that one question may cost upstream: datagrams and connections, over all servers.
const MAX_PACKETS: u8 = 6;
