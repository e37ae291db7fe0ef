//! A policy and its verdicts in words: what `check`, `policy show` and the control API say about them.

use std::net::IpAddr;

use crate::control::report::{CheckReport, GroupReport, PolicyReport, PolicyRule, RuleReport, VerdictWord};
use crate::name::DomainName;
use crate::policy::document::{Mode, Unlisted};
use crate::policy::judge::{Asker, Denial, Judgement, Verdict};
use crate::policy::pattern::Pattern;
use crate::policy::preset::{self, Preset};
use crate::policy::snapshot::{EntryKind, GroupRef, RuleRef, Snapshot};
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
    let name = question.name.as_name();
    let judgement = match &question.on_behalf {
        OnBehalf::Client(client) => snapshot.judge(&Asker { client: *client, listener: None }, name),
        OnBehalf::Group(group) => {
            let group = snapshot.find_group(group).ok_or_else(|| UnknownGroup(group.clone()))?;
            snapshot.judge_as(Some(group), name)
        }
    };
    let Judgement { verdict, group } = judgement;
    let rule = verdict.rule();
    Ok(CheckReport {
        name: question.name.to_string(),
        verdict: VerdictWord::from(verdict),
        reason: verdict.to_string(),
        group: group.map(|group| group.name().to_owned()),
        entry: rule.map(|rule| rule.entry().name.clone()).filter(|name| !name.is_empty()),
        rule: rule.map(rule_report),
        note: question.record_type.and_then(|record_type| type_note(verdict, record_type, record_types)),
        hint: hint(snapshot, verdict, &question.name),
        asked: None,
    })
}

/// The effective policy; `generation` if it is in force.
pub fn policy(snapshot: &Snapshot, generation: Option<u64>) -> PolicyReport {
    PolicyReport {
        generation,
        digest: snapshot.digest().to_string(),
        groups: snapshot.groups().map(group_report).collect(),
        rules: snapshot.rules().map(|rule| policy_rule(snapshot, rule)).collect(),
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

fn rule_report(rule: RuleRef<'_>) -> RuleReport {
    RuleReport::new(rule.pattern().to_string(), rule.place())
}

fn group_report(group: GroupRef<'_>) -> GroupReport {
    let clients = group.clients().iter().map(ToString::to_string);
    let listeners = group.listen().iter().map(|address| format!("whoever asks on {address}"));
    GroupReport {
        name: group.name().to_owned(),
        mode: mode_word(group.mode()).to_owned(),
        unlisted: match group.unlisted() {
            Unlisted::Deny => "deny".to_owned(),
            Unlisted::Forward => "forward".to_owned(),
        },
        clients: clients.chain(listeners).collect(),
    }
}

fn policy_rule(snapshot: &Snapshot, rule: RuleRef<'_>) -> PolicyRule {
    let entry = rule.entry();
    let holders = snapshot.groups().filter(|group| rule.is_for(*group));
    let RuleReport { pattern, path, line } = rule_report(rule);
    PolicyRule {
        pattern,
        kind: entry.kind.to_string(),
        entry: entry.name.clone(),
        groups: holders.map(|group| group.name().to_owned()).collect(),
        mode: mode_word(entry.mode).to_owned(),
        path,
        line,
    }
}

fn mode_word(mode: Mode) -> &'static str {
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
        Denial::Unlisted => preset_with(name).or_else(|| nearest_rule(snapshot, name)),
    }
}

fn use_preset(preset: &Preset, role: &str) -> String {
    format!("preset `{}` {role}: `pullgate preset show {}` has the lines to paste", preset.id, preset.id)
}

/// The shipped registry that has this host, for whatever purpose.
fn preset_with(name: &DomainName) -> Option<String> {
    let has_host = |preset: &&Preset| {
        let exact = preset.hosts.iter().filter(|host| !host.name.contains('<'));
        exact.filter_map(|host| Pattern::parse(&host.name).ok()).any(|pattern| pattern.matches(name.as_name()))
    };
    preset::catalogue().iter().find(has_host).map(|preset| use_preset(preset, "has this host"))
}

/// A rule that differs by a slip of the keyboard.
fn nearest_rule(snapshot: &Snapshot, name: &DomainName) -> Option<String> {
    let name = name.to_string();
    let allowing = snapshot.rules().filter(|rule| rule.entry().kind != EntryKind::Deny).take(MAX_COMPARED);
    let distances =
        allowing.map(|rule| rule.pattern().to_string()).map(|text| (strsim::osa_distance(&text, &name), text));
    let (_, nearest) = distances.filter(|(distance, _)| *distance <= MAX_SLIPS).min()?;
    Some(format!("did you mean `{nearest}`?"))
}

/// How many rules are compared with a misspelt name.
const MAX_COMPARED: usize = 10_000;
/// How many characters a misspelt name may be off.
const MAX_SLIPS: usize = 2;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::diagnostic::Source;
    use crate::policy::compile::{Options, load};

    fn snapshot(policy: &str) -> Snapshot {
        let source = Source::new("a.toml", format!("version = 1\n{policy}"));
        load(vec![source], &Options::default(), SystemTime::now()).unwrap().snapshot
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
}
