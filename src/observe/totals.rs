//! What was decided since the start, added up from the tables of all threads: once a second, and whenever somebody asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::MissedTickBehavior;
use tracing::warn;

use crate::background::on_order;
use crate::event::Decision;
use crate::event::images::{ImageDecided, ImageTable};
use crate::event::latency::Latencies;
use crate::event::tally::{Carrier, Counted, Facts, Tallies, Wanted};
use crate::observe::history::{Fact, History};
use crate::observe::rule_hits::{RuleHits, RuleKey};
use crate::observe::signals::NewNames;
use crate::observe::trend::Trend;
use crate::policy::reason::Reason;
use crate::policy::snapshot::GroupRef;
use crate::policy::store::PolicyStore;

/// Adds up, and hands on to the history what it wants to keep.
#[derive(Debug)]
pub struct Totals {
    tallies: Arc<Tallies>,
    policy: Arc<PolicyStore>,
    history: Option<Arc<History>>,
    /// Who wants to know of denied names, if somebody does.
    names: OnceLock<Arc<NewNames>>,
    sums: Mutex<Sums>,
}

/// The sums of one moment.
#[derive(Debug, Default)]
pub struct Sums {
    /// Questions and connections by what they have in common; nothing that a client can choose freely.
    pub decided: BTreeMap<Kind, u64>,
    /// What answers took.
    pub latencies: Latencies,
    /// Decisions that found no room in a table.
    pub lost: u64,
    /// Hits of rules.
    pub rules: RuleHits,
    /// Requests at the gateway by what they have in common.
    pub images: BTreeMap<ImageKind, u64>,
    /// What was decided in each of the last seconds.
    pub trend: Trend,
    groups: BTreeSet<Arc<str>>,
}

/// What decisions are added up by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// The clients' group; empty: none.
    pub group: Arc<str>,
    /// What was decided.
    pub decision: Decision,
    /// Why.
    pub reason: Reason,
    /// What was asked for.
    pub wanted: Wanted,
    /// How it came.
    pub carrier: Carrier,
}

/// What decisions on images are added up by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageKind {
    /// The clients' group; empty: none.
    pub group: Arc<str>,
    /// What was decided.
    pub decision: Decision,
    /// Why, in a word.
    pub reason: &'static str,
    /// What was to be done, in a word.
    pub action: &'static str,
}

impl Totals {
    /// Adds up what is in `tallies`; rules are those of `policy`.
    pub fn new(tallies: Arc<Tallies>, policy: Arc<PolicyStore>, history: Option<Arc<History>>) -> Arc<Self> {
        let mut sums = Sums::default();
        if let Some(history) = &history {
            sums.rules.remember(history.rules().unwrap_or_default());
        }
        Arc::new(Self { tallies, policy, history, names: OnceLock::new(), sums: Mutex::new(sums) })
    }

    /// Has `names` told of what is denied, from now on.
    pub(super) fn tell_names(&self, names: Arc<NewNames>) {
        // Once in a process; who comes second is not told.
        let _ = self.names.set(names);
    }

    /// The history that is kept, if one is.
    pub fn history(&self) -> Option<&Arc<History>> {
        self.history.as_ref()
    }

    /// What `read` makes of the sums of now.
    pub fn read<T>(&self, read: impl FnOnce(&Sums) -> T) -> T {
        let mut sums = self.lock();
        self.collect(&mut sums);
        read(&sums)
    }

    /// Adds up, as it is done once a second.
    fn tick(&self) {
        let mut sums = self.lock();
        self.collect(&mut sums);
        let Sums { decided, images, trend, .. } = &mut *sums;
        let on_names = decided.iter().map(|(kind, count)| (kind.decision, *count));
        let on_images = images.iter().map(|(kind, count)| (kind.decision, *count));
        trend.take(SystemTime::now(), on_names.chain(on_images));
    }

    /// Adds up, and has all of it written.
    pub(super) fn finish(&self) {
        self.read(|_| ());
        if let Some(history) = &self.history {
            history.write();
        }
    }

    /// Adds up what the tables have.
    fn collect(&self, sums: &mut Sums) {
        let now = SystemTime::now();
        sums.rules.follow(&self.policy.current());
        self.tallies.take(|table| {
            sums.latencies.merge(table.latencies());
            sums.lost += table.lost();
            for row in table.rows() {
                let rule = row.rule().map(|rule| sums.rules.key(row.policy, rule));
                sums.add(&row, rule.as_ref(), now);
                if let Some(history) = &self.history {
                    history.add(Fact::of(&row, rule.as_ref()), row.count, now);
                }
                if let Some(names) = self.names.get() {
                    names.add(&row, now);
                }
            }
        });
        self.collect_images(sums, now);
    }

    fn collect_images(&self, sums: &mut Sums, now: SystemTime) {
        let ImageTable { rows, lost } = self.tallies.images().take();
        sums.lost += lost;
        for (mut decided, count) in rows {
            let rule = decided.key.take().map(|key| Arc::new(RuleKey::from(key)));
            sums.add_image(&decided, rule.as_ref(), count, now);
            if let Some(history) = &self.history {
                history.add(Fact::of_image(&decided, rule.as_ref()), count, now);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds up once a second, and has the history written now and then, until `stopped`: on a thread that gives way to those
/// that answer.
pub async fn run(totals: Arc<Totals>, stopped: impl Future<Output = ()>) {
    let work = move |writes| {
        totals.tick();
        if writes {
            totals.finish();
        }
    };
    let worker =
        on_order("totals", work).inspect_err(|error| warn!(%error, "what is decided is added up when asked for"));
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut unwritten = 0;
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            () = &mut stopped => break,
            _ = ticks.tick() => {}
        }
        unwritten += 1;
        let writes = unwritten >= TICKS_BETWEEN_WRITES;
        // A worker that is not through with the last turn is told with the next.
        if worker.as_ref().is_ok_and(|worker| worker.try_send(writes).is_ok()) && writes {
            unwritten = 0;
        }
    }
}

impl Sums {
    fn add(&mut self, row: &Counted<'_>, rule: Option<&Arc<RuleKey>>, now: SystemTime) {
        let group = row.group().and_then(GroupRef::known_name).unwrap_or_default();
        let Facts { decision, reason, wanted, carrier, .. } = row.facts;
        let kind = Kind { group: self.group(group), decision, reason, wanted, carrier };
        *self.decided.entry(kind).or_default() += row.count;
        if let Some(rule) = rule {
            self.rules.add(row.policy, rule, row.count, now);
        }
    }

    fn add_image(&mut self, decided: &ImageDecided, rule: Option<&Arc<RuleKey>>, count: u64, now: SystemTime) {
        let &ImageDecided { decision, reason, action, .. } = decided;
        let group = self.group(decided.group.as_deref().unwrap_or_default());
        *self.images.entry(ImageKind { group, decision, reason, action }).or_default() += count;
        if let Some(rule) = rule {
            self.rules.add_image(rule, count, now);
        }
    }

    /// The group as sums have it. Policies come and go, and with them the names of groups.
    fn group(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.groups.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = if self.groups.len() < MAX_GROUPS { name.into() } else { "other".into() };
        self.groups.insert(Arc::clone(&name));
        name
    }

    /// How many there are of each sort that `by` makes; those of which it makes none are left out.
    pub fn sum_by<K: Ord>(&self, by: impl Fn(&Kind) -> Option<K>) -> BTreeMap<K, u64> {
        let mut sums = BTreeMap::new();
        for (kind, count) in &self.decided {
            if let Some(key) = by(kind) {
                *sums.entry(key).or_default() += count;
            }
        }
        sums
    }
}

const TICK: Duration = Duration::from_secs(1);
/// A power cut loses so many seconds of history, and a disk is written to no more often.
const TICKS_BETWEEN_WRITES: u32 = 15;
/// Names of groups that have numbers of their own, all policies since the start together.
const MAX_GROUPS: usize = 256;
