//! The policy in force: one pointer that every question reads once, and what there is to say about it.
//!
//! Only [`crate::policy::reload`] swaps the pointer. Readers take no lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use arc_swap::{ArcSwap, Guard};
use serde::Serialize;
use tokio::sync::watch;

use crate::diagnostic::Diagnostic;
use crate::policy::overlay::Overlay;
use crate::policy::rollback::Rollback;
use crate::policy::snapshot::{Digest, Snapshot};

/// Holds the policy in force.
#[derive(Debug)]
pub struct PolicyStore {
    current: ArcSwap<InForce>,
    /// Policies that were in force, while something may still hold one: its last holder would have to free it, which takes
    /// milliseconds that no question should.
    retired: Mutex<Vec<Arc<InForce>>>,
    status: watch::Sender<PolicyStatus>,
}

/// A policy in force.
#[derive(Debug)]
pub struct InForce {
    /// The policy.
    pub snapshot: Snapshot,
    /// Counts the policies that were in force, from 1, over restarts; one that decides alike does not count.
    pub generation: u64,
    /// When a policy that decides like this one came into force.
    pub since: SystemTime,
}

/// How well things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyState {
    /// The policy as it is written is in force.
    Ok,
    /// The policy as it is written has faults; an earlier one is in force.
    Degraded,
    /// An earlier policy is in force by a rollback; the policy as it is written may have faults or not.
    RolledBack,
    /// No valid policy could be had; everything is denied.
    DenyAll,
}

/// What there is to say about the policy in force.
#[derive(Clone, Debug)]
pub struct PolicyStatus {
    /// How well things stand.
    pub state: PolicyState,
    /// [`InForce::generation`].
    pub generation: u64,
    /// The digest of the policy in force.
    pub digest: Digest,
    /// [`InForce::since`].
    pub since: SystemTime,
    /// When the policy as it is written was last read, whatever came of it.
    pub loaded: SystemTime,
    /// How many rules are in force.
    pub rules: usize,
    /// Why the policy as it is written is not in force.
    pub faults: Vec<Diagnostic>,
    /// What somebody should look at.
    pub warnings: Vec<Diagnostic>,
    /// By whose rollback an earlier policy is in force.
    pub rollback: Option<Rollback>,
    /// What is on top of it for a while.
    pub overlays: Vec<Overlay>,
    /// How often a policy came into force since the start.
    pub applied: u64,
    /// How often one was refused since the start.
    pub refused: u64,
}

impl PolicyStore {
    /// A store with its first policy.
    pub(super) fn new(snapshot: Snapshot, state: PolicyState, generation: u64, since: SystemTime) -> Self {
        let status = PolicyStatus {
            state,
            generation,
            digest: snapshot.digest(),
            since,
            loaded: since,
            rules: snapshot.rule_count(),
            faults: Vec::new(),
            warnings: Vec::new(),
            rollback: None,
            overlays: Vec::new(),
            applied: 1,
            refused: 0,
        };
        let current = ArcSwap::from_pointee(InForce { snapshot, generation, since });
        Self { current, retired: Mutex::default(), status: watch::Sender::new(status) }
    }

    /// A store whose policy never changes.
    pub fn fixed(snapshot: Snapshot, since: SystemTime) -> Arc<Self> {
        let state = if snapshot.is_deny_all() { PolicyState::DenyAll } else { PolicyState::Ok };
        Arc::new(Self::new(snapshot, state, 1, since))
    }

    /// The policy in force. A question takes it once and is judged by nothing else.
    pub fn current(&self) -> Guard<Arc<InForce>> {
        self.current.load()
    }

    /// What there is to say about it.
    pub fn status(&self) -> PolicyStatus {
        self.status.borrow().clone()
    }

    /// The status, and every change of it.
    pub fn subscribe(&self) -> watch::Receiver<PolicyStatus> {
        self.status.subscribe()
    }

    /// Puts a policy in force, as the next generation unless it decides like the one before: then its rules only stand
    /// at other places. `change` is made to the status in the same step. The new generation, or `None`.
    pub(super) fn swap(
        &self,
        snapshot: Snapshot,
        now: SystemTime,
        change: impl FnOnce(&mut PolicyStatus),
    ) -> Option<u64> {
        let before = self.current.load();
        let (digest, rules) = (snapshot.digest(), snapshot.rule_count());
        let is_new = digest != before.snapshot.digest();
        let (generation, since) = if is_new { (before.generation + 1, now) } else { (before.generation, before.since) };
        self.retired().push(self.current.swap(Arc::new(InForce { snapshot, generation, since })));
        self.status.send_modify(|status| {
            let applied = status.applied + u64::from(is_new);
            *status = PolicyStatus { generation, digest, since, rules, applied, ..status.clone() };
            change(status);
        });
        is_new.then_some(generation)
    }

    /// Frees the policies that nothing holds any more.
    pub(super) fn free_retired(&self) {
        self.retired().retain(|policy| Arc::strong_count(policy) > 1);
    }

    fn retired(&self) -> MutexGuard<'_, Vec<Arc<InForce>>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is said about the policy in force.
    pub(super) fn report(&self, change: impl FnOnce(&mut PolicyStatus)) {
        self.status.send_modify(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::compile::Options;

    #[test]
    fn a_policy_that_a_question_still_holds_is_not_freed_by_it() {
        let now = SystemTime::UNIX_EPOCH;
        let store = PolicyStore::fixed(Snapshot::deny_all(&Options::default()), now);
        let held = Guard::into_inner(store.current());
        let observed = Arc::downgrade(&held);
        store.swap(Snapshot::deny_all(&Options::default()), now, |_| {});
        store.free_retired();
        drop(held);
        assert!(observed.upgrade().is_some(), "it is left to whoever reloads");
        store.free_retired();
        assert!(observed.upgrade().is_none());
    }
}
