//! Signals to people: what somebody should know is told to webhooks and commands by itself.
//!
//! ```text
//! policy, upstreams, denied names, exceptions ─news─▶ limits ─message─▶ a queue for each receiver ─▶ deliver
//! ```
//!
//! Nothing waits for a receiver: what a full queue does not take is dropped, and counted.

mod admit;
mod command;
mod deliver;
mod message;
mod names;
mod policy;
mod upstreams;
mod webhook;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::spawn;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::warn;

pub use self::deliver::Counts;
pub use self::names::NewNames;

use self::admit::Limits;
use self::deliver::{Outcome, Receiver};
use self::message::{Details, Message, News, Sender, Status};
use self::names::Candidate;
use self::policy::PolicyWatch;
use self::upstreams::Upstreams;
use self::webhook::Network;
use crate::config::{Signal, SignalKind};
use crate::observe::dnstap::host_name;
use crate::observe::history::{History, Search};
use crate::observe::log::timestamp;
use crate::observe::recent::VerdictWord;
use crate::observe::totals::Totals;
use crate::policy::store::PolicyStore;
use crate::upstream::Resolver;

/// Where news come from.
pub struct Sources {
    /// What is in force, and what is refused.
    pub policy: Arc<PolicyStore>,
    /// Who answers, and who resolves the names of webhooks.
    pub resolver: Arc<Resolver>,
    /// What is denied.
    pub totals: Arc<Totals>,
}

/// Those who are told.
pub struct Signals {
    receivers: Vec<(Signal, Arc<Receiver>)>,
    sender: Sender,
    sources: Sources,
    counts: Arc<Counts>,
    names: Arc<NewNames>,
}

/// Tells of nothing, so that people can see that it arrives.
#[derive(Clone)]
pub struct Tester {
    receivers: Vec<Arc<Receiver>>,
    sender: Sender,
    counts: Arc<Counts>,
}

impl Signals {
    /// Those of the settings; `contact` is whom people ask about the policy.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(settings: &[Signal], contact: Option<&str>, sources: Sources) -> Result<Self, rustls::Error> {
        let network = Arc::new(Network::new(Arc::clone(&sources.resolver))?);
        let counts = Arc::new(Counts::default());
        let receiver = |signal: &Signal| {
            let (network, counts) = (Arc::clone(&network), Arc::clone(&counts));
            (signal.clone(), Arc::new(Receiver { way: signal.way.clone(), network, counts }))
        };
        let wanting = settings.iter().filter(|signal| signal.on.contains(&SignalKind::NewDeniedName));
        let names = Arc::new(NewNames::new(wanting.map(|signal| signal.clients)));
        if !names.is_idle() {
            sources.totals.tell_names(Arc::clone(&names));
        }
        let sender = Sender { host: host_name(), contact: contact.map(str::to_owned) };
        Ok(Self { receivers: settings.iter().map(receiver).collect(), sender, sources, counts, names })
    }

    /// How messages went.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// The denied names that are watched.
    pub fn names(&self) -> Arc<NewNames> {
        Arc::clone(&self.names)
    }

    /// What tells of nothing.
    pub fn tester(&self) -> Tester {
        let receivers = self.receivers.iter().map(|(_, receiver)| Arc::clone(receiver)).collect();
        Tester { receivers, sender: self.sender.clone(), counts: Arc::clone(&self.counts) }
    }

    /// Tells what there is to tell until it is dropped.
    pub async fn run(self) {
        let Self { receivers, sender, sources, counts, names } = self;
        if receivers.is_empty() {
            return;
        }
        let mut tasks = JoinSet::new();
        let queue = |(signal, receiver): (Signal, Arc<Receiver>)| {
            let (queue, messages) = mpsc::channel(MAX_QUEUED);
            tasks.spawn(receiver.run(messages));
            (signal, queue)
        };
        let queues = receivers.into_iter().map(queue).collect();
        Teller { queues, sender, sources, counts, names, limits: Limits::default() }.run().await;
    }
}

impl Tester {
    /// Sends each receiver a test, once: who it is, and why it did not arrive.
    pub async fn send(&self) -> Vec<(String, Result<(), String>)> {
        let message = Arc::new(self.sender.test());
        let send = |receiver: &Arc<Receiver>| {
            let (receiver, message) = (Arc::clone(receiver), Arc::clone(&message));
            (receiver.way.to_string(), spawn(async move { receiver.send(&message).await }))
        };
        let mut told = Vec::new();
        for (to, sending) in self.receivers.iter().map(send).collect::<Vec<_>>() {
            let sent = match sending.await {
                Ok(sent) => sent.map_err(|error| error.to_string()),
                Err(_panic) => Err("a defect of the program; see its log".to_owned()),
            };
            self.counts.count(message.kind(), if sent.is_ok() { Outcome::Sent } else { Outcome::Failed });
            told.push((to, sent));
        }
        told
    }
}

/// Looks for news and hands them on.
struct Teller {
    queues: Vec<(Signal, mpsc::Sender<Arc<Message>>)>,
    sender: Sender,
    sources: Sources,
    counts: Arc<Counts>,
    names: Arc<NewNames>,
    limits: Limits,
}

impl Teller {
    async fn run(mut self) {
        let mut statuses = self.sources.policy.subscribe();
        let (mut policy, mut upstreams) = (PolicyWatch::default(), Upstreams::default());
        let begun = policy.begin(&statuses.borrow_and_update());
        if let Some(news) = begun {
            self.tell(&news);
        }
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut news = Vec::new();
            tokio::select! {
                changed = statuses.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    news.extend(policy.follow(&statuses.borrow_and_update()));
                }
                _ = ticks.tick() => {
                    news.extend(upstreams.follow(&self.sources.resolver.destinations(), Instant::now()));
                    news.extend(policy.remind(self.sources.policy.current().snapshot.exceptions(), SystemTime::now()));
                    news.extend(self.new_names().await);
                }
            }
            for news in &news {
                self.tell(news);
            }
        }
    }

    /// Tells those who want to know, unless it was told already or there is too much.
    fn tell(&mut self, news: &News) {
        let wants = |signal: &Signal| {
            signal.on.contains(&news.kind) && news.details.clients.is_none_or(|clients| clients == signal.clients)
        };
        if !self.queues.iter().any(|(signal, _)| wants(signal)) {
            return;
        }
        let Some(held_back) = self.limits.admit(news, Instant::now()) else {
            if news.status == Status::Firing {
                self.counts.count(news.kind.word(), Outcome::HeldBack);
            }
            return;
        };
        let message = Arc::new(self.sender.tell(news, held_back));
        for (_, queue) in self.queues.iter().filter(|(signal, _)| wants(signal)) {
            if queue.try_send(Arc::clone(&message)).is_err() {
                self.counts.count(news.kind.word(), Outcome::Dropped);
            }
        }
    }

    /// The denied names that several clients ask for, as far as nobody was denied them before.
    async fn new_names(&self) -> Vec<News> {
        let candidates = self.names.take();
        if candidates.is_empty() {
            return Vec::new();
        }
        let history = self.sources.totals.history().cloned();
        let look = move || candidates.into_iter().filter(|candidate| is_new(candidate, history.as_deref())).collect();
        let new: Vec<Candidate> = spawn_blocking(look).await.unwrap_or_default();
        new.iter().map(of_name).collect()
    }
}

/// Whether the history has it that the name was denied before these clients asked for it.
fn is_new(candidate: &Candidate, history: Option<&History>) -> bool {
    let Some(history) = history else { return true };
    let search = Search { name: Some(candidate.name.clone()), verdict: Some(VerdictWord::Deny), ..Search::default() };
    // What is counted now was written down a moment later.
    let before = timestamp(candidate.since.checked_sub(SLACK).unwrap_or(SystemTime::UNIX_EPOCH));
    let name = candidate.name.to_string();
    match history.rows(&search, MAX_ROWS) {
        Ok(rows) => !rows.iter().any(|row| row.name.as_deref() == Some(&name) && row.first < before),
        Err(error) => {
            warn!(%error, "the history does not say which names are new");
            true
        }
    }
}

fn of_name(candidate: &Candidate) -> News {
    let Candidate { name, more_than, .. } = candidate;
    let details = Details { name: Some(name.to_string()), clients: Some(*more_than), ..Details::default() };
    News {
        kind: SignalKind::NewDeniedName,
        key: format!("{name} {more_than}"),
        status: Status::Firing,
        summary: format!("{name} is denied to more than {more_than} clients, for the first time"),
        details,
    }
}

const TICK: Duration = Duration::from_secs(1);
/// Messages that wait for one receiver.
const MAX_QUEUED: usize = 64;
/// Rows of one name, of which one from before is enough.
const MAX_ROWS: usize = 10_000;
const SLACK: Duration = Duration::from_secs(60);
