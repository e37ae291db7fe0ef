//! What is on top of the policy files: `/v1/overlay`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::FaultReport;

/// A change on top of the policy files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayReport {
    /// Tells it from the others; its rule stands at `overlay-` and this.
    pub id: u64,
    /// `allow`, `block` or `mode`.
    pub kind: String,
    /// The name, the pattern, or `enforce` or `audit`.
    pub what: String,
    /// The group it is for; `None`: everyone.
    pub group: Option<String>,
    /// The one client that a mode is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// Who asked for it.
    pub by: String,
    /// Since when, in UTC (RFC 3339).
    pub since: String,
    /// Until when; `None`: until it is ended.
    pub until: Option<String>,
    /// Where it was decided.
    pub ticket: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// `GET /v1/overlay`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlaysReport {
    /// In the order in which they were made.
    pub overlays: Vec<OverlayReport>,
}

/// `POST /v1/overlay` and `DELETE /v1/overlay`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum OverlayOutcomeReport {
    /// It is in force.
    InForce {
        /// The number of the policy now in force.
        generation: u64,
        /// What is on top.
        overlay: Box<OverlayReport>,
        /// What somebody should look at.
        warnings: Vec<FaultReport>,
    },
    /// It has been ended.
    Ended {
        /// The number of the policy now in force.
        generation: u64,
        /// What somebody should look at.
        warnings: Vec<FaultReport>,
    },
    /// Nothing changed.
    Refused {
        /// Why.
        faults: Vec<FaultReport>,
    },
}
