//! What is proposed as the text of a policy file, each line with what speaks for it.
//!
//! An entry has one name in all files, and its hosts in one place. So what belongs to a registry that stands in a file is
//! written as an entry of its own beside it, and as the line that would be better there.

use std::collections::BTreeMap;
use std::fmt;

use super::report::{Home, Proposal, Report};
use crate::inspect::lines::{list, on_one_line, push_groups, quoted};

/// A report as a policy file.
pub struct Draft<'r> {
    report: &'r Report,
    /// What was looked at: `of the last 7d`.
    of: &'r str,
}

impl Report {
    /// The same as a policy file; `of` says what was looked at.
    pub fn draft<'r>(&'r self, of: &'r str) -> Draft<'r> {
        Draft { report: self, of }
    }
}

impl fmt::Display for Draft<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { report, of } = self;
        comment(f, &format!("Made by `pullgate learn` from what was asked for in vain {of}."))?;
        writeln!(f, "{HEAD}\nversion = 1")?;
        if report.proposals.is_empty() {
            writeln!(f, "\n# Nothing is proposed.")?;
        }
        let mut names = Names { taken: report.taken.clone() };
        for (home, groups) in entries(&report.proposals) {
            match home {
                Home::Preset { toml, preset } => {
                    let name = names.free(home);
                    write_preset(f, toml, &groups, Some(&*name).filter(|name| name != preset))?;
                }
                _ => groups.iter().try_for_each(|own| write_entry(f, home, own, &mut names))?,
            }
        }
        if !report.images.is_empty() {
            writeln!(f, "\n# Images that the gateway refused; each line belongs into the `[[images]]` that is there:")?;
        }
        for refused in &report.images {
            comment(f, &format!("  {refused}"))?;
        }
        if !report.unexplained.is_empty() {
            writeln!(f, "\n# Not proposed:")?;
        }
        for left in &report.unexplained {
            let whose = left.group.as_ref().map(|group| format!(" (group {group})")).unwrap_or_default();
            comment(f, &format!("  {}{whose}: {}; {}", left.name, left.why, left.evidence))?;
        }
        Ok(())
    }
}

/// Proposals for the same groups of clients.
struct Entry<'r> {
    groups: Vec<&'r str>,
    proposals: Vec<&'r Proposal>,
}

/// The proposals by what they belong to; groups that lack the same patterns together.
fn entries(proposals: &[Proposal]) -> Vec<(&Home, Vec<Entry<'_>>)> {
    let mut homes: BTreeMap<&Home, BTreeMap<Option<&str>, Vec<&Proposal>>> = BTreeMap::new();
    for proposal in proposals {
        let groups = homes.entry(&proposal.home).or_default();
        groups.entry(proposal.group.as_deref()).or_default().push(proposal);
    }
    homes.into_iter().map(|(home, groups)| (home, alike(groups))).collect()
}

/// One entry for the groups that lack the same patterns.
fn alike<'r>(groups: BTreeMap<Option<&'r str>, Vec<&'r Proposal>>) -> Vec<Entry<'r>> {
    let mut entries: Vec<Entry<'r>> = Vec::new();
    for (group, proposals) in groups {
        let alike = entries.iter_mut().find(|entry| patterns(&entry.proposals) == patterns(&proposals));
        match (alike, group) {
            (Some(entry), Some(group)) => entry.groups.push(group),
            _ => entries.push(Entry { groups: group.into_iter().collect(), proposals }),
        }
    }
    entries
}

fn patterns<'r>(proposals: &[&'r Proposal]) -> Vec<&'r str> {
    proposals.iter().map(|proposal| proposal.pattern.as_str()).collect()
}

fn write_preset(f: &mut fmt::Formatter<'_>, toml: &str, entries: &[Entry<'_>], name: Option<&str>) -> fmt::Result {
    writeln!(f)?;
    for proposal in entries.iter().flat_map(|entry| &entry.proposals) {
        notes(proposal).iter().try_for_each(|note| comment(f, note))?;
    }
    f.write_str(toml)?;
    name.map_or(Ok(()), |name| writeln!(f, "name = {}", quoted(name)))?;
    write_groups(f, entries.iter().flat_map(|entry| &entry.groups).copied())
}

fn write_entry(f: &mut fmt::Formatter<'_>, home: &Home, entry: &Entry<'_>, names: &mut Names) -> fmt::Result {
    writeln!(f)?;
    let patterns = patterns(&entry.proposals);
    if let Home::Registry { .. } = home {
        comment(f, &format!("Belongs to {home}. Better than this entry is there:"))?;
        comment(f, &format!("  redirects = {}", list(&patterns)))?;
    } else {
        comment(f, &format!("Belongs to {home}."))?;
    }
    writeln!(f, "[[registry]]\nname = {}\nhosts = [", quoted(&names.free(home)))?;
    for proposal in &entry.proposals {
        for note in notes(proposal) {
            writeln!(f, "    # {}", on_one_line(&note))?;
        }
        writeln!(f, "    {},", quoted(&proposal.pattern))?;
    }
    writeln!(f, "]")?;
    write_groups(f, entry.groups.iter().copied())
}

fn write_groups<'g>(f: &mut fmt::Formatter<'_>, groups: impl Iterator<Item = &'g str>) -> fmt::Result {
    let mut line = String::new();
    push_groups(&mut line, groups);
    f.write_str(&line)
}

/// What to know of a proposal, line by line: its grade and why, what speaks for it, what a pattern stands for.
fn notes(proposal: &Proposal) -> Vec<String> {
    let Proposal { pattern, names, evidence, risk, why, .. } = proposal;
    let mut notes = vec![format!("{risk}: {}", why.join("; ")), evidence.to_string()];
    if names.len() > 1 || names.first() != Some(pattern) {
        let shown = names.iter().take(MAX_NAMES).cloned().collect::<Vec<_>>().join(", ");
        let more = names.len().saturating_sub(MAX_NAMES);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        notes.push(format!("for {shown}{more}"));
    }
    notes
}

fn comment(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    writeln!(f, "# {}", on_one_line(text))
}

/// Names for entries, of which none is used twice.
struct Names {
    taken: std::collections::BTreeSet<String>,
}

impl Names {
    fn free(&mut self, home: &Home) -> String {
        let wanted = match home {
            Home::Registry { entry, .. } => format!("{entry}-redirects"),
            Home::Gone { entry } => entry.clone(),
            Home::Preset { preset, .. } => preset.clone(),
            Home::Unknown => "learned".to_owned(),
        };
        let plain = wanted.chars().all(|character| !character.is_control()) && !wanted.trim().is_empty();
        let wanted = if plain { wanted } else { "learned".to_owned() };
        let mut name = wanted.clone();
        let mut number = 1;
        while !self.taken.insert(name.clone()) {
            number += 1;
            name = format!("{wanted}-{number}");
        }
        name
    }
}

const HEAD: &str = "\
# It is a proposal for people to read: nothing of it is in force. What is not wanted, take out; then put the file beside
# the others of the policy folder and let `pullgate policy lint` look at the whole, and `pullgate policy diff` show what
# it opens. A group with `registries = [\"*\"]` has every entry, whatever `groups` says there.";
/// Names that are shown of those that a pattern stands for.
const MAX_NAMES: usize = 5;
