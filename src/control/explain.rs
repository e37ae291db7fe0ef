//! A verdict in words: what `check` and the control API say of a name, or of an image.

mod image;

use std::net::IpAddr;

pub use self::image::{ImageQuestion, check_image, undecided_namespace};
use crate::control::addition::Addition;
use crate::control::effective::rule_report;
use crate::control::report::{CheckReport, VerdictWord};
use crate::name::{DomainName, NameRef};
use crate::policy::document::DataPath;
use crate::policy::image_reference::ImageReference;
use crate::policy::judge::{Asker, Denial, Judgement, Permit, Verdict};
use crate::policy::preset::Preset;
use crate::policy::snapshot::{GroupRef, Snapshot};
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

impl From<Verdict<'_>> for VerdictWord {
    fn from(verdict: Verdict<'_>) -> Self {
        match verdict {
            Verdict::Allow(_) => Self::Allow,
            Verdict::Deny(_) => Self::Deny,
            Verdict::Audit(_) => Self::Audit,
        }
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

/// How many rules are compared with a misspelt name.
const MAX_COMPARED: usize = 10_000;

#[cfg(test)]
pub(super) mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::diagnostic::Source;
    use crate::policy::compile::{Options, load};

    pub(in crate::control) fn snapshot(policy: &str) -> Snapshot {
        let source = Source::new("a.toml", format!("version = 1\n{policy}"));
        let options = Options { has_gateway: true, ..Options::default() };
        load(vec![source], &options, SystemTime::now()).unwrap().snapshot
    }

    fn ask(policy: &str, name: &str, record_type: Option<u16>) -> CheckReport {
        let on_behalf = OnBehalf::Client([127, 0, 0, 1].into());
        let question = Question { name: name.parse().unwrap(), record_type, on_behalf };
        check(&snapshot(policy), &question, &[1, 28]).unwrap()
    }

    pub(in crate::control) const NEXUS: &str = "[[registry]]\nname = \"nexus\"\nhosts = [\"nexus.corp.example\"]\n";

    /// Docker Hub, inspected.
    pub(in crate::control) const HUB: &str = r#"
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
    fn a_name_that_leads_to_the_gateway_says_so() {
        let note = |name: &str| ask(HUB, name, None).note;
        assert!(note("registry-1.docker.io").unwrap().contains("the gateway's address"));
        assert_eq!(note("auth.docker.io"), None);
        assert_eq!(
            ask(HUB, "nginx", None).hint.unwrap(),
            "a host name is judged; for the image write `docker.io/library/nginx`"
        );
    }
}
