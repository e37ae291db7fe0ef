//! What of a policy's verdicts differs from another's: rule by rule, group by group, and whether it opens more.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::control::report::{FaultReport, GroupReport, ImageKeyReport, ImagesReport, PolicyReport, PolicyRule};
use crate::policy::pattern::Pattern;
use crate::policy::shared_suffix;

/// One difference between two policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Whose clients see it; `None` where there are no groups.
    pub group: Option<String>,
    /// The pattern, or what of the group changed: `mode`, `unlisted`, `clients`.
    pub subject: String,
    /// Before; `None`: no rule had this pattern.
    pub old: Option<String>,
    /// After; `None`: no rule has it.
    pub new: Option<String>,
    /// Which way it goes.
    pub direction: Direction,
    /// Who else gets in, where a pattern over a shared suffix opens that nobody has accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strangers: Option<String>,
    /// Where it is written: in the new policy, or what is gone in the old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The line in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

/// Which way a change goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// More resolves than before, or with less looked into.
    Opens,
    /// Less does.
    Closes,
    /// Who or how, rather than how much.
    Changes,
}

/// What a group (or, without groups, everyone) and a subject lead to.
type Effect<'r> = BTreeMap<(Option<&'r str>, Cow<'r, str>), Meaning<'r>>;

/// What holds, and where it is written.
#[derive(Clone, Debug, Default)]
struct Meaning<'r> {
    text: Cow<'r, str>,
    path: Option<&'r Path>,
    line: Option<u32>,
}

/// Every pattern and every group's terms that differ, by group. `warnings` are those of the new policy.
pub fn changes(old: &PolicyReport, new: &PolicyReport, warnings: &[FaultReport]) -> Vec<Change> {
    let (old, new) = (effect(old), effect(new));
    let subjects: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let of = |effect: &Effect<'_>, subject| effect.get(subject).map(|meaning| meaning.text.to_string());
    let mut changes = Vec::new();
    for subject @ (group, what) in subjects {
        let (before, after) = (of(&old, subject), of(&new, subject));
        if before == after {
            continue;
        }
        let written = new.get(subject).or_else(|| old.get(subject));
        let change = Change {
            group: group.map(str::to_owned),
            subject: what.to_string(),
            direction: direction(what, before.as_deref(), after.as_deref()),
            old: before,
            new: after,
            strangers: None,
            path: written.and_then(|meaning| meaning.path).map(Path::to_owned),
            line: written.and_then(|meaning| meaning.line),
        };
        let strangers = strangers(&change, warnings);
        changes.push(Change { strangers, ..change });
    }
    changes
}

fn direction(subject: &str, old: Option<&str>, new: Option<&str>) -> Direction {
    // A group that is not there forwards nothing; a pattern without a rule is not denied by name.
    let absent = u8::from(subject != UNLISTED);
    let openness = |meaning: Option<&str>| meaning.map_or(Some(absent), openness);
    match (openness(old), openness(new)) {
        (Some(old), Some(new)) if new > old => Direction::Opens,
        (Some(old), Some(new)) if new < old => Direction::Closes,
        _ => Direction::Changes,
    }
}

/// How much a meaning lets through; `None`: that is not what it says. Where several hold, a deny beats all others.
fn openness(meaning: &str) -> Option<u8> {
    let one = |word: &str| match word {
        "deny" => Some(0),
        "enforce" => Some(1),
        "audit" => Some(2),
        "allow (inspect)" => Some(3),
        "allow (pass)" => Some(4),
        "allow" | "forward" => Some(5),
        "push" => Some(6),
        "exempt" => Some(7),
        _ => None,
    };
    let all: Option<Vec<u8>> = meaning.split(", ").map(one).collect();
    let all = all?;
    if all.contains(&0) { Some(0) } else { all.into_iter().max() }
}

/// Who else gets in through what is opened. What the policy's own warnings do not say was accepted, or is a preset's.
fn strangers(change: &Change, warnings: &[FaultReport]) -> Option<String> {
    if change.direction != Direction::Opens {
        return None;
    }
    let pattern = Pattern::parse(&change.subject).ok()?;
    let message = shared_suffix::warning(&pattern)?.message;
    let is_here = |warning: &FaultReport| {
        warning.message == message && Some(&warning.path) == change.path.as_ref() && warning.line == change.line
    };
    warnings.iter().any(is_here).then_some(message)
}

fn effect(report: &PolicyReport) -> Effect<'_> {
    let mut effect = Effect::new();
    for group in &report.groups {
        let whose = Some(group.name.as_str());
        let meaning = |text: Cow<'static, str>| Meaning { text, path: group.path.as_deref(), line: group.line };
        effect.insert((whose, "mode".into()), meaning(group.mode.clone().into()));
        effect.insert((whose, UNLISTED.into()), meaning(group.unlisted.clone().into()));
        effect.insert((whose, "clients".into()), meaning(clients(group).into()));
    }
    for rule in &report.rules {
        for group in holders(report, &rule.groups) {
            let own = Meaning { text: rule_verdict(rule).into(), path: rule.path.as_deref(), line: rule.line };
            let known = effect.entry((group, rule.pattern.as_str().into())).or_insert_with(|| own.clone());
            if strength(&own.text) > strength(&known.text) {
                *known = own;
            }
        }
    }
    for images in &report.images {
        for group in holders(report, &images.groups) {
            add_images(&mut effect, group, images);
        }
    }
    effect
}

/// The groups that something is for; `None` for everyone, where there are no groups.
fn holders<'r>(report: &PolicyReport, groups: &'r [String]) -> impl Iterator<Item = Option<&'r str>> + use<'r> {
    let everyone = report.groups.is_empty().then_some(None);
    everyone.into_iter().chain(groups.iter().map(|group| Some(group.as_str())))
}

/// What a table of images means to one group, a line for each repository, namespace, client or category.
fn add_images<'r>(effect: &mut Effect<'r>, group: Option<&'r str>, images: &'r ImagesReport) {
    let registry = &images.registry;
    let mode = Meaning { text: images.mode.as_str().into(), path: Some(&images.path), line: Some(images.line) };
    effect.insert((group, format!("images of {registry}, mode").into()), mode);
    for ImageKeyReport { key, value, path, line } in &images.keys {
        let (what, meaning) = match key.as_str() {
            "allow" | "deny" | "push" => (value.clone(), key.as_str()),
            "organizations" | "allowedOrgs" => (format!("organization {value}"), "allow"),
            "exempt-clients" => (format!("client {value}"), "exempt"),
            "publishers.verified" => (format!("publisher {value}"), "verified"),
            "publishers.sponsored" => (format!("publisher {value}"), "sponsored"),
            key => (key.to_owned(), value.as_str()),
        };
        let known = effect.entry((group, format!("images of {registry}, {what}").into())).or_default();
        let meanings: std::collections::BTreeSet<&str> =
            known.text.split(", ").filter(|known| !known.is_empty()).chain([meaning]).collect();
        let text = meanings.into_iter().collect::<Vec<_>>().join(", ").into();
        *known = Meaning { text, path: Some(path), line: Some(*line) };
    }
}

/// Who is in a group, in whatever order that was written.
fn clients(group: &GroupReport) -> String {
    let mut clients: Vec<&str> = group.clients.iter().map(String::as_str).collect();
    clients.sort_unstable();
    if clients.is_empty() { "none".to_owned() } else { clients.join(", ") }
}

fn rule_verdict(rule: &PolicyRule) -> &'static str {
    match (rule.kind.as_str(), rule.mode.as_str(), rule.data_path.as_str()) {
        ("deny", ..) => "deny",
        (_, "audit", _) => "audit",
        (.., "pass") => "allow (pass)",
        (.., "inspect") => "allow (inspect)",
        _ => "allow",
    }
}

/// Of two rules with one pattern: a deny beats an allow, an allow beats an audit, and the earlier one a later.
fn strength(verdict: &str) -> u8 {
    match verdict {
        "deny" => 2,
        "audit" => 0,
        _ => 1,
    }
}

const UNLISTED: &str = "unlisted";

#[cfg(test)]
mod tests;
