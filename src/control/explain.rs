//! A policy and its verdicts in words: what `check`, `policy show` and the control API say about them.

use std::net::{IpAddr, Ipv4Addr};

use crate::control::addition::Addition;
use crate::control::report::{
    CheckReport, GroupReport, ImageKeyReport, ImagesReport, PolicyReport, PolicyRule, RuleReport, VerdictWord,
};
use crate::name::{DomainName, NameRef};
use crate::policy::document::{DataPath, Mode, Unlisted};
use crate::policy::image_reference::ImageReference;
use crate::policy::images::{Access, Badge, ImageDenial, ImageRules, ImageVerdict, ImagesRef, Key};
use crate::policy::judge::{Asker, Denial, Judgement, Permit, Verdict};
use crate::policy::preset::Preset;
use crate::policy::snapshot::{GroupRef, RuleRef, Snapshot};
use crate::policy::why;
use crate::record_type;

/// What is asked, on whose behalf.
#[derive(Clone, Debug)]
pub struct Question {
    /// The name.
    pub name: DomainName,
    /// The record type, when it matters to the asker.
    pub record_type: Option<u16>,
    /// Who asks.
    pub on_behalf: OnBehalf,
}

/// Which image is asked for, on whose behalf.
#[derive(Clone, Debug)]
pub struct ImageQuestion {
    /// The image.
    pub image: ImageReference,
    /// What is done with it.
    pub access: Access,
    /// Who asks.
    pub on_behalf: OnBehalf,
}

/// On whose behalf a question is asked.
#[derive(Clone, Debug)]
pub enum OnBehalf {
    /// A client at this address.
    Client(IpAddr),
    /// Any client of this group.
    Group(String),
}

/// The policy has no group of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the policy has no group `{0}`")]
pub struct UnknownGroup(pub String);

/// Judges `question` and says why. `record_types` are those the server hands out where an entry does not say.
///
/// # Errors
/// The question is on behalf of a group that the policy does not have.
pub fn check(snapshot: &Snapshot, question: &Question, record_types: &[u16]) -> Result<CheckReport, UnknownGroup> {
    let judgement = judge(snapshot, &question.on_behalf, question.name.as_name())?;
    let report = host_report(snapshot, judgement, &question.name);
    let type_note =
        question.record_type.and_then(|record_type| type_note(judgement.verdict, record_type, record_types));
    Ok(CheckReport { note: type_note.or_else(|| path_note(judgement.verdict)), ..report })
}

/// The namespace of Docker Hub whose badge decides about an image.
///
/// # Errors
/// The question is on behalf of a group that the policy does not have.
pub fn undecided_namespace(snapshot: &Snapshot, question: &ImageQuestion) -> Result<Option<String>, UnknownGroup> {
    let judgement = judge(snapshot, &question.on_behalf, question.image.registry.as_name())?;
    let Some(rules) = image_rules(snapshot, judgement, &question.on_behalf) else { return Ok(None) };
    let repository = &question.image.repository;
    let is_undecided = matches!(rules.judge(repository, question.access, None), ImageVerdict::NeedsBadge);
    Ok(repository.namespace().filter(|_| is_undecided).map(str::to_owned))
}

/// Judges an image, its registry's name first, and says why. `badge` is what the Hub says of its namespace, if known.
///
/// # Errors
/// The question is on behalf of a group that the policy does not have.
pub fn check_image(
    snapshot: &Snapshot,
    question: &ImageQuestion,
    badge: Option<Badge>,
) -> Result<CheckReport, UnknownGroup> {
    let ImageQuestion { image, access, on_behalf } = question;
    let judgement = judge(snapshot, on_behalf, image.registry.as_name())?;
    let host = host_report(snapshot, judgement, &image.registry);
    let report = CheckReport { name: image.to_string(), access: Some(access.word().to_owned()), ..host };
    Ok(match image_rules(snapshot, judgement, on_behalf) {
        Some(rules) => image_report(report, rules, question, badge),
        None => uninspected_report(report, judgement.verdict, image),
    })
}

fn judge<'s>(snapshot: &'s Snapshot, on_behalf: &OnBehalf, name: NameRef<'_>) -> Result<Judgement<'s>, UnknownGroup> {
    match on_behalf {
        OnBehalf::Client(client) => Ok(snapshot.judge(&Asker { client: *client, listener: None }, name)),
        OnBehalf::Group(group) => {
            let group = snapshot.find_group(group).ok_or_else(|| UnknownGroup(group.clone()))?;
            Ok(snapshot.judge_as(Some(group), name))
        }
    }
}

fn host_report(snapshot: &Snapshot, judgement: Judgement<'_>, name: &DomainName) -> CheckReport {
    let Judgement { verdict, group } = judgement;
    let rule = verdict.rule();
    CheckReport {
        name: name.to_string(),
        access: None,
        verdict: VerdictWord::from(verdict),
        reason: verdict.to_string(),
        group: group.and_then(GroupRef::known_name).map(str::to_owned),
        entry: rule.map(|rule| rule.entry().name.clone()).filter(|name| !name.is_empty()),
        rule: rule.map(rule_report),
        category: None,
        badge: None,
        overlay: None,
        note: None,
        hint: hint(snapshot, verdict, name),
        add: Addition::of(snapshot, name, judgement),
        contact: None,
        asked: None,
    }
}

/// The images of the registry whose name was judged; `None`: its requests are not looked into.
fn image_rules<'s>(snapshot: &'s Snapshot, judgement: Judgement<'s>, on_behalf: &OnBehalf) -> Option<ImageRules<'s>> {
    let client = match on_behalf {
        OnBehalf::Client(client) => *client,
        // Whoever of the group it is: an address that no exemption of single clients holds.
        OnBehalf::Group(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    snapshot.inspected_images(judgement, client)
}

/// The report on an image whose registry is not inspected: what holds for its name holds for it.
fn uninspected_report(report: CheckReport, verdict: Verdict<'_>, image: &ImageReference) -> CheckReport {
    let reason = format!("{}: {}", image.registry, report.reason);
    let note = match verdict {
        Verdict::Allow(Permit::Rule(rule)) => {
            format!("every image of `{}` may be pulled and pushed: it is not inspected", rule.entry().name)
        }
        Verdict::Allow(_) | Verdict::Audit(_) => {
            "every image of it may be pulled and pushed: it is not inspected".to_owned()
        }
        Verdict::Deny(_) => return CheckReport { reason, ..report },
    };
    CheckReport { reason, note: Some(note), ..report }
}

fn image_report(
    report: CheckReport,
    rules: ImageRules<'_>,
    question: &ImageQuestion,
    badge: Option<Badge>,
) -> CheckReport {
    let (repository, access) = (&question.image.repository, question.access);
    let is_undecided = matches!(rules.judge(repository, access, None), ImageVerdict::NeedsBadge);
    let badge = badge.filter(|_| is_undecided);
    // A namespace of which nothing is known counts as anybody's, here and in the gateway.
    let verdict = rules.judge(repository, access, badge.or(Some(Badge::Unbadged)));
    let hint = match verdict {
        ImageVerdict::Deny(denial) | ImageVerdict::Audit(denial) => image_hint(rules, denial, &report),
        ImageVerdict::Allow(_) | ImageVerdict::NeedsBadge => None,
    };
    CheckReport {
        verdict: verdict.into(),
        reason: verdict.to_string(),
        rule: verdict.key().map(key_report),
        category: rules.category(repository, badge).map(|category| category.word().to_owned()),
        badge,
        note: (is_undecided && badge.is_none()).then(|| badge_note(rules, question)),
        hint,
        ..report
    }
}

/// What each badge would lead to, where nobody here knows it.
fn badge_note(rules: ImageRules<'_>, question: &ImageQuestion) -> String {
    let repository = &question.image.repository;
    let outcome = |badge| match rules.judge(repository, question.access, Some(badge)) {
        ImageVerdict::Allow(_) => "allowed",
        ImageVerdict::Audit(_) => "let through by audit",
        ImageVerdict::Deny(_) | ImageVerdict::NeedsBadge => "denied",
    };
    format!(
        "whether `{}` is a verified publisher or a sponsored project is not known here: a verified publisher's image is \
         {}, a sponsored project's {}, any other {}",
        repository.namespace().unwrap_or_default(),
        outcome(Badge::VerifiedPublisher),
        outcome(Badge::SponsoredOss),
        outcome(Badge::Unbadged)
    )
}

/// What would let a denied request through.
fn image_hint(rules: ImageRules<'_>, denial: ImageDenial<'_>, report: &CheckReport) -> Option<String> {
    match (rules.place(), denial.remedy()) {
        (Some(place), Some(line)) => Some(format!("write `{line}` in the `[[images]]` at {place}")),
        (Some(_), None) => None,
        (None, _) => {
            let groups =
                report.group.as_ref().map(|group| format!(" and `groups = [\"{group}\"]`")).unwrap_or_default();
            Some(format!("write `[[images]]` with `registry = \"{}\"`{groups}", rules.registry()))
        }
    }
}

/// The effective policy; `generation` if it is in force.
pub fn policy(snapshot: &Snapshot, generation: Option<u64>) -> PolicyReport {
    PolicyReport {
        generation,
        digest: snapshot.digest().to_string(),
        groups: snapshot.groups().map(group_report).collect(),
        rules: snapshot.rules().map(|rule| policy_rule(snapshot, rule)).collect(),
        images: snapshot.images().map(images_report).collect(),
    }
}

impl From<Verdict<'_>> for VerdictWord {
    fn from(verdict: Verdict<'_>) -> Self {
        match verdict {
            Verdict::Allow(_) => Self::Allow,
            Verdict::Deny(_) => Self::Deny,
            Verdict::Audit(_) => Self::Audit,
        }
    }
}

impl From<ImageVerdict<'_>> for VerdictWord {
    fn from(verdict: ImageVerdict<'_>) -> Self {
        match verdict {
            ImageVerdict::Allow(_) => Self::Allow,
            ImageVerdict::Deny(_) | ImageVerdict::NeedsBadge => Self::Deny,
            ImageVerdict::Audit(_) => Self::Audit,
        }
    }
}

pub(super) fn rule_report(rule: RuleRef<'_>) -> RuleReport {
    RuleReport::new(rule.pattern().to_string(), rule.place())
}

/// A key of an `[[images]]` as the rule that decided.
pub(super) fn key_report(key: &Key) -> RuleReport {
    RuleReport::new(key.to_string(), Some(key.place().clone()))
}

fn group_report(group: GroupRef<'_>) -> GroupReport {
    let clients = group.clients().iter().map(ToString::to_string);
    let listeners = group.listen().iter().map(|address| format!("whoever asks on {address}"));
    let place = group.place();
    GroupReport {
        name: group.name().to_owned(),
        mode: mode_word(group.mode()).to_owned(),
        unlisted: match group.unlisted() {
            Unlisted::Deny => "deny".to_owned(),
            Unlisted::Forward => "forward".to_owned(),
        },
        clients: clients.chain(listeners).collect(),
        path: Some(place.path.to_path_buf()),
        line: Some(place.line),
    }
}

pub(super) fn policy_rule(snapshot: &Snapshot, rule: RuleRef<'_>) -> PolicyRule {
    let entry = rule.entry();
    let holders = snapshot.groups().filter(|group| rule.is_for(*group));
    let RuleReport { pattern, path, line } = rule_report(rule);
    PolicyRule {
        pattern,
        kind: entry.kind.to_string(),
        entry: entry.name.clone(),
        groups: holders.map(|group| group.name().to_owned()).collect(),
        mode: mode_word(entry.mode).to_owned(),
        data_path: path_word(rule.data_path()).to_owned(),
        path,
        line,
        overlay: entry.overlay,
    }
}

/// A key of these images as a rule.
pub(super) fn image_rule(images: ImagesRef<'_>, key: &Key) -> PolicyRule {
    let RuleReport { pattern, path, line } = key_report(key);
    PolicyRule {
        pattern,
        kind: "images".to_owned(),
        entry: images.registry().to_owned(),
        groups: images.groups().map(|group| group.name().to_owned()).collect(),
        mode: mode_word(images.mode()).to_owned(),
        data_path: path_word(DataPath::Inspect).to_owned(),
        path,
        line,
        overlay: None,
    }
}

fn images_report(images: ImagesRef<'_>) -> ImagesReport {
    let place = images.place();
    ImagesReport {
        registry: images.registry().to_owned(),
        groups: images.groups().map(|group| group.name().to_owned()).collect(),
        mode: mode_word(images.mode()).to_owned(),
        keys: images.keys().into_iter().map(image_key_report).collect(),
        path: place.path.to_path_buf(),
        line: place.line,
    }
}

fn image_key_report(key: &Key) -> ImageKeyReport {
    ImageKeyReport {
        key: key.name().to_owned(),
        value: key.value().unwrap_or(NOT_WRITTEN).to_owned(),
        path: key.place().path.to_path_buf(),
        line: key.place().line,
    }
}

fn path_word(path: DataPath) -> &'static str {
    match path {
        DataPath::Direct => "direct",
        DataPath::Pass => "pass",
        DataPath::Inspect => "inspect",
    }
}

pub(super) fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Audit => "audit",
    }
}

/// What a client hears instead when it asks an allowed name for a type that is not handed out.
fn type_note(verdict: Verdict<'_>, record_type: u16, server: &[u16]) -> Option<String> {
    let Verdict::Allow(permit) = verdict else { return None };
    if permit.hands_out(record_type, server) {
        return None;
    }
    let record_type = record_type::name(record_type);
    let list = permit.types().map_or("`server.record-types`", |_| "the entry's `types`");
    Some(format!("answers for {record_type} are empty: {list} does not have it"))
}

/// Where an allowed name leads, if not to its own addresses.
fn path_note(verdict: Verdict<'_>) -> Option<String> {
    let Verdict::Allow(Permit::Rule(rule)) = verdict else { return None };
    match rule.data_path() {
        DataPath::Direct => None,
        DataPath::Pass => Some("it is answered with the gateway's address, which passes connections on".to_owned()),
        DataPath::Inspect => {
            Some("it is answered with the gateway's address, which asks the policy for every image".to_owned())
        }
    }
}

/// What would allow a denied name.
fn hint(snapshot: &Snapshot, verdict: Verdict<'_>, name: &DomainName) -> Option<String> {
    let (Verdict::Deny(denial) | Verdict::Audit(denial)) = verdict else { return None };
    match denial {
        Denial::Listed(_) | Denial::OnTrial(_) | Denial::NoPolicy => None,
        Denial::OtherGroup(rule) => {
            Some(format!("add `{}` to the group's `{}`", rule.entry().name, rule.entry().kind.list()))
        }
        Denial::NoGroup => Some("give the client's range to a group, or set `[policy] group`".to_owned()),
        Denial::Catalogue(preset) => Some(use_preset(preset, "is its registry")),
        Denial::Unlisted => {
            let preset = snapshot.preset_with(name.as_name()).map(|preset| use_preset(preset, "has this host"));
            let nearest = || why::nearest(snapshot.rules().take(MAX_COMPARED), name.as_name());
            let nearest = || nearest().map(|pattern| format!("did you mean `{pattern}`?"));
            preset.or_else(nearest).or_else(|| image_of(name))
        }
    }
}

fn use_preset(preset: &Preset, role: &str) -> String {
    format!("preset `{}` {role}: `pullgate preset show {}` has the lines to paste", preset.id, preset.id)
}

/// An image, where a name of one label was perhaps meant as one.
fn image_of(name: &DomainName) -> Option<String> {
    let text = name.to_string();
    let image = ImageReference::parse(&text).ok().filter(|_| !text.contains('.'))?;
    Some(format!("a host name is judged; for the image write `{image}`"))
}

/// What a permission is that nobody wrote.
const NOT_WRITTEN: &str = "deny";
/// How many rules are compared with a misspelt name.
const MAX_COMPARED: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::diagnostic::Source;
    use crate::policy::compile::{Options, load};

    fn snapshot(policy: &str) -> Snapshot {
        let source = Source::new("a.toml", format!("version = 1\n{policy}"));
        let options = Options { has_gateway: true, ..Options::default() };
        load(vec![source], &options, SystemTime::now()).unwrap().snapshot
    }

    fn ask(policy: &str, name: &str, record_type: Option<u16>) -> CheckReport {
        let on_behalf = OnBehalf::Client([127, 0, 0, 1].into());
        let question = Question { name: name.parse().unwrap(), record_type, on_behalf };
        check(&snapshot(policy), &question, &[1, 28]).unwrap()
    }

    const NEXUS: &str = "[[registry]]\nname = \"nexus\"\nhosts = [\"nexus.corp.example\"]\n";

    #[test]
    fn an_allowed_name_shows_its_rule_and_where_that_is_written() {
        let report = ask(NEXUS, "nexus.corp.example", None);
        assert_eq!(report.verdict, VerdictWord::Allow);
        let rule = report.rule.unwrap();
        assert_eq!((rule.pattern.as_str(), rule.line), ("nexus.corp.example", Some(4)));
    }

    #[test]
    fn a_known_registrys_name_leads_to_its_preset() {
        let report = ask(NEXUS, "ghcr.io", None);
        assert_eq!(report.verdict, VerdictWord::Deny);
        assert!(report.hint.unwrap().contains("pullgate preset show ghcr"));
    }

    #[test]
    fn a_blob_host_leads_to_the_preset_that_has_it() {
        let hint = ask(NEXUS, "pkg-containers.githubusercontent.com", None).hint.unwrap();
        assert!(hint.contains("pullgate preset show ghcr"), "{hint}");
    }

    #[test]
    fn a_misspelt_name_leads_to_the_rule_that_was_meant() {
        let hint = ask(NEXUS, "nexsu.corp.example", None).hint.unwrap();
        assert_eq!(hint, "did you mean `nexus.corp.example`?");
    }

    #[test]
    fn a_type_that_is_not_handed_out_is_noted() {
        assert!(ask(NEXUS, "nexus.corp.example", Some(16)).note.unwrap().contains("TXT"));
        assert_eq!(ask(NEXUS, "nexus.corp.example", Some(1)).note, None);
    }

    #[test]
    fn a_type_is_noted_for_forwarded_names_and_where_an_entry_has_types_of_its_own() {
        let forwarding = "[[group]]\nname = \"all\"\nclients = [\"0.0.0.0/0\"]\nunlisted = \"forward\"\n";
        let note = ask(&format!("{NEXUS}{forwarding}"), "elsewhere.example", Some(16)).note.unwrap();
        assert!(note.contains("`server.record-types`"), "{note}");
        let service = "[[service]]\nname = \"s\"\nnames = [\"s.example\"]\ntypes = [\"A\"]\n";
        let note = ask(service, "s.example", Some(28)).note.unwrap();
        assert!(note.contains("the entry's `types`"), "{note}");
    }

    #[test]
    fn an_unknown_group_is_an_error() {
        let on_behalf = OnBehalf::Group("cj".into());
        let question = Question { name: "ghcr.io".parse().unwrap(), record_type: None, on_behalf };
        assert_eq!(check(&snapshot(NEXUS), &question, &[1]), Err(UnknownGroup("cj".into())));
    }

    #[test]
    fn a_policy_report_names_each_rules_groups() {
        let report = policy(
            &snapshot(&format!(
                "{NEXUS}[[group]]\nname = \"ci\"\nclients = [\"10.0.0.0/8\"]\nregistries = [\"nexus\"]\n\
                 [[group]]\nname = \"dev\"\nclients = [\"10.1.0.0/16\"]\nregistries = []\n"
            )),
            None,
        );
        assert_eq!(report.groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["ci", "dev"]);
        assert_eq!(report.rules[0].groups, ["ci"]);
    }

    // ── images ──

    const HUB: &str = r#"
        [[registry]]
        preset = "docker-hub"
        path = "inspect"
        [[images]]
        registry = "docker-hub"
        official = "allow"
        verified-publishers = "allow"
        allow = ["@build-tools"]
        exempt-clients = ["10.0.9.0/28"]
    "#;

    fn question(image: &str, access: Access, client: &str) -> ImageQuestion {
        let on_behalf = OnBehalf::Client(client.parse().unwrap());
        ImageQuestion { image: ImageReference::parse(image).unwrap(), access, on_behalf }
    }

    fn ask_image(policy: &str, image: &str, access: Access, badge: Option<Badge>) -> CheckReport {
        check_image(&snapshot(policy), &question(image, access, "10.0.0.1"), badge).unwrap()
    }

    #[test]
    fn an_image_is_reported_with_the_key_that_decided_and_its_category() {
        let report = ask_image(HUB, "docker.io/nginx:1.27", Access::Pull, None);
        assert_eq!((report.verdict, report.name.as_str()), (VerdictWord::Allow, "docker.io/library/nginx:1.27"));
        assert_eq!((report.category.as_deref(), report.entry.as_deref()), (Some("official"), Some("docker-hub")));
        let rule = report.rule.unwrap();
        assert_eq!((rule.pattern.as_str(), rule.line), ("official = \"allow\"", Some(8)));
    }

    #[test]
    fn a_denied_image_is_met_with_the_line_that_would_allow_it() {
        let denied = |image, access| {
            let report = ask_image(HUB, image, access, Some(Badge::Unbadged));
            assert_eq!(report.verdict, VerdictWord::Deny);
            (report.reason, report.hint.unwrap())
        };
        assert_eq!(
            denied("foo/bar", Access::Pull),
            (
                "community images not allowed".into(),
                "write `allow = [\"foo/bar\"]` in the `[[images]]` at a.toml:6:9".into()
            )
        );
        assert_eq!(
            denied("nginx", Access::Push),
            (
                "push to library/nginx not allowed".into(),
                "write `push = [\"library/nginx\"]` in the `[[images]]` at a.toml:6:9".into()
            )
        );
        let sponsored = ask_image(HUB, "foo/bar", Access::Pull, Some(Badge::SponsoredOss));
        assert_eq!(
            (sponsored.badge, sponsored.category.as_deref()),
            (Some(Badge::SponsoredOss), Some("sponsored-oss"))
        );
        assert!(sponsored.hint.unwrap().starts_with("write `sponsored-oss = \"allow\"` in"));
    }

    #[test]
    fn an_image_whose_badge_nobody_knows_is_anybodys_and_says_what_a_badge_would_change() {
        let report = ask_image(HUB, "foo/bar", Access::Pull, None);
        assert_eq!((report.verdict, report.category, report.badge), (VerdictWord::Deny, None, None));
        assert!(
            report
                .note
                .unwrap()
                .ends_with("a verified publisher's image is allowed, a sponsored project's denied, any other denied")
        );
        let undecided =
            |image, access| undecided_namespace(&snapshot(HUB), &question(image, access, "10.0.0.1")).unwrap();
        assert_eq!(undecided("foo/bar", Access::Pull).as_deref(), Some("foo"));
        assert_eq!(undecided("foo/bar", Access::Push), None);
        assert_eq!(undecided("nginx", Access::Pull), None);
        assert_eq!(undecided("ghcr.io/a/b", Access::Pull), None);
    }

    #[test]
    fn an_image_of_a_registry_that_does_not_resolve_is_denied_with_it() {
        let report = ask_image(HUB, "ghcr.io/mycompany/app", Access::Pull, None);
        assert_eq!((report.verdict, report.name.as_str()), (VerdictWord::Deny, "ghcr.io/mycompany/app"));
        assert!(report.reason.starts_with("ghcr.io: "), "{}", report.reason);
        assert!(report.hint.unwrap().contains("pullgate preset show ghcr"));
    }

    #[test]
    fn an_image_of_a_registry_that_is_not_inspected_is_allowed_as_all_of_its_images_are() {
        for path in ["", "path = \"pass\"\n"] {
            let policy = format!("[[registry]]\npreset = \"ghcr\"\n{path}");
            let report = ask_image(&policy, "ghcr.io/mycompany/app", Access::Push, None);
            assert_eq!(report.verdict, VerdictWord::Allow);
            assert_eq!(report.note.unwrap(), "every image of `ghcr` may be pulled and pushed: it is not inspected");
        }
    }

    #[test]
    fn a_group_without_a_table_is_met_with_the_table_to_write() {
        let groups = "[[group]]\nname = \"ci\"\nclients = [\"10.0.0.0/8\"]\nregistries = [\"docker-hub\"]\n\
            [[group]]\nname = \"dev\"\nclients = [\"10.1.0.0/16\"]\nregistries = [\"docker-hub\"]\n";
        let policy = format!("{}{groups}", HUB.replace("official", "groups = [\"dev\"]\nofficial"));
        let report = ask_image(&policy, "nginx", Access::Pull, None);
        assert_eq!((report.verdict, report.group.as_deref()), (VerdictWord::Deny, Some("ci")));
        assert_eq!(report.hint.unwrap(), "write `[[images]]` with `registry = \"docker-hub\"` and `groups = [\"ci\"]`");
    }

    #[test]
    fn an_exempt_client_is_allowed_and_its_group_is_not() {
        let exempt = check_image(&snapshot(HUB), &question("foo/bar", Access::Push, "10.0.9.1"), None).unwrap();
        assert_eq!((exempt.verdict, exempt.reason.as_str()), (VerdictWord::Allow, "the client is exempt"));
        assert_eq!(ask_image(HUB, "foo/bar", Access::Push, None).verdict, VerdictWord::Deny);
    }

    #[test]
    fn a_name_that_leads_to_the_gateway_says_so() {
        let note = |name: &str| ask(HUB, name, None).note;
        assert!(note("registry-1.docker.io").unwrap().contains("the gateway's address"));
        assert_eq!(note("auth.docker.io"), None);
        assert_eq!(
            ask(HUB, "nginx", None).hint.unwrap(),
            "a host name is judged; for the image write `docker.io/library/nginx`"
        );
    }

    #[test]
    fn a_policy_report_has_the_images_with_what_holds_by_default() {
        let report = policy(&snapshot(HUB), None);
        let images = &report.images[0];
        assert_eq!((images.registry.as_str(), images.mode.as_str(), images.line), ("docker-hub", "enforce", 6));
        let keys: Vec<String> =
            images.keys.iter().map(|key| format!("{} {} {}", key.key, key.value, key.line)).collect();
        assert_eq!(
            keys,
            [
                "exempt-clients 10.0.9.0/28 11",
                "allow @build-tools 10",
                "official allow 8",
                "verified-publishers allow 9",
                "sponsored-oss deny 6",
                "community deny 6",
                "badges lookup 6",
                "catalog deny 6",
                "search deny 6",
            ]
        );
        let paths: Vec<_> = report.rules.iter().map(|rule| format!("{} {}", rule.pattern, rule.data_path)).collect();
        assert!(paths.contains(&"registry-1.docker.io inspect".to_owned()), "{paths:?}");
        assert!(paths.contains(&"auth.docker.io direct".to_owned()), "{paths:?}");
    }
}
