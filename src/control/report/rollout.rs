//! How far groups are from audit to enforcement: `/v1/rollout`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::OverlayReport;

/// `GET /v1/rollout?days=`: what enforcing the policy in force would mean to each group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutReport {
    /// How many days were to be looked at.
    pub days: u32,
    /// How far the history reaches back, in UTC (RFC 3339).
    pub reaches_back_to: String,
    /// In the order of the files; without groups one for everyone.
    pub groups: Vec<GroupRollout>,
}

/// How far a group is on its way from audit to enforcement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRollout {
    /// The group; `None`: everyone, where there are no groups.
    pub group: Option<String>,
    /// `enforce` or `audit`, as it is in force.
    pub mode: String,
    /// The overlay that the mode is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay: Option<OverlayReport>,
    /// Where the group is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The line in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// How many clients asked, of those that the history knows.
    pub clients: usize,
    /// Questions, connections, and requests for images a day.
    pub asked_a_day: u64,
    /// How many of them were denied.
    pub denied_a_day: u64,
    /// How many of them the policy in force would deny, if it were enforced.
    pub would_deny_a_day: u64,
    /// When one of those was asked last, in UTC (RFC 3339).
    pub last_would_deny: Option<String>,
    /// The names that would be denied, those asked for most; not more than a few.
    pub names: Vec<LackedName>,
    /// How many there are of them.
    pub names_in_all: usize,
    /// The images that would be denied, those asked for most; not more than a few.
    #[serde(default)]
    pub images: Vec<LackedName>,
    /// How many there are of them.
    #[serde(default)]
    pub images_in_all: usize,
    /// What a group under audit lacks to be enforced.
    pub missing: Vec<Lack>,
}

/// A name or image that would be denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LackedName {
    /// The name, in presentation form; of an image the registry's, with the repository.
    pub name: String,
    /// How often it was asked for.
    pub count: u64,
    /// When last, in UTC (RFC 3339).
    pub last: String,
}

/// What a group under audit lacks to be enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Lack {
    /// Its clients ask for names that would be denied.
    Names {
        /// How many.
        count: usize,
    },
    /// Its clients ask for images that would be denied.
    Images {
        /// How many.
        count: usize,
    },
    /// Names that the history has not kept would be denied.
    VariousNames {
        /// How often they were asked for.
        times: u64,
    },
    /// The history does not reach back so far.
    History {
        /// How many whole days it reaches back.
        days: u32,
    },
    /// None of its clients asked for anything.
    Silence,
    /// It is under audit by an overlay, which somebody had a reason for.
    Overlay,
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        match self {
            Self::Names { count } => write!(f, "{count} name{} would be denied", plural(*count as u64)),
            Self::Images { count } => write!(f, "{count} image{} would be denied", plural(*count as u64)),
            Self::VariousNames { times } => {
                write!(f, "names that the history has not kept would be denied {times} time{}", plural(*times))
            }
            Self::History { days } => write!(f, "the history reaches back only {days} day{}", plural(u64::from(*days))),
            Self::Silence => f.write_str("none of its clients asked for anything"),
            Self::Overlay => f.write_str("it is under audit by an overlay"),
        }
    }
}
