//! Policies that come, came and would come into force: `/v1/reload`, `/v1/policy/history`, and what was asked, replayed.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Badge, Change, Direction, FaultReport, ImageOfRow, RollbackReport, RuleReport, VerdictWord};
use crate::observe::history::wanted;

/// `GET /v1/policy/history`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyHistoryReport {
    /// The kept policies, newest first.
    pub generations: Vec<KeptReport>,
    /// The rollback that is on.
    pub rollback: Option<RollbackReport>,
}

/// A policy whose files are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptReport {
    /// Its generation, to roll back to.
    pub generation: u64,
    /// When it came into force, in UTC (RFC 3339).
    pub since: String,
    /// The digest of what it decided then.
    pub digest: String,
    /// Whether its files are in force.
    pub in_force: bool,
}

/// `POST /v1/reload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum ReloadReport {
    /// The files are in force now.
    Applied {
        /// The number of the policy now in force.
        generation: u64,
        /// What somebody should look at.
        warnings: Vec<FaultReport>,
    },
    /// The files say what is in force already.
    Unchanged {
        /// The number of the policy in force.
        generation: u64,
        /// What somebody should look at.
        warnings: Vec<FaultReport>,
    },
    /// The files are faulty; what was in force stays.
    Refused {
        /// Every fault.
        faults: Vec<FaultReport>,
    },
}

/// `POST /v1/reload?dry-run=true`: what a reload would come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum DryRunReport {
    /// The files would come into force.
    WouldApply {
        /// Every verdict that would change; none: only other terms of the entries would.
        changes: Vec<Change>,
        /// What of the last hours' questions would be decided otherwise, where that was asked for and a history is kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replay: Option<ReplayReport>,
        /// What somebody should look at.
        warnings: Vec<FaultReport>,
    },
    /// The files say what is in force already.
    Unchanged {
        /// What somebody should look at.
        warnings: Vec<FaultReport>,
    },
    /// The files are faulty and would be refused.
    Refused {
        /// Every fault.
        faults: Vec<FaultReport>,
    },
}

/// `GET /v1/asked?since=`: what was asked, and what the policy files in force say to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedReport {
    /// How far the history reaches back, in UTC (RFC 3339).
    pub reaches_back_to: String,
    /// Those asked most first.
    pub topics: Vec<AskedTopic>,
    /// How often names were asked for that are not among them: not kept, or beyond what is told.
    pub left_out: u64,
}

/// A name that a client asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedTopic {
    /// Who asked; `None`: various clients.
    pub client: Option<IpAddr>,
    /// The group that the client was in.
    pub group: Option<String>,
    /// Whether its address alone puts it there.
    pub is_by_address: bool,
    /// The name, in presentation form.
    pub name: String,
    /// The image there that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageOfRow>,
    /// What the Hub said of its namespace, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub badge: Option<Badge>,
    /// What the policy files in force say to it, without what is on top of them.
    pub verdict: VerdictWord,
    /// How often.
    pub count: u64,
    /// When last, in UTC (RFC 3339).
    pub last: String,
}

/// What of the questions of the last hours would be decided otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayReport {
    /// Since when was looked: so long ago.
    pub since: String,
    /// How far the history reaches back, in UTC (RFC 3339).
    pub reaches_back_to: String,
    /// How many questions and connections were judged again.
    pub replayed: u64,
    /// How many could not be: for names or clients that the history has not kept.
    pub not_replayed: u64,
    /// What would be decided otherwise, those of most questions first; not more than a thousand.
    pub flips: Vec<FlipReport>,
    /// How many there are.
    pub flips_in_all: usize,
}

/// A name, or an image, that a group's clients asked for and that would be decided otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlipReport {
    /// The name, in presentation form.
    pub name: String,
    /// The image there, if it is not the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageOfRow>,
    /// The group that the clients were in.
    pub group: Option<String>,
    /// What is decided now.
    pub old: VerdictWord,
    /// What would be.
    pub new: VerdictWord,
    /// Which way that goes.
    pub direction: Direction,
    /// How often it was asked for.
    pub count: u64,
    /// Some of the clients, ten at most.
    pub clients: Vec<IpAddr>,
    /// When last, in UTC (RFC 3339).
    pub last: String,
    /// Why it would be decided so, in a few words.
    pub reason: String,
    /// The rule that would decide.
    pub rule: Option<RuleReport>,
}

impl FlipReport {
    /// The name, or the image there.
    pub fn wanted(&self) -> String {
        wanted(&self.name, self.image.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_says_its_result_in_one_word() {
        let report = ReloadReport::Unchanged { generation: 3, warnings: Vec::new() };
        assert_eq!(serde_json::to_string(&report).unwrap(), r#"{"result":"unchanged","generation":3,"warnings":[]}"#);
    }
}
