//! Denied names that several clients ask for: counted from what the threads tally, bounded in names and clients.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::event::Decision;
use crate::event::tally::Counted;
use crate::name::{DomainName, NameRef};

/// Who asked for which denied name within the hour.
#[derive(Debug)]
pub struct NewNames {
    /// At how many clients a name is worth telling.
    thresholds: BTreeSet<usize>,
    inner: Mutex<Inner>,
    unwatched: AtomicU64,
}

/// A name that more clients were denied than a signal's `clients`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) name: DomainName,
    /// The signal's `clients`.
    pub(super) more_than: usize,
    /// When the first of them asked.
    pub(super) since: SystemTime,
}

#[derive(Debug, Default)]
struct Inner {
    names: HashMap<DomainName, Asked>,
    /// How many of the names a client was the first to ask for.
    brought: HashMap<IpAddr, usize>,
    candidates: Vec<Candidate>,
    swept: Option<SystemTime>,
}

#[derive(Debug)]
struct Asked {
    since: SystemTime,
    clients: Vec<IpAddr>,
    by: IpAddr,
}

impl NewNames {
    /// Watches for names that more clients ask for than one of `thresholds`.
    pub(super) fn new(thresholds: impl IntoIterator<Item = usize>) -> Self {
        Self { thresholds: thresholds.into_iter().collect(), inner: Mutex::default(), unwatched: AtomicU64::new(0) }
    }

    /// Whether nobody wants to know.
    pub(super) fn is_idle(&self) -> bool {
        self.thresholds.is_empty()
    }

    /// Takes what was decided.
    pub(in crate::observe) fn add(&self, row: &Counted<'_>, now: SystemTime) {
        if let (Decision::Deny, Some((client, name))) = (row.facts.decision, row.about) {
            self.note(client, name, now);
        }
    }

    /// The names that have become worth telling.
    pub(super) fn take(&self) -> Vec<Candidate> {
        std::mem::take(&mut self.lock().candidates)
    }

    /// Denied names that were not watched, since there were too many.
    pub(in crate::observe) fn unwatched(&self) -> u64 {
        self.unwatched.load(Ordering::Relaxed)
    }

    fn note(&self, client: IpAddr, name: NameRef<'_>, now: SystemTime) {
        let mut inner = self.lock();
        inner.sweep(now);
        if let Some(asked) = inner.names.get_mut(name.as_wire()) {
            let most = self.thresholds.last().map_or(0, |most| most + 1);
            if asked.clients.len() >= most || asked.clients.contains(&client) {
                return;
            }
            asked.clients.push(client);
            let (clients, since) = (asked.clients.len(), asked.since);
            if let Some(&more_than) = clients.checked_sub(1).and_then(|passed| self.thresholds.get(&passed)) {
                if inner.candidates.len() < MAX_CANDIDATES {
                    inner.candidates.push(Candidate { name: name.to_owned(), more_than, since });
                } else {
                    self.unwatched.fetch_add(1, Ordering::Relaxed);
                }
            }
        } else if inner.has_room_for(client) {
            *inner.brought.entry(client).or_default() += 1;
            inner.names.insert(name.to_owned(), Asked { since: now, clients: vec![client], by: client });
        } else {
            self.unwatched.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// One client that asks for names at random is not to take the room of all.
    fn has_room_for(&self, client: IpAddr) -> bool {
        self.names.len() < MAX_NAMES && self.brought.get(&client).is_none_or(|brought| *brought < MAX_OF_A_CLIENT)
    }

    /// Forgets what is older than an hour; looks for it now and then only.
    fn sweep(&mut self, now: SystemTime) {
        let age = |at: SystemTime| now.duration_since(at).unwrap_or_default();
        if self.swept.is_some_and(|swept| age(swept) < BETWEEN_SWEEPS) {
            return;
        }
        self.swept = Some(now);
        let Self { names, brought, .. } = self;
        names.retain(|_, asked| {
            let stays = age(asked.since) < HOUR;
            if !stays && let Some(count) = brought.get_mut(&asked.by) {
                *count -= 1;
            }
            stays
        });
        brought.retain(|_, count| *count > 0);
    }
}

const HOUR: Duration = Duration::from_secs(60 * 60);
const BETWEEN_SWEEPS: Duration = Duration::from_secs(60);
/// Some megabytes.
const MAX_NAMES: usize = 16_384;
const MAX_OF_A_CLIENT: usize = 512;
/// Between two looks, a second apart.
const MAX_CANDIDATES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn note(names: &NewNames, client: u8, name: &str, seconds: u64) {
        let name: DomainName = name.parse().unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        names.note(IpAddr::from([10, 0, 0, client]), name.as_name(), now);
    }

    fn told(names: &NewNames) -> Vec<(String, usize)> {
        names.take().into_iter().map(|candidate| (candidate.name.to_string(), candidate.more_than)).collect()
    }

    #[test]
    fn a_name_is_told_once_more_clients_asked_for_it_than_somebody_wants_to_know() {
        let names = NewNames::new([3, 1]);
        for client in [1, 1, 1, 2] {
            note(&names, client, "a.example", 0);
        }
        assert_eq!(told(&names), [("a.example".to_owned(), 1)]);
        note(&names, 3, "a.example", 0);
        assert_eq!(told(&names), []);
        (4..20).for_each(|client| note(&names, client, "a.example", 0));
        assert_eq!(told(&names), [("a.example".to_owned(), 3)]);
    }

    #[test]
    fn clients_of_another_hour_do_not_count() {
        let names = NewNames::new([1]);
        note(&names, 1, "a.example", 0);
        note(&names, 2, "a.example", 3601);
        assert_eq!(told(&names), []);
        note(&names, 3, "a.example", 3700);
        assert_eq!(told(&names).len(), 1);
    }

    #[test]
    fn a_client_that_asks_for_names_at_random_takes_no_room_from_others() {
        let names = NewNames::new([1]);
        for number in 0..2000 {
            note(&names, 1, &format!("x{number}.example"), 0);
        }
        assert_eq!(names.lock().names.len(), MAX_OF_A_CLIENT);
        assert_eq!(names.unwatched(), 2000 - MAX_OF_A_CLIENT as u64);
        note(&names, 2, "a.example", 0);
        note(&names, 3, "a.example", 0);
        assert_eq!(told(&names).len(), 1);
        note(&names, 1, "later.example", 3700);
        assert_eq!(names.lock().brought.len(), 1, "what is past is forgotten");
    }
}
