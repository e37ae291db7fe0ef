//! What is learned from rows, and that what is written of it is a policy.

use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::control::effective;
use crate::control::report::{ImageOfRow, Pull, VerdictWord};
use crate::diagnostic::Source;
use crate::observe::history::RuleOfRow;
use crate::policy::compile::{Compiled, Options, load};
use crate::policy::document::Document;
use crate::policy::pattern::{Pattern, Reach};
use crate::policy::shared_suffix;

const POLICY: &str = r#"version = 1
[[registry]]
name = "lab"
hosts = ["registry.example"]
groups = ["ci", "dev"]
[[registry]]
name = "theirs"
hosts = ["theirs.example"]
groups = ["dev"]
[[deny]]
hosts = ["*.bad.example"]
[[group]]
name = "ci"
clients = ["10.0.0.0/8"]
[[group]]
name = "dev"
clients = ["10.1.0.0/16"]
"#;

fn report_of(policy: &str) -> PolicyReport {
    let compiled = load(vec![Source::new("a.toml", policy)], &Options::default(), SystemTime::now());
    effective::policy(&compiled.unwrap().snapshot, None)
}

fn row(group: Option<&str>, name: &str, after: Option<&str>) -> HistoryRow {
    let pull = |registry: &str| Pull { name: "registry.example".to_owned(), registry: registry.to_owned(), rule: None };
    HistoryRow {
        hour: "2026-11-27T08:00:00Z".to_owned(),
        client: Some("10.0.0.7".parse().unwrap()),
        group: group.map(str::to_owned),
        name: Some(name.to_owned()),
        image: None,
        verdict: VerdictWord::Deny,
        reason: "unlisted".to_owned(),
        rule: None,
        after: after.map(pull),
        count: 2,
        first: "2026-11-27T08:01:00Z".to_owned(),
        last: "2026-11-27T08:02:00Z".to_owned(),
    }
}

fn learned(rows: &[HistoryRow], all: bool) -> Report {
    learn(rows, &report_of(POLICY), all)
}

/// The policy that is drafted, without its comments.
fn lines(report: &Report) -> Vec<String> {
    let text = report.draft("of a test").to_string();
    let code = text.lines().filter(|line| !line.trim_start().starts_with('#') && !line.is_empty());
    code.map(str::to_owned).collect()
}

#[test]
fn a_name_asked_for_after_a_registry_is_proposed_for_it_with_what_speaks_for_it() {
    let mut later = row(Some("ci"), "cdn.example", Some("lab"));
    later.client = Some("10.0.0.8".parse().unwrap());
    later.last = "2026-11-27T10:00:00Z".to_owned();
    let report = learned(&[row(Some("ci"), "cdn.example", Some("lab")), later], false);
    let [proposal] = &report.proposals[..] else { panic!("{report:?}") };
    assert_eq!((proposal.pattern.as_str(), proposal.group.as_deref()), ("cdn.example", Some("ci")));
    assert_eq!(proposal.home.to_string(), "registry `lab` (a.toml:4)");
    assert_eq!(proposal.evidence.to_string(), "4 times by 2 clients, 2026-11-27 08:01 to 2026-11-27 10:00");
    assert_eq!(proposal.risk, Risk::Low);
    assert_eq!(
        lines(&report),
        [
            "version = 1",
            "[[registry]]",
            "name = \"lab-redirects\"",
            "hosts = [",
            "    \"cdn.example\",",
            "]",
            "groups = [\"ci\"]"
        ]
    );
    let text = report.draft("of a test").to_string();
    assert!(text.contains("# Belongs to registry `lab` (a.toml:4). Better than this entry is there:\n#   redirects = [\"cdn.example\"]\n"), "{text}");
}

#[test]
fn groups_that_lack_the_same_share_an_entry_and_an_entry_of_that_name_is_not_written_twice() {
    let lacking = |group, name| row(Some(group), name, Some("lab"));
    let rows = [lacking("ci", "cdn.example"), lacking("dev", "cdn.example")];
    assert!(lines(&learned(&rows, false)).contains(&"groups = [\"ci\", \"dev\"]".to_owned()));
    let rows = [lacking("ci", "cdn.example"), lacking("dev", "other.example")];
    let lines = lines(&learned(&rows, false));
    let names: Vec<_> = lines.iter().filter(|line| line.starts_with("name")).collect();
    assert_eq!(names, ["name = \"lab-redirects\"", "name = \"lab-redirects-2\""]);
}

#[test]
fn what_nothing_explains_is_told_apart_with_the_reason_and_proposed_when_asked_for() {
    let mut rows = vec![
        row(Some("ci"), "telemetry.example", None),
        row(Some("ci"), "ghcr.io", None),
        row(Some("ci"), "theirs.example", None),
        row(Some("ci"), "x.bad.example", None),
        row(Some("gone"), "cdn.example", Some("lab")),
        row(None, "cdn.example", Some("lab")),
        row(Some("ci"), "a\\.b.example", Some("lab")),
        row(Some("ci"), "registry.example", None),
        row(Some("ci"), "allowed.example", Some("lab")),
    ];
    rows.last_mut().unwrap().verdict = VerdictWord::Allow;
    rows[7].reason = "target".to_owned();
    let report = learned(&rows, false);
    assert!(report.proposals.is_empty(), "{report:?}");
    for (name, why) in [
        ("telemetry.example", "no registry was asked for before it"),
        ("ghcr.io", "a registry by itself (preset `ghcr`)"),
        ("theirs.example", "registry `theirs` is for other groups: add \"ci\" to its groups"),
        ("x.bad.example", "a `[[deny]]` has it"),
        ("cdn.example", "the policy has no group `gone` any more"),
        ("cdn.example", "no group takes its clients"),
        ("a\\.b.example", "it is no host name"),
        ("registry.example", "its answer led to a name that is not"),
    ] {
        let found = report.unexplained.iter().any(|left| left.name == name && left.why.contains(why));
        assert!(found, "{name}: {why}: {:?}", report.unexplained);
    }
    assert_eq!(report.unexplained.len(), 8);
    let all = learned(&rows, true);
    let proposed: Vec<_> = all.proposals.iter().map(|proposal| (proposal.pattern.as_str(), proposal.risk)).collect();
    assert_eq!(proposed, [("ghcr.io", Risk::High), ("telemetry.example", Risk::Medium)]);
    assert!(lines(&all).join("\n").contains("preset = \"ghcr\"\ngroups = [\"ci\"]"), "{:?}", lines(&all));
}

#[test]
fn what_is_allowed_by_now_and_names_that_were_not_kept_are_counted() {
    let mut rows = vec![row(Some("ci"), "registry.example", None), row(Some("ci"), "x.example", None)];
    rows[1].name = None;
    let report = learned(&rows, false);
    assert_eq!((report.allowed_by_now, report.various, report.is_empty()), (1, 2, true));
}

const HUB: &str = "registry-1.docker.io";
const IMAGES: &str = r#"version = 1
[[registry]]
preset = "docker-hub"
path = "inspect"
[[registry]]
name = "own"
hosts = ["own.example"]
path = "inspect"
[[images]]
registry = "docker-hub"
groups = ["ci"]
official = "allow"
organizations = ["mycompany"]
allow = ["prom/*"]
deny = ["prom/old"]
[[images]]
registry = "own"
groups = ["dev"]
allow = ["**"]
[[group]]
name = "ci"
clients = ["10.0.0.0/8"]
registries = ["*"]
[[group]]
name = "dev"
registries = ["own"]
"#;

#[test]
fn a_refused_image_has_the_line_that_lets_it_through_and_where_that_belongs() {
    let options = Options { has_gateway: true, ..Options::default() };
    let compiled = load(vec![Source::new("a.toml", IMAGES)], &options, SystemTime::now());
    let policy = effective::policy(&compiled.unwrap().snapshot, None);
    let wanted = |host: &str, repository: &str, action: &str, reason: &str| {
        let image = ImageOfRow { repository: repository.to_owned(), action: action.to_owned() };
        HistoryRow { image: Some(image), reason: reason.to_owned(), ..row(Some("ci"), host, None) }
    };
    let rows = [
        wanted(HUB, "team/app", "pull", "community"),
        wanted(HUB, "team/app", "pull", "community"),
        wanted(HUB, "mycompany/app", "push", "push"),
        wanted(HUB, "prom/old", "pull", "listed"),
        wanted(HUB, "", "search", "search"),
        wanted(HUB, "v1/odd", "request", "unknown-request"),
        wanted("own.example", "team/app", "pull", "no-images"),
        wanted(HUB, "library/nginx", "pull", "official"),
        wanted(HUB, "prom/prometheus", "pull", "community"),
        wanted(HUB, "mycompany/app", "pull", "community"),
    ];
    let report = learn(&rows, &policy, true);
    let mut told: Vec<_> = report.images.iter().map(ToString::to_string).collect();
    told.sort();
    let [two, four] = [2, 4].map(|times| format!("; {times} times by 1 client, 2026-11-27 08:01 to 2026-11-27 08:02"));
    let expected = [
        format!("own.example/team/app (group ci): allow = [\"team/app\"] in a new `[[images]]`{two}"),
        format!("registry-1.docker.io (search) (group ci): search = \"allow\" in `[[images]]` (a.toml:9){two}"),
        format!(
            "registry-1.docker.io/mycompany/app (push) (group ci): push = [\"mycompany/app\"] in `[[images]]` (a.toml:9){two}"
        ),
        format!("registry-1.docker.io/prom/old (group ci): listed{two}"),
        format!("registry-1.docker.io/team/app (group ci): allow = [\"team/app\"] in `[[images]]` (a.toml:9){four}"),
        format!("registry-1.docker.io/v1/odd (request) (group ci): unknown-request{two}"),
    ];
    assert_eq!(told, expected);
    assert_eq!((report.images_allowed_by_now, report.allowed_by_now, report.proposals.len()), (3, 0, 0));
    let draft = report.draft("in a test").to_string();
    assert!(draft.contains("\n#   registry-1.docker.io/prom/old (group ci): listed"), "{draft}");
}

#[test]
fn a_registry_that_is_gone_is_written_anew_and_a_name_on_trial_is_told() {
    let mut trial = row(Some("dev"), "theirs.example", None);
    trial.reason = "on-trial".to_owned();
    trial.rule = Some(RuleOfRow {
        kind: "registry".to_owned(),
        entry: "theirs".to_owned(),
        pattern: "theirs.example".to_owned(),
    });
    let report = learned(&[row(Some("ci"), "cdn.example", Some("old")), trial], false);
    assert!(lines(&report).contains(&"name = \"old\"".to_owned()));
    assert!(report.unexplained[0].why.contains("`theirs` is on trial"), "{:?}", report.unexplained);
}

fn rows() -> impl Strategy<Value = Vec<HistoryRow>> {
    let group = prop::option::of("ci|dev|gone|\\PC{0,3}");
    let name = "(prod-[a-d]-layers|bucket|cdn|\\*|\\PC{0,4})(\\.(s3|dualstack)){0,1}\\.(s3\\.eu-west-1\\.amazonaws\\.com|cloudfront\\.net|corp\\.example|co\\.uk|com)|ghcr\\.io|quay\\.io|123456789012\\.dkr\\.ecr\\.[ab]\\.amazonaws\\.com|\\PC{0,12}";
    let after = prop::option::of("lab|theirs|lab-redirects|overlay-1|\\PC{0,6}|a\nb");
    let reason = "unlisted|catalogue|other-group|listed|on-trial|target|\\PC{0,4}";
    let each =
        (group, name, after, reason, any::<bool>()).prop_map(|(group, name, after, reason, is_denied)| HistoryRow {
            reason,
            verdict: if is_denied { VerdictWord::Deny } else { VerdictWord::Audit },
            ..row(group.as_deref(), &name, after.as_deref())
        });
    prop::collection::vec(each, 0..12)
}

proptest! {
    #[test]
    fn whatever_was_asked_for_the_draft_is_a_policy_without_a_subtree_over_a_shared_suffix(rows in rows(), all: bool, of in "\\PC{0,10}") {
        let report = learned(&rows, all);
        let text = report.draft(&of).to_string();
        let (document, complaints) = Document::parse(Source::new("learned.toml", text.clone()));
        prop_assert!(!complaints.iter().any(crate::diagnostic::Diagnostic::is_fault), "{}\n{}", text, complaints[0]);
        for written in document.entries.iter().flat_map(|entry| &entry.patterns) {
            let pattern: &Pattern = &written.value;
            prop_assert_eq!(pattern.reach(), Reach::Exact, "{}", text);
            let is_shared = shared_suffix::warning(pattern).is_some();
            prop_assert!(!is_shared || !pattern.to_string().split('.').any(|label| label == "*"), "{}", text);
        }
        let files = vec![Source::new("a.toml", POLICY), Source::new("learned.toml", text.clone())];
        let compiled = load(files, &Options::default(), SystemTime::now());
        let Compiled { snapshot, .. } = compiled.map_err(|faults| TestCaseError::fail(format!("{text}\n{}", faults[0])))?;
        for proposal in &report.proposals {
            let group = snapshot.find_group(proposal.group.as_deref().unwrap_or_default());
            for name in &proposal.names {
                let name: crate::name::DomainName = name.parse().unwrap();
                prop_assert_eq!(snapshot.judge_as(group, name.as_name()).verdict.word(), "allow", "{}\n{}", name, text);
            }
        }
    }
}
