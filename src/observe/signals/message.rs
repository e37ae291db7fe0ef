//! What is told: one schema for webhooks and commands.

use serde::Serialize;

use crate::config::SignalKind;
use crate::diagnostic::Diagnostic;
use crate::observe::log::timestamp;
use crate::policy::exceptions::{Exception, Notice};

/// Something that somebody should know, before it is decided whether they are told now.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct News {
    pub(super) kind: SignalKind,
    /// Tells it from other news of its kind.
    pub(super) key: String,
    pub(super) status: Status,
    /// One line for people.
    pub(super) summary: String,
    pub(super) details: Details,
}

/// Whether something goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// It does.
    Firing,
    /// It no longer does.
    Resolved,
}

/// What there is beside the line for people, by kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Details {
    /// Why the policy files are not in force.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) faults: Vec<Fault>,
    /// The servers that do not answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) servers: Vec<String>,
    /// The domains that they are for; none: all that no route takes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) domains: Vec<String>,
    /// The name that is denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// More clients than this asked for it within the hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) clients: Option<usize>,
    /// The entry that runs out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) entry: Option<Ending>,
}

/// A fault of the policy files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Fault {
    path: String,
    line: Option<u32>,
    column: Option<u32>,
    message: String,
    hint: Option<String>,
}

/// An entry of the policy files that runs out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Ending {
    name: String,
    kind: String,
    expires: String,
    owner: Option<String>,
    ticket: Option<String>,
    groups: Vec<String>,
    path: String,
    line: u32,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Message {
    /// Of this schema: 1.
    version: u32,
    /// `refused`, `degraded`, `upstream-down`, `new-denied-name`, `expiring` or `test`.
    kind: &'static str,
    status: Status,
    summary: String,
    /// When, in UTC (RFC 3339).
    at: String,
    /// The host that it comes from.
    host: String,
    /// Whom to ask about the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    contact: Option<String>,
    /// How much was not told since the message before, as there was too much of it.
    held_back: u64,
    details: Details,
}

/// Who sends.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    pub(super) host: String,
    pub(super) contact: Option<String>,
}

impl Sender {
    /// The message of some news.
    pub(super) fn tell(&self, news: &News, held_back: u64) -> Message {
        let News { kind, status, summary, details, .. } = news;
        self.message((kind.word(), *status, summary.clone()), held_back, details.clone())
    }

    /// A message about nothing, to see that it arrives.
    pub(super) fn test(&self) -> Message {
        let summary = "a test: this is how you will be told".to_owned();
        self.message((TEST, Status::Firing, summary), 0, Details::default())
    }

    fn message(
        &self,
        (kind, status, summary): (&'static str, Status, String),
        held_back: u64,
        details: Details,
    ) -> Message {
        let Self { host, contact } = self.clone();
        let at = timestamp(std::time::SystemTime::now());
        Message {
            version: 1,
            kind,
            status,
            summary: format!("pullgate on {host}: {summary}"),
            at,
            host,
            contact,
            held_back,
            details,
        }
    }
}

impl Message {
    /// As it is sent.
    pub(super) fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text and numbers are JSON")
    }

    /// What kind it is of.
    pub(super) fn kind(&self) -> &'static str {
        self.kind
    }
}

impl Fault {
    /// Of all `diagnostics`, as many as are read.
    pub(super) fn all(diagnostics: &[Diagnostic]) -> Vec<Self> {
        diagnostics.iter().take(MAX_FAULTS).map(Self::from).collect()
    }
}

impl From<&Diagnostic> for Fault {
    fn from(diagnostic: &Diagnostic) -> Self {
        let excerpt = diagnostic.excerpt.as_ref();
        Self {
            path: diagnostic.path.display().to_string(),
            line: excerpt.map(|excerpt| excerpt.line),
            column: excerpt.map(|excerpt| excerpt.column),
            message: diagnostic.message.clone(),
            hint: diagnostic.hint.clone(),
        }
    }
}

/// A fault's first line: where, and what.
pub(super) fn in_a_line(faults: &[Diagnostic]) -> String {
    let first = faults.first().map(ToString::to_string).unwrap_or_default();
    let first = first.lines().next().unwrap_or_default().to_owned();
    match faults.len() {
        0 | 1 => first,
        all => format!("{first} (and {} more)", all - 1),
    }
}

impl News {
    /// An entry runs out, or has.
    pub(super) fn of_ending(notice: Notice, exception: &Exception, left: &str) -> Self {
        let Exception { entry, kind, expires, owner, ticket, groups, place } = exception.clone();
        let expires = timestamp(expires);
        let when = match notice {
            Notice::Week | Notice::Day => format!("ends in {left}"),
            Notice::Ended => "has ended and is left out".to_owned(),
        };
        let whose = owner.as_ref().map(|owner| format!(", owner {owner}")).unwrap_or_default();
        let decided = ticket.as_ref().map(|ticket| format!(", ticket {ticket}")).unwrap_or_default();
        let ending = Ending {
            name: entry.clone(),
            kind: kind.to_string(),
            expires: expires.clone(),
            owner,
            ticket,
            groups,
            path: place.path.display().to_string(),
            line: place.line,
        };
        Self {
            kind: SignalKind::Expiring,
            key: format!("{entry} {expires} {notice:?}"),
            status: Status::Firing,
            summary: format!("the {kind} `{entry}` {when}{whose}{decided}"),
            details: Details { entry: Some(ending), ..Details::default() },
        }
    }
}

/// What a test is called among kinds.
pub(super) const TEST: &str = "test";
/// Who has this many to mend looks at `pullgate policy lint`.
const MAX_FAULTS: usize = 20;
