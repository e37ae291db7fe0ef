//! What is proposed and what is left unexplained, with what speaks for each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::Serialize;

use super::asked::Asked;
use super::images::RefusedImage;
use super::narrow::narrow;
use super::policy::{Known, Standing};
use super::risk::{Risk, Told, grade};
use crate::control::report::Pull;
use crate::inspect::lines::PresetEntry;
use crate::name::DomainName;
use crate::observe::log::to_the_minute;
use crate::policy::pattern::Pattern;

/// What a history says is missing.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What to add, by registry and group.
    pub proposals: Vec<Proposal>,
    /// Names for which nothing is proposed, and why.
    pub unexplained: Vec<Unexplained>,
    /// Images that the gateway refused, or would have.
    pub images: Vec<RefusedImage>,
    /// Names that the policy in force allows by now.
    pub allowed_by_now: usize,
    /// Images that it lets through by now.
    pub images_allowed_by_now: usize,
    /// How often various names were denied, of which the history has kept no more.
    pub various: u64,
    /// The policy's own entries, whose names are not free.
    #[serde(skip)]
    pub(super) taken: BTreeSet<String>,
}

/// A pattern to add.
#[derive(Clone, Debug, Serialize)]
pub struct Proposal {
    /// What to write: a name, or one with a `*` within a label.
    pub pattern: String,
    /// The names that were asked for.
    pub names: Vec<String>,
    /// The group whose clients lack it; `None`: there are no groups.
    pub group: Option<String>,
    /// What it belongs to.
    pub home: Home,
    /// What speaks for it.
    #[serde(flatten)]
    pub evidence: Evidence,
    /// How much it lets in beside that.
    pub risk: Risk,
    /// Why it is graded so.
    pub why: Vec<String>,
}

/// What a pattern belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Home {
    /// A registry of the policy files, which sends its clients there.
    Registry {
        /// Its name.
        entry: String,
        /// Where it stands.
        #[serde(flatten)]
        place: Place,
    },
    /// A registry that was allowed when its clients asked, and is in no policy file.
    Gone {
        /// The entry's name then.
        entry: String,
    },
    /// A registry that ships as a preset.
    Preset {
        /// The lines that use it, without groups.
        #[serde(skip)]
        toml: String,
        /// Its id.
        preset: String,
    },
    /// Nothing that is known.
    Unknown,
}

/// Where an entry stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The file.
    pub path: Option<PathBuf>,
    /// The line in it.
    pub line: Option<u32>,
}

/// What speaks for a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// How often it was asked for.
    pub count: u64,
    /// By how many clients that are known.
    pub clients: usize,
    /// When first, in UTC (RFC 3339).
    pub first: String,
    /// When last.
    pub last: String,
}

/// A name for which nothing is proposed.
#[derive(Clone, Debug, Serialize)]
pub struct Unexplained {
    /// The name, in presentation form.
    pub name: String,
    /// The clients' group.
    pub group: Option<String>,
    /// Why it was denied, in a word.
    pub reason: String,
    /// Why nothing is proposed.
    pub why: String,
    /// How often it was asked for, and by whom.
    #[serde(flatten)]
    pub evidence: Evidence,
}

/// What to do about a name.
enum Remedy {
    Propose(DomainName, Home),
    Leave(String),
    Nothing,
}

/// The names that belong to a registry, for one group.
type Homes = BTreeMap<(Home, Option<String>), Vec<(DomainName, Asked)>>;

impl Report {
    pub(super) fn of((asked, various): (Vec<Asked>, u64), known: &Known<'_>, all: bool) -> Self {
        let mut report = Self {
            proposals: Vec::new(),
            unexplained: Vec::new(),
            images: Vec::new(),
            allowed_by_now: 0,
            images_allowed_by_now: 0,
            various,
            taken: known.entries().map(str::to_owned).collect(),
        };
        let mut homes = Homes::new();
        for asked in asked {
            match remedy(&asked, known, all) {
                Remedy::Propose(name, home) => {
                    let group = asked.group.clone().filter(|_| !known.has_no_groups());
                    homes.entry((home, group)).or_default().push((name, asked));
                }
                Remedy::Leave(why) => report.unexplained.push(Unexplained::of(asked, why)),
                Remedy::Nothing => report.allowed_by_now += 1,
            }
        }
        for ((home, group), names) in homes {
            report.proposals.extend(proposals(&home, group.as_deref(), names));
        }
        report.unexplained.sort_by_key(|left| std::cmp::Reverse(left.evidence.count));
        report
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.proposals.is_empty() && self.unexplained.is_empty() && self.images.is_empty()
    }
}

fn remedy(asked: &Asked, known: &Known<'_>, all: bool) -> Remedy {
    let group = asked.group.as_deref();
    let leave = |why: &str| Remedy::Leave(why.to_owned());
    if let Some(group) = group.filter(|group| !known.has_no_groups() && !known.has_group(group)) {
        return Remedy::Leave(format!("the policy has no group `{group}` any more"));
    }
    if group.is_none() && !known.has_no_groups() {
        return leave("no group takes its clients");
    }
    let name = asked.name.parse::<DomainName>().ok();
    let Some(name) = name.filter(is_host_name) else { return leave("it is no host name") };
    match known.standing(group, &name) {
        Standing::Allowed if asked.reason == "target" => {
            return leave("it is allowed, and its answer led to a name that is not");
        }
        Standing::Allowed if asked.reason == "on-trial" => {
            let entry = asked.entry.clone().unwrap_or_default();
            return Remedy::Leave(format!("`{entry}` is on trial: it stays allowed without `mode = \"audit\"`"));
        }
        Standing::Allowed => return Remedy::Nothing,
        Standing::Denied => return leave("a `[[deny]]` has it, which beats whatever would allow it"),
        Standing::OfOthers(rule) => {
            let whose = group.map(|group| format!(": add \"{group}\" to its groups")).unwrap_or_default();
            return Remedy::Leave(format!("{} `{}` is for other groups{whose}", rule.kind, rule.entry));
        }
        Standing::Open => {}
    }
    match asked.after() {
        Some(pull) => Remedy::Propose(name, Home::after(pull, known)),
        None if all => Remedy::Propose(name.clone(), Home::of_unexplained(&name, known)),
        None => Remedy::Leave(match crate::policy::preset::recognize(&name) {
            Some(recognized) => format!("a registry by itself (preset `{}`)", recognized.preset.id),
            None => "no registry was asked for before it".to_owned(),
        }),
    }
}

fn is_host_name(name: &DomainName) -> bool {
    Pattern::parse(&name.to_string()).is_ok_and(|pattern| pattern.exact().as_ref() == Some(name))
}

impl Home {
    fn after(pull: &Pull, known: &Known<'_>) -> Self {
        let entry = pull.registry.clone();
        match known.registry(&entry) {
            Some(place) => Self::Registry { entry, place: place.clone() },
            None => Self::Gone { entry },
        }
    }

    fn of_unexplained(name: &DomainName, known: &Known<'_>) -> Self {
        let entry = PresetEntry::of(name, None, &[name]);
        match entry.filter(|entry| !known.has_entry(&entry.recognized.preset.id)) {
            Some(entry) => Self::Preset { toml: entry.toml(), preset: entry.recognized.preset.id.clone() },
            None => Self::Unknown,
        }
    }
}

/// The patterns for names that belong to one registry.
fn proposals(home: &Home, group: Option<&str>, asked: Vec<(DomainName, Asked)>) -> Vec<Proposal> {
    let (names, asked): (Vec<DomainName>, Vec<Asked>) = asked.into_iter().unzip();
    let narrowed = narrow(&names).into_iter().map(|narrowed| {
        let own: Vec<&Asked> = narrowed.names.iter().map(|at| &asked[*at]).collect();
        let explained = own.iter().map(|asked| asked.explained()).sum();
        let evidence = Evidence::of(&own);
        let (risk, why) = grade(&narrowed.pattern, Told { count: evidence.count, explained });
        Proposal {
            pattern: narrowed.pattern.to_string(),
            names: own.iter().map(|asked| asked.name.clone()).collect(),
            group: group.map(str::to_owned),
            home: home.clone(),
            evidence,
            risk,
            why,
        }
    });
    narrowed.collect()
}

impl Evidence {
    pub(super) fn of(asked: &[&Asked]) -> Self {
        let clients: BTreeSet<IpAddr> = asked.iter().flat_map(|asked| asked.clients.iter().copied()).collect();
        Self {
            count: asked.iter().map(|asked| asked.count).fold(0, u64::saturating_add),
            clients: clients.len(),
            first: asked.iter().map(|asked| asked.first.clone()).min().unwrap_or_default(),
            last: asked.iter().map(|asked| asked.last.clone()).max().unwrap_or_default(),
        }
    }
}

impl fmt::Display for Evidence {
    /// `12 times by 3 clients, 2026-11-26 08:00 to 2026-11-27 10:12`; once, or within a minute: one moment.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, clients, first, last } = self;
        let plural = |number: u64| if number == 1 { "" } else { "s" };
        write!(f, "{count} time{} by {clients} client{}", plural(*count), plural(*clients as u64))?;
        let (first, last) = (to_the_minute(first), to_the_minute(last));
        if first == last { write!(f, ", {last}") } else { write!(f, ", {first} to {last}") }
    }
}

impl Unexplained {
    fn of(asked: Asked, why: String) -> Self {
        let evidence = Evidence::of(&[&asked]);
        Self { name: asked.name, group: asked.group, reason: asked.reason, why, evidence }
    }
}

impl fmt::Display for Home {
    /// ``registry `lab` (a.toml:4)``.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry { entry, place: Place { path: Some(path), line: Some(line) } } => {
                write!(f, "registry `{entry}` ({}:{line})", path.display())
            }
            Self::Registry { entry, .. } => write!(f, "registry `{entry}`"),
            Self::Gone { entry } => write!(f, "registry `{entry}`, which no policy file has now"),
            Self::Preset { preset, .. } => write!(f, "preset `{preset}`"),
            Self::Unknown => f.write_str("no registry that is known"),
        }
    }
}
