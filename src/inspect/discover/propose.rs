//! What to write into a policy so that the hosts of a pull resolve, and nothing more than that: the preset of a registry
//! that nothing lists yet, exact names for what no preset has, never a wildcard.

use std::fmt::Write;

use serde::Serialize;

use super::report::Judged;
use crate::control::report::{CheckReport, Pull, VerdictWord};
use crate::inspect::lines::{PresetEntry, list, push_groups, shared};
use crate::name::DomainName;

/// Some lines of policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proposal {
    /// The entry that they go into; `None`: they are an entry of their own.
    pub to: Option<String>,
    /// The lines.
    pub toml: String,
    /// What to know before writing them.
    pub remarks: Vec<String>,
}

/// What to add for the hosts that nothing lists.
pub(super) fn propose(registry: &DomainName, hosts: &[Judged]) -> Vec<Proposal> {
    let mut open: Vec<(&DomainName, &CheckReport)> = hosts.iter().filter_map(unlisted).collect();
    let names: Vec<&DomainName> = hosts.iter().filter_map(|host| host.seen.host.name()).collect();
    let mut proposals = Vec::new();
    let mut own = None;
    while let Some(entry) = open.iter().find_map(|(name, check)| PresetEntry::of(name, check.group.as_deref(), &names))
    {
        let before = open.len();
        open.retain(|(name, _)| !entry.covers(name));
        if open.len() == before {
            break;
        }
        if entry.name == *registry {
            own = Some(proposals.len());
        }
        proposals.push(Proposal { to: None, toml: entry.toml(), remarks: Vec::new() });
    }
    let rest: Vec<&DomainName> = open.iter().map(|(name, _)| *name).collect();
    match (own, home(registry, hosts)) {
        _ if rest.is_empty() => {}
        (Some(at), _) => {
            let proposal: &mut Proposal = &mut proposals[at];
            let _ = writeln!(proposal.toml, "redirects = {}", list(&rest));
            proposal.remarks.extend(remarks(&rest));
        }
        (None, Some(place)) => {
            let toml = format!("redirects = {}\n", list(&rest));
            proposals.push(Proposal { to: Some(place), toml, remarks: remarks(&rest) });
        }
        (None, None) => proposals.push(new_entry(registry, &open)),
    }
    proposals
}

/// A host that no rule of the policy says anything about: where one denies, adding another helps nothing.
fn unlisted(host: &Judged) -> Option<(&DomainName, &CheckReport)> {
    let check = host.check.as_ref()?;
    let is_open = check.verdict != VerdictWord::Allow && check.rule.is_none();
    host.seen.host.name().filter(|_| is_open).map(|name| (name, check))
}

/// The entry that has the walked registry, and where it is written; its redirect hosts belong there.
fn home(registry: &DomainName, hosts: &[Judged]) -> Option<String> {
    let own = hosts.iter().find(|host| host.seen.host.name() == Some(registry))?;
    let check = own.check.as_ref().filter(|check| check.verdict != VerdictWord::Deny)?;
    // A service has no redirect hosts.
    let entry = check.entry.clone().filter(|_| !check.reason.starts_with("allowed by service"))?;
    let pull = Pull { name: registry.to_string(), registry: entry, rule: check.rule.clone() };
    Some(pull.place().to_string())
}

/// A `[[registry]]` of names.
fn new_entry(registry: &DomainName, open: &[(&DomainName, &CheckReport)]) -> Proposal {
    let names: Vec<&DomainName> = open.iter().map(|(name, _)| *name).collect();
    let (own, redirects): (Vec<&DomainName>, Vec<&DomainName>) = names.iter().partition(|name| **name == registry);
    // A registry that is allowed otherwise keeps its entry; this one has what it leads to.
    let (hosts, redirects) = if own.is_empty() { (redirects, own) } else { (own, redirects) };
    let mut toml = format!("[[registry]]\nname = \"{registry}\"\nhosts = {}\n", list(&hosts));
    if !redirects.is_empty() {
        let _ = writeln!(toml, "redirects = {}", list(&redirects));
    }
    push_groups(&mut toml, open.iter().find_map(|(_, check)| check.group.as_deref()));
    Proposal { to: None, toml, remarks: remarks(&names) }
}

/// Which of the names let strangers in as they are.
fn remarks(names: &[&DomainName]) -> Vec<String> {
    let warnings = names.iter().filter_map(|name| shared(name)).filter(|shared| shared.exact);
    warnings.map(|shared| format!("{}; better: {}", shared.message, shared.hint)).collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;
    use crate::control::explain::{self, OnBehalf, Question};
    use crate::diagnostic::Source;
    use crate::inspect::discover::journal::{Contact, Journal, Step};
    use crate::inspect::discover::target::Target;
    use crate::policy::compile::{Options, load};
    use crate::policy::snapshot::Snapshot;

    const OTHER: &str = "[[registry]]\nname = \"other\"\nhosts = [\"other.example\"]\n";

    fn snapshot(policy: &str) -> Snapshot {
        let source = Source::new("a.toml", format!("version = 1\n{policy}"));
        let shown = |faults: Vec<crate::diagnostic::Diagnostic>| {
            faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        let compiled = load(vec![source], &Options::default(), SystemTime::now());
        compiled.map_err(shown).unwrap_or_else(|faults| panic!("{policy}\n{faults}")).snapshot
    }

    fn check(snapshot: &Snapshot, name: &str) -> CheckReport {
        let on_behalf = OnBehalf::Client(Ipv4Addr::LOCALHOST.into());
        explain::check(snapshot, &Question { name: name.parse().unwrap(), record_type: None, on_behalf }, &[1]).unwrap()
    }

    /// What is proposed for a pull that asks these hosts, the registry first.
    fn proposed(policy: &str, names: &[&str]) -> Vec<Proposal> {
        let snapshot = snapshot(policy);
        let mut journal = Journal::default();
        for name in names {
            let target = Target::parse(&format!("https://{name}/")).unwrap();
            let (step, outcome) = (Step::Layer, "200".to_owned());
            journal.note(Contact { step, purpose: step.purpose(), target: &target, outcome, proxy: None });
        }
        let rows = journal.into_rows().0.into_iter();
        let judged = rows.map(|seen| Judged { check: Some(check(&snapshot, &seen.host.to_string())), seen });
        propose(&names[0].parse().unwrap(), &judged.collect::<Vec<_>>())
    }

    /// The same, when what is proposed is written at the end of the policy.
    fn after(policy: &str, names: &[&str]) -> Snapshot {
        let lines = proposed(policy, names).into_iter().map(|proposal| proposal.toml);
        snapshot(&format!("{policy}{}", lines.collect::<String>()))
    }

    #[test]
    fn a_redirect_of_a_listed_registry_goes_into_its_entry() {
        let names = ["other.example", "cdn.example", "x.cdn.example"];
        let proposals = proposed(OTHER, &names);
        assert_eq!(
            proposals,
            [Proposal {
                to: Some("registry `other` (a.toml:4)".to_owned()),
                toml: "redirects = [\"cdn.example\", \"x.cdn.example\"]\n".to_owned(),
                remarks: Vec::new()
            }]
        );
        assert_eq!(check(&after(OTHER, &names), "cdn.example").verdict, VerdictWord::Allow);
        assert_eq!(proposed(OTHER, &["other.example"]), []);
    }

    #[test]
    fn a_known_registry_is_its_preset_with_the_values_that_the_names_tell() {
        let toml =
            |names: &[&str]| proposed(OTHER, names).into_iter().map(|proposal| proposal.toml).collect::<Vec<_>>();
        assert_eq!(toml(&["ghcr.io", "pkg-containers.githubusercontent.com"]), ["[[registry]]\npreset = \"ghcr\"\n"]);
        assert_eq!(
            toml(&["123456789012.dkr.ecr.eu-west-1.amazonaws.com", "new.s3.eu-west-1.amazonaws.com"]),
            [
                "[[registry]]\npreset = \"ecr-private\"\nvalues = { account = \"123456789012\", region = \"eu-west-1\" }\n\
              redirects = [\"new.s3.eu-west-1.amazonaws.com\"]\n"
            ]
        );
        let contoso = ["contoso.azurecr.io", "contoso.eastus.data.azurecr.io"];
        assert!(toml(&contoso)[0].contains("region = \"eastus\", registry = \"contoso\""), "{:?}", toml(&contoso));
        let unknown_region = toml(&["contoso.azurecr.io", "x.blob.core.windows.net"]);
        assert!(unknown_region[0].starts_with("[[registry]]\nname = \"contoso.azurecr.io\"\n"), "{unknown_region:?}");
    }

    #[test]
    fn a_registry_in_front_of_another_gets_the_other_s_preset_as_well() {
        let vanity = ["images.example", "ghcr.io", "pkg-containers.githubusercontent.com", "cdn.example"];
        let toml: Vec<_> = proposed(OTHER, &vanity).into_iter().map(|proposal| proposal.toml).collect();
        let own =
            "[[registry]]\nname = \"images.example\"\nhosts = [\"images.example\"]\nredirects = [\"cdn.example\"]\n";
        assert_eq!(toml, ["[[registry]]\npreset = \"ghcr\"\n", own]);
    }

    #[test]
    fn a_host_that_serves_everybody_comes_with_a_remark() {
        let proposal = proposed(OTHER, &["other.example", "storage.googleapis.com"]).remove(0);
        assert!(proposal.remarks[0].contains("every bucket of Google Cloud Storage"), "{proposal:?}");
        assert_eq!(
            proposed(OTHER, &["other.example", "d1.cloudfront.net"])[0].remarks,
            [""; 0],
            "an exact name is one's own"
        );
    }

    #[test]
    fn the_client_s_group_is_written_into_new_entries() {
        let groups = "[[group]]\nname = \"default\"\nregistries = [\"other\"]\n";
        let policy = format!("{OTHER}{groups}");
        let names = ["new.example", "cdn.example"];
        let toml = proposed(&policy, &names).remove(0).toml;
        assert!(toml.ends_with("groups = [\"default\"]\n"), "{toml}");
        assert_eq!(check(&after(&policy, &names), "cdn.example").verdict, VerdictWord::Allow);
    }

    #[test]
    fn where_a_rule_denies_nothing_is_proposed() {
        let policy = format!("{OTHER}[[deny]]\nhosts = [\"cdn.example\"]\n");
        assert_eq!(proposed(&policy, &["other.example", "cdn.example"]), []);
    }

    proptest! {
        #[test]
        fn what_is_proposed_compiles_and_allows_every_host(
            names in proptest::sample::subsequence(POOL.to_vec(), 1..6).prop_shuffle()
        ) {
            let after = after(OTHER, &names);
            for name in names {
                prop_assert_eq!(check(&after, name).verdict, VerdictWord::Allow, "{}", name);
            }
        }
    }

    const POOL: &[&str] = &[
        "other.example",
        "new.example",
        "cdn.example",
        "registry-1.docker.io",
        "auth.docker.io",
        "docker-images-prod.s3.dualstack.eu-west-1.amazonaws.com",
        "ghcr.io",
        "pkg-containers.githubusercontent.com",
        "lscr.io",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "prod-eu-west-1-starport-layer-bucket.s3.eu-west-1.amazonaws.com",
        "contoso.azurecr.io",
        "contoso.eastus.data.azurecr.io",
        "europe-west1-docker.pkg.dev",
        "storage.googleapis.com",
        "mcr.microsoft.com",
        "eastus.data.mcr.microsoft.com",
        "under_score.example",
    ];
}
