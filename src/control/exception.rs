//! Entries of the policy files that run out, as the control API and commands say them.

use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::observe::log::timestamp;
use crate::policy::exceptions::Exception;

/// A registry or service with an end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExceptionReport {
    /// Its name.
    pub entry: String,
    /// `registry` or `service`.
    pub kind: String,
    /// When it ends, in UTC (RFC 3339).
    pub expires: String,
    /// Whether it has ended: it is still written in the files, and left out.
    pub ended: bool,
    /// How many whole days it has; 0 also when it has ended.
    pub days_left: u64,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Where it was decided.
    pub ticket: Option<String>,
    /// The groups it is for. Where there are no groups, it is for everyone.
    pub groups: Vec<String>,
    /// Where its end is written.
    pub path: PathBuf,
    /// The line in it.
    pub line: u32,
}

impl ExceptionReport {
    /// What is to be said of `exception` at `now`.
    pub fn of(exception: &Exception, now: SystemTime) -> Self {
        let left = exception.left(now);
        let Exception { entry, kind, expires, owner, ticket, groups, place } = exception.clone();
        Self {
            entry,
            kind: kind.to_string(),
            expires: timestamp(expires),
            ended: left.is_none(),
            days_left: left.unwrap_or_default().as_secs() / 86_400,
            owner,
            ticket,
            groups,
            path: place.path.to_path_buf(),
            line: place.line,
        }
    }
}
