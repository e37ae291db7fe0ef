//! A verdict on an image in words: what `check` says of it.

use super::{OnBehalf, UnknownGroup, host_report, judge};
use crate::control::effective::key_report;
use crate::control::report::{CheckReport, VerdictWord};
use crate::policy::image_reference::ImageReference;
use crate::policy::images::{Access, Badge, ImageDenial, ImageRules, ImageVerdict};
use crate::policy::judge::{Judgement, Permit, Verdict};
use crate::policy::snapshot::Snapshot;

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

/// The images of the registry whose name was judged; `None`: its requests are not looked into.
fn image_rules<'s>(snapshot: &'s Snapshot, judgement: Judgement<'s>, on_behalf: &OnBehalf) -> Option<ImageRules<'s>> {
    let client = match on_behalf {
        OnBehalf::Client(client) => Some(*client),
        OnBehalf::Group(_) => None,
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

impl From<ImageVerdict<'_>> for VerdictWord {
    fn from(verdict: ImageVerdict<'_>) -> Self {
        match verdict {
            ImageVerdict::Allow(_) => Self::Allow,
            ImageVerdict::Deny(_) | ImageVerdict::NeedsBadge => Self::Deny,
            ImageVerdict::Audit(_) => Self::Audit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{HUB, snapshot};
    use super::*;

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
}
