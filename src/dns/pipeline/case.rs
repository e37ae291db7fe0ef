//! One question before the policy: who asks, by which snapshot it is judged, and what an event tells of it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::dns::Peer;
use crate::dns::answer::{Facts, Rcode};
use crate::dns::wire::Query;
use crate::event::latency::Source;
use crate::event::tally::{Decided, Ledger, Wanted};
use crate::event::tap::Tapped;
use crate::event::{Bearing, Decision, Event, EventRule, Subject};
use crate::name::{DomainName, NameRef};
use crate::policy::document::Mode;
use crate::policy::judge::{Asker, Denial, Judgement, Verdict};
use crate::policy::probe::{Regime, Standing};
use crate::policy::reason::Reason;
use crate::policy::snapshot::{EntryKind, GroupRef, RuleRef, Snapshot};
use crate::policy::store::InForce;
use crate::policy::why::{self, Inquiry};
use crate::upstream::{Dnssec, Lookup};

/// A question, who asks it and when, and what one snapshot says to it.
pub(super) struct Case<'a> {
    pub(super) query: &'a Query<'a>,
    pub(super) peer: &'a Peer,
    pub(super) now: Instant,
    pub(super) policy: &'a Arc<InForce>,
    /// Where its answer is counted.
    pub(super) ledger: &'a Ledger<'a>,
    pub(super) judgement: Judgement<'a>,
    /// Where its answer comes from, unless it is denied.
    pub(super) source: Source,
}

/// What an event gives as its cause.
#[derive(Clone, Copy)]
pub(super) struct Basis<'a> {
    pub(super) decision: Decision,
    pub(super) bearing: Bearing,
    pub(super) reason: &'a dyn fmt::Display,
    pub(super) cause: Reason,
    pub(super) rule: Option<RuleRef<'a>>,
}

/// A CNAME or alias target that is denied.
pub(super) struct DeniedTarget<'a> {
    pub(super) target: NameRef<'a>,
    pub(super) denial: Denial<'a>,
}

impl DeniedTarget<'_> {
    /// It as the cause of what was decided.
    pub(super) fn basis(&self, decision: Decision) -> Basis<'_> {
        Basis { decision, bearing: Bearing::None, reason: self, cause: Reason::Target, rule: self.denial.rule() }
    }
}

impl fmt::Display for DeniedTarget<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "target {}: {}", self.target, self.denial)
    }
}

impl<'a> Case<'a> {
    /// Judges the question of `query` by the snapshot of a policy.
    pub(super) fn judge(
        query: &'a Query<'a>,
        peer: &'a Peer,
        now: Instant,
        policy: &'a Arc<InForce>,
        ledger: &'a Ledger<'a>,
    ) -> Self {
        let judgement = policy.snapshot.judge(&asker(peer), query.question.name);
        Self { query, peer, now, policy, ledger, judgement, source: Source::Local }
    }

    /// What the question is judged by.
    pub(super) fn snapshot(&self) -> &'a Snapshot {
        &self.policy.snapshot
    }

    /// Whether the policy is on trial for this client: what it would filter is told and counted, and handed on.
    pub(super) fn is_audited(&self) -> bool {
        matches!(self.snapshot().regime(self.judgement.group), Regime::Rules { mode: Mode::Audit, .. })
    }

    /// The name asked for.
    pub(super) fn name(&self) -> NameRef<'_> {
        self.query.question.name
    }

    /// How things stand for who asks.
    pub(super) fn standing(&self) -> Standing<'_> {
        Standing {
            version: env!("CARGO_PKG_VERSION"),
            generation: self.policy.generation,
            client: self.peer.address(),
            regime: self.snapshot().regime(self.judgement.group),
            group: self.judgement.group.and_then(GroupRef::known_name),
        }
    }

    /// The question as upstreams get it: nothing of the client's but the DNSSEC bits.
    pub(super) fn lookup(&self) -> Lookup<'_> {
        Lookup {
            name: self.name(),
            record_type: self.query.question.record_type,
            dnssec: Dnssec {
                ok: self.query.edns.is_some_and(|edns| edns.dnssec_ok),
                checking_disabled: self.query.header.checking_disabled(),
            },
            servers: self.judgement.verdict.rule().map_or(&[], |rule| &rule.entry().servers),
        }
    }

    /// The first target of the answer that is denied; `inspects` as in [`Snapshot::denial_of_target`].
    pub(super) fn denied_target<'t>(&self, targets: &'t [DomainName], inspects: bool) -> Option<DeniedTarget<'t>>
    where
        'a: 't,
    {
        targets.iter().map(DomainName::as_name).find_map(|target| {
            let denial = self.snapshot().denial_of_target(&asker(self.peer), self.judgement.group, target, inspects);
            denial.map(|denial| DeniedTarget { target, denial })
        })
    }

    /// The verdict on the question itself, as an event tells it.
    pub(super) fn verdict(&self) -> Basis<'_> {
        let verdict = &self.judgement.verdict;
        let decision = match verdict {
            Verdict::Allow(_) => Decision::Allow,
            Verdict::Deny(_) => Decision::Deny,
            Verdict::Audit(_) => Decision::Audit,
        };
        let cause = Reason::from(verdict);
        Basis { decision, bearing: bearing(verdict), reason: verdict, cause, rule: verdict.rule() }
    }

    /// What is counted of an answer that was given for `basis`.
    pub(super) fn decided<'b>(&'b self, basis: &Basis<'b>) -> Decided<'b> {
        Decided {
            policy: self.policy,
            client: self.peer.address(),
            name: self.name(),
            group: self.judgement.group,
            decision: basis.decision,
            reason: basis.cause,
            rule: basis.rule,
            wanted: Wanted::of(self.query.question.record_type),
            carrier: self.peer.transport.carrier(),
        }
    }

    /// The whole messages, with `answer` for `basis`. A question of this turn counts as having come when it was answered.
    pub(super) fn tapped(&self, basis: &Basis<'_>, answer: &[u8]) -> Tapped {
        let answered = SystemTime::now();
        let took = if let Source::Forwarded(took) = self.source { took } else { Duration::ZERO };
        Tapped {
            client: self.peer.client,
            listener: self.peer.listener,
            carrier: self.peer.transport.carrier(),
            decision: basis.decision,
            reason: basis.cause,
            asked: answered.checked_sub(took).unwrap_or(answered),
            answered,
            query: self.query.packet.into(),
            answer: answer.into(),
        }
    }

    /// What is told of an answer that was given for `basis`.
    pub(super) fn event(&self, basis: &Basis<'_>, rcode: Rcode) -> Event {
        let entry_name = |rule: RuleRef<'_>| rule.entry().name.clone();
        Event {
            at: SystemTime::now(),
            client: self.peer.client,
            listener: self.peer.listener,
            transport: self.peer.transport.name(),
            name: self.name().to_owned(),
            subject: Subject::Question { record_type: self.query.question.record_type, rcode: rcode.0 },
            decision: basis.decision,
            bearing: basis.bearing,
            wanted: true,
            reason: basis.reason.to_string(),
            group: self.judgement.group.and_then(GroupRef::known_name).map(str::to_owned),
            entry: basis.rule.map(entry_name).filter(|name| !name.is_empty()),
            rule: basis.rule.map(|rule| EventRule { pattern: rule.pattern().to_string(), place: rule.place() }),
        }
    }
}

impl Facts for Case<'_> {
    /// What the policy makes, for who asks, of the name that is asked about.
    fn facts(&self, contact: Option<&str>) -> Vec<String> {
        let subject = why::subject(self.name()).unwrap_or_else(DomainName::root);
        let (snapshot, asker) = (self.snapshot(), asker(self.peer));
        Inquiry { snapshot, asker, subject: subject.as_name(), contact }.facts()
    }
}

fn bearing(verdict: &Verdict<'_>) -> Bearing {
    match verdict {
        Verdict::Allow(_) if verdict.rule().is_some_and(|rule| rule.entry().kind == EntryKind::Registry) => {
            Bearing::Registry
        }
        Verdict::Deny(Denial::Unlisted) | Verdict::Audit(Denial::Unlisted) => Bearing::Unlisted,
        Verdict::Allow(_) | Verdict::Deny(_) | Verdict::Audit(_) => Bearing::None,
    }
}

fn asker(peer: &Peer) -> Asker {
    Asker { client: peer.address(), listener: Some(peer.listener) }
}
