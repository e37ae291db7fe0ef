//! From a queue to its receiver: tried again a few times, further and further apart, and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{info, warn};

use super::command::{self, CommandFault};
use super::message::{Message, TEST};
use super::webhook::{Network, WebhookFault};
use crate::config::{SignalKind, SignalWay};

/// How messages went.
#[derive(Debug, Default)]
pub struct Counts([[AtomicU64; Outcome::ALL.len()]; SignalKind::ALL.len() + 1]);

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::observe) enum Outcome {
    /// It arrived.
    Sent,
    /// It did not, though it was tried often enough.
    Failed,
    /// The queue was full.
    Dropped,
    /// There was too much to tell.
    HeldBack,
}

/// One who is told, and how to reach them.
pub(super) struct Receiver {
    pub(super) way: SignalWay,
    pub(super) network: Arc<Network>,
    pub(super) counts: Arc<Counts>,
}

/// Why a message did not arrive.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeliveryFault {
    #[error(transparent)]
    Webhook(#[from] WebhookFault),
    #[error(transparent)]
    Command(#[from] CommandFault),
}

impl Receiver {
    /// Delivers what comes until nobody sends any more.
    pub(super) async fn run(self: Arc<Self>, mut queue: mpsc::Receiver<Arc<Message>>) {
        while let Some(message) = queue.recv().await {
            self.deliver(&message).await;
        }
    }

    async fn deliver(&self, message: &Message) {
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=ATTEMPTS {
            let Err(error) = self.send(message).await else {
                info!(kind = message.kind(), to = %self.way, "signal sent");
                return self.counts.count(message.kind(), Outcome::Sent);
            };
            if attempt == ATTEMPTS || !error.may_pass() {
                warn!(kind = message.kind(), to = %self.way, %error, attempt, "signal not sent");
                return self.counts.count(message.kind(), Outcome::Failed);
            }
            warn!(kind = message.kind(), to = %self.way, %error, attempt, "signal not sent, it is tried again");
            sleep(pause).await;
            pause *= 4;
        }
    }

    /// Sends a message, once.
    pub(super) async fn send(&self, message: &Message) -> Result<(), DeliveryFault> {
        match &self.way {
            SignalWay::Webhook { url, token_file } => {
                Ok(self.network.post(url, token_file.as_deref(), message.json()).await?)
            }
            SignalWay::Command(arguments) => Ok(command::run(arguments, &message.json()).await?),
        }
    }
}

impl DeliveryFault {
    /// Whether the same message may be taken later.
    fn may_pass(&self) -> bool {
        match self {
            Self::Webhook(fault) => fault.may_pass(),
            Self::Command(_) => true,
        }
    }
}

impl Counts {
    pub(super) fn count(&self, kind: &str, outcome: Outcome) {
        let row = kinds().position(|known| known == kind).and_then(|row| self.0.get(row));
        if let Some(counter) = row.and_then(|row| row.get(outcome as usize)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Every kind with every outcome, and how often it came to that.
    pub(in crate::observe) fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        kinds().zip(&self.0).flat_map(|(kind, row)| {
            let outcomes = Outcome::ALL.into_iter().zip(row);
            outcomes.map(move |(outcome, count)| (kind, outcome.word(), count.load(Ordering::Relaxed)))
        })
    }
}

fn kinds() -> impl Iterator<Item = &'static str> {
    SignalKind::ALL.into_iter().map(SignalKind::word).chain([TEST])
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Sent, Self::Failed, Self::Dropped, Self::HeldBack];

    fn word(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
            Self::HeldBack => "held-back",
        }
    }
}

const ATTEMPTS: u32 = 5;
/// Four times as long after each: a receiver may be away for a minute and a half.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
