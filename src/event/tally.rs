//! How often each thing was decided, for whom: tables that the path of a query writes and an observer takes away.
//!
//! ```text
//! thread ─open─▶ its own table, behind a lock that nobody else wants ─take, once a second─▶ observer
//!         add, for each decision of a batch
//! ```
//!
//! Each thread has a table of its own. The observer swaps it for an empty one, so that a thread that has nothing to do
//! need not wake to hand over what it has. There is no clock here: what is in a table happened since the last was taken.
//! A table is bounded. When it is three quarters full, what is new is counted without its name and client, so that a
//! flood of names costs the numbers of no rule; and when that has no room either, it is counted as lost. A thread that
//! decides more than people and their builds ask for counts most of it so from the start: of the names under load every
//! sixty-fourth is enough to see who asks for what, and looking each up would be a twentieth of the cost of an answer.

mod various;

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use self::various::Various;
use super::Decision;
use super::images::ImageTally;
use super::latency::{Latencies, Source};
use crate::name::NameRef;
use crate::policy::reason::Reason;
use crate::policy::snapshot::{GroupRef, RuleRef};
use crate::policy::store::InForce;

/// The tables of all threads.
#[derive(Debug)]
pub struct Tallies {
    shards: Box<[Mutex<RefCell<Shard>>]>,
    spare: Mutex<Option<Table>>,
    hasher: RandomState,
    images: ImageTally,
}

/// The table of this thread, open for what it decides in one go. A thread opens one at a time: a second would wait for the
/// first, for ever.
pub(crate) struct Ledger<'t> {
    shard: MutexGuard<'t, RefCell<Shard>>,
    hasher: &'t RandomState,
}

/// One thing that was decided.
#[derive(Clone, Copy, Debug)]
pub struct Decided<'a> {
    /// What it was decided by.
    pub policy: &'a Arc<InForce>,
    /// For whom.
    pub client: IpAddr,
    /// About which name.
    pub name: NameRef<'a>,
    /// The client's group in that policy.
    pub group: Option<GroupRef<'a>>,
    /// What was decided.
    pub decision: Decision,
    /// Why.
    pub reason: Reason,
    /// The rule of that policy that decided.
    pub rule: Option<RuleRef<'a>>,
    /// What was asked for.
    pub wanted: Wanted,
    /// How it came.
    pub carrier: Carrier,
}

/// What is wanted of a name: the record types that say something of a client, and no more, so that their number is fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "record types are written so")]
pub enum Wanted {
    A,
    AAAA,
    CNAME,
    HTTPS,
    SVCB,
    TXT,
    PTR,
    SRV,
    MX,
    NS,
    SOA,
    ANY,
    /// Any other record type.
    Other,
    /// A connection, at the gateway.
    Connection,
}

/// How a question or connection came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Carrier {
    /// Plain UDP.
    Udp,
    /// Plain TCP.
    Tcp,
    /// DNS over TLS.
    Tls,
    /// DNS over HTTPS.
    Https,
    /// A connection to the gateway.
    Gateway,
    /// A CONNECT request to the gateway.
    Connect,
}

/// What one thread has decided since its table was last taken.
#[derive(Debug, Default)]
pub struct Table {
    index: HashTable<u16>,
    rows: Vec<Row>,
    /// What the first of the policies decided about nobody in particular: most of what is decided under load.
    various: Various,
    /// The names of the rows, one behind the other.
    names: Vec<u8>,
    /// What rows were decided by: next to always one.
    policies: Vec<Arc<InForce>>,
    latencies: Latencies,
    /// How many decisions it has counted.
    decisions: u32,
    lost: u64,
}

/// A row of a table, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'t> {
    /// What it was decided by.
    pub policy: &'t Arc<InForce>,
    /// Whom and what it is about; `None`: various, for which there was no room of their own.
    pub about: Option<(IpAddr, NameRef<'t>)>,
    /// What was decided about it.
    pub facts: Facts,
    /// How often.
    pub count: u64,
}

#[derive(Debug, Default)]
struct Shard {
    table: Table,
    /// Answers of the turn under way, by where they are from: what they took is known at its end.
    pending: [u32; Source::ALL.len()],
}

#[derive(Clone, Debug)]
struct Row {
    hash: u64,
    client: u128,
    facts: Facts,
    policy: u8,
    /// Where the name begins, and its length; 0: the row is about various names.
    name: (u32, u8),
    count: u32,
}

/// What a row counts; without a name it is about nobody in particular.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Subject<'n> {
    facts: Facts,
    policy: u8,
    client: u128,
    name: &'n [u8],
}

/// What two equal decisions have in common beside policy, client and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What was decided.
    pub decision: Decision,
    /// Why.
    pub reason: Reason,
    /// What was asked for.
    pub wanted: Wanted,
    /// How it came.
    pub carrier: Carrier,
    /// The number of the clients' group in the policy.
    group: u32,
    /// The number of the rule that decided.
    rule: u32,
}

impl Default for Tallies {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, spare: Mutex::default(), hasher: RandomState::default(), images: ImageTally::default() }
    }
}

impl Tallies {
    /// Opens the table of this thread. Nobody can take it until the ledger is dropped.
    ///
    /// # Panics
    /// Where debug assertions are on, if this thread has one open: it would wait for itself.
    pub(crate) fn open(&self) -> Ledger<'_> {
        debug_assert!(!IS_OPEN.replace(true), "a thread opens its table while it has one open");
        Ledger { shard: lock(&self.shards[thread_number() % SHARDS]), hasher: &self.hasher }
    }

    /// What is decided about images, which is counted apart.
    pub fn images(&self) -> &ImageTally {
        &self.images
    }

    /// Hands the table of every thread that has something to tell to `read`, and empties it.
    pub fn take(&self, mut read: impl FnMut(&Table)) {
        let mut spare = lock(&self.spare);
        for shard in &self.shards {
            let mut table = {
                let shard = lock(shard);
                let mut shard = shard.borrow_mut();
                if shard.table.is_empty() {
                    continue;
                }
                std::mem::replace(&mut shard.table, spare.take().unwrap_or_default())
            };
            read(&table);
            table.clear();
            *spare = Some(table);
        }
    }
}

impl Ledger<'_> {
    /// Counts one decision. Allocates nothing but its thread's table, once.
    pub(crate) fn add(&self, decided: &Decided<'_>, source: Source) {
        let mut shard = self.shard.borrow_mut();
        match source {
            Source::Forwarded(took) => shard.table.latencies.add(source, took, 1),
            Source::Cached | Source::Denied | Source::Local => shard.pending[source.index()] += 1,
        }
        shard.table.add(decided, self.hasher);
    }

    /// Counts a decision whose time is of no interest.
    pub(crate) fn add_untimed(&self, decided: &Decided<'_>) {
        self.shard.borrow_mut().table.add(decided, self.hasher);
    }

    /// Says how long the answers took that this thread has given since it was last said.
    pub(crate) fn settle(&self, took: Duration) {
        let mut shard = self.shard.borrow_mut();
        let pending = std::mem::take(&mut shard.pending);
        for (source, count) in Source::PROMPT.into_iter().zip(pending) {
            shard.table.latencies.add(source, took, count);
        }
    }
}

impl Drop for Ledger<'_> {
    fn drop(&mut self) {
        if cfg!(debug_assertions) {
            IS_OPEN.set(false);
        }
    }
}

thread_local! {
    /// Whether this thread has a ledger open; nobody looks where debug assertions are off.
    static IS_OPEN: Cell<bool> = const { Cell::new(false) };
}

/// A number of this thread's own.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(0) };
    }
    let number = NUMBER.get();
    if number != 0 {
        return number;
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed).max(1);
    NUMBER.set(number);
    number
}

/// Counting cannot panic half-way; if it does, a count too many or too few is no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Table {
    /// Its rows.
    pub fn rows(&self) -> impl Iterator<Item = Counted<'_>> {
        let rows = self.rows.iter().map(|row| self.counted(&row.subject(&self.names), row.count));
        let various = self.various.iter();
        rows.chain(various.map(|(facts, count)| self.counted(&Subject::nobody(*facts, FIRST), count)))
    }

    /// What answers took.
    pub fn latencies(&self) -> &Latencies {
        &self.latencies
    }

    /// How many decisions found no room at all.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn is_empty(&self) -> bool {
        self.decisions == 0 && self.lost == 0 && self.latencies.is_empty()
    }

    fn clear(&mut self) {
        let Self { index, rows, various, names, policies, latencies, decisions, lost } = self;
        index.clear();
        rows.clear();
        various.clear();
        names.clear();
        policies.clear();
        *latencies = Latencies::default();
        (*decisions, *lost) = (0, 0);
    }

    fn add(&mut self, decided: &Decided<'_>, hasher: &RandomState) {
        let Some(policy) = self.policy_number(decided.policy) else {
            self.lost += 1;
            return;
        };
        let facts = Facts::of(decided);
        let nobody = Subject::nobody(facts, policy);
        self.decisions = self.decisions.saturating_add(1);
        let is_about_somebody = self.decisions <= EACH_NAMED || self.decisions.is_multiple_of(NAMED_PART);
        let is_counted = is_about_somebody && self.count(&nobody.about(decided), ROWS_WITH_NAMES, hasher)
            || policy == FIRST && self.various.add(&facts)
            || self.count(&nobody, ROWS, hasher);
        if !is_counted {
            self.lost += 1;
        }
    }

    /// Counts in the row of this, if there is one or `most` are not there yet.
    fn count(&mut self, subject: &Subject<'_>, most: usize, hasher: &RandomState) -> bool {
        let hash = subject.hash(hasher);
        let Self { index, rows, names, .. } = self;
        let is_same = |row: &Row| row.hash == hash && row.subject(names) == *subject;
        if let Some(&at) = index.find(hash, |&at| is_same(&rows[usize::from(at)])) {
            let row = &mut rows[usize::from(at)];
            row.count = row.count.saturating_add(1);
            return true;
        }
        let has_room = rows.len() < most && names.len() + subject.name.len() <= NAME_BYTES;
        if has_room {
            self.insert(hash, subject);
        }
        has_room
    }

    fn insert(&mut self, hash: u64, subject: &Subject<'_>) {
        let Self { index, rows, names, .. } = self;
        if rows.capacity() == 0 {
            index.reserve(ROWS, |_| unreachable!("the index is empty"));
            rows.reserve_exact(ROWS);
            names.reserve_exact(NAME_BYTES);
        }
        let &Subject { facts, policy, client, name } = subject;
        let at = u16::try_from(rows.len()).expect("a table has fewer rows than a u16 counts");
        let start = u32::try_from(names.len()).expect("the names of a table take less than a u32 counts");
        let length = u8::try_from(name.len()).expect("a name has at most 255 bytes");
        names.extend_from_slice(name);
        rows.push(Row { hash, client, facts, policy, name: (start, length), count: 1 });
        index.insert_unique(hash, at, |&at| rows[usize::from(at)].hash);
    }

    /// `None`: there is no room for so many policies.
    fn policy_number(&mut self, policy: &Arc<InForce>) -> Option<u8> {
        let known = self.policies.iter().position(|known| Arc::ptr_eq(known, policy));
        let number = known.or_else(|| {
            let is_room = self.policies.len() < POLICIES;
            is_room.then(|| {
                self.policies.push(Arc::clone(policy));
                self.policies.len() - 1
            })
        });
        number.and_then(|number| u8::try_from(number).ok())
    }

    fn counted<'t>(&'t self, subject: &Subject<'t>, count: u32) -> Counted<'t> {
        let &Subject { facts, policy, client, name } = subject;
        let about = (!name.is_empty()).then(|| (address_of(client), NameRef::of_valid(name)));
        let policy = &self.policies[usize::from(policy)];
        Counted { policy, about, facts, count: count.into() }
    }
}

impl<'t> Counted<'t> {
    /// The clients' group.
    pub fn group(&self) -> Option<GroupRef<'t>> {
        let number = self.facts.group;
        (number != NONE).then(|| self.policy.snapshot.group_numbered(number)).flatten()
    }

    /// The rule that decided.
    pub fn rule(&self) -> Option<RuleRef<'t>> {
        let number = self.facts.rule;
        (number != NONE).then(|| self.policy.snapshot.rule_numbered(number))
    }
}

impl Row {
    fn subject<'n>(&self, names: &'n [u8]) -> Subject<'n> {
        let (start, length) = (self.name.0 as usize, usize::from(self.name.1));
        Subject { facts: self.facts, policy: self.policy, client: self.client, name: &names[start..start + length] }
    }
}

impl<'n> Subject<'n> {
    /// Nobody in particular.
    fn nobody(facts: Facts, policy: u8) -> Self {
        Self { facts, policy, client: 0, name: &[] }
    }

    /// The same about this client and name.
    fn about(&self, decided: &Decided<'n>) -> Self {
        Self { client: number_of(decided.client), name: decided.name.as_wire(), ..*self }
    }

    fn hash(&self, hasher: &RandomState) -> u64 {
        let Facts { group, rule, decision, reason, wanted, carrier } = self.facts;
        let words = [self.policy, decision as u8, reason as u8, wanted as u8, carrier as u8, 0, 0, 0];
        let mut hasher = hasher.build_hasher();
        hasher.write_u64(u64::from(group) << 32 | u64::from(rule));
        hasher.write_u64(u64::from_le_bytes(words));
        if !self.name.is_empty() {
            hasher.write_u128(self.client);
            hasher.write(self.name);
        }
        hasher.finish()
    }
}

impl Facts {
    fn of(decided: &Decided<'_>) -> Self {
        let &Decided { group, decision, reason, rule, wanted, carrier, .. } = decided;
        let (group, rule) = (group.map_or(NONE, GroupRef::number), rule.map_or(NONE, RuleRef::number));
        Self { decision, reason, wanted, carrier, group, rule }
    }
}

fn number_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn address_of(number: u128) -> IpAddr {
    IpAddr::from(std::net::Ipv6Addr::from_bits(number)).to_canonical()
}

impl Wanted {
    /// What a question for records of this type wants.
    pub fn of(record_type: u16) -> Self {
        match record_type {
            1 => Self::A,
            28 => Self::AAAA,
            65 => Self::HTTPS,
            5 => Self::CNAME,
            64 => Self::SVCB,
            16 => Self::TXT,
            12 => Self::PTR,
            33 => Self::SRV,
            15 => Self::MX,
            2 => Self::NS,
            6 => Self::SOA,
            255 => Self::ANY,
            _ => Self::Other,
        }
    }

    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::AAAA => "AAAA",
            Self::CNAME => "CNAME",
            Self::HTTPS => "HTTPS",
            Self::SVCB => "SVCB",
            Self::TXT => "TXT",
            Self::PTR => "PTR",
            Self::SRV => "SRV",
            Self::MX => "MX",
            Self::NS => "NS",
            Self::SOA => "SOA",
            Self::ANY => "ANY",
            Self::Other => "other",
            Self::Connection => "connection",
        }
    }
}

impl Carrier {
    /// In a word, as events have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Https => "https",
            Self::Gateway => "gateway",
            Self::Connect => "connect",
        }
    }
}

/// Threads that answer; the numbers of more than these share tables, which costs them a wait now and then.
const SHARDS: usize = 64;
/// What a thread may decide differently in a second; 300 kB.
const ROWS: usize = 3584;
/// Of these, how many may be about one name and one client.
const ROWS_WITH_NAMES: usize = ROWS / 4 * 3;
/// How many decisions of a second are each counted with client and name: more than a busy gateway has.
const EACH_NAMED: u32 = 4096;
/// Of the rest, one in so many is.
const NAMED_PART: u32 = 64;
/// Names are about 30 bytes long.
const NAME_BYTES: usize = 128 * 1024;
/// Policies in force within a second, with what is still judged by one of before.
const POLICIES: usize = 4;
/// The policy that all of a second is decided by, but for the second of a change.
const FIRST: u8 = 0;
/// The number of no group and of no rule.
const NONE: u32 = u32::MAX;

#[cfg(test)]
pub(crate) mod tests;
