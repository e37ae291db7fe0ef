//! How many were decided in each of the last seconds: what a plot is drawn of. Kept whether or not somebody looks, so that
//! who opens the page sees how it came to this.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::event::Decision;

/// What was decided within a second, or from one look at the counters to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Its number, from 1 at the start: what a reader has seen.
    pub number: u64,
    /// Its end, in Unix time, in milliseconds.
    pub at: u64,
    /// How many were allowed.
    pub allowed: u64,
    /// How many were denied.
    pub denied: u64,
    /// How many resolved only because of audit.
    pub audited: u64,
}

/// The last five minutes, oldest first.
#[derive(Debug, Default)]
pub struct Trend {
    moments: VecDeque<Moment>,
    sums: Sums,
}

/// All that was decided since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    allowed: u64,
    denied: u64,
    audited: u64,
}

impl Trend {
    /// Takes how often each thing has been decided by `now`.
    pub(super) fn take(&mut self, now: SystemTime, decided: impl IntoIterator<Item = (Decision, u64)>) {
        let before = std::mem::take(&mut self.sums);
        for (decision, count) in decided {
            match decision {
                Decision::Allow => self.sums.allowed += count,
                Decision::Deny => self.sums.denied += count,
                Decision::Audit => self.sums.audited += count,
            }
        }
        let at = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let moment = Moment {
            number: self.newest() + 1,
            at: u64::try_from(at).unwrap_or(u64::MAX),
            allowed: self.sums.allowed.saturating_sub(before.allowed),
            denied: self.sums.denied.saturating_sub(before.denied),
            audited: self.sums.audited.saturating_sub(before.audited),
        };
        if self.moments.len() == CAPACITY {
            self.moments.pop_front();
        }
        self.moments.push_back(moment);
    }

    /// What is kept beyond the number that a reader has seen last.
    pub fn since(&self, seen: u64) -> Vec<Moment> {
        self.moments.iter().filter(|moment| moment.number > seen).copied().collect()
    }

    fn newest(&self) -> u64 {
        self.moments.back().map_or(0, |moment| moment.number)
    }
}

/// Five minutes of seconds.
const CAPACITY: usize = 300;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn second(number: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(number)
    }

    #[test]
    fn a_moment_has_what_was_decided_since_the_one_before() {
        let mut trend = Trend::default();
        trend.take(second(1), [(Decision::Allow, 5), (Decision::Deny, 1)]);
        trend.take(second(2), [(Decision::Allow, 7), (Decision::Deny, 1), (Decision::Audit, 4), (Decision::Allow, 1)]);
        let seen = trend.since(1);
        assert_eq!(seen, [Moment { number: 2, at: 2000, allowed: 3, denied: 0, audited: 4 }]);
        assert_eq!(trend.since(2), []);
    }

    #[test]
    fn the_oldest_moment_makes_room_and_numbers_go_on() {
        let mut trend = Trend::default();
        for number in 1..=CAPACITY as u64 + 2 {
            trend.take(second(number), []);
        }
        let kept = trend.since(0);
        assert_eq!((kept.len(), kept[0].number, kept[CAPACITY - 1].number), (CAPACITY, 3, CAPACITY as u64 + 2));
    }
}
