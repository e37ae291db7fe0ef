//! Surroundings in which both paths are asked: policies of every kind, and a cache that holds answers of every kind.
//!
//! The cache is filled once. Nothing in it comes near its end while a test runs, and no server is there to change it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::svcb::{IpHint, Mandatory, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, HTTPS, NULL, SOA, SVCB, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::sync::mpsc;

use super::{BothPaths, Telling};
use crate::config::{Environment, Settings};
use crate::diagnostic::Source;
use crate::dns::pipeline::{Pipeline, Step};
use crate::dns::{Peer, Transport};
use crate::event::{Event, EventSink};
use crate::name::DomainName;
use crate::policy::compile::{Options, load};
use crate::policy::document::Mode;
use crate::policy::snapshot::Snapshot;
use crate::policy::store::PolicyStore;
use crate::upstream::{Dnssec, Failure, Lookup, Resolver};

/// A policy, settings, and what is held.
pub struct Scene {
    pipeline: Pipeline,
    store: Arc<PolicyStore>,
    resolver: Arc<Resolver>,
    settings: Settings,
    events: Mutex<mpsc::Receiver<Event>>,
}

impl Scene {
    /// One scene of each kind. Needs a tokio runtime.
    ///
    /// # Panics
    /// A policy or settings written here have a fault.
    pub fn all() -> Vec<Self> {
        let of = |(settings, policy): &(&str, &str)| Self::of(settings, Some(policy));
        SCENES.iter().map(of).chain([Self::of(NODATA, None)]).collect()
    }

    /// The scene of this policy; of none to be had without one.
    fn of(settings: &str, policy: Option<&str>) -> Self {
        let source = Source::new("pullgate.toml", format!("{SETTINGS}{settings}"));
        let (settings, _) = Settings::parse(&source, &Environment::default())
            .unwrap_or_else(|faults| panic!("the settings have faults: {faults:#?}"));
        let options = Options {
            mode: settings.policy.mode,
            group: settings.policy.group.clone(),
            strict: false,
            statics: settings.statics.keys().cloned().collect(),
            has_gateway: settings.gateway.is_some(),
            client_modes: APART.iter().map(|(client, mode)| (client.parse().expect("an address"), *mode)).collect(),
            ..Options::default()
        };
        let compile = |text: &str| {
            load(vec![Source::new("policy.toml", text)], &options, SystemTime::now())
                .unwrap_or_else(|faults| panic!("the policy has faults: {faults:#?}"))
        };
        let snapshot = policy.map_or_else(|| Snapshot::deny_all(&options), |text| compile(text).snapshot);
        let store = PolicyStore::fixed(snapshot, SystemTime::now());
        let resolver = Resolver::start(&settings.upstream, &settings.cache, &[]).expect("the upstream is an address");
        fill(&resolver);
        let (sink, events) = EventSink::new(settings.log.queries);
        let pipeline = Pipeline::new(Arc::clone(&store), Arc::clone(&resolver), &settings, sink);
        Self { pipeline, store, resolver, settings, events: Mutex::new(events) }
    }

    /// Both paths in this scene.
    pub fn paths(&self) -> BothPaths<'_> {
        let Self { pipeline, store, resolver, settings, .. } = self;
        BothPaths { pipeline, store, resolver, settings }
    }

    /// Answers a packet by both paths, and compares the event with what the plain path would tell. The one of a miss
    /// never comes.
    ///
    /// # Panics
    /// The paths differ.
    pub fn compare(&self, packet: &[u8], peer: &Peer) -> Step {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        while events.try_recv().is_ok() {}
        let mut out = Vec::new();
        let (step, telling) = self.paths().answer(packet, peer, &mut out);
        // Past so many a second events are dropped.
        if let Ok(event) = events.try_recv() {
            assert_eq!(Some(Telling::from(&event)), telling, "{packet:02x?} from {peer:?}");
        }
        step
    }
}

/// Those who ask: in and outside the groups of the policies, by either family and transport.
///
/// # Panics
/// An address written here is none.
pub fn peers() -> Vec<Peer> {
    let clients = ["127.0.0.1", "10.20.1.2", "10.20.30.4", "192.168.7.7", "203.0.113.9", "fd00::7", "::ffff:10.20.1.2"];
    let listeners = ["127.0.0.1:53", "172.18.0.1:53", "[::1]:5353"];
    let mut peers = Vec::new();
    for client in clients {
        for listener in listeners {
            for transport in [Transport::Udp, Transport::Tcp] {
                let client = SocketAddr::new(client.parse().expect("an address written here"), 4711);
                peers.push(Peer::new(client, listener.parse().expect("an address written here"), transport));
            }
        }
    }
    peers
}

/// Names on, beside, above and below the rules of the policies, and what the cache holds something of.
pub const NAMES: &[&str] = &[
    ".",
    "example",
    "ok.example",
    "a.ok.example",
    "good.example",
    "a.good.example",
    "a.b.good.example",
    "xgood.example",
    "bad.good.example",
    "a.bad.good.example",
    "deep.bad.good.example",
    "wild.example",
    "a.wild.example",
    "a_b.c.wild.example",
    "exact.wild.example",
    "x-1.glob.example",
    "x-.glob.example",
    "y-1.glob.example",
    "a.x-1.glob.example",
    "glob.example",
    "1.s3.eu-west-1.glob.example",
    "s3.eu-west-1.glob.example",
    "eu-west-1.glob.example",
    "trial.example",
    "theirs.example",
    "inspected.example",
    "corp.example",
    "a.corp.example",
    "private.corp.example",
    "routed.example",
    "private.routed.example",
    "private.good.example",
    "half-private.good.example",
    "hinted.good.example",
    "mandatory.good.example",
    "alias.good.example",
    "chain.good.example",
    "chain.ok.example",
    "chain-to-bad.good.example",
    "chain-to-private.good.example",
    "target.cdn.example",
    "stale.good.example",
    "failing.good.example",
    "nothing.good.example",
    "empty.good.example",
    "large.good.example",
    "stale-large.good.example",
    "stale-nothing.good.example",
    "signed.good.example",
    "host.docker.internal",
    "a.host.docker.internal",
    "docker.internal",
    "localhost",
    "a.localhost",
    "localhost.example",
    "probe.pullgate.internal",
    "pullgate.internal",
    "registry-1.docker.io",
    "production.cloudflare.docker.com",
    "docker.io",
    "ghcr.io",
    "europe-docker.pkg.dev",
    "www.example.org",
    "why.pullgate",
    "why.quay.io.pullgate",
    "why.a.good.example.pullgate",
    "why.bad.example.pullgate",
    "why.host.docker.internal.pullgate",
    "why.goof.example.pullgate",
    "quay.io.pullgate",
    "pullgate",
];

/// Fills the cache for every name, with what its first label says; but for clients that want no validation.
fn fill(resolver: &Resolver) {
    for name in NAMES {
        for record_type in [1, 5, 16, 28, 65].map(RecordType::from) {
            for ok in [false, true] {
                for servers in [&[][..], &[OWN_SERVER]] {
                    let dnssec = Dnssec { ok, checking_disabled: false };
                    hold(resolver, name, record_type, dnssec, servers);
                }
            }
        }
    }
}

fn hold(resolver: &Resolver, name: &str, record_type: RecordType, dnssec: Dnssec, servers: &[SocketAddr]) {
    let owned: DomainName = name.parse().expect("a name written here");
    let lookup = Lookup { name: owned.as_name(), record_type: record_type.into(), dnssec, servers };
    let first = name.split('.').next().unwrap_or_default();
    let Some(records) = records(name, first, record_type) else { return };
    let is_stale = first.starts_with("stale");
    if first != "failing" {
        let response = response(name, record_type, records, first.ends_with("nothing"), is_stale);
        let age = Duration::from_secs(if is_stale { 30 } else { 100 });
        let held = resolver.hold(&lookup, &response, age);
        held.unwrap_or_else(|fault| panic!("{name} {record_type}: {fault}"));
    }
    if is_stale || first == "failing" {
        let failure = if record_type == RecordType::A { Failure::Failing } else { Failure::Unreachable };
        resolver.hold_failure(&lookup, failure, A_DAY);
    }
}

/// What is there, by the first label of a name; `None`: nothing is held.
fn records(name: &str, first: &str, record_type: RecordType) -> Option<Vec<Record>> {
    let own = |data| record(name, data);
    let large = || (1..=100).map(|last| own(a([203, 0, 113, last]))).collect();
    Some(match (first, record_type) {
        ("nothing" | "empty" | "stale-nothing", _) => vec![],
        ("private", RecordType::A) => vec![own(a([10, 0, 0, 1]))],
        ("private", RecordType::AAAA) => {
            ["::ffff:10.0.0.1", "64:ff9b:1::a00:1", "fe80::1"].map(|address| own(aaaa(address))).into()
        }
        ("half-private", RecordType::A) => vec![own(a([169, 254, 0, 1])), own(a([203, 0, 113, 2]))],
        ("hinted", RecordType::HTTPS) => vec![own(https(".", &[[192, 168, 1, 1], [203, 0, 113, 4]], false))],
        ("mandatory", RecordType::HTTPS) => {
            vec![own(https(".", &[[192, 168, 1, 1]], true)), own(https(".", &[[203, 0, 113, 4]], true))]
        }
        ("alias", RecordType::HTTPS) => vec![own(https("target.cdn.example.", &[], false))],
        ("chain", _) => leading(name, "target.cdn.example", record_type, [203, 0, 113, 3]),
        ("chain-to-bad", _) => leading(name, "bad.good.example", record_type, [203, 0, 113, 3]),
        ("chain-to-private", _) => leading(name, "a.good.example", record_type, [127, 0, 0, 1]),
        ("large" | "stale-large", RecordType::A) => large(),
        ("signed", RecordType::A) => vec![own(a([10, 0, 0, 1])), own(a([203, 0, 113, 2])), own(signature(1))],
        ("b" | "www" | "ghcr", _) => return None,
        (_, RecordType::A) => vec![own(a([203, 0, 113, 1]))],
        (_, RecordType::AAAA) => vec![own(aaaa("2001:db8::1"))],
        (_, RecordType::TXT) => vec![own(RData::TXT(TXT::new(vec!["text".to_owned()])))],
        _ => vec![],
    })
}

/// A CNAME, and what is asked for at its target.
fn leading(name: &str, target: &str, asked: RecordType, address: [u8; 4]) -> Vec<Record> {
    let link = record(name, RData::CNAME(CNAME(ascii(target))));
    let rest = (asked == RecordType::A).then(|| record(target, a(address)));
    std::iter::once(link).chain(rest).collect()
}

fn response(name: &str, asked: RecordType, records: Vec<Record>, is_nothing: bool, is_stale: bool) -> Vec<u8> {
    let mut response = Message::new(7, MessageType::Response, OpCode::Query);
    response.add_query(Query::query(ascii(name), asked));
    if is_nothing {
        response.metadata.response_code = ResponseCode::NXDomain;
    }
    let soa = SOA::new(ascii("ns.example"), ascii("postmaster.example"), 1, 60, 60, 60, TTL);
    response.add_authority(Record::from_rdata(Name::root(), TTL, RData::SOA(soa)));
    response.add_answers(records);
    for record in response.answers.iter_mut().chain(&mut response.authorities) {
        record.ttl = if is_stale { 1 } else { TTL };
    }
    response.to_vec().expect("hickory writes it")
}

fn record(owner: &str, data: RData) -> Record {
    Record::from_rdata(ascii(owner), TTL, data)
}

fn ascii(name: &str) -> Name {
    Name::from_ascii(if name == "." { ".".to_owned() } else { format!("{name}.") }).expect("a name written here")
}

fn a(octets: [u8; 4]) -> RData {
    RData::A(A(Ipv4Addr::from(octets)))
}

fn aaaa(address: &str) -> RData {
    RData::AAAA(AAAA(address.parse().expect("an address written here")))
}

fn https(target: &str, hints: &[[u8; 4]], is_mandatory: bool) -> RData {
    let mut parameters = Vec::new();
    if is_mandatory {
        parameters.push((SvcParamKey::Mandatory, SvcParamValue::Mandatory(Mandatory(vec![SvcParamKey::Ipv4Hint]))));
    }
    if !hints.is_empty() {
        let hints = hints.iter().map(|hint| A(Ipv4Addr::from(*hint))).collect();
        parameters.push((SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(IpHint(hints))));
        let hint = AAAA(Ipv6Addr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]));
        parameters.push((SvcParamKey::Ipv6Hint, SvcParamValue::Ipv6Hint(IpHint(vec![hint]))));
    }
    let target = Name::from_ascii(target).expect("a name written here");
    RData::HTTPS(HTTPS(SVCB::new(1, target, parameters)))
}

/// A signature that nobody checks.
fn signature(covered: u16) -> RData {
    let data = [&covered.to_be_bytes()[..], &[8, 2, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 2, 3]].concat();
    RData::Unknown { code: RecordType::RRSIG, rdata: NULL::with(data) }
}

const A_DAY: Duration = Duration::from_secs(86_400);
const TTL: u32 = 86_400;
/// Whose server `corp` is: the discard port, where nobody is.
const OWN_SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// Of every scene: nobody answers, and every question is told.
const SETTINGS: &str = r#"
[upstream]
servers = ["127.0.0.1:9"]
[[upstream.route]]
domains = ["routed.example"]
servers = ["127.0.0.1:9"]
[cache]
max-ttl = "7d"
[log]
queries = "all"
[static]
"host.docker.internal" = ["172.17.0.1", "fd00::1", "172.18.0.1"]
"#;
const NODATA: &str = "[blocked]\nancestors = \"nodata\"\nttl = \"3s\"\n";

const OPEN: &str = r#"
version = 1
[[registry]]
preset = "docker-hub"
[[registry]]
name = "good"
hosts = ["ok.example", ".good.example"]
[[registry]]
name = "wild"
hosts = ["*.wild.example", "exact.wild.example", "x-*.glob.example", "*.s3.*.glob.example", "routed.example", "private.routed.example"]
cname = "inspect"
[[registry]]
name = "trial"
hosts = ["trial.example"]
mode = "audit"
[[service]]
name = "corp"
names = [".corp.example"]
servers = ["127.0.0.1:9"]
types = "any"
private-addresses = true
[[deny]]
hosts = ["bad.good.example", "*.deep.bad.good.example"]
reason = "see SEC-7: überall ähnliche Größen, öfter länger als hier, würden für Ärger sorgen"
"#;

/// The same for two groups, one of which is another in all but one thing.
const GROUPS: &str = r#"
version = 1
[[registry]]
name = "good"
hosts = ["ok.example", ".good.example", "*.wild.example", "x-*.glob.example"]
[[registry]]
name = "inspected"
hosts = ["chain.ok.example", "a.good.example"]
cname = "inspect"
private-addresses = true
[[registry]]
name = "theirs"
hosts = ["theirs.example", ".good.example", "exact.wild.example"]
[[service]]
name = "text"
names = ["a.ok.example", "a.b.good.example"]
types = ["TXT", "A"]
[[deny]]
hosts = ["bad.good.example", "target.cdn.example"]
groups = ["us"]
[[deny]]
hosts = [".deep.bad.good.example"]
[[group]]
name = "us"
clients = ["10.20.0.0/16", "fd00::/16"]
registries = ["good", "inspected"]
services = ["*"]
[[group]]
name = "trying"
clients = ["10.20.30.0/24"]
inherits = "us"
mode = "audit"
[[group]]
name = "them"
clients = ["192.168.0.0/16"]
listen = ["172.18.0.1:53"]
registries = ["theirs"]
unlisted = "forward"
[[group]]
name = "everywhere"
listen = ["[::]:5353"]
registries = ["*"]
"#;

const STEERED: &str = r#"
version = 1
[[registry]]
name = "passed"
hosts = ["ok.example"]
redirects = [".good.example"]
path = "pass"
[[registry]]
name = "inspected"
hosts = ["inspected.example"]
redirects = ["a.wild.example"]
path = "inspect"
[[images]]
registry = "inspected"
[[registry]]
name = "trial"
hosts = ["trial.example"]
path = "pass"
mode = "audit"
"#;

/// Clients that overlays set apart from their groups.
const APART: [(&str, Mode); 2] = [("192.168.7.7", Mode::Audit), ("fd00::7", Mode::Enforce)];
const GATEWAY: &str = "[gateway]\naddress = [\"192.0.2.53\", \"10.0.0.53\", \"2001:db8::53\"]\n";

/// Settings beyond those of every scene, and a policy.
const SCENES: &[(&str, &str)] = &[
    ("", OPEN),
    (NODATA, OPEN),
    ("[policy]\nmode = \"audit\"\n", OPEN),
    (NODATA, GROUPS),
    ("[policy]\ngroup = \"trying\"\n", GROUPS),
    ("[policy]\nmode = \"audit\"\n", GROUPS),
    (GATEWAY, STEERED),
];
