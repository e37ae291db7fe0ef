//! Changes on top of the policy files that end by themselves: for emergencies, by the control socket.
//!
//! An overlay is compiled like what a policy file says, from a document of its own, after all files. It never beats a
//! `[[deny]]` of the files, and what they allow already it leaves as they have it: a name that is inspected stays so.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Severity, Source};
use crate::name::DomainName;
use crate::policy::document::Mode;
use crate::policy::pattern::Pattern;
use crate::policy::shared_suffix;
use crate::policy::state_file::StateFile;

/// A change on top of the policy files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Tells it from the others.
    pub id: u64,
    /// What it changes.
    pub change: Change,
    /// The group it is for; `None`: everyone (of a mode, whoever is in a group that does not say).
    pub group: Option<String>,
    /// The one client that a mode is for, by its canonical address; `None`: all of the group's.
    pub client: Option<IpAddr>,
    /// Who asked for it.
    pub by: String,
    /// Since when.
    pub since: SystemTime,
    /// Until when; `None`: until it is ended.
    pub until: Option<SystemTime>,
    /// Where it was decided.
    pub ticket: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// What an overlay changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A name is allowed.
    Allow(DomainName),
    /// Names are denied.
    Block(Pattern),
    /// What a denial means.
    Mode(Mode),
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What to change.
    pub change: Change,
    /// [`Overlay::group`].
    pub group: Option<String>,
    /// [`Overlay::client`].
    pub client: Option<IpAddr>,
    /// Who asks.
    pub by: String,
    /// For how long; `None`: until it is ended.
    pub time: Option<Duration>,
    /// [`Overlay::ticket`].
    pub ticket: Option<String>,
    /// [`Overlay::reason`].
    pub reason: Option<String>,
}

/// Why an order is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderFault {
    /// What opens has to end.
    #[error("for how long? write a time such as `2h`, at most 7 days")]
    Endless,
    /// Longer than is taken.
    #[error("longer than {} days: what lasts belongs into the policy files", .0.as_secs() / 86_400)]
    TooLong(Duration),
    /// It would end at once.
    #[error("no time at all")]
    NoTime,
    /// Names are allowed and blocked for groups.
    #[error("one client can be given a mode, and nothing else; and then no group")]
    Client,
    /// A ticket, reason or group that would not fit a line of the log.
    #[error("the {0} has more than {MAX_TEXT} characters, or a control character")]
    Text(&'static str),
}

/// The overlays that are on, kept in the state directory.
#[derive(Debug)]
pub(super) struct Overlays {
    file: StateFile,
    list: Vec<Overlay>,
}

/// An overlay as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    id: u64,
    kind: Kind,
    /// The name, pattern or mode.
    what: String,
    group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    by: String,
    /// In Unix time.
    since: u64,
    until: Option<u64>,
    ticket: Option<String>,
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Allow,
    Block,
    Mode,
}

impl Order {
    /// The overlay that it makes.
    ///
    /// # Errors
    /// It has no end, or too late a one, or its texts are too long.
    pub(super) fn accept(self, id: u64, now: SystemTime) -> Result<Overlay, OrderFault> {
        let Self { change, group, client, by, time, ticket, reason } = self;
        let client = client.map(|client| client.to_canonical());
        if !may_be_for(&change, group.as_deref(), client) {
            return Err(OrderFault::Client);
        }
        for (what, text) in [("group", &group), ("ticket", &ticket), ("reason", &reason)] {
            if text.as_ref().is_some_and(|text| !is_plain(text)) {
                return Err(OrderFault::Text(what));
            }
        }
        let longest = if change.opens() { MAX_OPENING } else { MAX_CLOSING };
        match time {
            None if change.opens() => return Err(OrderFault::Endless),
            Some(time) if time > longest => return Err(OrderFault::TooLong(longest)),
            Some(time) if time.as_secs() == 0 => return Err(OrderFault::NoTime),
            None | Some(_) => {}
        }
        let since = whole_seconds(now);
        let until = time.and_then(|time| since.checked_add(Duration::from_secs(time.as_secs())));
        Ok(Overlay { id, change, group, client, by, since, until, ticket, reason })
    }
}

impl Change {
    /// Allows the one host name that `text` is; `None`: it is a wildcard, or no host name.
    pub fn allow(text: &str) -> Option<Self> {
        Pattern::parse(text).ok()?.exact().map(Self::Allow)
    }

    /// `allow`, `block` or `mode`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Allow(_) => "allow",
            Self::Block(_) => "block",
            Self::Mode(_) => "mode",
        }
    }

    /// The name, pattern or mode.
    pub fn what(&self) -> String {
        match self {
            Self::Allow(name) => name.to_string(),
            Self::Block(pattern) => pattern.to_string(),
            Self::Mode(Mode::Enforce) => "enforce".to_owned(),
            Self::Mode(Mode::Audit) => "audit".to_owned(),
        }
    }

    /// Whether more resolves by it.
    pub fn opens(&self) -> bool {
        match self {
            Self::Allow(_) | Self::Mode(Mode::Audit) => true,
            Self::Block(_) | Self::Mode(Mode::Enforce) => false,
        }
    }

    /// Whether a later one takes the other's place, for the same group.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Mode(_), Self::Mode(_)) => true,
            (one, other) => one == other,
        }
    }
}

impl Overlay {
    /// Where its rule stands: a document of its own.
    pub fn place(&self) -> String {
        format!("overlay-{}", self.id)
    }

    /// Its document's text: itself in words.
    pub(super) fn source(&self) -> Source {
        Source::new(self.place(), self.to_string())
    }

    /// Something to be said of it that refuses nothing.
    pub(super) fn warning(&self, message: impl Into<String>) -> Diagnostic {
        let warning = Diagnostic::about(Path::new(&self.place()), format!("{self}: {}", message.into()));
        Diagnostic { severity: Severity::Warning, ..warning }
    }

    /// Who else is let in by it, in words of a warning.
    pub(super) fn strangers(&self) -> Option<Diagnostic> {
        let Change::Allow(name) = &self.change else { return None };
        let warning = shared_suffix::warning(&Pattern::parse(&name.to_string()).ok()?)?;
        Some(self.warning(warning.message).hint(warning.hint))
    }

    fn has_ended(&self, now: SystemTime) -> bool {
        // An opening that lasts longer than any may: the clock was set back.
        let is_too_late = |until: SystemTime| {
            self.change.opens() && until.duration_since(now).is_ok_and(|left| left > MAX_OPENING + CLOCK_SLACK)
        };
        self.until.is_some_and(|until| until <= now || is_too_late(until))
    }
}

impl std::fmt::Display for Overlay {
    /// `allow quay.io for group ci by alice`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let group = self.group.as_ref().map(|group| format!(" for group {group}"));
        let client = self.client.map(|client| format!(" for client {client}"));
        let whose = group.or(client).unwrap_or_default();
        write!(f, "{} {}{whose} by {}", self.change.kind(), self.change.what(), self.by)
    }
}

impl Overlays {
    /// What is kept in `state`, and what is damaged of it.
    pub(super) fn load(state: &Path) -> (Self, Vec<Diagnostic>) {
        let file = StateFile::new(state, FILE);
        let (stored, mut faults) = match file.read::<Vec<Stored>>() {
            Ok(stored) => (stored.unwrap_or_default(), Vec::new()),
            Err(fault) => (Vec::new(), vec![fault]),
        };
        let mut list = Vec::new();
        for stored in stored.into_iter().take(MAX_OVERLAYS) {
            match Overlay::try_from(stored) {
                Ok(overlay) => list.push(overlay),
                Err(what) => faults.push(Diagnostic::about(file.path(), format!("an overlay is damaged: {what}"))),
            }
        }
        let as_warning = |fault| Diagnostic { severity: Severity::Warning, ..fault };
        (Self { file, list }, faults.into_iter().map(as_warning).collect())
    }

    /// Those that are on.
    pub(super) fn list(&self) -> &[Overlay] {
        &self.list
    }

    /// The same with another one, which takes the place of one like it; `None`: there are too many.
    pub(super) fn with(&self, new: &Overlay) -> Option<Vec<Overlay>> {
        let mut list = self.without(&new.change, new.group.as_deref(), new.client);
        list.push(new.clone());
        (list.len() <= MAX_OVERLAYS).then_some(list)
    }

    /// The same without those like `change` for the group or client.
    pub(super) fn without(&self, change: &Change, group: Option<&str>, client: Option<IpAddr>) -> Vec<Overlay> {
        let client = client.map(|client| client.to_canonical());
        let is_for = |known: &Overlay| known.group.as_deref() == group && known.client == client;
        let is_other = |known: &&Overlay| !(known.change.is_like(change) && is_for(known));
        self.list.iter().filter(is_other).cloned().collect()
    }

    /// The number of the next one.
    pub(super) fn next_id(&self) -> u64 {
        self.list.iter().map(|overlay| overlay.id).max().unwrap_or(0).saturating_add(1)
    }

    /// Has another list from now on; a warning if it cannot be kept.
    pub(super) fn set(&mut self, list: Vec<Overlay>) -> Option<Diagnostic> {
        self.list = list;
        let stored: Vec<Stored> = self.list.iter().map(Stored::from).collect();
        let error = self.file.write(Some(&stored).filter(|stored| !stored.is_empty())).err()?;
        let fault = Diagnostic::about(self.file.path(), format!("the overlays cannot be kept: {error}"));
        Some(Diagnostic { severity: Severity::Warning, ..fault }.hint("a restart would have those of before"))
    }

    /// Those that have ended at `now`, and the rest.
    pub(super) fn split(&self, now: SystemTime) -> (Vec<Overlay>, Vec<Overlay>) {
        self.list.iter().cloned().partition(|overlay| overlay.has_ended(now))
    }

    /// When the next one ends.
    pub(super) fn next_end(&self) -> Option<SystemTime> {
        self.list.iter().filter_map(|overlay| overlay.until).min()
    }
}

impl From<&Overlay> for Stored {
    fn from(overlay: &Overlay) -> Self {
        let Overlay { id, change, group, client, by, since, until, ticket, reason } = overlay.clone();
        let kind = match change {
            Change::Allow(_) => Kind::Allow,
            Change::Block(_) => Kind::Block,
            Change::Mode(_) => Kind::Mode,
        };
        let (what, since, until) = (change.what(), unix(since), until.map(unix));
        Self { id, kind, what, group, client, by, since, until, ticket, reason }
    }
}

impl TryFrom<Stored> for Overlay {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        let Stored { id, kind, what, group, client, by, since, until, ticket, reason } = stored;
        let change = match kind {
            Kind::Allow => Change::allow(&what).ok_or_else(|| format!("`{what}` is no name"))?,
            Kind::Block => Change::Block(Pattern::parse(&what).map_err(|fault| fault.message)?),
            Kind::Mode if what == "enforce" => Change::Mode(Mode::Enforce),
            Kind::Mode if what == "audit" => Change::Mode(Mode::Audit),
            Kind::Mode => return Err(format!("`{what}` is no mode")),
        };
        if [Some(&by), group.as_ref(), ticket.as_ref(), reason.as_ref()]
            .into_iter()
            .flatten()
            .any(|text| !is_plain(text))
        {
            return Err("a text that was never written here".to_owned());
        }
        let since = moment(since).ok_or("no moment")?;
        let until = until.map(|until| moment(until).ok_or("no moment")).transpose()?;
        if change.opens() && until.is_none() {
            return Err("it has no end".to_owned());
        }
        let client = client.map(|client| client.to_canonical());
        if !may_be_for(&change, group.as_deref(), client) {
            return Err("it cannot be for one client".to_owned());
        }
        Ok(Self { id, change, group, client, by, since, until, ticket, reason })
    }
}

/// Whether a change may be for the one client.
fn may_be_for(change: &Change, group: Option<&str>, client: Option<IpAddr>) -> bool {
    client.is_none() || (matches!(change, Change::Mode(_)) && group.is_none())
}

fn is_plain(text: &str) -> bool {
    text.chars().count() <= MAX_TEXT && !text.chars().any(char::is_control)
}

fn unix(moment: SystemTime) -> u64 {
    moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn moment(unix: u64) -> Option<SystemTime> {
    // As far as a date of four digits goes: others cannot be shown.
    (unix < LAST_MOMENT).then(|| UNIX_EPOCH + Duration::from_secs(unix))
}

fn whole_seconds(moment: SystemTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(unix(moment))
}

const FILE: &str = "overlays.json";
/// How many there may be at a time.
const MAX_OVERLAYS: usize = 100;
/// How long what opens may last.
const MAX_OPENING: Duration = Duration::from_secs(7 * 86_400);
/// How long anything else may.
const MAX_CLOSING: Duration = Duration::from_secs(366 * 86_400);
/// How far a clock that is set right may go back.
const CLOCK_SLACK: Duration = Duration::from_secs(3600);
/// Characters of a ticket, a reason, a group's name.
const MAX_TEXT: usize = 200;
/// The year 10000.
const LAST_MOMENT: u64 = 253_402_300_800;

#[cfg(test)]
mod tests;
