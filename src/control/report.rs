//! What the control API says: the JSON of both its ends, and of every command's `--json`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use crate::control::addition::Addition;
pub use crate::control::diff::{Change, Direction};
pub use crate::control::exception::ExceptionReport;
use crate::diagnostic::{Diagnostic, Excerpt, Severity};
pub use crate::observe::history::{DeniedName, HistoryRow, Hour, RuleUse, Stats, Sum};
pub use crate::observe::numbers::{CacheNumbers, Numbers, ServerNumbers, UpstreamNumbers};
pub use crate::observe::pulls::Pull;
pub use crate::observe::recent::{LogEntry, RuleReport, VerdictWord};
pub use crate::policy::images::Badge;

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

/// One bound listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenReport {
    /// The address as bound: its port is never 0.
    pub address: SocketAddr,
    /// `udp`, `tcp`, `tls` or `https`.
    pub transport: String,
}

/// A fault or warning, with the line it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultReport {
    /// The file or folder.
    pub path: PathBuf,
    /// The line, from 1; `None` when it is about the file or folder as a whole.
    pub line: Option<u32>,
    /// The column, from 1, in characters.
    pub column: Option<u32>,
    /// How many characters it is about.
    pub width: Option<u32>,
    /// The line itself.
    pub text: Option<String>,
    /// What was seen.
    pub message: String,
    /// What would do.
    pub hint: Option<String>,
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

/// `GET /v1/check?name=&client=&type=`, or of an image `GET /v1/check?image=&push=&client=`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// The name, in presentation form; the image, as people type it.
    pub name: String,
    /// `pull` or `push`, of an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<String>,
    /// The verdict.
    pub verdict: VerdictWord,
    /// Why, in a few words.
    pub reason: String,
    /// The client's group.
    pub group: Option<String>,
    /// The registry, service or deny that decided.
    pub entry: Option<String>,
    /// The rule that decided; of an image the key of its `[[images]]`.
    pub rule: Option<RuleReport>,
    /// Whose an image of Docker Hub is, if that is known: `official`, `verified-publisher`, `sponsored-oss`, `community`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// What the Hub says of the image's namespace, where that decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub badge: Option<Badge>,
    /// The overlay that the rule, or the group's mode, is of, as a running server has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay: Option<OverlayReport>,
    /// What else to know about the verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What would allow a denied name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The lines that would let a name through that nothing lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add: Option<Addition>,
    /// Whom to ask about what is not allowed, if the settings say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// When a running server last heard the name, right after a registry's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
}

/// A question for a name that nothing lists, which a client asked right after a registry's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// When, in UTC (RFC 3339).
    pub at: String,
    /// Who asked.
    pub client: IpAddr,
    /// The registry.
    pub after: Pull,
    /// The line of policy with which the name would be one of that registry's redirect hosts.
    pub line: String,
}

impl CheckReport {
    /// The same with what a server's log, oldest entry first, has to say of a name that is not allowed.
    #[must_use]
    pub fn with_log(self, entries: &[LogEntry]) -> Self {
        let about = |entry: &&LogEntry| self.verdict != VerdictWord::Allow && entry.name == self.name;
        let asked = entries.iter().rev().filter(about).find_map(Asked::of);
        let after = asked.as_ref().filter(|_| self.add.is_some());
        let add = after.map(|asked| Addition::after(&self.name, &asked.after)).or(self.add);
        Self { add, asked, ..self }
    }
}

impl CheckReport {
    /// The same with whom to ask, of what is not allowed.
    #[must_use]
    pub fn with_contact(self, contact: Option<&str>) -> Self {
        let contact = contact.filter(|_| self.verdict != VerdictWord::Allow).map(str::to_owned);
        Self { contact, ..self }
    }

    /// The same with the overlay that decided: that of the rule, else one of the client's or its group's mode where the
    /// mode tells.
    #[must_use]
    pub fn with_overlays(self, overlays: &[OverlayReport], client: Option<IpAddr>) -> Self {
        let of_rule = |overlay: &OverlayReport| {
            let place = format!("{OVERLAY_PLACE}{}", overlay.id);
            self.rule
                .as_ref()
                .and_then(|rule| rule.path.as_ref())
                .is_some_and(|path| path.as_os_str() == place.as_str())
        };
        let has_mode_told = match self.verdict {
            VerdictWord::Audit => true,
            VerdictWord::Deny => self.rule.is_none(),
            VerdictWord::Allow => false,
        };
        let is_mode = |overlay: &&OverlayReport| has_mode_told && overlay.kind == "mode";
        let of_client = |overlay: &&OverlayReport| overlay.client.is_some() && overlay.client == client;
        let of_mode = |overlay: &&OverlayReport| {
            overlay.client.is_none() && (overlay.group.is_none() || overlay.group == self.group)
        };
        let modes = || overlays.iter().filter(is_mode);
        let of_some_mode = || modes().find(of_client).or_else(|| modes().find(of_mode));
        let found = overlays.iter().find(|overlay| of_rule(overlay)).or_else(of_some_mode);
        Self { overlay: found.cloned(), ..self }
    }
}

/// How the places of overlays' rules begin; a number follows.
const OVERLAY_PLACE: &str = "overlay-";

impl Asked {
    fn of(entry: &LogEntry) -> Option<Self> {
        let after = entry.after.clone()?;
        Some(Self { at: entry.at.clone(), client: entry.client, after, line: Pull::line(&entry.name) })
    }
}

/// `GET /v1/policy`: the effective policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyReport {
    /// The number of the policy; `None` when it was read from files and is not in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Its digest.
    pub digest: String,
    /// The groups, in the order of the files; none: every client may use everything.
    pub groups: Vec<GroupReport>,
    /// The rules, in the order of the files.
    pub rules: Vec<PolicyRule>,
    /// Which images may be pulled and pushed, in the order of the files.
    #[serde(default)]
    pub images: Vec<ImagesReport>,
}

/// A group of clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReport {
    /// Its name.
    pub name: String,
    /// `enforce` or `audit`.
    pub mode: String,
    /// `deny` or `forward`.
    pub unlisted: String,
    /// Its client ranges, and the listeners whose clients belong to it.
    pub clients: Vec<String>,
    /// Where it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The line in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

/// One rule of the effective policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyRule {
    /// The pattern.
    pub pattern: String,
    /// `registry`, `service` or `deny`.
    pub kind: String,
    /// The entry it belongs to.
    pub entry: String,
    /// The groups it is for. Where there are no groups, it is for everyone.
    pub groups: Vec<String>,
    /// `enforce`, or `audit` for an entry on trial.
    pub mode: String,
    /// `direct`, `pass` or `inspect`: how what it allows is reached.
    #[serde(default = "direct")]
    pub data_path: String,
    /// Where it was written.
    pub path: Option<PathBuf>,
    /// The line in it.
    pub line: Option<u32>,
    /// The number of the overlay that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay: Option<u64>,
}

/// One `[[images]]` of the effective policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagesReport {
    /// The registry.
    pub registry: String,
    /// The groups it is for. Where there are no groups, it is for everyone.
    pub groups: Vec<String>,
    /// `enforce` or `audit`; a group under audit makes an audit of it.
    pub mode: String,
    /// What decides, in the order in which it is asked.
    pub keys: Vec<ImageKeyReport>,
    /// Where it was written.
    pub path: PathBuf,
    /// The line in it.
    pub line: u32,
}

/// A key of an `[[images]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageKeyReport {
    /// The key, such as `allow`.
    pub key: String,
    /// Its value, or one of its list.
    pub value: String,
    /// Where it was written; of what holds by default, where the table is.
    pub path: PathBuf,
    /// The line in it.
    pub line: u32,
}

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

/// A name that a group's clients asked for and that would be decided otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlipReport {
    /// The name, in presentation form.
    pub name: String,
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
    /// Questions and connections a day.
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
    /// What a group under audit lacks to be enforced.
    pub missing: Vec<Lack>,
}

/// A name that would be denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LackedName {
    /// The name, in presentation form.
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

/// How a server that knows no gateway lets its registries be reached.
fn direct() -> String {
    "direct".to_owned()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        match self {
            Self::Names { count } => write!(f, "{count} name{} would be denied", plural(*count as u64)),
            Self::VariousNames { times } => {
                write!(f, "names that the history has not kept would be denied {times} time{}", plural(*times))
            }
            Self::History { days } => write!(f, "the history reaches back only {days} day{}", plural(u64::from(*days))),
            Self::Silence => f.write_str("none of its clients asked for anything"),
            Self::Overlay => f.write_str("it is under audit by an overlay"),
        }
    }
}

impl From<&Diagnostic> for FaultReport {
    fn from(diagnostic: &Diagnostic) -> Self {
        let excerpt = diagnostic.excerpt.as_ref();
        Self {
            path: diagnostic.path.to_path_buf(),
            line: excerpt.map(|excerpt| excerpt.line),
            column: excerpt.map(|excerpt| excerpt.column),
            width: excerpt.map(|excerpt| excerpt.width),
            text: excerpt.map(|excerpt| excerpt.text.clone()),
            message: diagnostic.message.clone(),
            hint: diagnostic.hint.clone(),
        }
    }
}

impl FaultReport {
    /// Reports of all `diagnostics`.
    pub fn all<'a>(diagnostics: impl IntoIterator<Item = &'a Diagnostic>) -> Vec<Self> {
        diagnostics.into_iter().map(Self::from).collect()
    }

    /// The diagnostic that was reported, to be shown as one; its severity is the caller's to know.
    pub fn into_diagnostic(self, severity: Severity) -> Diagnostic {
        let excerpt = match (self.line, self.column, self.width, self.text) {
            (Some(line), Some(column), Some(width), Some(text)) if line > 0 && column > 0 => {
                Some(Excerpt { line, column, width, text })
            }
            _ => None,
        };
        let path: Arc<Path> = self.path.into();
        Diagnostic { severity, path, excerpt, message: self.message, hint: self.hint }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Source;
    use crate::observe::recent::tests::denied;

    #[test]
    fn a_fault_that_crossed_the_socket_is_shown_as_it_was_found() {
        let source = Source::new("policy.d/a.toml", "version = 1\nhosts = [\"https://ghcr.io\"]\n");
        let fault = source.fault(21..38, "a URL").hint("write `ghcr.io`");
        let json = serde_json::to_string(&FaultReport::from(&fault)).unwrap();
        let received: FaultReport = serde_json::from_str(&json).unwrap();
        assert_eq!(received.into_diagnostic(Severity::Fault), fault);
    }

    #[test]
    fn a_denied_names_check_says_after_which_registry_it_was_asked_last() {
        let after = |name: &str| Pull { name: name.to_owned(), registry: "lab".to_owned(), rule: None };
        let entry = |name: &str, pull| LogEntry { after: pull, ..denied(name) };
        let log = [
            entry("cdn.example", Some(after("old.example"))),
            entry("cdn.example", Some(after("registry.example"))),
            entry("cdn.example", None),
            entry("below.cdn.example", Some(after("other.example"))),
        ];
        let asked = |verdict| check("cdn.example", verdict).with_log(&log).asked;
        let found = asked(VerdictWord::Deny).unwrap();
        assert_eq!(
            (found.after.name.as_str(), found.line.as_str()),
            ("registry.example", r#"redirects = ["cdn.example"]"#)
        );
        assert_eq!(asked(VerdictWord::Allow), None);
        assert_eq!(check("elsewhere.example", VerdictWord::Deny).with_log(&log).asked, None);
    }

    fn check(name: &str, verdict: VerdictWord) -> CheckReport {
        let (name, reason) = (name.to_owned(), String::new());
        CheckReport {
            name,
            access: None,
            verdict,
            reason,
            group: None,
            entry: None,
            rule: None,
            category: None,
            badge: None,
            overlay: None,
            note: None,
            hint: None,
            add: None,
            contact: None,
            asked: None,
        }
    }

    #[test]
    fn a_reload_says_its_result_in_one_word() {
        let report = ReloadReport::Unchanged { generation: 3, warnings: Vec::new() };
        assert_eq!(serde_json::to_string(&report).unwrap(), r#"{"result":"unchanged","generation":3,"warnings":[]}"#);
    }
}
