//! From a packet to its answer. The page to read first.
//!
//! ```text
//! bytes ─accept─▶ query ─judge─▶ verdict ─┬─ denied, static, steered, ANY, record type ─────▶ answer ─▶ bytes
//!                                         └─ cache ─┬─ hit ─────────admit (chain, addresses)─▶ answer ─▶ bytes
//!                                                   └─ miss ─upstream─▶ admit ──────────────▶ answer ─▶ bytes
//! ```
//!
//! Everything but a miss happens in [`Batch::answer`], which neither waits nor, for denials and hits, allocates. A
//! question is judged by one snapshot from its first byte to its answer: a [`Miss`] takes it along. The cache is behind
//! the verdict and holds what upstreams said; what a client may see of it is decided anew for each client.

mod case;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::Guard;
use ipnet::IpNet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use self::case::{Basis, Case, DeniedTarget};
use super::answer::{Fit, Rcode, Reply, Text, Writer, write_bare};
use super::counters::Counters;
use super::wire::{CLASS_IN, Header, Malformed, Query, rtype};
use super::{Peer, Transport};
use crate::config::{Ancestors, Settings};
use crate::event::latency::Source;
use crate::event::tally::Ledger;
use crate::event::{Decision, EventSink};
use crate::name::{DomainName, NameBuf};
use crate::net::counter::Counter;
use crate::policy::document::{CnamePolicy, DataPath};
use crate::policy::judge::{Denial, Permit, Verdict};
use crate::policy::probe::{self, PROBE_ADDRESS};
use crate::policy::store::{InForce, PolicyStore};
use crate::upstream::{Express, Failure, Glance, Held, OwnedLookup, Probe, Resolution, Resolver};

/// Answers queries.
pub struct Pipeline {
    policy: Arc<PolicyStore>,
    resolver: Arc<Resolver>,
    clients: Vec<IpNet>,
    record_types: Vec<u16>,
    statics: BTreeMap<DomainName, Addresses>,
    /// What names are answered that are reached through the gateway.
    gateway: Addresses,
    localhost: Addresses,
    probe_name: DomainName,
    probe: Addresses,
    ancestors: Ancestors,
    /// Whom people ask about the policy.
    contact: Option<String>,
    writer: Writer,
    events: EventSink,
    counters: Counters,
    in_flight: Arc<Semaphore>,
}

/// Packets that came together, and are answered by one snapshot as of one moment: policy, routes and clock are read, and
/// the tally is opened, once for all of them. A thread has one at a time.
pub struct Batch<'p> {
    pipeline: &'p Pipeline,
    policy: Guard<Arc<InForce>>,
    now: Instant,
    cache: Glance<'p>,
    ledger: Ledger<'p>,
}

/// What became of a packet.
#[must_use]
pub enum Step {
    /// Nothing is to be sent.
    Drop,
    /// The answer has been written.
    Reply,
    /// Nothing is known yet: [`Pipeline::finish`] writes the answer, or [`Pipeline::conclude_miss`] what somebody else
    /// resolved.
    Miss(Box<Miss>),
}

/// A question that must go upstream, with the snapshot that judges it.
pub struct Miss {
    packet: Box<[u8]>,
    peer: Peer,
    policy: Arc<InForce>,
    lookup: OwnedLookup,
    began: Instant,
    _permit: OwnedSemaphorePermit,
}

/// Static addresses by family.
#[derive(Debug, Default)]
struct Addresses {
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
}

impl Step {
    /// Whether an answer has been written.
    pub fn is_reply(&self) -> bool {
        matches!(self, Self::Reply)
    }
}

impl Pipeline {
    /// A pipeline that judges by `policy` and resolves with `resolver`.
    pub fn new(policy: Arc<PolicyStore>, resolver: Arc<Resolver>, settings: &Settings, events: EventSink) -> Self {
        let statics = settings.statics.iter().map(|(name, addresses)| (name.clone(), Addresses::of(addresses)));
        Self {
            policy,
            resolver,
            clients: settings.server.clients.clone(),
            record_types: settings.server.record_types.clone(),
            statics: statics.collect(),
            gateway: settings.gateway.as_ref().map_or_else(Addresses::default, |it| Addresses::of(&it.addresses)),
            localhost: Addresses::of(&[std::net::Ipv4Addr::LOCALHOST.into(), std::net::Ipv6Addr::LOCALHOST.into()]),
            probe_name: probe::name(),
            probe: Addresses::of(&[PROBE_ADDRESS.into()]),
            ancestors: settings.blocked.ancestors,
            contact: settings.blocked.contact.clone(),
            writer: Writer::new(settings.blocked.ttl),
            events,
            counters: Counters::default(),
            in_flight: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
        }
    }

    /// How often each thing happened.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Begins to answer packets that came at `now`.
    pub fn batch(&self, now: Instant) -> Batch<'_> {
        Batch {
            pipeline: self,
            policy: self.policy.current(),
            now,
            cache: self.resolver.glance(now),
            ledger: self.events.tallies().open(),
        }
    }

    /// Answers a packet that came alone, as [`Batch::answer`] does: what it took is counted at once.
    pub fn answer(&self, packet: &[u8], peer: &Peer, out: &mut Vec<u8>) -> Step {
        let now = Instant::now();
        let batch = self.batch(now);
        let step = batch.answer(packet, peer, out);
        batch.ledger.settle(now.elapsed());
        step
    }

    /// Says how long the answers took that this thread has given since this was last said, misses aside.
    pub fn settle(&self, took: Duration) {
        self.events.tallies().open().settle(took);
    }

    fn answer_packet(&self, packet: &[u8], peer: &Peer, batch: &Batch<'_>, out: &mut Vec<u8>) -> Step {
        self.counters.of_transport(peer.transport).increment();
        let Some(header) = Header::read(packet) else {
            self.counters.dropped_packets.increment();
            return Step::Drop;
        };
        let mut room = NameBuf::default();
        let query = Query::read(header, packet, &mut room);
        let query = match self.accept(header, query.as_ref(), peer) {
            Ok(query) => query,
            Err(rejection) => return self.reject(header, &rejection, peer, out),
        };
        let mut case = Case::judge(query, peer, batch.now, &batch.policy, &batch.ledger);
        if let Some((reply, counter)) = self.answer_without_asking(&case) {
            if let Some(counter) = counter {
                counter.increment();
            }
            self.conclude(&case, case.verdict(), &reply, out);
            return Step::Reply;
        }
        match batch.cache.probe(&case.lookup()) {
            Probe::Hit(held) => {
                case.source = Source::Cached;
                self.answer_from_cache(&case, &held, out);
            }
            Probe::Failed(failure) => self.fail(&case, failure, out),
            Probe::Miss => {
                let Ok(permit) = Arc::clone(&self.in_flight).try_acquire_owned() else {
                    self.fail(&case, Failure::Busy, out);
                    return Step::Reply;
                };
                self.counters.cache_misses.increment();
                let lookup = case.lookup().to_owned();
                let policy = Arc::clone(&batch.policy);
                let miss =
                    Miss { packet: packet.into(), peer: *peer, policy, lookup, began: batch.now, _permit: permit };
                return Step::Miss(Box::new(miss));
            }
        }
        Step::Reply
    }

    /// Resolves a miss and writes its answer into `out`. Ends within the upstream time-out.
    pub async fn finish(&self, miss: &Miss, out: &mut Vec<u8>) {
        let resolution = self.resolver.resolve(miss.lookup.clone()).await;
        self.answer_miss(miss, resolution, out);
    }

    /// Writes the answer to a miss that has been resolved into `out`, whose contents are replaced.
    pub fn conclude_miss(&self, miss: &Miss, resolution: Resolution, out: &mut Vec<u8>) -> Step {
        contain(|| {
            self.answer_miss(miss, resolution, out);
            Step::Reply
        })
    }

    fn answer_miss(&self, miss: &Miss, resolution: Resolution, out: &mut Vec<u8>) {
        let mut room = NameBuf::default();
        let query = miss.query(&mut room);
        // Judging is a plain function: the same snapshot says the same again.
        let now = Instant::now();
        let ledger = self.events.tallies().open();
        let mut case = Case::judge(&query, &miss.peer, now, &miss.policy, &ledger);
        case.source = Source::Forwarded(now.saturating_duration_since(miss.began));
        match resolution {
            Resolution::Answer(held) => self.relay(&case, &held, out),
            Resolution::Failed(failure) => self.fail(&case, failure, out),
        }
    }

    /// A way to resolve the misses of one worker.
    pub fn express<T>(&self) -> Express<T> {
        Express::new(Arc::clone(&self.resolver))
    }

    /// Takes a query that can be answered by policy, or says what it is answered instead. A client outside the networks
    /// learns nothing else; what is not a plain question of class IN never gets as far as the policy.
    fn accept<'q>(
        &self,
        header: Header,
        query: Result<&'q Query<'q>, &Malformed>,
        peer: &Peer,
    ) -> Result<&'q Query<'q>, Rejection<'_, 'q>> {
        let counters = &self.counters;
        if !self.is_client(peer.address()) {
            let reply = Reply::outside_clients();
            return Err(Rejection { query: query.ok(), reply, counter: &counters.outside_clients });
        }
        let reject = |query, rcode, counter| Err(Rejection { query, reply: Reply::code(rcode), counter });
        if header.opcode() != OPCODE_QUERY {
            return reject(None, Rcode::NOTIMP, &counters.not_implemented);
        }
        let Ok(query) = query else {
            return reject(None, Rcode::FORMERR, &counters.malformed);
        };
        if query.edns.is_some_and(|edns| edns.version > 0) {
            return reject(Some(query), Rcode::BADVERS, &counters.bad_version);
        }
        if query.question.class != CLASS_IN || matches!(query.question.record_type, rtype::AXFR | rtype::IXFR) {
            return reject(Some(query), Rcode::REFUSED, &counters.refused);
        }
        Ok(query)
    }

    fn is_client(&self, address: IpAddr) -> bool {
        self.clients.iter().any(|network| network.contains(&address))
    }

    fn reject(&self, header: Header, rejection: &Rejection<'_, '_>, peer: &Peer, out: &mut Vec<u8>) -> Step {
        rejection.counter.increment();
        match &rejection.query {
            Some(query) => {
                self.writer.write(query, &rejection.reply, (peer.transport, peer.address()), out);
            }
            None => write_bare(header, rejection.reply.rcode(), out),
        }
        Step::Reply
    }

    /// The answer to a question that needs neither cache nor upstream, and what counts it beside the tally.
    fn answer_without_asking<'a>(&'a self, case: &'a Case<'a>) -> Option<(Reply<'a>, Option<&'a Counter>)> {
        let counters = &self.counters;
        let record_type = case.query.question.record_type;
        Some(match &case.judgement.verdict {
            Verdict::Deny(denial) => (self.deny(case, denial), None),
            Verdict::Allow(_) | Verdict::Audit(_) if record_type == rtype::ANY => {
                (Reply::any(), Some(&counters.answered_any))
            }
            Verdict::Allow(Permit::Static) => (self.answer_local(case), Some(&counters.answered_local)),
            Verdict::Allow(Permit::Rule(rule)) if rule.data_path() != DataPath::Direct => {
                (self.steer(case), Some(&counters.answered_steered))
            }
            Verdict::Allow(permit) if !permit.hands_out(record_type, &self.record_types) && !case.is_audited() => {
                (Reply::type_not_permitted(), Some(&counters.filtered_types))
            }
            Verdict::Allow(_) | Verdict::Audit(_) => return None,
        })
    }

    /// The root always exists, and so do ancestors of allowed names where the settings say so (RFC 8020).
    fn deny<'a>(&self, case: &Case<'_>, denial: &'a Denial<'_>) -> Reply<'a> {
        let name = case.name();
        let exists = match self.ancestors {
            Ancestors::Nxdomain => name.is_root(),
            Ancestors::Nodata => name.is_root() || case.snapshot().has_allowed_below(case.judgement.group, name),
        };
        let reason = denial.fixed_text().map_or(Text::Of(denial), Text::Words);
        if exists { Reply::denied_ancestor(reason) } else { Reply::denied(reason) }
    }

    /// Static names; `localhost` with everything below it (RFC 6761 §6.3); the name that `doctor` asks for, with how
    /// things stand for its client; names that ask about others.
    fn answer_local<'a>(&'a self, case: &'a Case<'a>) -> Reply<'a> {
        let name = case.name();
        let built_in = || (name.labels().last() == Some(b"localhost")).then_some(&self.localhost);
        let probe = || (name == self.probe_name.as_name()).then_some(&self.probe);
        let addresses = self.statics.get(name.as_wire()).or_else(built_in).or_else(probe);
        match (addresses, case.query.question.record_type) {
            (Some(addresses), rtype::A) => Reply::addresses(&addresses.v4),
            (Some(addresses), rtype::AAAA) => Reply::addresses(&addresses.v6),
            (Some(_), rtype::TXT) if name == self.probe_name.as_name() => Reply::standing(case.standing()),
            // Of all names answered from here, only those that ask about others have no address.
            (None, rtype::TXT) => Reply::facts(case, self.contact.as_deref()),
            _ => Reply::no_data(),
        }
    }

    /// A name that is reached through the gateway has its addresses and nothing else: no record that could lead past it.
    fn steer(&self, case: &Case<'_>) -> Reply<'_> {
        match case.query.question.record_type {
            rtype::A => Reply::steered(&self.gateway.v4),
            rtype::AAAA => Reply::steered(&self.gateway.v6),
            _ => Reply::no_data(),
        }
    }

    fn answer_from_cache(&self, case: &Case<'_>, held: &Held, out: &mut Vec<u8>) {
        self.counters.cache_hits.increment();
        if held.refresh_due {
            self.resolver.refresh(case.lookup().to_owned());
        }
        self.relay(case, held, out);
    }

    /// Hands on what of an upstream's answer this client may see; all of it under audit.
    fn relay(&self, case: &Case<'_>, held: &Held, out: &mut Vec<u8>) {
        if held.stale {
            self.counters.answered_stale.increment();
        }
        let Verdict::Allow(permit) = case.judgement.verdict else {
            self.count_audited(case, held);
            return self.conclude(case, case.verdict(), &Reply::upstream(held), out);
        };
        if case.is_audited() {
            return self.relay_audited(case, permit, held, out);
        }
        match self.admit(case, permit, held) {
            Admission::Whole => self.conclude(case, case.verdict(), &Reply::upstream(held), out),
            Admission::WithoutPrivate(rest) => {
                self.counters.filtered_private.increment();
                self.conclude(
                    case,
                    case.verdict(),
                    &rest.as_ref().map_or_else(Reply::only_private, Reply::upstream),
                    out,
                );
            }
            Admission::Withheld(target) => self.withhold(case, &target, out),
        }
    }

    /// Hands on the answer for an allowed name under audit: all of it, unless a `[[deny]]` forbids where it leads.
    fn relay_audited(&self, case: &Case<'_>, permit: Permit<'_>, held: &Held, out: &mut Vec<u8>) {
        let targets = held.answer.targets();
        if let Some(target) = case.denied_target(targets, false) {
            return self.withhold(case, &target, out);
        }
        let record_type = case.query.question.record_type;
        let is_whole = permit.hands_out(record_type, &self.record_types)
            && (!held.answer.has_private() || self.permits_private(case, permit));
        if !is_whole {
            self.counters.would_filter.increment();
        }
        let target = inspects(permit).then(|| case.denied_target(targets, true)).flatten();
        let basis = target.as_ref().map_or_else(|| case.verdict(), |target| target.basis(Decision::Audit));
        self.conclude(case, basis, &Reply::upstream(held), out);
    }

    fn withhold(&self, case: &Case<'_>, target: &DeniedTarget<'_>, out: &mut Vec<u8>) {
        self.counters.denied_targets.increment();
        self.conclude(case, target.basis(Decision::Deny), &Reply::denied(Text::Of(target)), out);
    }

    /// What a client may see of an answer: judged for this client, by this snapshot, each time it is given.
    fn admit<'a>(&self, case: &'a Case<'_>, permit: Permit<'_>, held: &'a Held) -> Admission<'a> {
        if let Some(target) = case.denied_target(held.answer.targets(), inspects(permit)) {
            return Admission::Withheld(target);
        }
        if !held.answer.has_private() || self.permits_private(case, permit) {
            return Admission::Whole;
        }
        let rest = held.answer.without_private();
        let asks_for_addresses = matches!(case.query.question.record_type, rtype::A | rtype::AAAA);
        if asks_for_addresses && rest.addresses().is_empty() {
            return Admission::WithoutPrivate(None);
        }
        Admission::WithoutPrivate(Some(Held { answer: Arc::new(rest), ..held.clone() }))
    }

    /// Whether private addresses may be told: the entry says, or else a route of the operator's does.
    fn permits_private(&self, case: &Case<'_>, permit: Permit<'_>) -> bool {
        let said = permit.rule().and_then(|rule| rule.entry().private_addresses);
        said.unwrap_or_else(|| self.resolver.is_routed(&case.lookup()))
    }

    /// Counts what audit lets through that would otherwise be filtered.
    fn count_audited(&self, case: &Case<'_>, held: &Held) {
        if held.answer.has_private() || !self.record_types.contains(&case.query.question.record_type) {
            self.counters.would_filter.increment();
        }
    }

    fn fail(&self, case: &Case<'_>, failure: Failure, out: &mut Vec<u8>) {
        self.counters.failed.increment();
        let reply = match failure {
            Failure::Unreachable => Reply::unreachable(),
            Failure::Failing => Reply::failing(),
            Failure::Busy => {
                self.counters.too_busy.increment();
                Reply::busy()
            }
        };
        self.conclude(case, case.verdict(), &reply, out);
    }

    /// Writes the answer and tells the event.
    fn conclude(&self, case: &Case<'_>, basis: Basis<'_>, reply: &Reply<'_>, out: &mut Vec<u8>) {
        let Case { query, peer, now, ledger, .. } = case;
        if self.writer.write(query, reply, (peer.transport, peer.address()), out) == Fit::Truncated {
            self.counters.truncated.increment();
        }
        let source = if basis.decision == Decision::Deny { Source::Denied } else { case.source };
        ledger.add(&case.decided(&basis), source);
        self.events.tell_message(basis.decision, || case.tapped(&basis, out));
        let event = || case.event(&basis, reply.rcode());
        self.events.tell_at(now.into_std(), basis.decision, basis.bearing, event);
    }
}

impl Batch<'_> {
    /// Answers a packet into `out`, whose contents are replaced, unless it must be resolved first. Never waits.
    pub fn answer(&self, packet: &[u8], peer: &Peer, out: &mut Vec<u8>) -> Step {
        contain(|| self.pipeline.answer_packet(packet, peer, self, out))
    }
}

/// Whether the targets of the entry's answers are judged as well.
fn inspects(permit: Permit<'_>) -> bool {
    permit.rule().is_some_and(|rule| rule.entry().cname == CnamePolicy::Inspect)
}

/// A defect costs the packet that met it, not the worker and all who ask it. The panic itself is counted and logged by
/// the process's panic hook; `out` is not sent, and a snapshot is never changed in place, so nothing half-done is seen.
fn contain(work: impl FnOnce() -> Step) -> Step {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(Step::Drop)
}

impl Miss {
    /// What is to be resolved.
    pub fn lookup(&self) -> &OwnedLookup {
        &self.lookup
    }

    fn query<'m>(&'m self, room: &'m mut NameBuf) -> Query<'m> {
        let query = Header::read(&self.packet).and_then(|header| Query::read(header, &self.packet, room).ok());
        query.expect("a packet that was read once is read again")
    }
}

/// A packet that is answered without being judged.
struct Rejection<'c, 'q> {
    /// `None`: the question could not be read, or means nothing here.
    query: Option<&'q Query<'q>>,
    reply: Reply<'static>,
    counter: &'c Counter,
}

/// What a client may see of an answer.
enum Admission<'a> {
    /// All of it.
    Whole,
    /// What is left when private addresses are taken out; `None`: nothing that was asked for.
    WithoutPrivate(Option<Held>),
    /// Nothing: it leads where this client may not go.
    Withheld(DeniedTarget<'a>),
}

impl Addresses {
    fn of(addresses: &[IpAddr]) -> Self {
        let (v4, v6) = addresses.iter().partition(|address| address.is_ipv4());
        Self { v4, v6 }
    }
}

impl Counters {
    fn of_transport(&self, transport: Transport) -> &Counter {
        match transport {
            Transport::Udp => &self.queries_udp,
            Transport::Tcp => &self.queries_tcp,
            Transport::Tls => &self.queries_tls,
            Transport::Https => &self.queries_https,
        }
    }
}

const OPCODE_QUERY: u16 = 0;
/// Questions that wait for an upstream, over all transports. Each holds a task, its packet and a snapshot; at the usual
/// 50 ms an answer these are 80,000 a second.
const MAX_IN_FLIGHT: usize = 4096;

#[cfg(test)]
mod tests;
