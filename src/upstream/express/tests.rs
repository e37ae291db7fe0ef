//! A worker's questions, against servers on loopback: the usual way, and each reason to leave it.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UdpSocket;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::super::server::ServerCounters;
use super::super::testing::{Asked, FakeServer, MAX_TTL, Packet, dead_port, name};
use super::super::wire::{HEADER, kind};
use super::super::{Dnssec, Failure, Lookup, MAX_IN_FLIGHT, Probe};
use super::*;
use crate::config::{self, UpstreamServer};

const TRUTH: [u8; 4] = [192, 0, 2, 1];
const LIE: [u8; 4] = [6, 6, 6, 6];

/// Which question came to its end, and how.
type End = (usize, Resolution);

/// A worker that does nothing but ask.
struct Worker {
    resolver: Arc<Resolver>,
    express: Express<usize>,
    handed_over: usize,
    ends: (UnboundedSender<End>, UnboundedReceiver<End>),
}

impl Worker {
    fn new(servers: &[SocketAddr]) -> Self {
        let servers = servers.iter().map(|server| UpstreamServer::Plain(*server)).collect();
        let upstream = config::Upstream { servers, timeout: Duration::from_millis(1500), routes: Vec::new() };
        let cache = config::Cache { entries: 10_000, max_ttl: MAX_TTL, stale: Duration::from_secs(86_400) };
        let resolver = Resolver::start(&upstream, &cache, &[]).unwrap();
        Self { express: Express::new(resolver.clone()), resolver, handed_over: 0, ends: unbounded_channel() }
    }

    /// Asks for all names at once and comes back when each has its end: an address, or why there is none.
    async fn ask_all(&mut self, names: &[String]) -> Vec<Result<String, Failure>> {
        for (ticket, name) in names.iter().enumerate() {
            self.express.ask(lookup(name), ticket, Instant::now());
        }
        let mut ends = HashMap::new();
        while ends.len() < names.len() {
            self.turn();
            tokio::select! {
                () = self.express.ready() => {}
                Some((ticket, resolution)) = self.ends.1.recv() => drop(ends.insert(ticket, resolution)),
            }
        }
        (0..names.len()).map(|ticket| said(&ends[&ticket])).collect()
    }

    async fn ask(&mut self, name: &str) -> Result<String, Failure> {
        self.ask_all(&[name.to_owned()]).await.remove(0)
    }

    fn turn(&mut self) {
        self.express.turn();
        while let Some(arrival) = self.express.arrival() {
            match arrival {
                Arrival::Landed(ticket, resolution) => self.ends.0.send((ticket, resolution)).unwrap(),
                Arrival::Later(ticket, landing) => {
                    self.handed_over += 1;
                    let ends = self.ends.0.clone();
                    tokio::spawn(async move { ends.send((ticket, landing.resolution().await)) });
                }
            }
        }
    }

    /// What is known of the server that is configured in this place.
    fn server(&self, place: usize) -> ServerCounters {
        self.resolver.routes.servers(&lookup("any.example").as_lookup())[place].counters()
    }
}

fn lookup(text: &str) -> OwnedLookup {
    let name = name(text);
    Lookup { name: name.as_name(), record_type: kind::A, dnssec: Dnssec::default(), servers: &[] }.to_owned()
}

fn said(resolution: &Resolution) -> Result<String, Failure> {
    match resolution {
        Resolution::Answer(held) => Ok(held.answer.addresses()[0].to_string()),
        Resolution::Failed(failure) => Err(*failure),
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("layer-{index}.registry.example")).collect()
}

/// A server that answers so over UDP, and with the truth over TCP.
async fn over_udp(answer: impl Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync + 'static) -> FakeServer {
    FakeServer::start(move |asked| if asked.over_tcp { vec![asked.address(TRUTH)] } else { answer(asked) }).await
}

fn with_other_id(asked: &Asked) -> Vec<u8> {
    let mut lie = asked.address(LIE);
    lie[0] ^= 1;
    lie
}

#[tokio::test]
async fn a_question_is_a_datagram_and_its_answer_and_then_in_the_cache() {
    let server = FakeServer::healthy(TRUTH).await;
    let mut worker = Worker::new(&[server.address]);
    assert_eq!(worker.ask("registry.example").await.unwrap(), "192.0.2.1");
    assert!(matches!(worker.resolver.probe(&lookup("registry.example").as_lookup()), Probe::Hit(held) if !held.stale));
    let (counters, of_server) = (worker.resolver.counters(), worker.server(0));
    assert_eq!((counters.asked, counters.failed, counters.in_flight, worker.handed_over), (1, 0, 0, 0));
    assert_eq!((of_server.asked, of_server.answered, of_server.failed, of_server.near_misses), (1, 1, 0, 0));
    assert!(of_server.round_trip.is_some() && server.asked().len() == 1 && worker.express.is_idle());
}

#[tokio::test]
async fn equal_questions_are_one_upstream_whoever_asks() {
    let server = FakeServer::healthy(TRUTH).await;
    let mut worker = Worker::new(&[server.address]);
    let same = vec!["registry.example".to_owned(); 20];
    let resolver = worker.resolver.clone();
    let task = tokio::spawn(async move { resolver.resolve(lookup("registry.example")).await });
    let answers = worker.ask_all(&same).await;
    assert!(answers.iter().all(|answer| answer.as_deref() == Ok("192.0.2.1")), "{answers:?}");
    assert_eq!(said(&task.await.unwrap()).unwrap(), "192.0.2.1");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn ports_ids_and_letters_are_random_and_ports_are_renewed() {
    let server = FakeServer::healthy(TRUTH).await;
    let mut worker = Worker::new(&[server.address]);
    for batch in names(4000).chunks(20) {
        assert!(worker.ask_all(batch).await.iter().all(Result::is_ok));
    }
    let asked = server.asked();
    let mut by_port: HashMap<u16, usize> = HashMap::new();
    for asked in &asked {
        *by_port.entry(asked.from.port()).or_default() += 1;
    }
    // Once: a question that this machine was too slow to see answered in time, and asked again from a socket of its own.
    by_port.retain(|_, count| *count > 1);
    assert!(by_port.len() >= 4000 / 300 && by_port.values().all(|count| *count <= 300), "{by_port:?}");
    let (lowest, highest) = (by_port.keys().min().unwrap(), by_port.keys().max().unwrap());
    assert!(highest - lowest > 5_000, "ports from {lowest} to {highest}");
    let ports: Vec<u16> =
        asked.iter().map(|asked| asked.from.port()).filter(|port| by_port.contains_key(port)).collect();
    let changes = ports.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes > 4000 / 20 / 2, "the port changed {changes} times");

    let ids: Vec<u16> = asked.iter().map(|asked| u16::from_be_bytes([asked.query[0], asked.query[1]])).collect();
    let near = ids.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 256).count();
    let distinct: HashSet<_> = ids.iter().collect();
    assert!(near < 200 && distinct.len() > 3500, "{near} ids near the one before, {} different ones", distinct.len());
    let spellings: HashSet<&[u8]> = asked.iter().map(|asked| &asked.spelled()[asked.spelled().len() - 16..]).collect();
    assert!(spellings.len() > 3500, "{} spellings", spellings.len());
}

#[tokio::test]
async fn junk_and_near_misses_are_ignored_until_the_truth_comes() {
    let server = over_udp(|asked| {
        let lie = asked.address(LIE);
        let mut other_name = lie.clone();
        other_name[HEADER + 2] ^= 1;
        let cut = lie[..lie.len() - 1].to_vec();
        vec![with_other_id(asked), other_name, cut, Vec::new(), vec![0; 11], vec![0xff; 600], asked.address(TRUTH)]
    });
    let server = server.await;
    let mut worker = Worker::new(&[server.address]);
    for _ in 0..3 {
        for name in names(2) {
            assert_eq!(worker.ask(&name).await.unwrap(), "192.0.2.1");
        }
    }
    let counters = worker.server(0);
    assert!(counters.answered >= 2 && counters.near_misses >= 12 && counters.streams == 0, "{counters:?}");
}

#[tokio::test]
async fn a_flood_of_guesses_moves_what_is_out_to_tcp_and_the_next_question_to_another_port() {
    let server = over_udp(|asked| (0..20).map(|_| with_other_id(asked)).collect()).await;
    let mut worker = Worker::new(&[server.address]);
    for name in names(10) {
        assert_eq!(worker.ask(&name).await.unwrap(), "192.0.2.1");
    }
    let asked = server.asked();
    let (over_tcp, over_udp): (Vec<_>, Vec<_>) = asked.iter().partition(|asked| asked.over_tcp);
    let ports: HashSet<u16> = over_udp.iter().map(|asked| asked.from.port()).collect();
    let counters = worker.server(0);
    assert!(over_tcp.len() >= 10 && ports.len() == over_udp.len(), "{} ports", ports.len());
    assert!(counters.streams >= 10 && counters.near_misses >= 200 && !counters.resting, "{counters:?}");
}

#[tokio::test]
async fn who_is_not_the_server_is_not_heard() {
    let forger = UdpSocket::bind("127.0.0.1:0").await.unwrap().into_std().unwrap();
    let server = over_udp(move |asked| {
        for _ in 0..30 {
            forger.send_to(&asked.address(LIE), asked.from).unwrap();
        }
        vec![asked.address(TRUTH)]
    });
    let server = server.await;
    let mut worker = Worker::new(&[server.address]);
    for name in names(20) {
        assert_eq!(worker.ask(&name).await.unwrap(), "192.0.2.1");
    }
    assert_eq!(worker.server(0).near_misses, 0);
}

#[tokio::test]
async fn answers_that_come_twice_are_no_guesses() {
    let server = over_udp(|asked| vec![asked.address(TRUTH); 3]).await;
    let mut worker = Worker::new(&[server.address]);
    for batch in names(300).chunks(30) {
        assert!(worker.ask_all(batch).await.iter().all(Result::is_ok));
    }
    let counters = worker.server(0);
    assert_eq!((counters.near_misses, counters.streams), (0, 0));
}

#[tokio::test]
async fn a_truncated_answer_and_one_in_other_letters_are_asked_for_over_tcp() {
    let truncated = over_udp(|asked| vec![Packet::to(&asked.query).truncated().build()]).await;
    let other_letters = over_udp(|asked| {
        let mut lie = asked.address(LIE);
        let name = HEADER..HEADER + asked.spelled().len();
        lie[name].iter_mut().filter(|byte| byte.is_ascii_alphabetic()).for_each(|byte| *byte ^= 0x20);
        vec![lie]
    });
    for server in [truncated, other_letters.await] {
        let mut worker = Worker::new(&[server.address]);
        assert_eq!(worker.ask("registry.example").await.unwrap(), "192.0.2.1");
        assert!(!server.asked()[0].over_tcp && server.asked().iter().any(|asked| asked.over_tcp));
        assert!(worker.server(0).streams >= 1 && worker.server(0).answered >= 1);
    }
}

#[tokio::test]
async fn a_server_without_edns_is_asked_without() {
    let server = FakeServer::start(|asked| {
        let knows = asked.query[11] == 0;
        vec![if knows { asked.address(TRUTH) } else { Packet::to(&asked.query).rcode(1).build() }]
    });
    let server = server.await;
    let mut worker = Worker::new(&[server.address]);
    for name in names(3) {
        assert_eq!(worker.ask(&name).await.unwrap(), "192.0.2.1");
    }
    let with_opt: Vec<u8> = server.asked().iter().map(|asked| asked.query[11]).collect();
    assert!(with_opt.starts_with(&[1]) && with_opt.ends_with(&[0, 0, 0]), "{with_opt:?}");
}

#[tokio::test]
async fn a_first_server_that_is_silent_refuses_talks_nonsense_or_is_dead_is_passed_over_and_rests() {
    let silent = FakeServer::silent().await;
    let refusing = FakeServer::start(|asked| vec![Packet::to(&asked.query).rcode(5).build()]).await;
    let nonsense = FakeServer::start(|_| vec![b"no DNS message at all".to_vec()]).await;
    let dead = dead_port().await;
    for first in [silent.address, refusing.address, nonsense.address, dead] {
        let healthy = FakeServer::healthy([192, 0, 2, 2]).await;
        let mut worker = Worker::new(&[first, healthy.address]);
        for batch in names(9).chunks(3) {
            for answer in worker.ask_all(batch).await {
                assert_eq!(answer.unwrap(), "192.0.2.2");
            }
        }
        let said_so = [refusing.address, dead].contains(&first);
        let (first, second) = (worker.server(0), worker.server(1));
        assert_eq!(first.failed > 0, said_so, "{first:?}");
        assert!(first.resting && first.answered == 0, "{first:?}");
        assert!(!second.resting && second.answered == 9, "{second:?}");
        assert_eq!(worker.resolver.counters().in_flight, 0);
    }
}

#[tokio::test]
async fn when_no_server_answers_the_question_fails_at_its_deadline_and_costs_six_packets_at_most() {
    let server = FakeServer::silent().await;
    let mut worker = Worker::new(&[server.address]);
    let begin = Instant::now();
    assert_eq!(worker.ask("registry.example").await, Err(Failure::Unreachable));
    assert!(begin.elapsed() >= Duration::from_millis(1500));
    assert!((3..=6).contains(&server.asked().len()), "{} packets", server.asked().len());
    let lookup = lookup("registry.example");
    assert!(matches!(worker.resolver.probe(&lookup.as_lookup()), Probe::Failed(Failure::Unreachable)));
    assert!(worker.server(0).resting && worker.express.is_idle());
}

/// A server that answers the first datagram only when the second has come: late, but it does.
async fn late_server() -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let mut buffer = [0; 512];
        let mut queries = Vec::new();
        while queries.len() < 2 {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            queries.push(Asked { query: buffer[..length].to_vec(), from, over_tcp: false });
        }
        socket.send_to(&queries[0].address(TRUTH), queries[0].from).await.unwrap();
    });
    (address, serving)
}

#[tokio::test]
async fn an_answer_that_comes_late_is_taken_when_it_is_the_first() {
    let (server, serving) = late_server().await;
    let mut worker = Worker::new(&[server]);
    assert_eq!(worker.ask("registry.example").await.unwrap(), "192.0.2.1");
    serving.await.unwrap();
    let counters = worker.server(0);
    assert_eq!((counters.answered, counters.near_misses, counters.resting), (1, 0, false));
}

#[tokio::test]
async fn what_is_past_its_time_is_served_when_the_servers_fail() {
    let on = Arc::new(AtomicBool::new(true));
    let server = {
        let on = on.clone();
        FakeServer::start(move |asked| {
            let failure = || Packet::to(&asked.query).rcode(2).build();
            vec![if on.load(Ordering::Relaxed) { asked.address(TRUTH) } else { failure() }]
        })
    };
    let server = server.await;
    let mut worker = Worker::new(&[server.address]);
    worker.ask("registry.example").await.unwrap();
    on.store(false, Ordering::Relaxed);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(301)).await;
    tokio::time::resume();
    assert_eq!(worker.ask("registry.example").await.unwrap(), "192.0.2.1");
    assert_eq!(worker.ask("other.example").await, Err(Failure::Failing));
    let counters = worker.resolver.counters();
    assert_eq!((counters.stale, counters.failed), (1, 2));
}

#[tokio::test]
async fn when_too_much_is_under_way_a_question_is_turned_away_and_counted() {
    let server = FakeServer::healthy(TRUTH).await;
    let mut worker = Worker::new(&[server.address]);
    let answers = worker.ask_all(&names(MAX_IN_FLIGHT + 7)).await;
    assert_eq!(answers.iter().filter(|answer| **answer == Err(Failure::Busy)).count(), 7);
    assert_eq!((worker.resolver.counters().busy, worker.resolver.counters().in_flight), (7, 0));
}

#[tokio::test]
async fn a_server_that_has_rested_is_tried_beside_the_one_that_answers() {
    let on = Arc::new(AtomicBool::new(false));
    let flapping = {
        let on = on.clone();
        FakeServer::start(move |asked| if on.load(Ordering::Relaxed) { vec![asked.address(TRUTH)] } else { Vec::new() })
    };
    let (flapping, healthy) = (flapping.await, FakeServer::healthy([192, 0, 2, 2]).await);
    let mut worker = Worker::new(&[flapping.address, healthy.address]);
    worker.ask("first.example").await.unwrap();
    assert!(worker.server(0).resting);
    on.store(true, Ordering::Relaxed);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    for name in names(50) {
        worker.ask(&name).await.unwrap();
        if !worker.server(0).resting {
            return;
        }
    }
    panic!("{:?}", worker.server(0));
}

#[tokio::test]
async fn lines_that_have_served_are_closed() {
    let server = FakeServer::healthy(TRUTH).await;
    let mut worker = Worker::new(&[server.address]);
    for batch in names(3000).chunks(32) {
        worker.ask_all(batch).await;
    }
    let ports: HashSet<u16> = server.asked().iter().map(|asked| asked.from.port()).collect();
    assert!(ports.len() > LINES);
    worker.express.look_around(Instant::now());
    assert!(worker.express.lines.len() <= LINES);
    worker.express.look_around(Instant::now() + LIFETIME);
    assert!(worker.express.lines.is_empty());
}
