//! Which policy a start brings into force.

use std::time::SystemTime;

use tracing::error;

use super::{Reading, faults_of, with_idle};
use crate::diagnostic::{Diagnostic, Source};
use crate::policy::compile::{Compiled, Options, load_overlaid};
use crate::policy::kept::Kept;
use crate::policy::overlay::Overlay;
use crate::policy::rollback::Record;
use crate::policy::snapshot::Snapshot;
use crate::policy::store::PolicyState;

/// The policy that a start brings into force.
pub(super) struct First {
    pub(super) state: PolicyState,
    pub(super) snapshot: Snapshot,
    pub(super) files: Option<Vec<Source>>,
    pub(super) faults: Vec<Diagnostic>,
    pub(super) warnings: Vec<Diagnostic>,
}

/// What the first policy is chosen from.
pub(super) struct Chooser<'c> {
    pub(super) kept: &'c Kept,
    pub(super) overlays: &'c [Overlay],
    pub(super) options: &'c Options,
    pub(super) now: SystemTime,
}

impl Chooser<'_> {
    /// The policy of a rollback that is still on, else the one written, else the last good one, else one that denies
    /// everything.
    pub(super) fn choose(&self, seen: &Reading, rollback: Option<&Record>) -> First {
        let written = self.compile(seen.clone());
        if let Some(first) = rollback.and_then(|rollback| self.rolled_back(seen, &written, rollback)) {
            return first;
        }
        let faults = match written {
            Ok(found) => return First::of(PolicyState::Ok, found, Vec::new()),
            Err(found) => faults_of(found),
        };
        if let Ok(found) = self.compile(self.kept.last_good()) {
            return First::of(PolicyState::Degraded, found, faults);
        }
        let snapshot = Snapshot::deny_all(self.options);
        First { state: PolicyState::DenyAll, snapshot, files: None, faults, warnings: Vec::new() }
    }

    /// What a rollback put in force, unless the files changed since and are good, or its own can no longer be had.
    fn rolled_back(
        &self,
        seen: &Reading,
        written: &Result<(Vec<Source>, Compiled), Vec<Diagnostic>>,
        rollback: &Record,
    ) -> Option<First> {
        if written.is_ok() && !rollback.overrides(seen) {
            return None;
        }
        let found = self.compile(self.kept.files(rollback.generation())?);
        let found =
            found.inspect_err(|_| error!(of = rollback.generation(), "the rollback's files cannot be had")).ok()?;
        let faults = written.as_ref().err().cloned().map(faults_of);
        Some(First::of(PolicyState::RolledBack, found, faults.unwrap_or_default()))
    }

    /// The files of a reading, and what they compile to.
    fn compile(&self, reading: Reading) -> Result<(Vec<Source>, Compiled), Vec<Diagnostic>> {
        let files = reading?;
        let overlaid = load_overlaid(files.clone(), self.overlays, self.options, self.now)?;
        Ok((files, with_idle(overlaid)))
    }
}

impl First {
    fn of(state: PolicyState, (files, compiled): (Vec<Source>, Compiled), faults: Vec<Diagnostic>) -> Self {
        let Compiled { snapshot, warnings } = compiled;
        Self { state, snapshot, files: Some(files), faults, warnings }
    }
}
