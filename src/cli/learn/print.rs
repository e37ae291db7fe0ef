//! What is learned, for people.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use super::super::failure::Failure;
use super::super::output::{Output, counted};
use super::Looked;
use crate::inspect::learn::{Home, Proposal, RefusedImage, Report, Unexplained};

/// Prints what is proposed and what is not.
pub(super) fn report(report: &Report, looked: &Looked, output: &mut Output) -> Result<(), Failure> {
    writeln!(output, "asked for in vain {}", looked.of())?;
    if let Some(code) = looked.ran.as_ref().map(|ran| ran.code).filter(|code| *code != Some(0)) {
        let how = code.map_or("was ended by a signal".to_owned(), |code| format!("ended with exit code {code}"));
        writeln!(output, "the command {how}")?;
    }
    if report.is_empty() {
        writeln!(output, "nothing is missing")?;
    }
    proposals(&report.proposals, output)?;
    images(&report.images, output)?;
    unexplained(&report.unexplained, output)?;
    if report.allowed_by_now > 0 {
        writeln!(output, "\n{} allowed by now", counted(report.allowed_by_now, "name"))?;
    }
    if report.images_allowed_by_now > 0 {
        writeln!(output, "\n{} allowed by now", counted(report.images_allowed_by_now, "image"))?;
    }
    if report.various > 0 {
        let times = report.various;
        writeln!(output, "\n{times} times for names beyond those that the history keeps of one client in an hour")?;
    }
    Ok(())
}

/// Prints where to go on from there.
pub(super) fn next(report: &Report, written: Option<&Path>, output: &mut Output) -> Result<(), Failure> {
    match written {
        Some(path) => writeln!(output, "\n{} is written; {NEXT}", path.display())?,
        None if !report.proposals.is_empty() => writeln!(output, "\n--output FILE writes it as a policy file")?,
        None => {}
    }
    Ok(())
}

fn proposals(proposals: &[Proposal], output: &mut Output) -> Result<(), Failure> {
    if proposals.is_empty() {
        return Ok(());
    }
    writeln!(output)?;
    let head = ["risk", "add", "to", "group", "asked for"].map(str::to_uppercase);
    output.table(&std::iter::once(head).chain(proposals.iter().map(row)).collect::<Vec<_>>())?;
    writeln!(output)?;
    let mut notes: BTreeMap<&str, (Vec<&str>, &[String])> = BTreeMap::new();
    for Proposal { pattern, names, why, .. } in proposals {
        let (reasons, own) = notes.entry(pattern).or_default();
        reasons.extend(why.iter().map(String::as_str).filter(|why| !reasons.contains(why)).collect::<Vec<_>>());
        *own = names;
    }
    for (pattern, (reasons, names)) in notes {
        let stands_for = if names.len() > 1 { format!("; it stands for {}", names.join(", ")) } else { String::new() };
        writeln!(output, "note: {pattern}: {}{stands_for}", reasons.join("; "))?;
    }
    Ok(())
}

fn row(proposal: &Proposal) -> [String; 5] {
    let Proposal { pattern, group, home, evidence, risk, .. } = proposal;
    let home = match home {
        Home::Registry { .. } | Home::Preset { .. } => home.to_string(),
        Home::Gone { .. } | Home::Unknown => format!("a new entry: {home}"),
    };
    [risk.to_string(), pattern.clone(), home, group.clone().unwrap_or("-".to_owned()), evidence.to_string()]
}

fn images(refused: &[RefusedImage], output: &mut Output) -> Result<(), Failure> {
    if refused.is_empty() {
        return Ok(());
    }
    writeln!(output)?;
    let head = ["image", "add", "to", "group", "asked for"].map(str::to_uppercase);
    let row = |refused: &RefusedImage| {
        let RefusedImage { image, group, line, evidence, .. } = refused;
        let line = line.clone().unwrap_or_else(|| format!("({})", refused.reason));
        [image.clone(), line, refused.home(), group.clone().unwrap_or("-".to_owned()), evidence.to_string()]
    };
    output.table(&std::iter::once(head).chain(refused.iter().take(MAX_LEFT).map(row)).collect::<Vec<_>>())?;
    and_more(refused.len(), output)
}

fn unexplained(left: &[Unexplained], output: &mut Output) -> Result<(), Failure> {
    if left.is_empty() {
        return Ok(());
    }
    writeln!(output)?;
    let head = ["not proposed", "group", "asked for", "why"].map(str::to_uppercase);
    let row = |left: &Unexplained| {
        let Unexplained { name, group, why, evidence, .. } = left;
        [name.clone(), group.clone().unwrap_or("-".to_owned()), evidence.to_string(), why.clone()]
    };
    output.table(&std::iter::once(head).chain(left.iter().take(MAX_LEFT).map(row)).collect::<Vec<_>>())?;
    and_more(left.len(), output)
}

fn and_more(in_all: usize, output: &mut Output) -> Result<(), Failure> {
    match in_all.saturating_sub(MAX_LEFT) {
        0 => Ok(()),
        more => Ok(writeln!(output, "and {more} more (--json has them all)")?),
    }
}

const NEXT: &str = "read it, put it into the policy folder under a name of its own, and run `pullgate policy lint`";
/// Images, and names without a proposal, that are shown, those asked for most.
const MAX_LEFT: usize = 50;
