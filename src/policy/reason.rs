//! Why something was decided, in a word: what answers, metrics, the history and machine-readable output have in common.

use crate::policy::judge::{Denial, Permit, Verdict};

/// Why something was decided: one word, as metrics and the history have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// A rule allows it.
    Rule,
    /// It is answered from here.
    Static,
    /// Nothing lists it, and the group forwards such names.
    Forwarded,
    /// A `[[deny]]`.
    Listed,
    /// A rule of an entry that only other groups have.
    OtherGroup,
    /// A known registry that the policy does not allow.
    Catalogue,
    /// A registry on trial.
    OnTrial,
    /// Nothing lists it.
    Unlisted,
    /// No group takes the client.
    NoGroup,
    /// No valid policy could be had.
    NoPolicy,
    /// A CNAME or alias target of the answer is denied.
    Target,
}

impl From<&Verdict<'_>> for Reason {
    fn from(verdict: &Verdict<'_>) -> Self {
        match verdict {
            Verdict::Allow(Permit::Rule(_)) => Self::Rule,
            Verdict::Allow(Permit::Static) => Self::Static,
            Verdict::Allow(Permit::Unlisted) => Self::Forwarded,
            Verdict::Deny(denial) | Verdict::Audit(denial) => Self::from(denial),
        }
    }
}

impl From<&Denial<'_>> for Reason {
    fn from(denial: &Denial<'_>) -> Self {
        match denial {
            Denial::Listed(_) => Self::Listed,
            Denial::OtherGroup(_) => Self::OtherGroup,
            Denial::Catalogue(_) => Self::Catalogue,
            Denial::OnTrial(_) => Self::OnTrial,
            Denial::Unlisted => Self::Unlisted,
            Denial::NoGroup => Self::NoGroup,
            Denial::NoPolicy => Self::NoPolicy,
        }
    }
}

impl Reason {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Static => "static",
            Self::Forwarded => "forwarded",
            Self::Listed => "listed",
            Self::OtherGroup => "other-group",
            Self::Catalogue => "catalogue",
            Self::OnTrial => "on-trial",
            Self::Unlisted => "unlisted",
            Self::NoGroup => "no-group",
            Self::NoPolicy => "no-policy",
            Self::Target => "target",
        }
    }
}
