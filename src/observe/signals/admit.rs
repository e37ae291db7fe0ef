//! How much is told: the same thing once an hour, and not more in a minute than somebody reads.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::message::{News, Status};
use crate::config::SignalKind;

/// What was told, and when.
#[derive(Debug, Default)]
pub(super) struct Limits {
    told: HashMap<(SignalKind, String), Told>,
    /// The messages of the last minute.
    minute: VecDeque<Instant>,
    held_back: u64,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    at: Instant,
    goes_on: bool,
}

impl Limits {
    /// Whether some news are told now; then how much was not told before.
    pub(super) fn admit(&mut self, news: &News, now: Instant) -> Option<u64> {
        let key = (news.kind, news.key.clone());
        if news.status == Status::Resolved {
            return self.resolve(&key).then(|| std::mem::take(&mut self.held_back));
        }
        self.forget(now);
        let is_known = self.told.get(&key).is_some_and(|told| is_within(HOUR, told.at, now));
        if is_known || self.minute.len() >= MAX_A_MINUTE {
            self.held_back += 1;
            return None;
        }
        self.told.insert(key, Told { at: now, goes_on: true });
        self.minute.push_back(now);
        Some(std::mem::take(&mut self.held_back))
    }

    /// Whether it was told of something that it goes on.
    fn resolve(&mut self, key: &(SignalKind, String)) -> bool {
        let Some(told) = self.told.get_mut(key) else { return false };
        std::mem::replace(&mut told.goes_on, false)
    }

    /// Forgets what may be told anew; of what goes on, only after a day, for its end is still to be told.
    fn forget(&mut self, now: Instant) {
        let stays = |(kind, _): &(SignalKind, String), told: &Told| {
            is_within(HOUR, told.at, now) || told.goes_on && ends(*kind) && is_within(DAY, told.at, now)
        };
        self.told.retain(|key, told| stays(key, told));
        while self.told.len() >= MAX_TOLD {
            let oldest = self.told.iter().min_by_key(|(_, told)| told.at).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| self.told.remove(&oldest));
        }
        while self.minute.front().is_some_and(|at| !is_within(MINUTE, *at, now)) {
            self.minute.pop_front();
        }
    }
}

fn is_within(time: Duration, at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < time
}

/// Whether news of this kind are followed by that it is over.
fn ends(kind: SignalKind) -> bool {
    match kind {
        SignalKind::Refused | SignalKind::Degraded | SignalKind::UpstreamDown => true,
        SignalKind::NewDeniedName | SignalKind::Expiring => false,
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Of all kinds together; what has ended is told beside them, once for each.
const MAX_A_MINUTE: usize = 10;
/// Twice what can be told in an hour.
const MAX_TOLD: usize = 1200;

#[cfg(test)]
mod tests {
    use super::super::message::Details;
    use super::*;

    fn news(key: &str, status: Status) -> News {
        News {
            kind: SignalKind::UpstreamDown,
            key: key.to_owned(),
            status,
            summary: String::new(),
            details: Details::default(),
        }
    }

    #[test]
    fn the_same_is_told_once_an_hour_and_what_was_held_back_is_counted() {
        let mut limits = Limits::default();
        let now = Instant::now();
        assert_eq!(limits.admit(&news("a", Status::Firing), now), Some(0));
        assert_eq!(limits.admit(&news("a", Status::Firing), now + MINUTE), None);
        assert_eq!(limits.admit(&news("b", Status::Firing), now + MINUTE), Some(1));
        assert_eq!(limits.admit(&news("a", Status::Firing), now + HOUR), Some(0), "it still goes on");
    }

    #[test]
    fn an_end_is_told_once_and_only_of_what_was_told() {
        let mut limits = Limits::default();
        let now = Instant::now();
        assert_eq!(limits.admit(&news("a", Status::Resolved), now), None);
        assert_eq!(limits.admit(&news("a", Status::Firing), now), Some(0));
        assert_eq!(limits.admit(&news("a", Status::Resolved), now), Some(0));
        assert_eq!(limits.admit(&news("a", Status::Resolved), now), None);
        assert_eq!(limits.admit(&news("a", Status::Firing), now), None, "it comes and goes");
        assert_eq!(limits.admit(&news("a", Status::Resolved), now), None);
    }

    #[test]
    fn not_more_is_told_in_a_minute_than_somebody_reads() {
        let mut limits = Limits::default();
        let now = Instant::now();
        let told = (0..100).filter(|key| limits.admit(&news(&key.to_string(), Status::Firing), now).is_some());
        assert_eq!(told.count(), MAX_A_MINUTE);
        assert_eq!(limits.admit(&news("later", Status::Firing), now + MINUTE), Some(90));
    }
}
