//! What the policy says to one client and one name: whether it may connect, and which way its bytes go. A plain function
//! of a snapshot.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Client;
use crate::event::tally::{Carrier, Decided, Wanted};
use crate::event::{Bearing, Decision, Event, EventRule, Subject};
use crate::name::{DomainName, NameRef};
use crate::policy::document::{CnamePolicy, DataPath};
use crate::policy::judge::{Asker, Judgement, Permit, Verdict};
use crate::policy::reason::Reason;
use crate::policy::snapshot::{GroupRef, RuleRef, Snapshot};
use crate::policy::store::InForce;

/// A client and the name that it wants to reach, before one snapshot.
pub(super) struct Admission<'s> {
    snapshot: &'s Snapshot,
    asker: Asker,
    pub(super) judgement: Judgement<'s>,
}

/// Which way a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way<'s> {
    /// Not at all.
    Refused,
    /// As it is.
    Pass,
    /// Each request is judged by the images of this rule's registry.
    Inspect(RuleRef<'s>),
}

impl<'s> Admission<'s> {
    /// Judges.
    pub(super) fn judge(policy: &'s InForce, client: &Client, name: &DomainName) -> Self {
        let asker = Asker { client: client.address.ip(), listener: Some(client.listener) };
        let judgement = policy.snapshot.judge(&asker, name.as_name());
        Self { snapshot: &policy.snapshot, asker, judgement }
    }

    /// Which way it goes. What is answered here has no other end to be passed on to.
    pub(super) fn way(&self) -> Way<'s> {
        match self.judgement.verdict {
            Verdict::Deny(_) | Verdict::Allow(Permit::Static) => Way::Refused,
            Verdict::Allow(Permit::Rule(rule)) if rule.data_path() == DataPath::Inspect => Way::Inspect(rule),
            Verdict::Allow(_) | Verdict::Audit(_) => Way::Pass,
        }
    }

    /// Who resolves the name; empty: whoever the routes say.
    pub(super) fn servers(&self) -> &'s [SocketAddr] {
        self.judgement.verdict.rule().map_or(&[], |rule| &rule.entry().servers)
    }

    /// Whether its addresses may be private; `None`: those of a route may.
    pub(super) fn private(&self) -> Option<bool> {
        match self.judgement.verdict {
            // Audit answers whatever the upstream says.
            Verdict::Audit(_) => Some(true),
            verdict => verdict.rule().and_then(|rule| rule.entry().private_addresses),
        }
    }

    /// Why an answer must not lead to `target`, if so: by the same rules as for who asks by DNS.
    pub(super) fn forbids(&self, target: NameRef<'_>) -> Option<String> {
        let rule = self.judgement.verdict.rule();
        let inspects = rule.is_some_and(|rule| rule.entry().cname == CnamePolicy::Inspect);
        if let Verdict::Audit(_) = self.judgement.verdict {
            return None;
        }
        let denial = self.snapshot.denial_of_target(&self.asker, self.judgement.group, target, inspects)?;
        Some(denial.to_string())
    }

    /// What is counted of the connection to `name`, judged by `policy`.
    pub(super) fn decided<'d>(
        &'d self,
        policy: &'d Arc<InForce>,
        client: &Client,
        name: &'d DomainName,
    ) -> Decided<'d> {
        let Judgement { verdict, group } = self.judgement;
        Decided {
            policy,
            client: client.address.ip(),
            name: name.as_name(),
            group,
            decision: self.decision(),
            reason: Reason::from(&verdict),
            rule: verdict.rule(),
            wanted: Wanted::Connection,
            carrier: if client.transport == Carrier::Connect.word() { Carrier::Connect } else { Carrier::Gateway },
        }
    }

    /// What became of the connection, in a word.
    pub(super) fn decision(&self) -> Decision {
        match self.judgement.verdict {
            Verdict::Allow(Permit::Static) | Verdict::Deny(_) => Decision::Deny,
            Verdict::Allow(_) => Decision::Allow,
            Verdict::Audit(_) => Decision::Audit,
        }
    }

    /// What is told of the connection.
    pub(super) fn event(&self, client: &Client, name: &DomainName) -> Event {
        let verdict = &self.judgement.verdict;
        Event {
            decision: self.decision(),
            reason: verdict.to_string(),
            group: self.judgement.group.and_then(GroupRef::known_name).map(str::to_owned),
            entry: verdict.rule().map(|rule| rule.entry().name.clone()).filter(|name| !name.is_empty()),
            rule: verdict.rule().map(event_rule),
            ..client.event(name, Subject::Connection)
        }
    }
}

/// A rule as events have it.
pub(super) fn event_rule(rule: RuleRef<'_>) -> EventRule {
    EventRule { pattern: rule.pattern().to_string(), place: rule.place() }
}

impl Client {
    /// An event of this client's, with nothing decided yet.
    pub(super) fn event(&self, name: &DomainName, subject: Subject) -> Event {
        Event {
            at: std::time::SystemTime::now(),
            client: self.address,
            listener: self.listener,
            transport: self.transport,
            name: name.clone(),
            subject,
            decision: Decision::Deny,
            bearing: Bearing::None,
            wanted: true,
            reason: String::new(),
            group: None,
            entry: None,
            rule: None,
        }
    }
}
