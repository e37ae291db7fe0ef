//! What was asked and denied: `/v1/log`, `/v1/history`, `/v1/unused`, `/v1/denied`.

use serde::{Deserialize, Serialize};

use super::{Addition, DeniedName, HistoryRow, Hour, LogEntry, PolicyRule, VerdictWord};

/// `GET /v1/log`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogReport {
    /// Oldest first.
    pub entries: Vec<LogEntry>,
}

/// `GET /v1/history?since=&client=&group=&name=&verdict=&limit=`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryReport {
    /// How far the history reaches back, in UTC (RFC 3339).
    pub reaches_back_to: String,
    /// Oldest hour first.
    pub rows: Vec<HistoryRow>,
}

/// `GET /v1/unused?days=`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnusedReport {
    /// For how many days nothing hit these rules.
    pub days: u32,
    /// How far the history reaches back, in UTC (RFC 3339).
    pub reaches_back_to: String,
    /// Whether it reaches back so many days.
    pub is_complete: bool,
    /// The rules, in the order of the files.
    pub rules: Vec<PolicyRule>,
    /// How many there are beyond as many as were asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: usize,
}

/// `GET /v1/denied?since=&top=`: what was denied most, and what the policy in force says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeniedReport {
    /// Where it is from.
    pub source: DeniedSource,
    /// How much was decided in each hour; only the history knows.
    pub hours: Vec<Hour>,
    /// The names, those denied most first.
    pub names: Vec<DeniedToday>,
}

/// Where a report on what was denied is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeniedSource {
    /// The history.
    History,
    /// The last entries of the log, in memory.
    Log,
}

/// A name that was denied, and what holds now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeniedToday {
    /// What happened.
    #[serde(flatten)]
    pub denied: DeniedName,
    /// What the policy in force would decide, for one of its clients.
    pub verdict_now: VerdictWord,
    /// Why, in a few words.
    pub why: Option<String>,
    /// What would allow it.
    pub hint: Option<String>,
    /// The lines that would.
    pub add: Option<Addition>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}
