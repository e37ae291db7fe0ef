//! How often each thing was decided about images, for whom: a table that the gateway writes and an observer takes away.
//!
//! A request for an image costs a round trip to its registry, so one table for all threads, behind a lock, is enough. It is
//! bounded: what has no room is counted without its client and repository, and when that has none either, as lost.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::event::Decision;
use crate::name::DomainName;

/// What was decided about images since it was last taken.
#[derive(Debug, Default)]
pub struct ImageTally {
    table: Mutex<ImageTable>,
}

/// What one taking finds.
#[derive(Debug, Default)]
pub struct ImageTable {
    /// How often each was decided.
    pub rows: HashMap<ImageDecided, u64>,
    /// Decisions that found no room.
    pub lost: u64,
}

/// One thing that was decided about an image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageDecided {
    /// For whom and where; `None`: for various clients.
    pub about: Option<ImageSubject>,
    /// The client's group.
    pub group: Option<String>,
    /// What is done: `pull`, `push`, `catalog`, `search`; `request` for what no registry has.
    pub action: &'static str,
    /// What was decided.
    pub decision: Decision,
    /// Why, in a word.
    pub reason: &'static str,
    /// The key of the policy that decided.
    pub key: Option<ImageKey>,
}

/// An image, and who wants it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageSubject {
    /// Who asked.
    pub client: IpAddr,
    /// The registry's host.
    pub host: DomainName,
    /// The repository; empty for what is about none.
    pub repository: String,
}

/// A key of an `[[images]]` as it is known from one policy to the next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageKey {
    /// The registry's name in the policy.
    pub registry: String,
    /// The key with its value: `allow = "prom/*"`.
    pub text: String,
}

impl ImageTally {
    /// Counts one decision.
    pub(crate) fn add(&self, decided: ImageDecided) {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).add(decided);
    }

    /// What has been counted, and an empty table in its place.
    pub fn take(&self) -> ImageTable {
        std::mem::take(&mut self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ImageTable {
    fn add(&mut self, decided: ImageDecided) {
        if self.has_room(&decided, ROWS_ABOUT_SOMEBODY) {
            *self.rows.entry(decided).or_default() += 1;
            return;
        }
        let of_various = ImageDecided { about: None, ..decided };
        if self.has_room(&of_various, ROWS) {
            *self.rows.entry(of_various).or_default() += 1;
        } else {
            self.lost += 1;
        }
    }

    /// Whether it has a row, or `most` are not there yet.
    fn has_room(&self, decided: &ImageDecided, most: usize) -> bool {
        self.rows.len() < most || self.rows.contains_key(decided)
    }
}

/// What may be decided differently in a second; some 2 MB of names.
const ROWS: usize = 4096;
/// Of these, how many may be about one client and one repository.
const ROWS_ABOUT_SOMEBODY: usize = ROWS / 4 * 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(repository: usize, reason: &'static str) -> ImageDecided {
        let subject = ImageSubject {
            client: [10, 0, 0, 1].into(),
            host: "hub.example".parse().unwrap(),
            repository: format!("team/app-{repository}"),
        };
        ImageDecided {
            about: Some(subject),
            group: None,
            action: "pull",
            decision: Decision::Deny,
            reason,
            key: Some(ImageKey { registry: "hub".to_owned(), text: String::new() }),
        }
    }

    #[test]
    fn what_is_taken_is_counted_once() {
        let tally = ImageTally::default();
        for repository in [1, 2, 1] {
            tally.add(decided(repository, "listed"));
        }
        let table = tally.take();
        assert_eq!((table.rows[&decided(1, "listed")], table.rows[&decided(2, "listed")]), (2, 1));
        assert!(tally.take().rows.is_empty());
    }

    #[test]
    fn a_flood_of_repositories_costs_no_number_and_what_was_known_goes_on() {
        let tally = ImageTally::default();
        for repository in 0..2 * ROWS {
            tally.add(decided(repository, "listed"));
        }
        tally.add(decided(0, "listed"));
        let ImageTable { rows, lost } = tally.take();
        let various = ImageDecided { about: None, ..decided(0, "listed") };
        assert_eq!((rows.len(), lost), (ROWS_ABOUT_SOMEBODY + 1, 0));
        assert_eq!(rows[&various], (2 * ROWS - ROWS_ABOUT_SOMEBODY) as u64);
        assert_eq!(rows[&decided(0, "listed")], 2);
    }

    #[test]
    fn what_finds_no_room_at_all_is_lost_and_counted() {
        let mut table = ImageTable::default();
        for registry in 0..=ROWS {
            let key = Some(ImageKey { registry: registry.to_string(), text: String::new() });
            table.add(ImageDecided { about: None, key, ..decided(0, "listed") });
        }
        assert_eq!((table.rows.len(), table.lost), (ROWS, 1));
    }
}
