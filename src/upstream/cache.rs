//! The cache of answers and failures: bounded in entries and bytes, and not to be washed out by names asked once.
//!
//! Admission is S3-FIFO (Yang et al., SOSP 2023): a new entry waits in a small queue and only reaches the main one if
//! it is asked for again, so a flood of unique names under an allowed wildcard passes through the small queue alone.
//! Time is the monotonic clock's; a change of the wall clock moves nothing.

#[cfg(any(test, fuzzing))]
mod content;

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use tokio::time::Instant;

#[cfg(any(test, fuzzing))]
pub use self::content::Content;

use super::answer::Answer;
use super::{Dnssec, Failure, Held, Probe};
use crate::config;
use crate::name::{DomainName, NameRef};

/// What an entry is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key<'a> {
    pub(super) name: NameRef<'a>,
    pub(super) record_type: u16,
    pub(super) dnssec: Dnssec,
    /// Which servers answer for it.
    pub(super) route: u64,
}

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { name, record_type, dnssec, route } = self;
        (name.as_wire(), record_type, dnssec, route).hash(state);
    }
}

/// The cache.
#[derive(Debug)]
pub(super) struct Cache {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    stale: Duration,
    evictions: AtomicU64,
}

#[derive(Debug)]
struct Shard {
    table: HashTable<u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    small: VecDeque<u32>,
    main: VecDeque<u32>,
    /// Hashes of entries that left the small queue unasked: if they come again soon, they go to the main one.
    ghosts: VecDeque<u64>,
    ghost_table: HashTable<u64>,
    bytes: usize,
    capacity: usize,
}

#[derive(Debug)]
struct Slot {
    hash: u64,
    name: DomainName,
    record_type: u16,
    dnssec: Dnssec,
    route: u64,
    uses: u8,
    answer: Option<Stored>,
    /// Seldom there, so kept out of the way.
    failure: Option<Box<Failed>>,
}

#[derive(Debug)]
struct Stored {
    answer: Arc<Answer>,
    at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Failed {
    failure: Failure,
    until: Instant,
    lasts: Duration,
}

impl Cache {
    /// A cache of the configured size, or none if that is 0 entries.
    pub(super) fn new(settings: &config::Cache) -> Self {
        let shards = (settings.entries / MIN_SHARD).clamp(1, MAX_SHARDS);
        let capacity = settings.entries / shards;
        let shards = (0..shards).map(|_| Mutex::new(Shard::new(capacity))).collect();
        Self { shards, hasher: RandomState::default(), stale: settings.stale, evictions: AtomicU64::new(0) }
    }

    /// Looks a question up: one short lock, nothing allocated.
    pub(super) fn probe(&self, key: Key<'_>, now: Instant) -> Probe {
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash);
        let Some(slot) = shard.find(hash, key) else {
            return Probe::Miss;
        };
        let used_before = slot.uses > 0;
        slot.uses = (slot.uses + 1).min(MAX_USES);
        let failure = slot.failure.as_deref().copied().filter(|failed| failed.until > now);
        let fresh = slot.answer.as_ref().and_then(|stored| stored.fresh(now));
        match (fresh, failure) {
            (Some(mut held), None) => {
                held.refresh_due &= used_before;
                Probe::Hit(held)
            }
            (Some(held), Some(_)) => Probe::Hit(Held { refresh_due: false, ..held }),
            (None, Some(failed)) => slot.stale(now, self.stale).map_or(Probe::Failed(failed.failure), Probe::Hit),
            (None, None) => Probe::Miss,
        }
    }

    /// What is held past its time but may still be served.
    pub(super) fn stale(&self, key: Key<'_>, now: Instant) -> Option<Held> {
        let hash = self.hasher.hash_one(key);
        self.shard(hash).find(hash, key)?.stale(now, self.stale)
    }

    /// Holds an answer; one without a lifetime only forgets earlier failures.
    pub(super) fn store(&self, key: Key<'_>, answer: &Arc<Answer>, now: Instant) {
        if answer.lifetime().is_zero() {
            return;
        }
        self.update(key, |slot| {
            slot.answer = Some(Stored { answer: answer.clone(), at: now });
            slot.failure = None;
        });
    }

    /// Remembers a failure, longer with each one in a row. An answer held before stays for as long as stale ones may.
    pub(super) fn fail(&self, key: Key<'_>, failure: Failure, now: Instant) {
        self.update(key, |slot| {
            let lasts = slot.failure.as_ref().map_or(*FAILURE.start(), |failed| (failed.lasts * 2).min(*FAILURE.end()));
            slot.failure = Some(Box::new(Failed { failure, until: now + lasts, lasts }));
        });
    }

    /// How many entries are held.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).table.len()).sum()
    }

    /// The bytes that they take.
    pub(super) fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).bytes).sum()
    }

    /// How many entries had to leave for others.
    pub(super) fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    fn update(&self, key: Key<'_>, change: impl FnOnce(&mut Slot)) {
        let hash = self.hasher.hash_one(key);
        let evicted = self.shard(hash).update(hash, key, change);
        self.evictions.fetch_add(evicted, Ordering::Relaxed);
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // The table uses the upper and the lowest bits of the hash; these are the ones between.
        let index = usize::try_from(hash >> 32 & 0xffff).unwrap_or_default() % self.shards.len();
        lock(&self.shards[index])
    }
}

/// Nothing under the lock can panic half-way; if it does, an entry too many or too few is no harm.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    fn new(capacity: usize) -> Self {
        Self {
            table: HashTable::new(),
            slots: Vec::with_capacity(capacity + 1),
            free: Vec::new(),
            small: VecDeque::new(),
            main: VecDeque::new(),
            ghosts: VecDeque::new(),
            ghost_table: HashTable::new(),
            bytes: 0,
            capacity,
        }
    }

    fn find(&mut self, hash: u64, key: Key<'_>) -> Option<&mut Slot> {
        let slots = &self.slots;
        let index = *self.table.find(hash, |index| slots[*index as usize].key() == key)?;
        Some(&mut self.slots[index as usize])
    }

    /// Changes an entry, a new one if need be, then makes room. Returns how many left.
    fn update(&mut self, hash: u64, key: Key<'_>, change: impl FnOnce(&mut Slot)) -> u64 {
        if let Some(slot) = self.find(hash, key) {
            let before = slot.weight();
            change(slot);
            let after = slot.weight();
            self.bytes = self.bytes + after - before;
        } else {
            let mut slot = Slot::new(hash, key);
            change(&mut slot);
            if slot.weight() <= self.byte_limit() / 8 {
                self.insert(slot);
            }
        }
        self.make_room()
    }

    fn insert(&mut self, slot: Slot) {
        let hash = slot.hash;
        let known = self.forget_ghost(hash);
        self.bytes += slot.weight();
        let index = if let Some(index) = self.free.pop() {
            self.slots[index as usize] = slot;
            index
        } else {
            self.slots.push(slot);
            u32::try_from(self.slots.len() - 1).expect("a shard holds fewer entries than a u32 counts")
        };
        let slots = &self.slots;
        self.table.insert_unique(hash, index, |index| slots[*index as usize].hash);
        if known { self.main.push_back(index) } else { self.small.push_back(index) }
    }

    fn byte_limit(&self) -> usize {
        self.capacity.max(MIN_SHARD) * BYTES_PER_ENTRY
    }

    fn make_room(&mut self) -> u64 {
        let mut evicted = 0;
        while self.table.len() > self.capacity || self.bytes > self.byte_limit() {
            let small_is_full = self.small.len() > self.capacity / SMALL_PART;
            let left = if small_is_full || self.main.is_empty() { self.pass_small() } else { self.pass_main() };
            evicted += u64::from(left);
        }
        evicted
    }

    /// Takes the oldest of the small queue: on to the main one if it was asked for, else out.
    fn pass_small(&mut self) -> bool {
        let Some(index) = self.small.pop_front() else {
            return false;
        };
        let slot = &mut self.slots[index as usize];
        if slot.uses > 0 {
            slot.uses = 0;
            self.main.push_back(index);
            return false;
        }
        let hash = slot.hash;
        self.remember_ghost(hash);
        self.remove(index);
        true
    }

    /// Takes the oldest of the main queue: round again if it was asked for since, else out.
    fn pass_main(&mut self) -> bool {
        let Some(index) = self.main.pop_front() else {
            return false;
        };
        let slot = &mut self.slots[index as usize];
        if slot.uses > 0 {
            slot.uses -= 1;
            self.main.push_back(index);
            return false;
        }
        self.remove(index);
        true
    }

    fn remove(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        self.bytes -= slot.weight();
        let hash = slot.hash;
        (slot.answer, slot.failure, slot.name) = (None, None, DomainName::root());
        if let Ok(entry) = self.table.find_entry(hash, |other| *other == index) {
            entry.remove();
        }
        self.free.push(index);
    }

    fn remember_ghost(&mut self, hash: u64) {
        if self.ghosts.len() >= self.capacity
            && let Some(oldest) = self.ghosts.pop_front()
        {
            self.forget_ghost(oldest);
        }
        if self.ghost_table.find(hash, |ghost| *ghost == hash).is_none() {
            self.ghosts.push_back(hash);
            self.ghost_table.insert_unique(hash, hash, |ghost| *ghost);
        }
    }

    /// Whether the hash was a ghost's; it is none afterwards. Its place in the queue stays until its turn comes.
    fn forget_ghost(&mut self, hash: u64) -> bool {
        match self.ghost_table.find_entry(hash, |ghost| *ghost == hash) {
            Ok(entry) => {
                entry.remove();
                true
            }
            Err(_) => false,
        }
    }
}

impl Slot {
    fn new(hash: u64, key: Key<'_>) -> Self {
        let Key { name, record_type, dnssec, route } = key;
        Self { hash, name: name.to_owned(), record_type, dnssec, route, uses: 0, answer: None, failure: None }
    }

    fn key(&self) -> Key<'_> {
        let name = self.name.as_name();
        Key { name, record_type: self.record_type, dnssec: self.dnssec, route: self.route }
    }

    fn weight(&self) -> usize {
        let answer = self.answer.as_ref().map_or(0, |stored| stored.answer.weight());
        ENTRY_OVERHEAD + self.name.as_wire().len() + answer
    }

    fn stale(&self, now: Instant, longest: Duration) -> Option<Held> {
        let stored = self.answer.as_ref()?;
        let age = now.saturating_duration_since(stored.at);
        let usable = age < stored.answer.lifetime() + longest;
        usable.then(|| Held { answer: stored.answer.clone(), age, stale: true, refresh_due: false })
    }
}

impl Stored {
    fn fresh(&self, now: Instant) -> Option<Held> {
        let age = now.saturating_duration_since(self.at);
        let lifetime = self.answer.lifetime();
        let refresh_due = age >= lifetime.saturating_sub(lifetime / REFRESH_PART);
        (age < lifetime).then(|| Held { answer: self.answer.clone(), age, stale: false, refresh_due })
    }
}

/// More shards than cores that matter, so that two threads seldom want the same lock.
const MAX_SHARDS: usize = 16;
/// Below this a shard's small queue would be of no use.
const MIN_SHARD: usize = 64;
/// Bytes that an entry may take on average; an answer of a few addresses takes about 350.
const BYTES_PER_ENTRY: usize = 512;
/// What an entry takes beside its name and its answer: the slot and its places in table and queue.
const ENTRY_OVERHEAD: usize = size_of::<Slot>() + 32;
/// One part in this many is the small queue.
const SMALL_PART: usize = 10;
/// Uses counted at most: an entry passed over this often in a row leaves the main queue.
const MAX_USES: u8 = 3;
/// How long a failure is remembered, at first and at most; doubled with each in a row (RFC 9520 §3.2).
const FAILURE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30);
/// The last part of its lifetime in which an entry in use is renewed.
const REFRESH_PART: u32 = 10;

#[cfg(test)]
mod tests;
