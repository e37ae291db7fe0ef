//! What becomes of the policy: refused files, a start without them, entries that run out.

use std::time::SystemTime;

use super::message::{Details, Fault, News, Status, in_a_line};
use crate::config::SignalKind;
use crate::policy::exceptions::{Exception, Reminders, in_words};
use crate::policy::store::{PolicyState, PolicyStatus};

/// What was known of the policy.
#[derive(Debug, Default)]
pub(super) struct PolicyWatch {
    /// How often one had been refused.
    refused: u64,
    /// The refusals that were told and go on, by their keys.
    open: Vec<String>,
    is_degraded: bool,
    reminders: Reminders,
}

impl PolicyWatch {
    /// What there is to say of the start.
    pub(super) fn begin(&mut self, status: &PolicyStatus) -> Option<News> {
        self.refused = status.refused;
        let what = match status.state {
            PolicyState::Ok | PolicyState::RolledBack => return None,
            PolicyState::Degraded => "started with the last good policy, the files have faults",
            PolicyState::DenyAll => "started without any policy and denies every name",
        };
        self.is_degraded = true;
        let summary = format!("{what}: {}", in_a_line(&status.faults));
        Some(degraded(Status::Firing, summary, Fault::all(&status.faults)))
    }

    /// What is new by this status.
    pub(super) fn follow(&mut self, status: &PolicyStatus) -> Vec<News> {
        let mut news = Vec::new();
        if status.refused > self.refused && !status.faults.is_empty() {
            let first = in_a_line(&status.faults);
            let summary = format!("the policy files are refused, the policy before stays: {first}");
            news.push(refused(first.clone(), Status::Firing, summary, Fault::all(&status.faults)));
            if self.open.len() < MAX_OPEN && !self.open.contains(&first) {
                self.open.push(first);
            }
        }
        self.refused = status.refused;
        if status.faults.is_empty() {
            let mended = |key| {
                let summary = "the policy files are good again".to_owned();
                refused(key, Status::Resolved, summary, Vec::new())
            };
            news.extend(self.open.drain(..).map(mended));
        }
        if self.is_degraded && status.state == PolicyState::Ok {
            self.is_degraded = false;
            news.push(degraded(Status::Resolved, "the policy files are in force".to_owned(), Vec::new()));
        }
        news
    }

    /// What runs out.
    pub(super) fn remind(&mut self, exceptions: &[Exception], now: SystemTime) -> Vec<News> {
        let due = self.reminders.due(exceptions, now).into_iter();
        due.map(|(notice, exception)| {
            News::of_ending(notice, exception, &in_words(exception.left(now).unwrap_or_default()))
        })
        .collect()
    }
}

fn refused(key: String, status: Status, summary: String, faults: Vec<Fault>) -> News {
    let details = Details { faults, ..Details::default() };
    News { kind: SignalKind::Refused, key, status, summary, details }
}

fn degraded(status: Status, summary: String, faults: Vec<Fault>) -> News {
    let details = Details { faults, ..Details::default() };
    News { kind: SignalKind::Degraded, key: String::new(), status, summary, details }
}

/// Nobody mends more files than this before one of them is good.
const MAX_OPEN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Diagnostic;
    use crate::policy::compile::Options;
    use crate::policy::snapshot::Snapshot;
    use crate::policy::store::PolicyStore;

    fn status(state: PolicyState, refused: u64, faults: &[&str]) -> PolicyStatus {
        let store = PolicyStore::fixed(Snapshot::deny_all(&Options::default()), SystemTime::UNIX_EPOCH);
        let faults = faults.iter().map(|fault| Diagnostic::about("p.toml", *fault)).collect();
        PolicyStatus { state, faults, refused, ..store.status() }
    }

    fn said(news: impl IntoIterator<Item = News>) -> Vec<(SignalKind, Status, String)> {
        news.into_iter().map(|news| (news.kind, news.status, news.summary)).collect()
    }

    #[test]
    fn a_refusal_is_told_with_its_fault_and_so_is_its_end() {
        let mut watch = PolicyWatch::default();
        assert_eq!(watch.begin(&status(PolicyState::Ok, 0, &[])), None);
        let told = said(watch.follow(&status(PolicyState::Degraded, 1, &["bad", "worse"])));
        assert_eq!((told.len(), told[0].0, told[0].1), (1, SignalKind::Refused, Status::Firing));
        assert!(told[0].2.contains("bad (and 1 more)"), "{told:?}");
        assert_eq!(said(watch.follow(&status(PolicyState::Degraded, 1, &["bad", "worse"]))), []);
        let told = said(watch.follow(&status(PolicyState::Ok, 1, &[])));
        assert_eq!((told.len(), told[0].1), (1, Status::Resolved));
    }

    #[test]
    fn a_start_without_the_files_is_told_and_so_is_that_they_are_in_force() {
        for state in [PolicyState::Degraded, PolicyState::DenyAll] {
            let mut watch = PolicyWatch::default();
            let begun = watch.begin(&status(state, 0, &["bad"])).unwrap();
            assert_eq!((begun.kind, begun.status), (SignalKind::Degraded, Status::Firing));
            assert!(begun.summary.contains("bad"), "{}", begun.summary);
            let told = said(watch.follow(&status(PolicyState::Ok, 0, &[])));
            assert_eq!((told.len(), told[0].0, told[0].1), (1, SignalKind::Degraded, Status::Resolved));
        }
    }
}
