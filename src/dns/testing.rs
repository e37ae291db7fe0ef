//! What the tests of this module share: a pipeline with a policy compiled from text, an upstream on loopback, and
//! packets in and out, by both paths.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::svcb::{IpHint, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, HTTPS, SOA, SVCB, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{Notify, Semaphore, mpsc};

use super::pipeline::{Pipeline, Step};
use super::plain::{BothPaths, Telling};
use super::{Peer, Transport};
use crate::config::{Environment, QueryLog, Settings, UpstreamServer};
use crate::diagnostic::Source;
use crate::event::{Event, EventSink};
use crate::policy::compile::{Options, load};
use crate::policy::store::{InForce, PolicyStore};
use crate::upstream::Resolver;

/// One registry, with a host and with everything below another.
pub(crate) const POLICY: &str = r#"
version = 1
[[registry]]
name = "good"
hosts = ["ok.example", ".good.example"]
"#;

/// A pipeline in its surroundings.
pub(crate) struct Lab {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) events: Events,
    pub(crate) peer: Peer,
    /// The settings the pipeline was made with.
    pub(crate) settings: Settings,
    store: Arc<PolicyStore>,
    resolver: Arc<Resolver>,
}

/// A packet that both paths have seen, with the policy that it came under.
pub(crate) struct Begun {
    pub(crate) step: Step,
    packet: Vec<u8>,
    policy: Arc<InForce>,
    telling: Option<Telling>,
    answer: Vec<u8>,
}

/// What was told, in order.
pub(crate) struct Events(Mutex<Told>);

struct Told {
    receiver: mpsc::Receiver<Event>,
    /// Received already, to be compared with what the plain path would tell.
    compared: VecDeque<Event>,
}

/// A DNS server that answers from [`zone`] and remembers what it was asked.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    broken: AtomicBool,
    asked: Mutex<Vec<(String, RecordType)>>,
    was_asked: Notify,
    /// Questions for names that begin with `held.` wait for a permit before they are answered.
    release: Semaphore,
}

impl Lab {
    /// A pipeline for this policy, with the settings as they come.
    pub(crate) async fn new(policy: &str) -> Self {
        Self::with(policy, |_settings| {}).await
    }

    /// The same after a change of the settings.
    pub(crate) async fn with(policy: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let upstream = Upstream::start().await;
        let mut settings = settings_with(&upstream);
        change(&mut settings);
        let options = Options {
            mode: settings.policy.mode,
            group: settings.policy.group.clone(),
            strict: false,
            statics: settings.statics.keys().cloned().collect(),
            has_gateway: settings.gateway.is_some(),
            ..Options::default()
        };
        let policy = policy.replace("UPSTREAM", &upstream.address.to_string());
        let compiled = load(vec![Source::new("policy.toml", policy)], &options, SystemTime::now())
            .unwrap_or_else(|faults| panic!("the policy has faults: {faults:#?}"));
        let store = PolicyStore::fixed(compiled.snapshot, SystemTime::now());
        Self::of(store, upstream, settings)
    }

    /// A pipeline for whatever policy is in this store.
    pub(crate) async fn under(store: Arc<PolicyStore>) -> Self {
        let upstream = Upstream::start().await;
        let settings = settings_with(&upstream);
        Self::of(store, upstream, settings)
    }

    fn of(store: Arc<PolicyStore>, upstream: Arc<Upstream>, settings: Settings) -> Self {
        let resolver = Resolver::start(&settings.upstream, &settings.cache, &[]).expect("an upstream is set");
        let (sink, receiver) = EventSink::new(settings.log.queries);
        let pipeline = Arc::new(Pipeline::new(Arc::clone(&store), Arc::clone(&resolver), &settings, sink));
        let events = Events(Mutex::new(Told { receiver, compared: VecDeque::new() }));
        Self { pipeline, upstream, events, peer: peer("127.0.0.1"), settings, store, resolver }
    }

    /// The answer's bytes; `None` if there is none. Both paths make the same of the packet, and the event says so.
    pub(crate) async fn exchange(&self, packet: &[u8]) -> Option<Vec<u8>> {
        self.end(self.begin(packet)).await
    }

    /// Hands a packet to both paths, which make the same of it. If it is a miss, [`end`](Self::end) waits for the rest.
    pub(crate) fn begin(&self, packet: &[u8]) -> Begun {
        self.events.receive();
        let mut answer = vec![0xff; 3];
        let policy = Arc::clone(&self.store.current());
        let (step, telling) = self.paths().answer(packet, &self.peer, &mut answer);
        Begun { packet: packet.to_owned(), policy, step, telling, answer }
    }

    /// The answer's bytes; `None` if there is none.
    pub(crate) async fn end(&self, begun: Begun) -> Option<Vec<u8>> {
        let Begun { packet, policy, step, telling, mut answer } = begun;
        let telling = match step {
            Step::Drop => return None,
            Step::Reply => telling,
            Step::Miss(miss) => {
                self.pipeline.finish(&miss, &mut answer).await;
                self.paths().check_finished(&policy, &packet, &self.peer, &answer)
            }
        };
        let told: Vec<Telling> = self.events.receive().iter().map(Telling::from).collect();
        if self.settings.log.queries == QueryLog::All {
            assert_eq!(told, telling.into_iter().collect::<Vec<_>>());
        }
        Some(answer)
    }

    /// How many questions went to the upstream, each counted once however often it is put.
    pub(crate) fn resolved(&self) -> u64 {
        self.resolver.counters().asked
    }

    fn paths(&self) -> BothPaths<'_> {
        let Self { pipeline, store, resolver, settings, .. } = self;
        BothPaths { pipeline, store, resolver, settings }
    }

    /// The answer, which must be a whole message and nothing else.
    pub(crate) async fn ask(&self, packet: &[u8]) -> Message {
        parse(&self.exchange(packet).await.expect("an answer"))
    }

    /// The answer to a plain question.
    pub(crate) async fn ask_for(&self, name: &str, record_type: RecordType) -> Message {
        self.ask(&with_opt(query(name, record_type), &[])).await
    }
}

impl Events {
    /// The next one; `None` when there will be none.
    pub(crate) async fn recv(&mut self) -> Option<Event> {
        let told = self.0.get_mut().unwrap();
        match told.compared.pop_front() {
            Some(event) => Some(event),
            None => poll_fn(|context| told.receiver.poll_recv(context)).await,
        }
    }

    /// The next one, if it is there.
    pub(crate) fn try_recv(&mut self) -> Result<Event, TryRecvError> {
        let told = self.0.get_mut().unwrap();
        told.compared.pop_front().map_or_else(|| told.receiver.try_recv(), Ok)
    }

    /// Takes in what has been told since.
    fn receive(&self) -> Vec<Event> {
        let told = &mut *self.0.lock().unwrap();
        let events: Vec<Event> = std::iter::from_fn(|| told.receiver.try_recv().ok()).collect();
        told.compared.extend(events.iter().cloned());
        events
    }
}

/// The settings as they come, but for the server that is asked.
fn settings_with(upstream: &Upstream) -> Settings {
    let mut settings = Settings::embedded(&Environment::default());
    settings.upstream.servers = vec![UpstreamServer::Plain(upstream.address)];
    settings.log.queries = QueryLog::All;
    settings
}

impl Upstream {
    pub(crate) async fn start() -> Arc<Self> {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = socket.local_addr().unwrap();
        let upstream = Arc::new(Self {
            address,
            broken: AtomicBool::new(false),
            asked: Mutex::default(),
            was_asked: Notify::new(),
            release: Semaphore::new(0),
        });
        tokio::spawn(Arc::clone(&upstream).run(socket));
        upstream
    }

    /// From now on every question is answered SERVFAIL.
    pub(crate) fn break_down(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<(String, RecordType)> {
        self.asked.lock().unwrap().clone()
    }

    /// Comes back when this name has been asked for.
    pub(crate) async fn wait_for(&self, name: &str) {
        loop {
            let asked = self.was_asked.notified();
            if self.asked().iter().any(|(asked, _)| asked == name) {
                return;
            }
            asked.await;
        }
    }

    /// From now on names that begin with `held.` are answered.
    pub(crate) fn release(&self) {
        self.release.add_permits(1000);
    }

    async fn run(self: Arc<Self>, socket: Arc<UdpSocket>) {
        let mut buffer = [0; 2048];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            let query = Message::from_vec(&buffer[..length]).unwrap();
            let Some(answer) = self.answer(&query) else { continue };
            let (upstream, socket) = (Arc::clone(&self), Arc::clone(&socket));
            tokio::spawn(async move {
                if answer.queries[0].name().to_lowercase().to_ascii().starts_with("held.") {
                    upstream.release.acquire().await.unwrap().forget();
                }
                let _ = socket.send_to(&answer.to_vec().unwrap(), client).await;
            });
        }
    }

    fn answer(&self, query: &Message) -> Option<Message> {
        let question = &query.queries[0];
        let name = question.name().to_lowercase().to_ascii();
        let name = name.trim_end_matches('.');
        self.asked.lock().unwrap().push((name.to_owned(), question.query_type()));
        self.was_asked.notify_waiters();
        let mut answer = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
        answer.metadata.recursion_desired = true;
        answer.metadata.recursion_available = true;
        answer.add_query(question.clone());
        if self.broken.load(Ordering::SeqCst) {
            answer.metadata.response_code = ResponseCode::ServFail;
            return Some(answer);
        }
        if name.starts_with("silent.") {
            return None;
        }
        let records = zone(name, question.query_type());
        if records.is_empty() {
            answer.metadata.response_code =
                if name.starts_with("nothing.") { ResponseCode::NXDomain } else { ResponseCode::NoError };
            answer.add_authority(soa());
        }
        answer.add_answers(records);
        Some(answer)
    }
}

/// What exists, by the first label: a name says what it is.
fn zone(name: &str, record_type: RecordType) -> Vec<Record> {
    let first = name.split('.').next().unwrap_or_default();
    let own = |data| record(name, data);
    match (first, record_type) {
        ("nothing" | "silent" | "empty", _) => vec![],
        ("private", RecordType::A) => vec![own(a([10, 0, 0, 1]))],
        ("private", RecordType::AAAA) => vec![own(RData::AAAA(AAAA("::ffff:10.0.0.1".parse().unwrap())))],
        ("half-private", RecordType::A) => vec![own(a([10, 0, 0, 1])), own(a([203, 0, 113, 2]))],
        ("hinted", RecordType::HTTPS) => vec![own(https("."))],
        ("alias", RecordType::HTTPS) => vec![own(https("target.cdn.example."))],
        ("chain", RecordType::A) => vec![
            own(RData::CNAME(CNAME(Name::from_ascii("target.cdn.example.").unwrap()))),
            record("target.cdn.example", a([203, 0, 113, 3])),
        ],
        ("large", RecordType::A) => (1..=100).map(|last| own(a([203, 0, 113, last]))).collect(),
        ("many", RecordType::A) => (1..=20).map(|last| own(a([203, 0, 113, last]))).collect(),
        (_, RecordType::A) => vec![own(a([203, 0, 113, 1]))],
        (_, RecordType::TXT) => vec![own(RData::TXT(TXT::new(vec!["text".to_owned()])))],
        _ => vec![],
    }
}

fn record(owner: &str, data: RData) -> Record {
    Record::from_rdata(Name::from_ascii(format!("{owner}.")).unwrap(), 60, data)
}

fn a(octets: [u8; 4]) -> RData {
    RData::A(A(Ipv4Addr::from(octets)))
}

fn https(target: &str) -> RData {
    let hint = SvcParamValue::Ipv4Hint(IpHint(vec![A(Ipv4Addr::new(192, 168, 1, 1))]));
    let target = Name::from_ascii(target).unwrap();
    RData::HTTPS(HTTPS(SVCB::new(1, target, vec![(SvcParamKey::Ipv4Hint, hint)])))
}

fn soa() -> Record {
    let name = Name::from_ascii("example.").unwrap();
    let data = SOA::new(name.clone(), name.clone(), 1, 60, 60, 60, 60);
    Record::from_rdata(name, 60, RData::SOA(data))
}

/// A client at this address, over UDP.
pub(crate) fn peer(client: &str) -> Peer {
    let client = SocketAddr::new(client.parse::<IpAddr>().unwrap(), 40000);
    Peer::new(client, "127.0.0.1:53".parse().unwrap(), Transport::Udp)
}

/// A question of class IN with RD, and no OPT.
pub(crate) fn query(name: &str, record_type: RecordType) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        packet.push(u8::try_from(label.len()).unwrap());
        packet.extend(label.bytes());
    }
    packet.push(0);
    packet.extend(u16::from(record_type).to_be_bytes());
    packet.extend([0, 1]);
    packet
}

/// The packet with an OPT record that allows 1232 bytes, with these options.
pub(crate) fn with_opt(packet: Vec<u8>, options: &[u8]) -> Vec<u8> {
    with_opt_of(packet, 1232, [0, 0, 0, 0], options)
}

/// The packet with an OPT record of this size and these four bytes of extended code, version and flags.
pub(crate) fn with_opt_of(mut packet: Vec<u8>, size: u16, ttl: [u8; 4], options: &[u8]) -> Vec<u8> {
    packet[11] += 1;
    packet.extend([0, 0, 41]);
    packet.extend(size.to_be_bytes());
    packet.extend(ttl);
    packet.extend(u16::try_from(options.len()).unwrap().to_be_bytes());
    packet.extend(options);
    packet
}

/// A message, with nothing behind it.
pub(crate) fn parse(answer: &[u8]) -> Message {
    let mut decoder = BinDecoder::new(answer);
    let message = Message::read(&mut decoder).unwrap_or_else(|error| panic!("{error}: {answer:02x?}"));
    assert!(decoder.is_empty(), "bytes behind the message: {answer:02x?}");
    message
}

/// The bytes of an EDNS option of an answer.
pub(crate) fn option(answer: &Message, code: u16) -> Option<Vec<u8>> {
    let option = answer.edns.as_ref()?.option(code.into())?;
    let EdnsOption::Unknown(_, data) = option else { panic!("an option that is not interpreted: {option:?}") };
    Some(data.clone())
}

/// The extended error of an answer: code and text.
pub(crate) fn extended_error(answer: &Message) -> Option<(u16, String)> {
    let data = option(answer, 15)?;
    let (code, text) = data.split_first_chunk()?;
    Some((u16::from_be_bytes(*code), String::from_utf8(text.to_vec()).unwrap()))
}
