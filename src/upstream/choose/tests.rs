//! Who is asked when, with servers that do as they are told and a clock that stands still until all wait.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::time::{advance, sleep};

use super::super::chain::Fault;
use super::super::inquiry::Transport;
use super::super::testing::{MAX_TTL, Packet, question};
use super::super::wire::kind;
use super::*;

const DEADLINE: Duration = Duration::from_secs(2);
const QUICK: Act = Act::Answer(Duration::from_millis(5));

#[derive(Clone, Copy, Debug)]
enum Act {
    Answer(Duration),
    Refuse,
    Die,
    Silence,
}

/// A server that acts as the test says, and notes when it was asked.
#[derive(Debug)]
struct Scripted {
    act: Arc<Mutex<Act>>,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl Transport for Scripted {
    async fn ask(&self, inquiry: &Inquiry) -> Result<Answer, Trouble> {
        inquiry.spend_packet()?;
        self.asked.fetch_add(1, Ordering::Relaxed);
        let act = *self.act.lock().unwrap();
        match act {
            Act::Answer(after) => sleep(after).await,
            Act::Refuse => return Err(Trouble::Failing(Fault::Refused(5))),
            Act::Die => return Err(Trouble::Dead(io::ErrorKind::ConnectionRefused.into())),
            Act::Silence => std::future::pending().await,
        }
        let question = &inquiry.question;
        Ok(Packet::answering(question).with_address(question, [192, 0, 2, 1]).read(question).unwrap())
    }
}

/// Servers with a hold on what they do.
struct Stage {
    servers: Vec<Arc<Server>>,
    acts: Vec<Arc<Mutex<Act>>>,
    asked: Vec<Arc<AtomicUsize>>,
}

impl Stage {
    fn new(acts: &[Act]) -> Self {
        let acts: Vec<_> = acts.iter().map(|act| Arc::new(Mutex::new(*act))).collect();
        let asked: Vec<_> = acts.iter().map(|_| Arc::new(AtomicUsize::new(0))).collect();
        let scripted = acts.iter().zip(&asked).map(|(act, asked)| Scripted { act: act.clone(), asked: asked.clone() });
        let servers = scripted.map(|scripted| Arc::new(Server::new("scripted".into(), Box::new(scripted)))).collect();
        Self { servers, acts, asked }
    }

    /// Asks once; how it went, how long it took.
    async fn ask(&self) -> (Result<(), Failure>, Duration) {
        let begun = Instant::now();
        let inquiry = Inquiry::new(question("registry.example", kind::A), MAX_TTL);
        let outcome = choose(&self.servers, inquiry, begun + DEADLINE).await;
        (outcome.map(|_| ()), begun.elapsed())
    }

    fn act(&self, server: usize, act: Act) {
        *self.acts[server].lock().unwrap() = act;
    }

    fn asked(&self) -> Vec<usize> {
        self.asked.iter().map(|asked| asked.load(Ordering::Relaxed)).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_first_server_costs_one_hedge_and_is_then_passed_over() {
    let stage = Stage::new(&[Act::Silence, QUICK]);
    let (outcome, took) = stage.ask().await;
    assert_eq!((outcome, took), (Ok(()), Duration::from_millis(205)));
    for _ in 0..100 {
        let (outcome, took) = stage.ask().await;
        assert_eq!((outcome, took), (Ok(()), Duration::from_millis(5)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_server_that_refuses_or_is_dead_costs_no_wait_at_all() {
    for act in [Act::Refuse, Act::Die] {
        let stage = Stage::new(&[act, QUICK]);
        for _ in 0..20 {
            let (outcome, took) = stage.ask().await;
            assert_eq!((outcome, took), (Ok(()), Duration::from_millis(5)), "{act:?}");
        }
        assert_eq!(stage.asked(), [1, 20], "{act:?}: it rests after its first failure");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_recovers_is_found_again_within_half_a_minute_and_no_client_waits_for_it() {
    let stage = Stage::new(&[Act::Silence, Act::Answer(Duration::from_millis(20))]);
    stage.ask().await.0.unwrap();
    for _ in 0..120 {
        advance(Duration::from_secs(1)).await;
        let (outcome, took) = stage.ask().await;
        assert_eq!((outcome, took), (Ok(()), Duration::from_millis(20)));
    }
    let probes = stage.asked()[0];
    assert!((5..30).contains(&probes), "rests grow: {probes} probes in two minutes");
    stage.act(0, QUICK);
    for _ in 0..30 {
        advance(Duration::from_secs(1)).await;
        stage.ask().await.0.unwrap();
    }
    assert_eq!(stage.ask().await.1, Duration::from_millis(5));
}

#[tokio::test(start_paused = true)]
async fn with_a_flapping_first_server_every_question_is_answered_and_few_wait() {
    let stage = Stage::new(&[QUICK, Act::Answer(Duration::from_millis(10))]);
    let mut late = 0;
    for tick in 0..6000 {
        stage.act(0, if tick / 100 % 2 == 0 { QUICK } else { Act::Silence });
        let (outcome, took) = stage.ask().await;
        outcome.unwrap();
        late += usize::from(took > Duration::from_millis(20));
        advance(Duration::from_millis(5)).await;
    }
    assert!(late < 60, "{late} of 6000 were late");
}

#[tokio::test(start_paused = true)]
async fn when_no_server_answers_the_question_fails_at_the_deadline_and_costs_six_packets_at_most() {
    for count in 1..4 {
        let stage = Stage::new(&vec![Act::Silence; count]);
        for _ in 0..3 {
            let before: usize = stage.asked().iter().sum();
            assert_eq!(stage.ask().await, (Err(Failure::Unreachable), DEADLINE));
            let packets = stage.asked().iter().sum::<usize>() - before;
            assert!((3..=6).contains(&packets), "{packets} packets");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_only_slow_does_not_rest_for_being_overtaken() {
    let stage = Stage::new(&[Act::Answer(Duration::from_millis(300)), QUICK]);
    stage.ask().await.0.unwrap();
    assert!(stage.servers[0].counters().resting);
    sleep(Duration::from_millis(100)).await;
    let slow = stage.servers[0].counters();
    assert_eq!((slow.resting, slow.round_trip), (false, Some(Duration::from_millis(300))));
    assert_eq!(stage.ask().await.1, Duration::from_millis(5), "the quick one is now the first");
}

#[tokio::test(start_paused = true)]
async fn a_lost_datagram_is_sent_again() {
    let stage = Stage::new(&[Act::Silence]);
    let question = async { stage.ask().await };
    let recovery = async {
        sleep(Duration::from_millis(100)).await;
        stage.act(0, QUICK);
    };
    let ((outcome, took), ()) = tokio::join!(question, recovery);
    assert_eq!((outcome, took), (Ok(()), Duration::from_millis(205)));
}

#[tokio::test(start_paused = true)]
async fn when_all_refuse_the_question_fails_at_once_and_nobody_rests() {
    let stage = Stage::new(&[Act::Refuse, Act::Refuse]);
    assert_eq!(stage.ask().await, (Err(Failure::Failing), Duration::ZERO));
    assert!(stage.servers.iter().all(|server| !server.counters().resting));
}

#[tokio::test(start_paused = true)]
async fn when_all_are_dead_the_question_fails_at_once_as_unreachable() {
    let stage = Stage::new(&[Act::Die, Act::Die]);
    assert_eq!(stage.ask().await, (Err(Failure::Unreachable), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn without_servers_the_question_fails_at_once() {
    assert_eq!(Stage::new(&[]).ask().await, (Err(Failure::Unreachable), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn the_quicker_server_comes_to_be_asked_first() {
    let stage = Stage::new(&[Act::Answer(Duration::from_millis(150)), QUICK]);
    for _ in 0..10 {
        stage.ask().await.0.unwrap();
    }
    assert_eq!(stage.ask().await.1, Duration::from_millis(5));
}

#[tokio::test(start_paused = true)]
async fn a_server_slower_than_patience_still_answers_if_no_other_does() {
    let stage = Stage::new(&[Act::Answer(Duration::from_millis(900)), Act::Silence]);
    assert_eq!(stage.ask().await, (Ok(()), Duration::from_millis(900)));
}
