//! What a packet costs, from its bytes to those of its answer, without sockets: `cargo bench --bench packet`.
//!
//! Every round visits every kind of packet, so that a machine that slows down slows all of them; the figures are
//! nanoseconds, the median of the rounds with the least and the most. On a busy machine instructions say more, to a few
//! in a thousand: `cargo bench --bench packet -- --instructions` counts them with callgrind (Debian package `valgrind`),
//! as the difference between a run of many packets and one of twice as many.

use std::error::Error;
use std::hint::black_box;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use std::{env, thread};

use pullgate::config::{Environment, QueryLog, Settings, UpstreamServer};
use pullgate::diagnostic::Source;
use pullgate::dns::pipeline::{Pipeline, Step};
use pullgate::dns::{Peer, Transport};
use pullgate::event::EventSink;
use pullgate::name::DomainName;
use pullgate::policy::compile::{Options, load};
use pullgate::policy::store::PolicyStore;
use pullgate::upstream::Resolver;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => print_times(),
        ["--instructions"] => print_instructions(),
        ["--only", kind, count] => answer_only(kind, count.parse()?),
        _ => Err("usage: packet [--instructions]".into()),
    }
}

/// A kind of packet: what it is called, what it goes through, and how the one with a number is made.
struct Kind {
    name: &'static str,
    way: &'static str,
    packet: fn(usize) -> Vec<u8>,
}

const KINDS: [Kind; 5] = [
    Kind { name: "malformed", way: "read in part, answered FORMERR", packet: |n| cut(&query(&stranger(n), 0)) },
    Kind { name: "bad version", way: "read, answered BADVERS, not judged", packet: |n| query(&stranger(n), 1) },
    Kind { name: "denied", way: "read, judged, answered NXDOMAIN", packet: |n| query(&stranger(n), 0) },
    Kind { name: "cached", way: "read, judged, found, answered NOERROR", packet: |n| query(&allowed(n), 0) },
    Kind { name: "half and half", way: "denied and cached in turn", packet: half_and_half },
];

fn half_and_half(number: usize) -> Vec<u8> {
    query(&if number.is_multiple_of(2) { stranger(number) } else { allowed(number) }, 0)
}

/// A name that nothing allows.
fn stranger(number: usize) -> String {
    format!("www.host{}.example.org", scatter(number) % 1_000_000)
}

/// One of the names that are allowed, taken at random.
fn allowed(number: usize) -> String {
    member(scatter(number) % ALLOWED)
}

/// The allowed name of this index: half of them by a rule of their own, half by a wildcard.
fn member(index: usize) -> String {
    if index.is_multiple_of(2) {
        format!("registry-1.r{index}.exact{}.example", index % 40)
    } else {
        format!("cdn{index}.pkg{}.registry.example", index % 20)
    }
}

fn policy() -> String {
    let exact = (0..ALLOWED).step_by(2).map(|index| format!("registry-1.r{index}.exact{}.example", index % 40));
    let below = (0..20).map(|index| format!("*.pkg{index}.registry.example"));
    let hosts: Vec<String> = exact.chain(below).map(|host| format!("  \"{host}\",\n")).collect();
    format!("version = 1\n[[registry]]\nname = \"bench\"\nhosts = [\n{}]\n", hosts.concat())
}

/// A question for the name's address, with an OPT record of this EDNS version.
fn query(name: &str, version: u8) -> Vec<u8> {
    let name: DomainName = name.parse().expect("names are made valid");
    let header = [0x12, 0x34, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    let opt = [0, 0, 41, 0x04, 0xd0, 0, version, 0, 0, 0, 0];
    [&header, name.as_wire(), &[0, 1, 0, 1], &opt].concat()
}

/// The packet without its last byte.
fn cut(packet: &[u8]) -> Vec<u8> {
    packet[..packet.len() - 1].to_vec()
}

/// A pipeline with every allowed name in its cache.
struct Lab {
    pipeline: Pipeline,
    peer: Peer,
    answer: Vec<u8>,
    /// Where the resolver's tasks live.
    runtime: tokio::runtime::Runtime,
}

impl Lab {
    fn new() -> Result<Self, Box<dyn Error>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let within = runtime.enter();
        let mut settings = Settings::embedded(&Environment::default());
        settings.upstream.servers = vec![UpstreamServer::Plain(start_upstream()?)];
        settings.log.queries = QueryLog::Off;
        let compiled = load(vec![Source::new("bench.toml", policy())], &Options::default(), SystemTime::now());
        let compiled = compiled.map_err(|faults| faults[0].to_string())?;
        let store = PolicyStore::fixed(compiled.snapshot, SystemTime::now());
        let resolver = Resolver::start(&settings.upstream, &settings.cache, &[])?;
        let (events, _) = EventSink::new(settings.log.queries);
        let pipeline = Pipeline::new(store, Arc::clone(&resolver), &settings, events);
        let peer = Peer::new("127.0.0.1:40000".parse()?, "127.0.0.1:53".parse()?, Transport::Udp);
        drop(within);
        let mut lab = Self { pipeline, peer, answer: Vec::new(), runtime };
        lab.fill_cache();
        Ok(lab)
    }

    fn fill_cache(&mut self) {
        for packet in (0..ALLOWED).map(|index| query(&member(index), 0)) {
            if let Step::Miss(miss) = self.pipeline.answer(&packet, &self.peer, &mut self.answer) {
                self.runtime.block_on(self.pipeline.finish(&miss, &mut self.answer));
            }
            assert_eq!(self.answer[3] & 0x0f, 0, "an allowed name resolves");
        }
    }

    /// Answers each packet so often that it is `count` in all.
    fn answer(&mut self, packets: &[Vec<u8>], count: usize) {
        let batch = self.pipeline.batch(tokio::time::Instant::now());
        for packet in packets.iter().cycle().take(count) {
            let step = batch.answer(black_box(packet), &self.peer, &mut self.answer);
            assert!(matches!(step, Step::Reply), "nothing is to be asked upstream");
            black_box(&self.answer);
        }
    }
}

fn packets(kind: &Kind) -> Vec<Vec<u8>> {
    (0..DIFFERENT).map(kind.packet).collect()
}

fn print_times() -> Result<(), Box<dyn Error>> {
    let mut lab = Lab::new()?;
    let packets = KINDS.each_ref().map(packets);
    let mut rounds: [Vec<u128>; KINDS.len()] = Default::default();
    for _ in 0..ROUNDS {
        for (packets, times) in packets.iter().zip(&mut rounds) {
            let began = Instant::now();
            lab.answer(packets, PACKETS);
            times.push(began.elapsed().as_nanos() / PACKETS as u128);
        }
    }
    println!("{:14} {:>6} {:>15}   ns a packet", "", "median", "least to most");
    for (kind, mut times) in KINDS.iter().zip(rounds) {
        times.sort_unstable();
        let spread = format!("{} to {}", times[0], times[ROUNDS - 1]);
        println!("{:14} {:>6} {spread:>15}   {}", kind.name, times[ROUNDS / 2], kind.way);
    }
    Ok(())
}

fn print_instructions() -> Result<(), Box<dyn Error>> {
    println!("{:14} {:>12}   instructions a packet", "", "");
    for kind in &KINDS {
        let [fewer, more] = [instructions(kind.name, COUNTED)?, instructions(kind.name, 2 * COUNTED)?];
        println!("{:14} {:>12}   {}", kind.name, more.saturating_sub(fewer) / COUNTED as u64, kind.way);
    }
    Ok(())
}

/// What callgrind counts in a run of this program with so many packets of a kind.
fn instructions(kind: &str, count: usize) -> Result<u64, Box<dyn Error>> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .args(["--only", kind, &count.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error} (apt-get install valgrind)"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    let (_, number) = collected.ok_or_else(|| format!("callgrind counted nothing:\n{said}"))?;
    Ok(number.trim().parse()?)
}

/// Answers packets of one kind and says nothing: what is counted.
fn answer_only(name: &str, count: usize) -> Result<(), Box<dyn Error>> {
    let kind = KINDS.iter().find(|kind| kind.name == name).ok_or("no such kind")?;
    let packets = packets(kind);
    Lab::new()?.answer(&packets, count);
    Ok(())
}

/// A server that has one address for every name, a day long.
fn start_upstream() -> Result<SocketAddr, Box<dyn Error>> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let address = socket.local_addr()?;
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((_, client)) = socket.recv_from(&mut query) {
            let name = query[HEADER..].iter().position(|byte| *byte == 0).unwrap_or_default();
            let mut answer = query[..HEADER + name + 5].to_vec();
            answer[2..HEADER].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
            answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 1, 0x51, 0x80, 0, 4, 192, 0, 2, 1]);
            let _ = socket.send_to(&answer, client); // a question that is lost is asked again
        }
    });
    Ok(address)
}

/// A number that looks random but is the same in every run (the finaliser of `SplitMix64`).
fn scatter(number: usize) -> usize {
    let mut mixed = (number as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((mixed ^ (mixed >> 31)) >> 1).unwrap_or(usize::MAX)
}

const HEADER: usize = 12;
/// Names that are allowed, and in the cache.
const ALLOWED: usize = 1000;
/// Different packets of a kind.
const DIFFERENT: usize = 10_000;
/// Packets of a kind in a round.
const PACKETS: usize = 100_000;
const ROUNDS: usize = 15;
/// Packets that instructions are counted of.
const COUNTED: usize = 20_000;
