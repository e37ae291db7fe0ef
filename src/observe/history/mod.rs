//! The last days: who asked for what, what was decided and why, by the hour; and when each rule was last hit.
//!
//! ```text
//! tables of the threads ─add─▶ pending, in memory ─write, every 15 s─▶ a file that a power cut leaves whole
//! ```
//!
//! Bounded in time, in bytes, and in what one client can make it hold: names beyond a number an hour are counted as
//! various ones. Nothing on the path of a query waits for it: what cannot be written is dropped, and counted.

mod pending;
mod report;
mod since;
mod store;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::warn;

pub(super) use self::pending::Fact;
pub use self::report::{DeniedName, HistoryRow, Hour, ImageOfRow, RuleOfRow, RuleUse, Search, Stats, Sum, wanted};
pub use self::since::parse_since;

use self::pending::Pending;
use self::store::Store;
pub use self::store::StoreError;
use crate::config;
use crate::event::Event;
use crate::observe::pulls::Pull;
use crate::observe::rule_hits::RuleKey;

/// What is kept of the last days.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    keep: Duration,
    size: u64,
    store: Mutex<Store>,
    pending: Mutex<Pending>,
    dropped: AtomicU64,
    failing: std::sync::atomic::AtomicBool,
}

/// Why the history cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Its file cannot be opened or made.
    #[error("the history in {} cannot be used: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// It cannot be read.
    #[error("the history cannot be read: {0}")]
    Read(#[source] StoreError),
}

impl History {
    /// Opens the history at `path`, or begins one. A file that is damaged is put aside, under its name with `.damaged`.
    ///
    /// # Errors
    /// The file or its folder cannot be written, or another process has it.
    pub fn open(path: &Path, settings: &config::History) -> Result<Self, HistoryError> {
        let store = Store::open(path).map_err(|source| HistoryError::Open { path: path.to_owned(), source })?;
        Ok(Self {
            path: path.to_owned(),
            keep: settings.keep,
            size: settings.size,
            store: Mutex::new(store),
            pending: Mutex::default(),
            dropped: AtomicU64::new(0),
            failing: std::sync::atomic::AtomicBool::new(false),
        })
    }

    /// Takes what was decided `count` times, to be written with the next ones.
    pub(super) fn add(&self, fact: Fact<'_>, count: u64, now: SystemTime) {
        let lost = lock(&self.pending).add(fact, count, seconds(now));
        self.dropped.fetch_add(lost, Ordering::Relaxed);
    }

    /// Notes what the client of `event` asked for shortly before the name in it, which nothing lists.
    pub(super) fn note(&self, event: &Event, pull: &Pull) {
        lock(&self.pending).note(event, pull);
    }

    /// Writes what is pending, and removes what is too old or too much. What cannot be written is dropped.
    pub fn write(&self) {
        let pending = lock(&self.pending).take();
        if pending.is_empty() {
            return;
        }
        let oldest = SystemTime::now().checked_sub(self.keep).map_or(0, seconds);
        let mut store = lock(&self.store);
        match store.write(&pending, oldest, self.size) {
            Ok(unmatched) => {
                lock(&self.pending).take_back(unmatched);
                self.failing.store(false, Ordering::Relaxed);
            }
            Err(error) => {
                self.dropped.fetch_add(pending.count(), Ordering::Relaxed);
                self.complain(&error);
                if error.is_damage() {
                    store.begin_anew(&self.path);
                }
            }
        }
    }

    /// The rows that `search` wants, oldest hour first; of more than `limit` the newest.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn rows(&self, search: &Search, limit: usize) -> Result<Vec<HistoryRow>, HistoryError> {
        let mut rows = std::collections::VecDeque::new();
        self.each(search, |row| {
            if rows.len() == limit {
                rows.pop_front();
            }
            rows.push_back(row);
        })?;
        Ok(rows.into())
    }

    /// Sums over the rows that `search` wants, with the `top` names that were denied most.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn stats(&self, search: &Search, top: usize) -> Result<Stats, HistoryError> {
        let mut stats = report::Adding::default();
        self.each(search, |row| stats.add(row))?;
        Ok(stats.finish(top, self.reaches_back_to()))
    }

    /// Has `read` see the rows that `search` wants, oldest hour first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn each(&self, search: &Search, mut read: impl FnMut(HistoryRow)) -> Result<(), HistoryError> {
        self.write();
        lock(&self.store).each_row(search.since.map_or(0, seconds), |row| {
            if search.wants(&row) {
                read(row);
            }
        })
    }

    /// When each rule was last hit.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn rules(&self) -> Result<Vec<(RuleKey, SystemTime)>, HistoryError> {
        self.write();
        let rules = lock(&self.store).rules().map_err(HistoryError::Read)?;
        Ok(rules.into_iter().map(|(key, last)| (key, moment(last))).collect())
    }

    /// When hits of rules began to be kept.
    pub fn reaches_back_to(&self) -> SystemTime {
        moment(lock(&self.store).began())
    }

    /// The bytes of its file.
    pub fn bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// Decisions that could not be kept.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Once for as long as it goes on.
    fn complain(&self, error: &StoreError) {
        if !self.failing.swap(true, Ordering::Relaxed) {
            warn!(%error, path = %self.path.display(), "the history cannot be written");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In Unix time; 0 for what was before it.
fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn moment(seconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
