//! From documents to a snapshot, or to everything that is wrong with them, across all files, at once.
//!
//! Each stage complains into one list and goes on; only a policy without any fault becomes a snapshot. An entry that has
//! expired at `now` takes part in every check, so that time passing alone never makes a policy faulty, and is left out
//! of the snapshot.

mod asserts;
mod digest;
mod entries;
mod groups;
mod images;
mod overlaid;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

pub use self::asserts::{Ruling, Tested};
pub use self::overlaid::{Overlaid, load_overlaid};

use self::digest::digest;
use self::entries::{Cursor, Draft};
use self::groups::Membership;
use self::images::ImagesDraft;
use crate::diagnostic::{Diagnostic, Source};
use crate::name::DomainName;
use crate::policy::ancestors::Ancestors;
use crate::policy::document::{Document, Mode};
use crate::policy::images::ImageTables;
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
    /// Whether there is a gateway, to which names may be steered.
    pub has_gateway: bool,
    /// What a denial means in some groups, whatever they say: by an overlay.
    pub modes: BTreeMap<String, Mode>,
    /// What a denial means to some clients, whatever their groups say, by their canonical addresses: by an overlay.
    pub client_modes: BTreeMap<IpAddr, Mode>,
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
    load_overlaid(sources, &[], options, now).map(|overlaid| overlaid.compiled)
}

/// Holds the assertions of policy files against what they decide.
///
/// # Errors
/// Every other fault: then nothing is decided.
pub fn test(sources: Vec<Source>, options: &Options, now: SystemTime) -> Result<Vec<Tested>, Vec<Diagnostic>> {
    let (documents, parsed) = parse(sources, options);
    let compiled = merge(parsed, translate(&documents, options, now))?;
    let as_written = as_written(&documents, &compiled.snapshot, options);
    Ok(asserts::test(&documents, as_written.as_ref().unwrap_or(&compiled.snapshot)))
}

/// Compiles documents. `now` decides which entries have expired.
///
/// # Errors
/// Every fault, and the warnings beside them; assertions that do not hold are looked for where nothing else is wrong.
pub fn compile(documents: &[Document], options: &Options, now: SystemTime) -> Result<Compiled, Vec<Diagnostic>> {
    let compiled = translate(documents, options, now)?;
    if !asserts::has_any(documents) {
        return Ok(compiled);
    }
    let as_written = as_written(documents, &compiled.snapshot, options);
    let failed = asserts::faults(documents, as_written.as_ref().unwrap_or(&compiled.snapshot), now);
    merge(failed, Ok(compiled))
}

fn parse(sources: Vec<Source>, options: &Options) -> (Vec<Document>, Vec<Diagnostic>) {
    let (documents, parsed): (Vec<_>, Vec<_>) = sources.into_iter().map(Document::parse).unzip();
    (documents, parsed.into_iter().flatten().map(|diagnostic| judge_severity(diagnostic, options)).collect())
}

/// The policy with its expired entries, if there are any.
fn as_written(documents: &[Document], snapshot: &Snapshot, options: &Options) -> Option<Snapshot> {
    let compiled = (snapshot.expiries.passed > 0).then(|| translate(documents, options, SystemTime::UNIX_EPOCH));
    compiled.and_then(Result::ok).map(|compiled| compiled.snapshot)
}

/// Compiles documents, whatever they assert.
fn translate(documents: &[Document], options: &Options, now: SystemTime) -> Result<Compiled, Vec<Diagnostic>> {
    let mut complaints = Vec::new();
    let drafts = entries::draft(documents, &mut complaints);
    let groups = groups::resolve(documents, &drafts, options, &mut complaints);
    entries::check_statics(&drafts, &Statics::new(options.statics.iter().cloned()), &mut complaints);
    let mut images = images::resolve(documents, &drafts, &groups.groups, &mut complaints);
    images::check_paths(&drafts, &images, options, &mut complaints);
    asserts::check(documents, &groups.groups, &mut complaints);
    let mut complaints: Vec<_> = complaints.into_iter().map(|complaint| judge_severity(complaint, options)).collect();
    complaints.extend(entries::warn_of_ends(&drafts, now));
    if complaints.iter().any(Diagnostic::is_fault) {
        return merge(complaints, Err(Vec::new()));
    }
    images.retain(|images| !drafts[images.registry].is_expired(now));
    let snapshot = build(&drafts, groups, &images, options, now).map_err(|fault| vec![fault])?;
    let warnings = images::lint(&snapshot, &drafts, &images);
    complaints.extend(warnings.into_iter().map(|warning| judge_severity(warning, options)));
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
            images: ImageTables::default(),
            statics: Statics::new(options.statics.iter().cloned()),
            catalogue: Catalogue::shipped(),
            paths: Box::default(),
            expiries: Expiries::default(),
            exceptions: Box::default(),
            digest: Digest([0; 32]),
            is_deny_all: true,
        }
    }
}

/// Builds the snapshot of drafts that were found good.
fn build(
    drafts: &[Draft<'_>],
    membership: Membership,
    images: &[ImagesDraft<'_>],
    options: &Options,
    now: SystemTime,
) -> Result<Snapshot, Diagnostic> {
    let alive: Vec<&Draft<'_>> = drafts.iter().filter(|draft| !draft.is_expired(now)).collect();
    let paths = paths_of(&alive)?;
    let matcher = build_matcher(&alive, &paths)?;
    let (entries, grants) = entries_of(drafts, &membership, now);
    let exceptions = entries::exceptions(drafts, &membership.grants, &membership.groups);
    let numbers = numbers_of(drafts, now);
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
        images: images::tables(images, &numbers),
        statics: Statics::new(options.statics.iter().cloned()),
        catalogue: Catalogue::shipped(),
        paths,
        expiries: Expiries::new(drafts.iter().filter_map(Draft::expires).collect(), now),
        exceptions,
        digest: Digest([0; 32]),
        is_deny_all: false,
    };
    snapshot.digest = digest(&snapshot);
    Ok(snapshot)
}

/// The number that each draft's entry has; `None`: it has expired.
fn numbers_of(drafts: &[Draft<'_>], now: SystemTime) -> Vec<Option<u32>> {
    let mut next = 0..;
    drafts.iter().map(|draft| if draft.is_expired(now) { None } else { next.next() }).collect()
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
        for (pattern, offset, data_path) in draft.rules() {
            let (line, column) = cursor.advance(offset);
            let column = u16::try_from(column).unwrap_or(u16::MAX);
            let tag = Tag { entry, path: number, line, column, data_path };
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
    use crate::policy::exceptions::Exception;

    fn load_files(files: &[(&str, &str)], options: &Options, now: SystemTime) -> Result<Compiled, Vec<Diagnostic>> {
        let source = |(path, text): &(&str, &str)| Source::new(*path, format!("version = 1\n{text}"));
        load(files.iter().map(source).collect(), options, now)
    }

    /// The complaints about some files: file, line and message, warnings marked.
    fn complaints(files: &[(&str, &str)]) -> Vec<String> {
        let told = |complaint: &Diagnostic| {
            let line = complaint.excerpt.as_ref().map_or(0, |excerpt| excerpt.line);
            let mark = if complaint.is_fault() { "" } else { "warning: " };
            format!("{}:{line}: {mark}{}", complaint.path.display(), complaint.message)
        };
        match load_files(files, &Options::default(), EARLY) {
            Ok(compiled) => compiled.warnings.iter().map(told).collect(),
            Err(complaints) => complaints.iter().map(told).collect(),
        }
    }

    fn hint(text: &str) -> String {
        let complaints = load_files(&[("p.toml", text)], &Options::default(), EARLY).unwrap_err();
        complaints.into_iter().find(Diagnostic::is_fault).unwrap().hint.unwrap()
    }

    const EARLY: SystemTime = SystemTime::UNIX_EPOCH;

    #[test]
    fn every_fault_in_every_file_is_told_at_once_in_the_order_of_files_and_lines() {
        let groups = "[[group]]\nname = \"default\"\nregistries = [\"nexu\"]\nservices = [\"x\"]\ninherits = \"bas\"\n";
        let entries = "[[registry]]\npreset = \"docker-hup\"\ngroups = [\"default\"]\n[[regsitry]]\n";
        assert_eq!(
            complaints(&[("a.toml", entries), ("b.toml", groups)]),
            [
                "a.toml:3: unknown preset `docker-hup`",
                "a.toml:5: unknown key `regsitry`",
                "b.toml:4: unknown registry `nexu`",
                "b.toml:5: unknown service `x`",
                "b.toml:6: unknown group `bas`",
            ]
        );
    }

    #[test]
    fn a_reference_that_is_unknown_is_met_with_the_nearest_name() {
        let text = "[[registry]]\nname = \"nexus-eu\"\nhosts = [\"n.example\"]\ngroups = [\"devs\"]\n[[group]]\nname = \"devs\"\n";
        assert_eq!(hint(&text.replace("[\"devs\"]", "[\"dves\"]")), "did you mean `devs`?");
        assert_eq!(hint(&format!("{text}registries = [\"nexus-ue\"]\n")), "did you mean `nexus-eu`?");
        assert_eq!(hint(&format!("{text}services = [\"nexus-eu\"]\n")), "it is a registry: name it in `registries`");
        assert_eq!(hint("[[registry]]\npreset = \"docker-hup\"\n"), "did you mean `docker-hub`?");
    }

    #[test]
    fn names_are_unique_across_files_and_the_first_is_pointed_at() {
        let entry = "[[registry]]\nname = \"r\"\nhosts = [\"r.example\"]\n";
        let group = "[[group]]\nname = \"default\"\nregistries = [\"*\"]\n";
        assert_eq!(
            complaints(&[("a.toml", &format!("{entry}{group}")), ("b.toml", &format!("{entry}{group}"))]),
            ["b.toml:3: a second entry named `r`", "b.toml:6: a second group named `default`"]
        );
        assert!(hint(&format!("{entry}{entry}")).starts_with("the first is at p.toml:3:8"));
    }

    #[test]
    fn a_preset_needs_its_values_and_knows_its_words() {
        assert_eq!(
            complaints(&[(
                "a.toml",
                "[[registry]]\npreset = \"ecr-private\"\nvalues = { acount = \"123456789012\" }\n"
            )])
            .iter()
            .map(|complaint| complaint.split(' ').next().unwrap())
            .collect::<Vec<_>>(),
            ["a.toml:3:", "a.toml:3:", "a.toml:4:"]
        );
        let complaints = complaints(&[("a.toml", "[[registry]]\npreset = \"docker-hub\"\ninclude = [\"wbe\"]\n")]);
        assert!(complaints[0].starts_with("a.toml:4: "), "{complaints:?}");
    }

    #[test]
    fn a_range_or_a_listener_belongs_to_one_group() {
        let group = |name: &str| {
            format!(
                "[[group]]\nname = {name:?}\nclients = [\"10.0.0.0/8\", \"::ffff:10.0.0.0/104\"]\nlisten = [\"127.0.0.1:53\"]\n"
            )
        };
        assert_eq!(
            complaints(&[("a.toml", &group("default")), ("b.toml", &group("b"))])
                .iter()
                .filter(|complaint| !complaint.contains("warning"))
                .collect::<Vec<_>>(),
            [
                "b.toml:4: range `10.0.0.0/8` is group `default`'s already",
                "b.toml:4: range `10.0.0.0/8` is group `default`'s already",
                "b.toml:5: listener `127.0.0.1:53` is group `default`'s already",
            ]
        );
    }

    #[test]
    fn groups_that_inherit_in_a_circle_are_named_once() {
        let group = |name: &str, from: &str| format!("[[group]]\nname = {name:?}\ninherits = {from:?}\n");
        let circle = [group("default", "b"), group("b", "c"), group("c", "b"), group("self", "self")].concat();
        assert_eq!(
            complaints(&[("a.toml", &circle)]),
            [
                "a.toml:7: groups inherit in a circle: `b` from `c` from `b`",
                "a.toml:13: groups inherit in a circle: `self` from `self`",
            ]
        );
    }

    #[test]
    fn a_deny_of_a_name_the_resolver_answers_itself_is_a_fault() {
        let options = Options { statics: vec!["host.docker.internal".parse().unwrap()], ..Options::default() };
        let denying = |host: &str| {
            load_files(&[("a.toml", &format!("[[deny]]\nhosts = [{host:?}]\n"))], &options, EARLY).is_err()
        };
        for host in [".docker.internal", "host.docker.internal", "localhost", "probe.pullgate.internal"] {
            assert!(denying(host), "{host}");
        }
        for host in [".pullgate", "*.quay.io.pullgate", "why.quay.io.pullgate", "w*.quay.io.pullgate"] {
            assert!(denying(host), "{host}");
        }
        for host in ["docker.internal", "pullgate", "quay.io.pullgate", "xwhy.quay.io.pullgate", "why.pullgate.example"]
        {
            assert!(!denying(host), "{host}");
        }
    }

    #[test]
    fn the_group_of_the_settings_has_to_exist() {
        let options = Options { group: Some("payment".to_owned()), ..Options::default() };
        let text = "[[group]]\nname = \"payments\"\n";
        let faults = load_files(&[("policy.d/a.toml", text)], &options, EARLY).unwrap_err();
        assert_eq!(
            faults[0].to_string().lines().next(),
            Some("policy.d: no group is named `payment`, as `[policy] group` of the settings says")
        );
        assert_eq!(faults[0].hint.as_deref(), Some("did you mean `payments`?"));
    }

    #[test]
    fn what_works_but_hardly_as_meant_is_a_warning_and_under_strict_a_fault() {
        let text = "[[registry]]\nname = \"r\"\nhosts = [\"r.example\"]\n[[group]]\nname = \"ci\"\n";
        assert_eq!(
            complaints(&[("a.toml", text)]),
            [
                "a.toml:3: warning: no group may use registry `r`",
                "a.toml:6: warning: clients that no group claims are denied everything",
            ]
        );
        let strict = Options { strict: true, ..Options::default() };
        assert_eq!(load_files(&[("a.toml", text)], &strict, EARLY).unwrap_err().len(), 2);
        let shared = "[[registry]]\nname = \"r\"\nhosts = [\"*.s3.amazonaws.com\"]\n";
        assert!(load_files(&[("a.toml", shared)], &strict, EARLY).is_err());
        assert!(load_files(&[("a.toml", &format!("{shared}accept-shared-suffix = true\n"))], &strict, EARLY).is_ok());
    }

    #[test]
    fn groups_that_claim_every_address_need_no_default() {
        let text = "[[group]]\nname = \"all\"\nclients = [\"0.0.0.0/0\", \"::/0\"]\n";
        assert_eq!(complaints(&[("a.toml", text)]), [""; 0]);
    }

    #[test]
    fn an_expired_entry_is_left_out_and_warned_of_even_under_strict() {
        let text = "[[registry]]\nname = \"a\"\nhosts = [\"a.example\"]\nexpires = 2000-01-01T00:00:00Z\n[[group]]\nname = \"default\"\nregistries = [\"a\"]\n";
        let options = Options { strict: true, ..Options::default() };
        let at = |now| load_files(&[("a.toml", text)], &options, now).unwrap();
        let before = at(EARLY);
        let end = before.snapshot.next_expiry().unwrap();
        assert_eq!((before.snapshot.rule_count(), before.warnings.len()), (1, 0));
        let after = at(end);
        assert_eq!((after.snapshot.rule_count(), after.snapshot.next_expiry()), (0, None));
        assert_eq!(after.warnings[0].message, "`a` has expired and is left out");
        assert!(
            !before.snapshot.is_current(end) && after.snapshot.is_current(end) && !after.snapshot.is_current(EARLY)
        );
        assert_ne!(before.snapshot.digest(), after.snapshot.digest());
    }

    #[test]
    fn an_entry_that_ends_within_a_week_is_warned_of_even_under_strict_and_decides_as_before() {
        let text = "[[registry]]\nname = \"a\"\nhosts = [\"a.example\"]\nexpires = 2000-01-10T00:00:00Z\n";
        let options = Options { strict: true, ..Options::default() };
        let at = |now| load_files(&[("a.toml", text)], &options, now).unwrap();
        let before = at(EARLY);
        let end = before.snapshot.next_expiry().unwrap();
        let near = end - Duration::from_secs(7 * 86_400);
        let after = at(near);
        assert_eq!((before.warnings.len(), after.warnings.len()), (0, 1));
        assert_eq!(after.warnings[0].message, "`a` ends soon, at 2000-01-10T00:00:00Z");
        assert!(!before.snapshot.is_current(near) && after.snapshot.is_current(near));
        assert_eq!(before.snapshot.digest(), after.snapshot.digest());
    }

    #[test]
    fn entries_with_an_end_are_listed_soonest_first_with_their_groups_also_when_they_have_ended() {
        let entry = |name: &str, year: u32, more: &str| {
            format!(
                "[[registry]]\nname = \"{name}\"\nhosts = [\"{name}.example\"]\nexpires = {year}-01-01T00:00:00Z\n{more}"
            )
        };
        let groups = "[[group]]\nname = \"ci\"\nregistries = [\"late\"]\n[[group]]\nname = \"default\"\n";
        let text = format!(
            "{}{}[[registry]]\nname = \"r\"\nhosts = [\"r.example\"]\n{groups}",
            entry("late", 2001, "owner = \"me\"\n"),
            entry("gone", 1999, "groups = [\"default\"]\n")
        );
        let now = jiff::Timestamp::from_second(950_000_000).unwrap().into();
        let compiled = load_files(&[("a.toml", &text)], &Options::default(), now).unwrap();
        let told = compiled.snapshot.exceptions().iter().map(|exception| {
            let Exception { entry, groups, owner, place, .. } = exception;
            format!("{entry} for {groups:?} by {owner:?} at {place}: {}", exception.left(now).is_some())
        });
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                "gone for [\"default\"] by None at a.toml:10:11: false",
                "late for [\"ci\"] by Some(\"me\") at a.toml:5:11: true",
            ]
        );
    }

    #[test]
    fn places_are_right_in_long_lines_in_tables_out_of_order_and_for_presets() {
        let text = "registry = [{ name = \"r\", owner = \"ä\", hosts = [\"a.example\",\n \"b.example\"] }]\ndeny = [{ hosts = [\"c.example\"] }]\n";
        let compiled = load_files(
            &[("a.toml", text), ("b.toml", "[[registry]]\npreset = \"ghcr\"\n")],
            &Options::default(),
            EARLY,
        )
        .unwrap();
        let places = compiled.snapshot.rules().map(|rule| format!("{} {}", rule.pattern(), rule.place().unwrap()));
        let places: Vec<String> = places.collect();
        assert_eq!(places[..3], ["a.example a.toml:2:49", "b.example a.toml:3:2", "c.example a.toml:4:20"]);
        assert!(places[3..].iter().all(|place| place.ends_with(" b.toml:3:10")), "{places:?}");
    }

    #[test]
    fn private_addresses_are_for_self_hosted_presets_and_services_with_their_own_servers() {
        let entry = |text: &str| {
            let compiled = load_files(&[("a.toml", text)], &Options::default(), EARLY).unwrap();
            compiled.snapshot.entries()[0].private_addresses
        };
        let service = "[[service]]\nname = \"s\"\nnames = [\"s.example\"]\n";
        assert_eq!(entry(service), None);
        assert_eq!(entry(&format!("{service}servers = [\"10.0.0.53\"]\n")), Some(true));
        assert_eq!(entry(&format!("{service}servers = [\"10.0.0.53\"]\nprivate-addresses = false\n")), Some(false));
        assert_eq!(entry("[[registry]]\npreset = \"docker-hub\"\n"), None);
        let harbor = "[[registry]]\npreset = \"harbor\"\nvalues = { harbor-host = \"harbor.corp.example\" }\n";
        assert_eq!(entry(harbor), Some(true));
    }

    // ── the digest ──

    fn digest(files: &[(&str, &str)]) -> Digest {
        load_files(files, &Options::default(), EARLY).unwrap_or_else(|faults| panic!("{}", faults[0])).snapshot.digest()
    }

    fn registry(name: &str, hosts: &[&str]) -> String {
        format!("[[registry]]\nname = {name:?}\nhosts = {hosts:?}\n")
    }

    #[test]
    fn what_changes_no_verdict_changes_no_digest() {
        let (a, b) = (registry("a", &["a.example", "*.a.example"]), registry("b", &["b.example"]));
        let whole = digest(&[("a.toml", &format!("{a}{b}"))]);
        for same in [
            vec![("a.toml", format!("# why\n{b}\n{a}"))],
            vec![("z.toml", a.clone()), ("zz.toml", b.clone())],
            vec![("a.toml", format!("{}{b}", registry("a", &["*.a.example", "A.Example.", "a.example"])))],
        ] {
            let files: Vec<_> = same.iter().map(|(path, text)| (*path, text.as_str())).collect();
            assert_eq!(digest(&files), whole, "{files:?}");
        }
    }

    #[test]
    fn what_changes_a_verdict_changes_the_digest() {
        let a = registry("a", &["a.example"]);
        let group = "[[group]]\nname = \"default\"\nregistries = [\"a\"]\nclients = [\"10.0.0.0/8\"]\n";
        let changed = [
            String::new(),
            a.clone(),
            registry("b", &["a.example"]),
            registry("a", &["*.a.example"]),
            registry("a", &[".a.example"]),
            format!("{a}mode = \"audit\"\n"),
            format!("{a}cname = \"inspect\"\n"),
            format!("{a}private-addresses = true\n"),
            format!("{a}owner = \"platform\"\n"),
            format!("{a}[[deny]]\nhosts = [\"a.example\"]\n"),
            format!("{a}[[deny]]\nhosts = [\"a.example\"]\nreason = \"r\"\n"),
            format!("{a}{group}"),
            format!("{a}{group}mode = \"audit\"\n"),
            format!("{a}{group}unlisted = \"forward\"\n"),
            format!("{a}{}", group.replace("10.0.0.0/8", "10.0.0.0/9")),
            format!("{a}{}", group.replace("clients = [\"10.0.0.0/8\"]", "listen = [\"10.0.0.0:53\"]")),
            format!("{a}{}", group.replace("default", "other")),
            a.replace("registry", "service").replace("hosts", "names"),
        ];
        let digests: std::collections::HashSet<Digest> =
            changed.iter().map(|text| digest(&[("a.toml", text)])).collect();
        assert_eq!(digests.len(), changed.len());
    }

    #[test]
    fn the_order_of_entries_counts_where_their_rules_may_tie_and_only_there() {
        for (a, b, counts) in [
            ("x.example", "x.example", true),
            ("*.x.example", ".x.example", true),
            ("a-*.x.example", "*-b.x.example", true),
            ("*.x.example", "a-*.x.example", true),
            ("*.s3.a-*.x.example", "*.y.a-1.x.example", true),
            ("x.example", "y.example", false),
            ("x.example", "*.x.example", false),
            ("*.x.example", "*.y.example", false),
            ("*.x.example", "*.a.x.example", false),
        ] {
            let (a, b) = (registry("a", &[a]), registry("b", &[b]));
            let there_and_back = digest(&[("p.toml", &format!("{a}{b}"))]) != digest(&[("p.toml", &format!("{b}{a}"))]);
            assert_eq!(there_and_back, counts, "{a}{b}");
        }
    }
}
