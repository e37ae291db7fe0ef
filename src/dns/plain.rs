//! The plain path: the same packets answered the long way round, for the fast path to be compared with.
//!
//! Queries are read and answers written by hickory, the policy is read rule by rule, what is held of a question is
//! looked at anew; nothing is shared with `wire`, `answer`, the matcher and the judge but what they are made from. None of
//! it is in the program: tests and fuzz targets ask both paths and panic where they differ.

mod answer;
mod held;
mod policy;
mod query;
pub mod scene;

use tokio::time::Instant;

use self::answer::{Expected, NXDOMAIN, Reply};
use self::held::{Held, Known};
use self::policy::{Policy, Ruling};
use self::query::Query;
use super::Peer;
use super::pipeline::{Pipeline, Step};
use crate::config::{Ancestors, Settings};
use crate::event::{Bearing, Decision, Event, EventRule, Subject};
use crate::policy::document::{CnamePolicy, DataPath, RecordTypes};
use crate::policy::probe::{NOT_A_CLIENT, PROBE_ADDRESS, PROBE_NAME};
use crate::policy::snapshot::{Entry, RuleRef};
use crate::policy::store::{InForce, PolicyStore};
use crate::upstream::{Dnssec, Failure, Lookup, Resolver};

/// Both paths, in the same surroundings.
#[derive(Clone, Copy)]
pub struct BothPaths<'a> {
    /// The fast one.
    pub pipeline: &'a Pipeline,
    /// What both judge by.
    pub store: &'a PolicyStore,
    /// What both answer from.
    pub resolver: &'a Resolver,
    /// What both were set up with.
    pub settings: &'a Settings,
}

/// What an event has to say of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    /// [`Event::subject`].
    pub subject: Subject,
    /// [`Event::decision`].
    pub decision: Decision,
    /// [`Event::bearing`].
    pub bearing: Bearing,
    /// [`Event::reason`].
    pub reason: String,
    /// [`Event::group`].
    pub group: Option<String>,
    /// [`Event::entry`].
    pub entry: Option<String>,
    /// [`Event::rule`].
    pub rule: Option<EventRule>,
}

impl From<&Event> for Telling {
    fn from(event: &Event) -> Self {
        let Event { subject, decision, bearing, reason, group, entry, rule, .. } = event.clone();
        Self { subject, decision, bearing, reason, group, entry, rule }
    }
}

impl BothPaths<'_> {
    /// Answers a packet by both paths, and says what an event has to tell of it; `None` where none is due, which is so
    /// for a miss until it is finished.
    ///
    /// # Panics
    /// The paths differ.
    pub fn answer(&self, packet: &[u8], peer: &Peer, out: &mut Vec<u8>) -> (Step, Option<Telling>) {
        let policy = self.store.current();
        let plain = self.plain(&policy, peer);
        let before = plain.answer(packet);
        let step = self.pipeline.answer(packet, peer, out);
        let Some(objection) = before.objection(&step, out) else { return (step, before.telling()) };
        // The clock went on: what was not known before may be known now.
        let after = plain.answer(packet);
        assert!(after.objection(&step, out).is_none(), "{packet:02x?} from {peer:?}: {objection}");
        (step, after.telling())
    }

    /// Compares the answer to a question that had to be resolved first, as soon as it is there, with what the plain path
    /// makes of what the cache holds since. What has no lifetime it does not hold: then the answer is a denial without
    /// SOA, and its response code is believed.
    ///
    /// # Panics
    /// The paths differ.
    pub fn check_finished(&self, policy: &InForce, packet: &[u8], peer: &Peer, out: &[u8]) -> Option<Telling> {
        let outcome = self.plain(policy, peer).answer_resolved(packet, out[3] & 0x0f);
        if let Some(objection) = outcome.objection(&Step::Reply, out) {
            panic!("{packet:02x?} from {peer:?}, resolved: {objection}");
        }
        outcome.telling()
    }

    fn plain<'p>(&'p self, policy: &'p InForce, peer: &'p Peer) -> Plain<'p> {
        let Self { resolver, settings, .. } = self;
        Plain { in_force: policy, policy: Policy::of(&policy.snapshot, settings, peer), resolver, settings, peer }
    }
}

/// The plain path for one client at one moment.
struct Plain<'a> {
    in_force: &'a InForce,
    policy: Policy<'a>,
    resolver: &'a Resolver,
    settings: &'a Settings,
    peer: &'a Peer,
}

/// What is to become of a packet.
enum Outcome {
    Drop,
    Miss,
    Reply(Box<Expected>, Option<Telling>),
}

impl Outcome {
    /// What is wrong with what the fast path made of it.
    fn objection(&self, step: &Step, answer: &[u8]) -> Option<String> {
        match (self, step) {
            (Self::Drop, Step::Drop) | (Self::Miss, Step::Miss(_)) => None,
            (Self::Reply(expected, _), Step::Reply) => expected.objection(answer),
            _ => Some(format!("the plain path: {}; the fast one: {}", self.word(), Self::word_of(step))),
        }
    }

    fn telling(self) -> Option<Telling> {
        if let Self::Reply(_, telling) = self { telling } else { None }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Miss => "miss",
            Self::Reply(..) => "reply",
        }
    }

    fn word_of(step: &Step) -> &'static str {
        match step {
            Step::Drop => "drop",
            Step::Miss(_) => "miss",
            Step::Reply => "reply",
        }
    }
}

/// What is answered, and for what.
struct Said<'a> {
    reply: Reply,
    basis: Ruling<'a>,
}

impl<'a> Plain<'a> {
    fn answer(&self, packet: &[u8]) -> Outcome {
        self.answer_with(packet, |lookup| {
            Known::at(Instant::now(), &self.resolver.content(lookup), self.settings.cache.stale)
        })
    }

    fn answer_resolved(&self, packet: &[u8], rcode: u8) -> Outcome {
        self.answer_with(packet, |lookup| {
            match Known::after_asking(Instant::now(), &self.resolver.content(lookup), self.settings.cache.stale) {
                Known::Nothing => Known::Answer(Held::empty(rcode)),
                known => known,
            }
        })
    }

    fn answer_with(&self, packet: &[u8], known: impl Fn(&Lookup<'_>) -> Known) -> Outcome {
        if packet.len() < 12 || packet[2] & 0x80 != 0 {
            return Outcome::Drop;
        }
        let query = Query::read(packet).ok();
        if let Some(reply) = self.rejection(packet, query.as_ref()) {
            let is_read = query.as_ref().filter(|_| reply.rcode != NOTIMP);
            let unread = || Expected::to_unread(packet, reply.rcode);
            let expected = is_read.map_or_else(unread, |query| Expected::to(query, &reply, self.peer.transport));
            return Outcome::Reply(Box::new(expected), None);
        }
        let query = query.expect("what cannot be read is rejected");
        let ruling = self.policy.judge(query.name.as_name());
        let Some(said) = self.say(&query, ruling, known) else { return Outcome::Miss };
        let telling = self.telling(&query, &said);
        Outcome::Reply(Box::new(Expected::to(&query, &said.reply, self.peer.transport)), Some(telling))
    }

    /// The answer to what never gets to the policy.
    fn rejection(&self, packet: &[u8], query: Option<&Query>) -> Option<Reply> {
        if !self.settings.server.clients.iter().any(|network| network.contains(&self.peer.address())) {
            return Some(Reply::bare(REFUSED).note(18, NOT_A_CLIENT));
        }
        if packet[2] & 0x78 != 0 {
            return Some(Reply::bare(NOTIMP));
        }
        let Some(query) = query else { return Some(Reply::bare(FORMERR)) };
        if query.message.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
            return Some(Reply::bare(BADVERS));
        }
        let is_transfer = matches!(query.record_type(), IXFR | AXFR);
        (is_transfer || query.class() != IN).then(|| Reply::bare(REFUSED))
    }

    /// The row of the table of answers; `None`: it must be resolved first.
    fn say(&self, query: &Query, ruling: Ruling<'a>, known: impl Fn(&Lookup<'_>) -> Known) -> Option<Said<'a>> {
        let blocked_ttl = self.settings.blocked.ttl;
        let no_data = || Reply::negative(0, blocked_ttl);
        let steered =
            ruling.rule.filter(|rule| ruling.decision == Decision::Allow && rule.data_path() != DataPath::Direct);
        let reply = if ruling.decision == Decision::Deny {
            self.deny(query, &ruling)
        } else if query.record_type() == ANY {
            Reply::any(query)
        } else if ruling.is_local {
            self.answer_local(query)
        } else if steered.is_some() {
            let addresses = self.settings.gateway.as_ref().map_or(&[][..], |gateway| &gateway.addresses);
            Reply::addresses(query, addresses, 30, blocked_ttl)
        } else if !self.hands_out(query, &ruling) {
            no_data().note(17, "record type not permitted")
        } else {
            let lookup = lookup(query, ruling.rule);
            return match known(&lookup) {
                Known::Answer(held) => Some(self.relay(query, &lookup, ruling, &held)),
                Known::Failure(failure) => Some(Said { reply: failed(failure), basis: ruling }),
                Known::Nothing => None,
            };
        };
        Some(Said { reply, basis: ruling })
    }

    /// A name that must seem to exist has no data, any other denied one does not exist.
    fn deny(&self, query: &Query, ruling: &Ruling<'_>) -> Reply {
        let name = query.name.as_name();
        let as_ancestor =
            || self.settings.blocked.ancestors == Ancestors::Nodata && self.policy.has_allowed_below(name);
        let rcode = if name.is_root() || as_ancestor() { 0 } else { NXDOMAIN };
        Reply::negative(rcode, self.settings.blocked.ttl).note(BLOCKED, &ruling.reason)
    }

    fn answer_local(&self, query: &Query) -> Reply {
        let name = query.name.as_name();
        let is_probe = name.to_string() == PROBE_NAME;
        let here = [std::net::Ipv4Addr::LOCALHOST.into(), std::net::Ipv6Addr::LOCALHOST.into()];
        let addresses = match self.settings.statics.get(&query.name) {
            Some(addresses) => addresses.clone(),
            None if is_probe => vec![PROBE_ADDRESS.into()],
            None if policy::is_local(name) => here.to_vec(),
            None if query.record_type() == TXT => {
                let contact = self.settings.blocked.contact.as_deref();
                return Reply::texts(query, &self.policy.facts(name, self.peer.address(), contact));
            }
            None => Vec::new(),
        };
        if is_probe && query.record_type() == TXT {
            return Reply::text(query, &self.standing());
        }
        Reply::addresses(query, &addresses, 60, self.settings.blocked.ttl)
    }

    fn standing(&self) -> String {
        let (version, generation) = (env!("CARGO_PKG_VERSION"), self.in_force.generation);
        let (client, regime) = (self.peer.address(), self.policy.regime());
        let group = self.policy.group_name().map_or(String::new(), |group| format!(" group={group}"));
        format!("pullgate {version} generation={generation} client={client} mode={regime}{group}")
    }

    /// Whether records of the asked type are for this client; under audit all are.
    fn hands_out(&self, query: &Query, ruling: &Ruling<'_>) -> bool {
        let asked = query.record_type();
        let permitted = match ruling.rule.and_then(|rule| rule.entry().types.as_ref()) {
            Some(RecordTypes::Any) => true,
            Some(RecordTypes::Only(types)) => types.contains(&asked),
            None => self.settings.server.record_types.contains(&asked),
        };
        permitted || ruling.decision == Decision::Audit || self.policy.is_audited()
    }

    /// What this client may see of an answer.
    fn relay(&self, query: &Query, lookup: &Lookup<'_>, ruling: Ruling<'a>, held: &Held) -> Said<'a> {
        if ruling.decision == Decision::Audit {
            return Said { reply: Reply::relayed(held), basis: ruling };
        }
        let entry = ruling.rule.map(RuleRef::entry);
        let inspects = entry.is_some_and(|entry| entry.cname == CnamePolicy::Inspect);
        let is_audited = self.policy.is_audited();
        if let Some(withheld) = self.objection(held, inspects && !is_audited) {
            let reply = Reply::negative(NXDOMAIN, self.settings.blocked.ttl).note(BLOCKED, &withheld.reason);
            return Said { reply, basis: Ruling { decision: Decision::Deny, ..withheld } };
        }
        if is_audited {
            let counted = self.objection(held, inspects);
            let counted = counted.map(|withheld| Ruling { decision: Decision::Audit, ..withheld });
            return Said { reply: Reply::relayed(held), basis: counted.unwrap_or(ruling) };
        }
        let reply = if held.has_private() && !self.permits_private(lookup, entry) {
            self.relay_public(query, &held.without_private())
        } else {
            Reply::relayed(held)
        };
        Said { reply, basis: ruling }
    }

    fn relay_public(&self, query: &Query, held: &Held) -> Reply {
        if matches!(query.record_type(), A | AAAA) && !held.has_address() {
            return Reply::negative(0, self.settings.blocked.ttl).note(BLOCKED, "private address");
        }
        Reply::relayed(held)
    }

    /// Why the answer must not be given: the first name it leads to that this client may not.
    fn objection(&self, held: &Held, inspects: bool) -> Option<Ruling<'a>> {
        held.targets().iter().find_map(|target| {
            let ruling = self.policy.objection(target.as_name(), inspects)?;
            let reason = format!("target {}: {}", target.as_name(), ruling.reason);
            Some(Ruling { reason, bearing: Bearing::None, ..ruling })
        })
    }

    /// As the entry says; else where the operator named the servers, for all names or for these.
    fn permits_private(&self, lookup: &Lookup<'_>, entry: Option<&Entry>) -> bool {
        let routes = &self.settings.upstream.routes;
        let mut routed = routes.iter().flat_map(|route| &route.domains);
        let is_routed = || !lookup.servers.is_empty() || routed.any(|domain| lookup.name.is_within(domain.as_name()));
        entry.and_then(|entry| entry.private_addresses).unwrap_or_else(is_routed)
    }

    fn telling(&self, query: &Query, said: &Said<'_>) -> Telling {
        let Ruling { decision, bearing, reason, rule, .. } = &said.basis;
        Telling {
            subject: Subject::Question { record_type: query.record_type(), rcode: said.reply.rcode },
            decision: *decision,
            bearing: *bearing,
            reason: reason.clone(),
            group: self.policy.group_name().map(str::to_owned),
            entry: rule.map(|rule| rule.entry().name.clone()).filter(|name| !name.is_empty()),
            rule: rule.map(|rule| EventRule { pattern: rule.pattern().to_string(), place: rule.place() }),
        }
    }
}

/// What is asked of the cache and of upstreams.
fn lookup<'q>(query: &'q Query, rule: Option<RuleRef<'q>>) -> Lookup<'q> {
    Lookup {
        name: query.name.as_name(),
        record_type: query.record_type(),
        dnssec: Dnssec {
            ok: query.message.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok),
            checking_disabled: query.message.metadata.checking_disabled,
        },
        servers: rule.map_or(&[], |rule| &rule.entry().servers),
    }
}

fn failed(failure: Failure) -> Reply {
    let (code, text) = match failure {
        Failure::Unreachable => (22, "no upstream answers"),
        Failure::Failing => (23, "upstream fails"),
        Failure::Busy => (0, "too many questions in flight"),
    };
    Reply::bare(SERVFAIL).note(code, text)
}

// RFC 6895 §2.3.
const FORMERR: u16 = 1;
const SERVFAIL: u16 = 2;
const NOTIMP: u16 = 4;
const REFUSED: u16 = 5;
const BADVERS: u16 = 16;

// RFC 6895 §3.
const IN: u16 = 1;
const A: u16 = 1;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const IXFR: u16 = 251;
const AXFR: u16 = 252;
const ANY: u16 = 255;

/// RFC 8914 §4.16.
const BLOCKED: u16 = 15;

#[cfg(test)]
mod tests;
