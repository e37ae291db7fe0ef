//! Any bytes as a query: the first byte chooses who asks and how, the rest is the packet. What comes back has to be small,
//! well-formed, and nothing at all for what must not be answered.
#![no_main]

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::SystemTime;

use hickory_proto::op::Message;
use hickory_proto::serialize::binary::BinDecodable;
use libfuzzer_sys::fuzz_target;
use pullgate::config::{Environment, QueryLog, Settings};
use pullgate::diagnostic::Source;
use pullgate::dns::pipeline::{Pipeline, Step};
use pullgate::dns::{Peer, Transport};
use pullgate::event::EventSink;
use pullgate::policy::compile::{Options, load};
use pullgate::policy::store::PolicyStore;
use pullgate::upstream::Resolver;

const SETTINGS: &str = r#"
[upstream]
servers = ["127.0.0.1:9"]
[blocked]
ancestors = "nodata"
[static]
"host.docker.internal" = ["172.17.0.1", "fd00::1"]
"#;
const POLICY: &str = r#"
version = 1
[[registry]]
preset = "docker-hub"
[[registry]]
name = "wild"
hosts = ["*.example.com", "x-*.example.net"]
[[deny]]
hosts = ["bad.example.com"]
reason = "see SEC-7"
"#;
/// The largest answer over UDP (RFC 9715).
const MAX_UDP: usize = 1232;
/// What a refusal may add to its query: an OPT record, a SOA, the reason.
const MAX_GROWTH: usize = 300;

static PIPELINE: LazyLock<Pipeline> = LazyLock::new(|| {
    let runtime = Box::leak(Box::new(tokio::runtime::Runtime::new().expect("threads can be started")));
    let _entered = runtime.enter();
    let source = Source::new("fuzz.toml", SETTINGS);
    let (settings, _) = Settings::parse(&source, &Environment::default()).expect("the settings have no fault");
    let policy = load(vec![Source::new("policy.toml", POLICY)], &Options::default(), SystemTime::now());
    let store = PolicyStore::fixed(policy.expect("the policy has no fault").snapshot, SystemTime::now());
    let resolver = Resolver::start(&settings.upstream, &settings.cache, &[]).expect("the upstream is an address");
    let (events, _) = EventSink::new(QueryLog::All);
    Pipeline::new(store, resolver, &settings, events)
});

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, packet)) = bytes.split_first() else { return };
    let peer = peer(*choice);
    let mut out = Vec::new();
    let must_not_answer = packet.len() < 12 || packet[2] & 0x80 != 0;
    match PIPELINE.answer(packet, &peer, &mut out) {
        Step::Drop => assert!(must_not_answer, "a query was dropped"),
        Step::Miss(_) => assert!(!must_not_answer),
        Step::Reply => {
            assert!(!must_not_answer, "an answer to what must not be answered");
            check(packet, &peer, &out);
        }
    }
});

fn check(packet: &[u8], peer: &Peer, out: &[u8]) {
    assert_eq!(out[..2], packet[..2], "the id");
    assert!(out[2] & 0x80 != 0, "a response");
    assert!(out.len() <= packet.len() + MAX_GROWTH, "{} bytes for {}", out.len(), packet.len());
    assert!(peer.transport != Transport::Udp || out.len() <= MAX_UDP);
    let message = Message::from_bytes(out).expect("hickory reads it");
    assert!(message.metadata.recursion_available && !message.metadata.authentic_data);
}

fn peer(choice: u8) -> Peer {
    let client: SocketAddr =
        if choice & 1 == 0 { ([127, 0, 0, 1], 4711).into() } else { ([192, 0, 2, 1], 4711).into() };
    let transport = if choice & 2 == 0 { Transport::Udp } else { Transport::Tcp };
    Peer::new(client, ([127, 0, 0, 1], 53).into(), transport)
}
