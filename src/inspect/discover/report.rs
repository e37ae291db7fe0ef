//! What a walk and the verdicts on its hosts come to: a row a host, what to add to the policy, what else to know.

use std::collections::BTreeMap;

use serde::Serialize;

use super::journal::{Seen, Step};
use super::propose::{Proposal, propose};
use super::walk::{Walked, Wanted};
use crate::control::report::{CheckReport, RuleReport, VerdictWord};
use crate::inspect::lines::{SharedReport, shared};
use crate::name::DomainName;
use crate::policy::preset::{self, Kind, Preset, Purpose};

/// One image's pull.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The image, as people type it.
    pub image: String,
    /// What it is for; `None`: every platform.
    pub platform: Option<String>,
    /// Whose verdicts these are: `server` or `files`.
    pub judged_by: JudgedBy,
    /// The hosts, in the order in which they came up.
    pub hosts: Vec<HostReport>,
    /// What to write into the policy.
    pub add: Vec<Proposal>,
    /// Why the walk ended before the last step, if it did: there may be more hosts.
    pub end: Option<String>,
    /// What else to know.
    pub notes: Vec<String>,
}

/// Whose verdicts a report has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JudgedBy {
    /// The running server's.
    Server,
    /// The policy files'.
    Files,
}

/// A host that a pull asks.
#[derive(Debug, Serialize)]
pub struct HostReport {
    /// Its name, or its address.
    pub host: String,
    /// The ports it was asked on.
    pub ports: Vec<u16>,
    /// The steps that led there.
    pub steps: Vec<Step>,
    /// What it was asked for.
    pub purposes: Vec<Purpose>,
    /// Status codes, or why there was no answer.
    pub answered: Vec<String>,
    /// Whether it was asked without TLS.
    pub plain: bool,
    /// The proxy it was reached through.
    pub proxy: Option<String>,
    /// The verdict on its name; an address has none.
    pub verdict: Option<VerdictWord>,
    /// Why.
    pub reason: Option<String>,
    /// The entry that decided.
    pub entry: Option<String>,
    /// The rule that decided.
    pub rule: Option<RuleReport>,
    /// The preset that has it.
    pub preset: Option<Holder>,
    /// What to know where strangers can get such names.
    pub shared: Option<SharedReport>,
}

/// A preset that has a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// The preset.
    pub id: String,
    /// Whether using it turns the host on without being asked.
    pub on: bool,
}

/// A host with the verdict on its name.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) seen: Seen,
    pub(super) check: Option<CheckReport>,
}

impl Report {
    /// Of what was wanted and seen, with the verdicts on the names among the hosts.
    pub fn of(
        wanted: &Wanted,
        walked: Walked,
        judged_by: JudgedBy,
        mut verdicts: BTreeMap<DomainName, CheckReport>,
    ) -> Self {
        let Walked { hosts, mut notes, end } = walked;
        let mut judged = Vec::new();
        for seen in hosts {
            let check = seen.host.name().and_then(|name| verdicts.remove(name));
            judged.push(Judged { seen, check });
        }
        notes.extend(judged.iter().filter_map(Judged::hint));
        let registry = &wanted.image.registry;
        let own = preset::recognize(registry).map(|recognized| recognized.preset);
        Self {
            image: wanted.image.to_string(),
            platform: wanted.platform.as_ref().map(ToString::to_string),
            judged_by,
            add: propose(registry, &judged),
            hosts: judged.into_iter().map(|judged| HostReport::of(judged, own)).collect(),
            end,
            notes,
        }
    }

    /// Whether the policy denies a host.
    pub fn has_denied(&self) -> bool {
        self.hosts.iter().any(|host| host.verdict == Some(VerdictWord::Deny))
    }
}

impl HostReport {
    fn of(judged: Judged, own: Option<&'static Preset>) -> Self {
        let Judged { seen, check } = judged;
        let name = seen.host.name();
        let (preset, shared) = (name.and_then(|name| holder(name, own)), name.and_then(shared));
        let Seen { host, ports, steps, purposes, outcomes, proxy, is_plain } = seen;
        let check = check.as_ref();
        Self {
            host: host.to_string(),
            ports,
            steps,
            purposes,
            answered: outcomes,
            plain: is_plain,
            proxy,
            verdict: check.map(|check| check.verdict),
            reason: check.map(|check| check.reason.clone()),
            entry: check.and_then(|check| check.entry.clone()),
            rule: check.and_then(|check| check.rule.clone()),
            preset,
            shared,
        }
    }
}

impl Judged {
    /// What would help where a rule denies, so that nothing added would.
    fn hint(&self) -> Option<String> {
        let check = self.check.as_ref().filter(|check| check.verdict == VerdictWord::Deny)?;
        let rule = check.rule.as_ref()?;
        let hint = check.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        Some(format!("{}: {} ({rule}){hint}", check.name, check.reason))
    }
}

/// The preset that has a host: the walked registry's own, else the one it belongs to, else another registry's or tool's.
pub(super) fn holder(name: &DomainName, own: Option<&'static Preset>) -> Option<Holder> {
    let of_kind = |kind| preset::catalogue().iter().filter(move |preset| preset.kind == kind);
    let having = |preset: &'static Preset| Some((preset, preset.host_for(name)?));
    let all = || of_kind(Kind::Registry).chain(of_kind(Kind::Tool)).filter_map(having);
    let (preset, host) =
        own.and_then(having).or_else(|| all().find(|(_, host)| host.belongs_to.is_none())).or_else(|| all().next())?;
    Some(Holder { id: preset.id.clone(), on: host.is_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_the_walked_registry_s_before_it_is_another_s() {
        let holder = |name: &str, own| holder(&name.parse().unwrap(), own).map(|holder| (holder.id, holder.on));
        let hub = preset::find("docker-hub");
        assert_eq!(holder("auth.docker.io", hub), Some(("docker-hub".to_owned(), true)));
        assert_eq!(holder("login.docker.com", hub), Some(("docker-hub".to_owned(), false)));
        assert_eq!(holder("ghcr.io", preset::find("lscr")).map(|(id, _)| id).as_deref(), Some("lscr"));
        assert_eq!(holder("ghcr.io", hub).map(|(id, _)| id).as_deref(), Some("ghcr"), "lscr.io leads there as well");
        assert_eq!(holder("cdn.example", hub), None);
    }
}
