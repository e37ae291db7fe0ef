//! How the server is: `/v1/status`, and a test of its signals.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{ExceptionReport, FaultReport, OverlayReport};

/// `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// How it is.
    pub state: State,
    /// The number of the policy in force.
    pub generation: u64,
    /// The digest of the effective policy.
    pub digest: String,
    /// Since when it is in force, in UTC (RFC 3339).
    pub since: String,
    /// What the resolver listens on, as bound.
    pub listen: Vec<ListenReport>,
    /// How many rules are in force.
    pub rules: usize,
    /// The groups for which names that nothing lists resolve.
    pub forwards_unlisted: Vec<String>,
    /// By whose rollback an earlier policy is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RollbackReport>,
    /// What is on top of it for a while.
    #[serde(default)]
    pub overlays: Vec<OverlayReport>,
    /// The entries of the files that end, and those that have and are still written; the soonest first.
    #[serde(default)]
    pub exceptions: Vec<ExceptionReport>,
    /// Why the files on disk are not in force.
    pub faults: Vec<FaultReport>,
    /// What somebody should look at in the files in force.
    pub warnings: Vec<FaultReport>,
    /// The program's version.
    pub version: String,
    /// The server's process.
    pub pid: u32,
    /// Since when it runs, in UTC (RFC 3339).
    pub started: String,
}

/// How the resolver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The files on disk are in force.
    Ok,
    /// They are faulty; an earlier policy is in force.
    Degraded,
    /// An earlier policy is in force by a rollback.
    RolledBack,
    /// There is no policy that could be in force: everything is denied.
    DenyAll,
}

/// A kept policy in force instead of the files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackReport {
    /// The generation whose files are in force.
    pub generation: u64,
    /// Since when, in UTC (RFC 3339).
    pub since: String,
    /// Who asked for it.
    pub by: String,
}

/// One bound listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenReport {
    /// The address as bound: its port is never 0.
    pub address: SocketAddr,
    /// `udp`, `tcp`, `tls` or `https`.
    pub transport: String,
}

/// `POST /v1/signal/test`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalsReport {
    /// In the order of the settings; none: nobody is told anything.
    pub signals: Vec<SignalReport>,
}

/// How a test to one receiver of signals went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalReport {
    /// The webhook without its path, or the program.
    pub to: String,
    /// Why it did not arrive.
    pub error: Option<String>,
}
