//! `pullgate policy`: what the files say, what is in force, what a change would change.

mod test;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::failure::{self, Failure};
use super::options::{self, Options};
use super::output::{Output, counted};
use super::{ExitCode, Outcome, compiled};
use crate::config::PolicySource;
use crate::control::explain;
use crate::control::report::{FaultReport, GroupReport, ImageKeyReport, ImagesReport, PolicyReport, PolicyRule};

/// What the policy files say, what is in force, what a change would change
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show every fault and warning of a policy, each with its place
    ///
    /// Exit codes: 0 no fault (there may be warnings); 78 faults: a server would not take this policy.
    Lint {
        /// The policy folder [default: the settings' own]
        path: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Hold the `[[assert]]` of a policy against what it decides
    ///
    /// Assertions are kept in the policy files: `name` or `image`, `client` or `group`, and what to `expect`. A server
    /// refuses a policy whose assertions do not hold; this shows each of them.
    ///
    /// Exit codes: 0 all hold; 1 one does not; 78 other faults.
    Test {
        /// The policy folder [default: the settings' own]
        path: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the groups, rules and images in force
    ///
    /// Asks the running server; with PATH (or --policy) it shows what the files of a folder would put in force.
    Show {
        /// A policy folder, instead of what is in force
        path: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show which verdicts on names and images differ between two policy folders
    ///
    /// With one folder: what would change if it were put in force on the running server.
    ///
    /// Exit codes: 0 the same verdicts; 1 different; 69 the server is not running; 78 a folder has faults.
    Diff {
        /// The policy as it is; alone: the policy as it might be
        old: PathBuf,
        /// The policy as it might be
        new: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    match &arguments.command {
        Command::Lint { path, json } => lint(options, path.as_deref(), *json, output),
        Command::Test { path, json } => test::run(options, path.as_deref(), *json, output),
        Command::Show { path, json } => show(options, path.as_deref(), *json, output),
        Command::Diff { old, new, json } => diff(options, (old, new.as_deref()), *json, output),
    }
}

/// What `policy lint --json` prints.
#[derive(Debug, Serialize)]
struct LintReport {
    rules: usize,
    faults: Vec<FaultReport>,
    warnings: Vec<FaultReport>,
}

fn lint(options: &Options, path: Option<&Path>, json: bool, output: &mut Output) -> Outcome {
    let loaded = options.settings()?;
    let source = path.map_or(loaded.settings.policy.source.clone(), |path| PolicySource::Directory(path.to_owned()));
    let compiled = compiled::compiled(&source, &loaded);
    let rules = compiled.as_ref().map_or(0, |compiled| compiled.snapshot.rule_count());
    let found = compiled.map_or_else(|found| found, |compiled| compiled.warnings);
    let faults = found.iter().filter(|diagnostic| diagnostic.is_fault()).count();
    if json {
        let (faults, warnings): (Vec<_>, Vec<_>) = found.iter().partition(|diagnostic| diagnostic.is_fault());
        output.json(&LintReport { rules, faults: FaultReport::all(faults), warnings: FaultReport::all(warnings) })?;
    } else {
        found.iter().try_for_each(|diagnostic| writeln!(output, "{diagnostic}"))?;
        match faults {
            0 => {
                let (rules, warnings) = (counted(rules, "rule"), counted(found.len(), "warning"));
                writeln!(output, "{rules}, {warnings}: a server takes this policy")?;
            }
            _ => writeln!(output, "{}: a server refuses this policy whole", counted(faults, "fault"))?,
        }
    }
    Ok(if faults == 0 { ExitCode::SUCCESS } else { ExitCode::from(failure::CONFIG) })
}

fn show(options: &Options, path: Option<&Path>, json: bool, output: &mut Output) -> Outcome {
    let report = match path.or(options.policy()) {
        Some(path) => report_of(options, path)?,
        None => running(options)?,
    };
    if json {
        output.json(&report)?;
    } else {
        print_policy(&report, output)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn report_of(options: &Options, folder: &Path) -> Result<PolicyReport, Failure> {
    let loaded = options.settings()?;
    Ok(explain::policy(&compiled::from_folder(folder, &loaded)?.snapshot, None))
}

fn running(options: &Options) -> Result<PolicyReport, Failure> {
    let client = options.client()?;
    options::block_on(async { Ok(client.policy().await?) })
}

fn print_policy(report: &PolicyReport, output: &mut Output) -> Result<(), Failure> {
    match report.generation {
        Some(generation) => writeln!(output, "in force: generation {generation}, digest {}", report.digest)?,
        None => writeln!(output, "digest {}", report.digest)?,
    }
    if !report.groups.is_empty() {
        writeln!(output)?;
        let head = ["group", "mode", "unlisted", "clients"].map(str::to_uppercase);
        let rows = report
            .groups
            .iter()
            .map(|group| [group.name.clone(), group.mode.clone(), group.unlisted.clone(), group.clients.join(", ")]);
        output.table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())?;
    }
    writeln!(output)?;
    let head = ["pattern", "kind", "entry", "mode", "path", "groups", "place"].map(str::to_uppercase);
    let rows = report.rules.iter().map(|rule| rule_row(rule, report.groups.is_empty()));
    output.table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())?;
    if !report.images.is_empty() {
        writeln!(output)?;
        let head = ["images of", "mode", "groups", "key", "value", "place"].map(str::to_uppercase);
        let rows = report.images.iter().flat_map(|images| images_rows(images, report.groups.is_empty()));
        output.table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())?;
    }
    Ok(())
}

fn rule_row(rule: &PolicyRule, no_groups: bool) -> [String; 7] {
    let PolicyRule { pattern, kind, entry, mode, data_path, .. } = rule.clone();
    [pattern, kind, entry, mode, data_path, whose(&rule.groups, no_groups), place(rule)]
}

/// A row for each key of a table, in the order in which they are asked.
fn images_rows(images: &ImagesReport, no_groups: bool) -> impl Iterator<Item = [String; 6]> {
    images.keys.iter().map(move |ImageKeyReport { key, value, path, line }| {
        let (registry, mode, groups) = (images.registry.clone(), images.mode.clone(), whose(&images.groups, no_groups));
        [registry, mode, groups, key.clone(), value.clone(), format!("{}:{line}", path.display())]
    })
}

fn whose(groups: &[String], no_groups: bool) -> String {
    if no_groups { "everyone".to_owned() } else { groups.join(",") }
}

fn place(rule: &PolicyRule) -> String {
    match (&rule.path, rule.line) {
        (Some(path), Some(line)) => format!("{}:{line}", path.display()),
        _ => String::new(),
    }
}

/// One difference between two policies.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Change {
    /// Whose clients see it; `None` where there are no groups.
    group: Option<String>,
    /// The pattern, or what of the group changed: `mode`, `unlisted`, `clients`.
    subject: String,
    /// Before; `None`: no rule had this pattern.
    old: Option<String>,
    /// After; `None`: no rule has it.
    new: Option<String>,
}

fn diff(options: &Options, (old, new): (&Path, Option<&Path>), json: bool, output: &mut Output) -> Outcome {
    options.refuse_all_but(&["--config", "--socket"])?;
    let (old, new) = match new {
        Some(new) => (report_of(options, old)?, report_of(options, new)?),
        None => (running(options)?, report_of(options, old)?),
    };
    let changes = changes(&old, &new);
    if json {
        output.json(&changes)?;
    } else {
        changes.iter().try_for_each(|change| print_change(change, output))?;
        if changes.is_empty() && old.digest != new.digest {
            writeln!(output, "no verdict differs, but other terms of the entries do")?;
        }
    }
    Ok(if changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(failure::NO) })
}

fn print_change(change: &Change, output: &mut Output) -> Result<(), Failure> {
    let Change { group, subject, old, new } = change;
    let whose = group.as_ref().map(|group| format!("  group {group}")).unwrap_or_default();
    match (old, new) {
        (Some(old), Some(new)) => writeln!(output, "~ {subject}: {old} -> {new}{whose}")?,
        (None, Some(new)) => writeln!(output, "+ {subject}: {new}{whose}")?,
        (Some(old), None) => writeln!(output, "- {subject}: {old}{whose}")?,
        (None, None) => {}
    }
    Ok(())
}

/// What a group (or, without groups, everyone) and a subject lead to.
type Effect<'r> = BTreeMap<(Option<&'r str>, Cow<'r, str>), Cow<'r, str>>;

/// Every pattern and every group's terms that differ, by group.
fn changes(old: &PolicyReport, new: &PolicyReport) -> Vec<Change> {
    let (old, new) = (effect(old), effect(new));
    let subjects: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let differs = subjects.into_iter().filter(|subject| old.get(subject) != new.get(subject));
    let own = |text: &Cow<'_, str>| text.to_string();
    differs
        .map(|subject @ (group, what)| Change {
            group: group.map(str::to_owned),
            subject: what.to_string(),
            old: old.get(subject).map(own),
            new: new.get(subject).map(own),
        })
        .collect()
}

fn effect(report: &PolicyReport) -> Effect<'_> {
    let mut effect = Effect::new();
    for group in &report.groups {
        let whose = Some(group.name.as_str());
        effect.insert((whose, "mode".into()), group.mode.as_str().into());
        effect.insert((whose, "unlisted".into()), group.unlisted.as_str().into());
        effect.insert((whose, "clients".into()), clients(group).into());
    }
    for rule in &report.rules {
        for group in holders(report, &rule.groups) {
            let verdict = effect.entry((group, rule.pattern.as_str().into())).or_insert("audit".into());
            *verdict = stronger(verdict, rule_verdict(rule)).to_owned().into();
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
    effect.insert((group, format!("images of {registry}, mode").into()), images.mode.as_str().into());
    for ImageKeyReport { key, value, .. } in &images.keys {
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
            known.split(", ").filter(|known| !known.is_empty()).chain([meaning]).collect();
        *known = meanings.into_iter().collect::<Vec<_>>().join(", ").into();
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
fn stronger<'v>(one: &'v str, other: &'v str) -> &'v str {
    let strength = |verdict: &str| match verdict {
        "deny" => 2,
        "audit" => 0,
        _ => 1,
    };
    if strength(other) > strength(one) { other } else { one }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str, kind: &str, mode: &str, groups: &[&str]) -> PolicyRule {
        PolicyRule {
            pattern: pattern.into(),
            kind: kind.into(),
            entry: "e".into(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            mode: mode.into(),
            data_path: "direct".into(),
            path: None,
            line: None,
        }
    }

    fn group(name: &str, mode: &str) -> GroupReport {
        GroupReport { name: name.into(), mode: mode.into(), unlisted: "deny".into(), clients: Vec::new() }
    }

    fn shown(old: &PolicyReport, new: &PolicyReport) -> Vec<String> {
        let show = |change: Change| {
            let (old, new) = (change.old.unwrap_or_default(), change.new.unwrap_or_default());
            format!("{}/{}: {old}->{new}", change.group.unwrap_or_default(), change.subject)
        };
        changes(old, new).into_iter().map(show).collect()
    }

    #[test]
    fn added_removed_and_changed_patterns_are_told_apart() {
        let old = [rule("a.example", "registry", "enforce", &[]), rule("b.example", "registry", "enforce", &[])];
        let new = [rule("b.example", "deny", "enforce", &[]), rule("c.example", "registry", "audit", &[])];
        let [old, new] = [old, new].map(|rules| PolicyReport { rules: rules.to_vec(), ..PolicyReport::default() });
        assert_eq!(shown(&old, &new), ["/a.example: allow->", "/b.example: allow->deny", "/c.example: ->audit"]);
    }

    #[test]
    fn a_rule_that_moves_between_groups_and_a_groups_new_mode_are_changes() {
        let policy = |holder: &str, mode: &str| PolicyReport {
            groups: vec![group("ci", mode), group("dev", "enforce")],
            rules: vec![rule("a.example", "registry", "enforce", &[holder])],
            ..PolicyReport::default()
        };
        assert_eq!(
            shown(&policy("ci", "enforce"), &policy("dev", "audit")),
            ["ci/a.example: allow->", "ci/mode: enforce->audit", "dev/a.example: ->allow"]
        );
    }

    #[test]
    fn clients_that_change_their_group_are_a_change() {
        let policy = |ci: &[&str], dev: &[&str]| {
            let with = |name, clients: &[&str]| GroupReport {
                clients: clients.iter().map(|range| (*range).to_owned()).collect(),
                ..group(name, "enforce")
            };
            PolicyReport { groups: vec![with("ci", ci), with("dev", dev)], ..PolicyReport::default() }
        };
        let (old, new) = (policy(&["10.1.0.0/16", "10.2.0.0/16"], &[]), policy(&["10.2.0.0/16"], &["10.1.0.0/16"]));
        assert_eq!(
            shown(&old, &new),
            ["ci/clients: 10.1.0.0/16, 10.2.0.0/16->10.2.0.0/16", "dev/clients: none->10.1.0.0/16"]
        );
        let turned = policy(&["10.2.0.0/16", "10.1.0.0/16"], &[]);
        assert_eq!(shown(&old, &turned), [""; 0]);
    }

    #[test]
    fn a_path_that_changes_is_a_change() {
        let policy = |path: &str| {
            let rule = PolicyRule { data_path: path.into(), ..rule("a.example", "registry", "enforce", &[]) };
            PolicyReport { rules: vec![rule], ..PolicyReport::default() }
        };
        assert_eq!(shown(&policy("direct"), &policy("inspect")), ["/a.example: allow->allow (inspect)"]);
    }

    #[test]
    fn images_that_change_are_a_change_for_each_group_of_their_table() {
        let policy = |groups: &[&str], keys: &[(&str, &str)]| {
            let key = |(key, value): &(&str, &str)| ImageKeyReport {
                key: (*key).into(),
                value: (*value).into(),
                path: "a.toml".into(),
                line: 1,
            };
            let images = ImagesReport {
                registry: "hub".into(),
                groups: groups.iter().map(|group| (*group).to_owned()).collect(),
                mode: "enforce".into(),
                keys: keys.iter().map(key).collect(),
                path: "a.toml".into(),
                line: 1,
            };
            PolicyReport { groups: vec![group("ci", "enforce")], images: vec![images], ..PolicyReport::default() }
        };
        let old = policy(&["ci"], &[("allow", "prom/*"), ("push", "prom/*"), ("official", "deny")]);
        let new = policy(&["ci"], &[("push", "prom/*"), ("allow", "a/b"), ("official", "allow")]);
        assert_eq!(
            shown(&old, &new),
            [
                "ci/images of hub, a/b: ->allow",
                "ci/images of hub, official: deny->allow",
                "ci/images of hub, prom/*: allow, push->push",
            ]
        );
        assert_eq!(shown(&new, &policy(&[], &[])).len(), 4, "the mode as well");
    }

    #[test]
    fn the_same_policy_in_another_order_is_no_change() {
        let rules = [rule("a.example", "registry", "enforce", &[]), rule("a.example", "deny", "enforce", &[])];
        let old = PolicyReport { rules: rules.to_vec(), ..PolicyReport::default() };
        let new = PolicyReport { rules: rules.into_iter().rev().collect(), ..PolicyReport::default() };
        assert_eq!(shown(&old, &new), [""; 0]);
    }
}
