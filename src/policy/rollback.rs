//! A kept policy in force instead of the files of the policy folder, until those change.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Severity};
use crate::policy::kept::fingerprint;
use crate::policy::reload::Reading;
use crate::policy::state_file::StateFile;

/// What is in force instead of the policy files, and who wanted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollback {
    /// The generation whose files are in force.
    pub generation: u64,
    /// Since when.
    pub since: SystemTime,
    /// Who asked for it.
    pub by: String,
}

/// A rollback as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    generation: u64,
    /// In Unix time.
    since: u64,
    by: String,
    /// The fingerprint of the files that it overrides; `None`: they could not be read.
    overrides: Option<String>,
}

impl Record {
    /// A rollback from now on.
    pub(super) fn new(generation: u64, by: &str, overridden: &Reading, now: SystemTime) -> Self {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let overrides = overridden.as_ref().ok().map(|sources| fingerprint(sources));
        Self { generation, since, by: by.to_owned(), overrides }
    }

    /// The generation whose files are in force.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the files are still those that it was made against: as long as they are, it holds.
    pub(super) fn overrides(&self, reading: &Reading) -> bool {
        reading.as_ref().is_ok_and(|sources| self.overrides.as_ref() == Some(&fingerprint(sources)))
    }

    /// To be shown.
    pub(super) fn shown(&self) -> Rollback {
        let since = UNIX_EPOCH.checked_add(Duration::from_secs(self.since)).unwrap_or(UNIX_EPOCH);
        Rollback { generation: self.generation, since, by: self.by.clone() }
    }

    /// Said wherever warnings are, as long as it lasts.
    pub(super) fn warning(&self, state: &Path) -> Diagnostic {
        let message = format!(
            "generation {} is in force by a rollback of {}: the policy files are not",
            self.generation, self.by
        );
        let warning = Diagnostic { severity: Severity::Warning, ..Diagnostic::about(state, message) };
        warning.hint("change the files, or end it with `pullgate policy rollback --end`")
    }
}

/// The file that a rollback is kept in.
pub(super) fn file(state: &Path) -> StateFile {
    StateFile::new(state, "rollback.json")
}
