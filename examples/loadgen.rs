//! A small DNS load generator for `tests/bench`: one thread, batches through `sendmmsg` and `recvmmsg`. As fast as the
//! server answers, in a closed loop with a window of outstanding questions; or with `--rate` at a pace of its own, in an
//! open loop that waits for nothing, which tells how long each answer takes.
//!
//! It exists because dnsperf needs about as much CPU as the servers it measures. It talks to loopback only, runs for a
//! minute at most, and counts an answer only if its id is outstanding, its question is the one asked and its response
//! code is the one the list of questions expects.
//!
//! ```text
//! cargo run --release --example loadgen -- --server 127.0.0.1:5300 --questions names.txt --seconds 1 --pid 4711
//! ```
//!
//! A line of the list is `name TYPE RCODE`, as in `ghcr.io A NOERROR`. It prints one line of JSON.
//!
//! At a pace, questions come at random, as from many clients that know nothing of each other, and it polls instead of
//! sleeping, so that waking up is not what is measured. An answer's time is from before the call that sends the question
//! to after the one that receives the answer, in steps of less than 1 %.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{fs, iter, process, thread};

use clap::Parser;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};
use pullgate::name::DomainName;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

/// Asks a DNS server on loopback as fast as it answers, or at a pace.
#[derive(Parser)]
struct Arguments {
    /// The server, on loopback
    #[arg(long)]
    server: SocketAddr,
    /// The list of questions, asked in order, over and over
    #[arg(long)]
    questions: PathBuf,
    /// How long to ask, 60 at most
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// How many questions to ask; the end is what comes first
    #[arg(long, default_value_t = u64::MAX)]
    count: u64,
    /// How many questions may be outstanding
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..=4096))]
    window: u16,
    /// How many datagrams one system call carries
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: u16,
    /// Questions a second, whatever comes back; the latencies of the answers are printed then
    #[arg(long, value_parser = parse_rate)]
    rate: Option<f64>,
    /// Take every response code for right: the server judges nothing
    #[arg(long)]
    any_rcode: bool,
    /// The server's process, to measure its CPU time
    #[arg(long)]
    pid: Option<u32>,
}

/// The longest run.
const LONGEST: f64 = 60.0;
/// When nothing has come for so long, what is outstanding is lost.
const PATIENCE: Duration = Duration::from_millis(500);
/// Bytes before the question of a DNS message.
const HEADER: usize = 12;
/// The largest answer over UDP that the questions ask for, with room to spare.
const LARGEST_ANSWER: usize = 2048;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("loadgen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<serde_json::Value> {
    if !arguments.server.ip().is_loopback() {
        return Err(io::Error::other("the server has to be on loopback"));
    }
    let mut questions = read_questions(&arguments.questions)?;
    if arguments.any_rcode {
        for question in &mut questions {
            question.rcode = None;
        }
    }
    let mut generator = Generator::connect(arguments, &questions)?;
    let cpu_before = [cpu_time(arguments.pid)?, cpu_time(Some(process::id()))?];
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(arguments.seconds.clamp(0.0, LONGEST));
    match arguments.rate {
        None => generator.run(end, arguments.count)?,
        Some(rate) => generator.run_paced(Pace::new(rate), end, arguments.count)?,
    }
    let seconds = start.elapsed().as_secs_f64();
    let cpu = [cpu_time(arguments.pid)?, cpu_time(Some(process::id()))?];
    let Tally { sent, right, wrong, lost, stray } = generator.tally;
    let mut report = json!({
        "sent": sent, "right": right, "wrong": wrong, "lost": lost, "stray": stray, "seconds": seconds,
        "server_cpu_ns": nanoseconds(cpu[0].saturating_sub(cpu_before[0])),
        "generator_cpu_ns": nanoseconds(cpu[1].saturating_sub(cpu_before[1])),
    });
    if arguments.rate.is_some() {
        report["latency_us"] = generator.latencies.report();
    }
    Ok(report)
}

/// A question as it is sent, and the response code it should bring; `None`: any.
struct Question {
    packet: Vec<u8>,
    rcode: Option<u8>,
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (1.0..=1e7).contains(rate));
    rate.ok_or_else(|| "a number of questions a second, from 1 to 10,000,000".to_owned())
}

fn read_questions(path: &Path) -> io::Result<Vec<Question>> {
    let text = fs::read_to_string(path)?;
    let questions: Option<Vec<_>> = text.lines().map(parse_question).collect();
    questions
        .filter(|questions| !questions.is_empty())
        .ok_or_else(|| io::Error::other(format!("{}: lines have to be `name TYPE RCODE`", path.display())))
}

fn parse_question(line: &str) -> Option<Question> {
    let mut words = line.split_whitespace();
    let name: DomainName = words.next()?.parse().ok()?;
    let record_type = match words.next()? {
        "A" => 1,
        "AAAA" => 28,
        _ => return None,
    };
    let rcode = match words.next()? {
        "NOERROR" => 0,
        "NXDOMAIN" => 3,
        _ => return None,
    };
    Some(Question { packet: encode(&name, record_type), rcode: Some(rcode) })
}

/// A query: recursion desired, one question of class IN, and an OPT record that allows 1232 bytes.
fn encode(name: &DomainName, record_type: u8) -> Vec<u8> {
    let header = [0, 0, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    let opt = [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0];
    [&header, name.as_wire(), &[0, record_type, 0, 1], &opt].concat()
}

/// What became of the questions.
#[derive(Default)]
struct Tally {
    sent: u64,
    right: u64,
    /// The answer to an outstanding question, but not the expected one.
    wrong: u64,
    lost: u64,
    /// Answers to nothing that is outstanding.
    stray: u64,
}

struct Generator<'a> {
    socket: UdpSocket,
    questions: iter::Cycle<std::slice::Iter<'a, Question>>,
    /// By id: the question that is outstanding, and when it was sent.
    outstanding: Vec<Option<(&'a Question, Instant)>>,
    in_flight: u64,
    next_id: u16,
    window: u64,
    batch: usize,
    send_buffers: Vec<Vec<u8>>,
    receive_buffers: Vec<Vec<u8>>,
    send_headers: MultiHeaders<SockaddrStorage>,
    receive_headers: MultiHeaders<SockaddrStorage>,
    tally: Tally,
    latencies: Histogram,
}

impl<'a> Generator<'a> {
    fn connect(arguments: &Arguments, questions: &'a [Question]) -> io::Result<Self> {
        let any: SocketAddr = if arguments.server.is_ipv4() {
            ([127, 0, 0, 1], 0).into()
        } else {
            "[::1]:0".parse().map_err(io::Error::other)?
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(arguments.server)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let batch = usize::from(arguments.batch.min(arguments.window));
        Ok(Self {
            socket,
            questions: questions.iter().cycle(),
            outstanding: vec![None; usize::from(u16::MAX) + 1],
            in_flight: 0,
            next_id: 0,
            window: arguments.window.into(),
            batch,
            send_buffers: vec![Vec::with_capacity(512); batch],
            receive_buffers: vec![vec![0; LARGEST_ANSWER]; batch],
            send_headers: MultiHeaders::preallocate(batch, None),
            receive_headers: MultiHeaders::preallocate(batch, None),
            tally: Tally::default(),
            latencies: Histogram::new(),
        })
    }

    /// Asks until `end` or until `count` questions are sent, then waits for what is outstanding.
    fn run(&mut self, end: Instant, count: u64) -> io::Result<()> {
        while self.tally.sent < count && Instant::now() < end {
            while self.in_flight + self.batch as u64 <= self.window && self.tally.sent < count {
                self.send_batch(count - self.tally.sent)?;
            }
            self.wait()?;
        }
        self.finish()
    }

    /// Asks when it is time to, until `end` or until `count` questions are sent, then waits for what is outstanding.
    fn run_paced(&mut self, mut pace: Pace, end: Instant, count: u64) -> io::Result<()> {
        loop {
            let now = Instant::now();
            if now >= end || self.tally.sent >= count {
                return self.finish();
            }
            let due = pace.due(now, self.batch).min(count - self.tally.sent);
            if due > 0 {
                self.send_batch(due)?;
            }
            if self.receive(MsgFlags::MSG_DONTWAIT)? == 0 && due == 0 {
                thread::yield_now(); // the upstream may share the core
            }
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        while self.in_flight > 0 {
            self.wait()?;
        }
        Ok(())
    }

    fn send_batch(&mut self, most: u64) -> io::Result<()> {
        let size = self.batch.min(usize::try_from(most).unwrap_or(usize::MAX));
        let now = Instant::now();
        for buffer in &mut self.send_buffers[..size] {
            let Some(question) = self.questions.next() else { return Ok(()) };
            let slot = &mut self.outstanding[usize::from(self.next_id)];
            if slot.replace((question, now)).is_some() {
                self.tally.lost += 1; // asked 65,536 questions ago
                self.in_flight -= 1;
            }
            buffer.clear();
            buffer.extend_from_slice(&question.packet);
            buffer[..2].copy_from_slice(&self.next_id.to_be_bytes());
            self.next_id = self.next_id.wrapping_add(1);
            self.in_flight += 1;
        }
        let slices: Vec<_> = self.send_buffers[..size].iter().map(|buffer| [IoSlice::new(buffer)]).collect();
        let mut rest = &slices[..];
        while !rest.is_empty() {
            let to = vec![None; rest.len()];
            match sendmmsg(self.socket.as_raw_fd(), &mut self.send_headers, rest, to, [], MsgFlags::empty()) {
                Ok(sent) => rest = &rest[sent.count()..],
                Err(Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.tally.sent += size as u64;
        Ok(())
    }

    /// Takes what has come, waiting for the first; when nothing comes, what is outstanding is lost.
    fn wait(&mut self) -> io::Result<()> {
        if self.receive(MsgFlags::MSG_WAITFORONE)? == 0 {
            self.tally.lost += self.in_flight;
            self.in_flight = 0;
            self.outstanding.fill(None);
        }
        Ok(())
    }

    /// Takes what has come, up to a batch; returns how much that was.
    fn receive(&mut self, flags: MsgFlags) -> io::Result<usize> {
        let mut slices: Vec<_> = self.receive_buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let sizes: Vec<usize> =
            match recvmmsg(self.socket.as_raw_fd(), &mut self.receive_headers, &mut slices, flags, None) {
                Ok(messages) => messages.map(|message| message.bytes).collect(),
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => return Ok(0),
                Err(error) => return Err(error.into()),
            };
        let now = Instant::now();
        for (index, size) in sizes.iter().enumerate() {
            let verdict = self.judge(index, *size, now);
            *verdict += 1;
        }
        Ok(sizes.len())
    }

    /// The count that the answer in a receive buffer, received `now`, belongs to.
    fn judge(&mut self, buffer: usize, size: usize, now: Instant) -> &mut u64 {
        let answer = &self.receive_buffers[buffer][..size];
        let [high, low, flags, codes, ..] = *answer else { return &mut self.tally.stray };
        let slot = &mut self.outstanding[usize::from(u16::from_be_bytes([high, low]))];
        let Some((question, sent)) = slot.take() else { return &mut self.tally.stray };
        self.in_flight -= 1;
        let asked = question.packet.get(HEADER..question.packet.len() - 11);
        let echoed = asked.is_some_and(|asked| answer.get(HEADER..HEADER + asked.len()) == Some(asked));
        if flags & 0x80 != 0 && question.rcode.is_none_or(|rcode| codes & 0x0f == rcode) && echoed {
            self.latencies.count(now.duration_since(sent));
            &mut self.tally.right
        } else {
            &mut self.tally.wrong
        }
    }
}

/// When questions are due: at random, the same moments in every run.
struct Pace {
    next: Instant,
    rate: f64,
    random: StdRng,
}

impl Pace {
    fn new(rate: f64) -> Self {
        Self { next: Instant::now(), rate, random: StdRng::seed_from_u64(1) }
    }

    /// How many questions are due by `now` that were not before; `most` at once, the others the next time.
    fn due(&mut self, now: Instant, most: usize) -> u64 {
        let mut due = 0;
        while self.next <= now && due < most as u64 {
            // Gaps of independent clients are distributed exponentially.
            let gap = -(1.0 - self.random.random::<f64>()).ln() / self.rate;
            self.next += Duration::from_secs_f64(gap);
            due += 1;
        }
        due
    }
}

/// Counts of durations, to less than 1 %: each power of two of nanoseconds in 128 equal parts.
struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    fn new() -> Self {
        Self { counts: vec![0; Self::slot(u64::MAX) + 1], total: 0 }
    }

    fn count(&mut self, duration: Duration) {
        self.counts[Self::slot(nanoseconds(duration))] += 1;
        self.total += 1;
    }

    /// Below 256, a slot for each nanosecond.
    fn slot(nanoseconds: u64) -> usize {
        let magnitude = (nanoseconds | PARTS).ilog2() - PARTS.ilog2();
        usize::try_from(u64::from(magnitude) * PARTS + (nanoseconds >> magnitude)).unwrap_or(usize::MAX)
    }

    /// The middle of a slot.
    fn middle(slot: usize) -> Duration {
        let slot = slot as u64;
        let magnitude = (slot / PARTS).saturating_sub(1);
        let first = (slot - magnitude * PARTS) << magnitude;
        Duration::from_nanos(first + (1 << magnitude) / 2)
    }

    /// What so many in a thousand do not exceed.
    fn quantile(&self, per_mille: u64) -> Duration {
        let rank = (self.total * per_mille).div_ceil(1000);
        let mut seen = 0;
        let slot = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        Self::middle(slot.unwrap_or_default())
    }

    fn report(&self) -> serde_json::Value {
        let microseconds = |per_mille| self.quantile(per_mille).as_secs_f64() * 1e6;
        json!({"p50": microseconds(500), "p99": microseconds(990), "p99.9": microseconds(999)})
    }
}

/// Parts of a power of two that a [`Histogram`] tells apart.
const PARTS: u64 = 128;

fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}

/// The time that all threads of a process have run, from the scheduler's own nanosecond counters.
fn cpu_time(pid: Option<u32>) -> io::Result<Duration> {
    let Some(pid) = pid else { return Ok(Duration::ZERO) };
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // One that has ended since the folder was listed has no file any more.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let run: u64 = text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0);
        total += run;
    }
    Ok(Duration::from_nanos(total))
}
