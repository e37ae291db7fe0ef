//! From documents to a snapshot, or to everything that is wrong with them, across all files, at once.
//!
//! Each stage complains into one list and goes on; only a policy without any fault becomes a snapshot. An entry that has
//! expired at `now` takes part in every check, so that time passing alone never makes a policy faulty, and is left out
//! of the snapshot.

mod digest;
mod entries;
mod groups;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use self::digest::digest;
use self::entries::{Cursor, Draft};
use self::groups::Membership;
use crate::diagnostic::{Diagnostic, Source};
use crate::name::DomainName;
use crate::policy::ancestors::Ancestors;
use crate::policy::document::{Document, Mode};
use crate::policy::matcher::{Builder, Matcher, Tag, TooManyRules};
use crate::policy::snapshot::{Catalogue, Digest, Entry, EntryKind, Expiries, Grant, Groups, Snapshot, Statics};

/// What the settings say about the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What a denial means where no group says otherwise.
    pub mode: Mode,
    /// The group of clients that no group claims.
    pub group: Option<String>,
    /// Whether a warning refuses the policy.
    pub strict: bool,
    /// Names that the resolver answers itself.
    pub statics: Vec<DomainName>,
}

/// A policy without faults.
#[derive(Debug)]
pub struct Compiled {
    /// The policy.
    pub snapshot: Snapshot,
    /// What somebody should look at.
    pub warnings: Vec<Diagnostic>,
}

/// Parses and compiles policy files, complaining about everything in all of them at once.
///
/// # Errors
/// Every fault, and the warnings beside them, in the order of the files.
pub fn load(sources: Vec<Source>, options: &Options, now: SystemTime) -> Result<Compiled, Vec<Diagnostic>> {
    let (documents, parsed): (Vec<_>, Vec<_>) = sources.into_iter().map(Document::parse).unzip();
    let parsed = parsed.into_iter().flatten().map(|diagnostic| judge_severity(diagnostic, options)).collect();
    merge(parsed, compile(&documents, options, now))
}

/// Compiles documents. `now` decides which entries have expired.
///
/// # Errors
/// Every fault, and the warnings beside them.
pub fn compile(documents: &[Document], options: &Options, now: SystemTime) -> Result<Compiled, Vec<Diagnostic>> {
    let mut complaints = Vec::new();
    let drafts = entries::draft(documents, &mut complaints);
    let groups = groups::resolve(documents, &drafts, options, &mut complaints);
    entries::check_statics(&drafts, &Statics::new(options.statics.iter().cloned()), &mut complaints);
    let mut complaints: Vec<_> = complaints.into_iter().map(|complaint| judge_severity(complaint, options)).collect();
    complaints.extend(entries::warn_of_expired(&drafts, now));
    if complaints.iter().any(Diagnostic::is_fault) {
        return merge(complaints, Err(Vec::new()));
    }
    let snapshot = build(&drafts, groups, options, now).map_err(|fault| vec![fault])?;
    merge(complaints, Ok(Compiled { snapshot, warnings: Vec::new() }))
}

impl Snapshot {
    /// The policy where none could be had: all names but the resolver's own are denied, whatever `options.mode` says.
    pub fn deny_all(options: &Options) -> Self {
        Self {
            matcher: Matcher::default(),
            ancestors: Ancestors::default(),
            entries: Box::default(),
            grants: Box::default(),
            groups: Groups::default(),
            statics: Statics::new(options.statics.iter().cloned()),
            catalogue: Catalogue::shipped(),
            paths: Box::default(),
            expiries: Expiries::default(),
            digest: Digest([0; 32]),
            is_deny_all: true,
        }
    }
}

/// Builds the snapshot of drafts that were found good.
fn build(
    drafts: &[Draft<'_>],
    membership: Membership,
    options: &Options,
    now: SystemTime,
) -> Result<Snapshot, Diagnostic> {
    let alive: Vec<&Draft<'_>> = drafts.iter().filter(|draft| !draft.is_expired(now)).collect();
    let paths = paths_of(&alive)?;
    let matcher = build_matcher(&alive, &paths)?;
    let (entries, grants) = entries_of(drafts, &membership, now);
    let ancestors = Ancestors::of(&matcher, |rule| {
        let entry: &Entry = &entries[rule.entry() as usize];
        (entry.kind != EntryKind::Deny).then_some(entry.grant)
    });
    let mut snapshot = Snapshot {
        matcher,
        ancestors,
        entries,
        grants,
        groups: membership.groups,
        statics: Statics::new(options.statics.iter().cloned()),
        catalogue: Catalogue::shipped(),
        paths,
        expiries: Expiries::new(drafts.iter().filter_map(Draft::expires).collect(), now),
        digest: Digest([0; 32]),
        is_deny_all: false,
    };
    snapshot.digest = digest(&snapshot);
    Ok(snapshot)
}

/// The files that rules stand in, each once: a document's drafts follow each other.
fn paths_of(alive: &[&Draft<'_>]) -> Result<Box<[Arc<Path>]>, Diagnostic> {
    let mut paths: Vec<Arc<Path>> = alive.iter().map(|draft| Arc::clone(draft.source.path())).collect();
    paths.dedup();
    match paths.get(usize::from(u16::MAX)) {
        None => Ok(paths.into()),
        Some(path) => Err(Diagnostic::about(path.to_path_buf(), "more than 65535 policy files")),
    }
}

fn build_matcher(alive: &[&Draft<'_>], paths: &[Arc<Path>]) -> Result<Matcher, Diagnostic> {
    let mut builder = Builder::default();
    let mut files = (0..).zip(paths);
    let mut file = None;
    let mut cursor = None;
    for (entry, draft) in (0..).zip(alive) {
        let path = draft.source.path();
        if file.is_none_or(|(_, current)| current != path) {
            file = files.find(|(_, next)| *next == path);
            cursor = Some(Cursor::new(draft.source));
        }
        let (Some((number, _)), Some(cursor)) = (file, &mut cursor) else { continue };
        for (pattern, offset) in draft.rules() {
            let (line, column) = cursor.advance(offset);
            let tag = Tag { entry, path: number, line, column: u16::try_from(column).unwrap_or(u16::MAX) };
            let full = |error: TooManyRules| Diagnostic::about(path.to_path_buf(), error.to_string());
            builder.add(pattern, tag).map_err(full)?;
        }
    }
    Ok(builder.finish())
}

/// The entries in force, and the sets of clients they are for, each set once.
fn entries_of(drafts: &[Draft<'_>], membership: &Membership, now: SystemTime) -> (Box<[Entry]>, Box<[Grant]>) {
    let mut grants = Vec::new();
    let mut numbers: HashMap<&Grant, u32> = HashMap::new();
    let mut number = |grant| {
        *numbers.entry(grant).or_insert_with(|| {
            grants.push(Grant::clone(grant));
            u32::try_from(grants.len() - 1).expect("there are fewer sets of clients than bytes of policy")
        })
    };
    let alive = drafts.iter().zip(&membership.grants).filter(|(draft, _)| !draft.is_expired(now));
    let entries = alive.map(|(draft, grant)| draft.entry(number(grant))).collect();
    (entries, grants.into())
}

/// Under `strict` a warning is a fault.
fn judge_severity(diagnostic: Diagnostic, options: &Options) -> Diagnostic {
    if options.strict { diagnostic.into_fault() } else { diagnostic }
}

/// Puts complaints together, in the order of files and lines; faults among them turn any result into a refusal.
fn merge(complaints: Vec<Diagnostic>, result: Result<Compiled, Vec<Diagnostic>>) -> Result<Compiled, Vec<Diagnostic>> {
    let (snapshot, more) = match result {
        Ok(compiled) => (Some(compiled.snapshot), compiled.warnings),
        Err(faults) => (None, faults),
    };
    let mut all: Vec<Diagnostic> = complaints.into_iter().chain(more).collect();
    all.sort_by(|a, b| position(a).cmp(&position(b)));
    match snapshot {
        Some(snapshot) if !all.iter().any(Diagnostic::is_fault) => Ok(Compiled { snapshot, warnings: all }),
        _ => Err(all),
    }
}

fn position(diagnostic: &Diagnostic) -> (&Path, Option<(u32, u32)>) {
    let excerpt = diagnostic.excerpt.as_ref();
    (&diagnostic.path, excerpt.map(|excerpt| (excerpt.line, excerpt.column)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn compiled(text: &str) -> Result<Compiled, Vec<Diagnostic>> {
        load(vec![Source::new("p.toml", format!("version = 1\n{text}"))], &Options::default(), NOW)
    }

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn faults(text: &str) -> Vec<String> {
        let line = |fault: &Diagnostic| fault.excerpt.as_ref().map_or(0, |excerpt| excerpt.line);
        let complaints = compiled(text).unwrap_err();
        let faults = complaints.iter().filter(|complaint| complaint.is_fault());
        faults.map(|fault| format!("{}: {}", line(fault), fault.message)).collect()
    }

    #[test]
    fn every_fault_is_told_at_once_in_the_order_of_the_lines() {
        assert_eq!(
            faults(
                "[[registry]]\npreset = \"docker-hup\"\n[[group]]\nname = \"ci\"\nregistries = [\"nexu\"]\nservices = [\"x\"]"
            ),
            ["3: unknown preset `docker-hup`", "6: unknown registry `nexu`", "7: unknown service `x`"]
        );
    }

    #[test]
    fn an_expired_entry_is_left_out_and_warned_of_even_under_strict() {
        let text = "version = 1\n[[registry]]\nname = \"a\"\nhosts = [\"a.example\"]\nexpires = 2000-01-01T00:00:00Z";
        let options = Options { strict: true, ..Options::default() };
        let at = |now| load(vec![Source::new("p.toml", text)], &options, now).unwrap();
        let before = at(NOW);
        assert_eq!((before.snapshot.rule_count(), before.warnings.len()), (1, 0));
        let after = at(before.snapshot.next_expiry().unwrap());
        assert_eq!((after.snapshot.rule_count(), after.warnings.len()), (0, 1));
        assert!(!before.snapshot.is_current(NOW + Duration::from_hours(24 * 366 * 40)));
        assert_ne!(before.snapshot.digest(), after.snapshot.digest());
    }
}
