//! The policy in force as reports: its groups, rules and images, each with where it was written.

use crate::control::report::{GroupReport, ImageKeyReport, ImagesReport, PolicyReport, PolicyRule, RuleReport};
use crate::policy::document::{DataPath, Mode, Unlisted};
use crate::policy::images::{ImagesRef, Key};
use crate::policy::snapshot::{GroupRef, RuleRef, Snapshot};

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

/// What a permission is that nobody wrote.
const NOT_WRITTEN: &str = "deny";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::explain::tests::{HUB, NEXUS, snapshot};

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
