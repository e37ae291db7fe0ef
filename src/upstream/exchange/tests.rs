//! What a liar on the path, or the server itself, can and cannot do to one exchange.

use std::collections::HashSet;

use super::super::testing::{Asked, FakeServer, MAX_TTL, Packet, dead_port, question, shown};
use super::super::wire::{kind, rcode};
use super::super::{Dnssec, Question};
use super::*;

const TRUTH: [u8; 4] = [192, 0, 2, 1];
const LIE: [u8; 4] = [6, 6, 6, 6];

fn inquiry() -> Inquiry {
    Inquiry::new(question("registry.example.com", kind::A), MAX_TTL)
}

/// Asks a server that answers so over UDP, and with the truth over TCP.
async fn ask(
    over_udp: impl Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync + 'static,
) -> (Result<Answer, Trouble>, Vec<Asked>) {
    let server =
        FakeServer::start(move |asked| if asked.over_tcp { vec![asked.address(TRUTH)] } else { over_udp(asked) });
    let server = server.await;
    let outcome = Plain::new(server.address).ask(&inquiry()).await;
    (outcome, server.asked())
}

fn addresses(outcome: &Result<Answer, Trouble>) -> Vec<String> {
    outcome.as_ref().unwrap().addresses().iter().map(ToString::to_string).collect()
}

/// A lie that anyone could tell: right but for one thing.
fn near_misses(asked: &Asked) -> Vec<Vec<u8>> {
    let lie = asked.address(LIE);
    let change = |at: usize, bits: u8| {
        let mut lie = lie.clone();
        lie[at] ^= bits;
        lie
    };
    let question_end = HEADER + asked.spelled().len() + 1;
    let other_name = change(HEADER + 2, 0x01);
    let other_type = change(question_end + 1, 0x1c ^ 0x01);
    let other_class = change(question_end + 3, 0x02);
    let no_question = [&lie[..4], &[0, 0, 0, 1, 0, 0, 0, 0], &lie[question_end + 4..]].concat();
    vec![
        change(0, 0x80),
        change(1, 0x01),
        other_name,
        other_type,
        other_class,
        no_question,
        change(2, 0x80),
        change(2, 0x08),
        Vec::new(),
        vec![0; 11],
        lie[..lie.len() - 1].to_vec(),
        b"\xff".repeat(600),
    ]
}

#[tokio::test]
async fn junk_and_near_misses_are_ignored_until_the_truth_comes() {
    let (outcome, asked) = ask(|asked| [near_misses(asked), vec![asked.address(TRUTH)]].concat()).await;
    assert_eq!(addresses(&outcome), ["192.0.2.1"]);
    assert_eq!(asked.len(), 1, "one datagram, no TCP");
}

#[tokio::test]
async fn each_near_miss_alone_is_not_believed() {
    for which in 0..12 {
        let (outcome, _) = ask(move |asked| vec![near_misses(asked).swap_remove(which), asked.address(TRUTH)]).await;
        assert_eq!(addresses(&outcome), ["192.0.2.1"], "near miss {which}");
    }
}

#[tokio::test]
async fn twenty_near_misses_move_the_question_to_tcp() {
    let (outcome, asked) = ask(|asked| vec![near_misses(asked).swap_remove(0); 20]).await;
    assert_eq!(addresses(&outcome), ["192.0.2.1"]);
    assert_eq!(asked.iter().map(|asked| asked.over_tcp).collect::<Vec<_>>(), [false, true]);
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_over_tcp() {
    let (outcome, asked) = ask(|asked| vec![Packet::to(&asked.query).truncated().build()]).await;
    assert_eq!(addresses(&outcome), ["192.0.2.1"]);
    assert_eq!(asked.len(), 2);
}

#[tokio::test]
async fn bytes_behind_a_truncated_answer_do_not_matter() {
    let (outcome, _) = ask(|asked| vec![[Packet::to(&asked.query).truncated().build(), vec![7; 9]].concat()]).await;
    assert_eq!(addresses(&outcome), ["192.0.2.1"]);
}

#[tokio::test]
async fn a_guess_in_the_wrong_letters_is_not_believed() {
    let (outcome, asked) = ask(|asked| {
        let mut lie = asked.address(LIE);
        lie[HEADER..HEADER + asked.spelled().len()].iter_mut().for_each(|byte| {
            if byte.is_ascii_alphabetic() {
                *byte ^= 0x20;
            }
        });
        vec![lie]
    })
    .await;
    assert_eq!(addresses(&outcome), ["192.0.2.1"]);
    assert!(asked[1].over_tcp);
}

#[tokio::test]
async fn a_server_that_changes_the_letters_is_asked_in_lower_case_from_then_on() {
    let server = FakeServer::start(|asked| {
        let mut answer = asked.address(TRUTH);
        answer[HEADER..HEADER + asked.spelled().len()].make_ascii_lowercase();
        vec![answer]
    })
    .await;
    let plain = Plain::new(server.address);
    while server.asked().iter().filter(|asked| asked.over_tcp).count() == 0 {
        plain.ask(&inquiry()).await.unwrap();
    }
    let before = server.asked().len();
    plain.ask(&inquiry()).await.unwrap();
    let asked = server.asked();
    assert_eq!((asked.len(), asked[before].over_tcp), (before + 1, false));
    assert_eq!(asked[before].spelled(), asked[before].spelled().to_ascii_lowercase());
}

#[tokio::test]
async fn a_server_that_changes_the_letters_and_has_no_tcp_is_believed_in_lower_case() {
    let server = FakeServer::without_tcp(|asked| {
        let mut answer = asked.address(TRUTH);
        answer[HEADER..HEADER + asked.spelled().len()].make_ascii_lowercase();
        vec![answer]
    })
    .await;
    let plain = Plain::new(server.address);
    for _ in 0..5 {
        assert_eq!(addresses(&plain.ask(&inquiry()).await), ["192.0.2.1"]);
    }
}

#[tokio::test]
async fn failures_end_the_exchange_at_once() {
    for code in [2, 5] {
        let (outcome, asked) = ask(move |asked| vec![Packet::to(&asked.query).rcode(code).build()]).await;
        let refused = Fault::Refused(u16::from(code));
        assert!(matches!(outcome, Err(Trouble::Failing(fault)) if fault == refused), "response code {code}");
        assert_eq!(asked.len(), 1);
    }
}

/// Whether a query has an OPT record, the only record it can have.
fn has_opt(asked: &Asked) -> bool {
    asked.query[11] == 1
}

/// A server from before EDNS, that says so with this code, with or without the question.
async fn old_server(code: u8, bare: bool) -> FakeServer {
    FakeServer::start(move |asked| {
        if !has_opt(asked) {
            return vec![asked.address(TRUTH)];
        }
        let mut refusal = Packet::to(&asked.query).rcode(code).build();
        if bare {
            refusal.truncate(HEADER);
            refusal[5] = 0;
        }
        vec![refusal]
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_server_without_edns_is_asked_without_for_a_while() {
    for (code, bare) in [(1, false), (1, true), (4, false), (4, true)] {
        let server = old_server(code, bare).await;
        let plain = Plain::new(server.address);
        for _ in 0..2 {
            assert_eq!(addresses(&plain.ask(&inquiry()).await), ["192.0.2.1"], "response code {code}, bare: {bare}");
        }
        tokio::time::advance(WITHOUT_EDNS).await;
        plain.ask(&inquiry()).await.unwrap();
        let with: Vec<bool> = server.asked().iter().map(has_opt).collect();
        assert_eq!(with, [true, false, false, true, false]);
    }
}

#[tokio::test]
async fn a_server_that_fails_without_edns_as_well_has_failed() {
    for code in [1, 4] {
        let (outcome, asked) = ask(move |asked| vec![Packet::to(&asked.query).rcode(code).build()]).await;
        let refused = Fault::Refused(u16::from(code));
        assert!(matches!(outcome, Err(Trouble::Failing(fault)) if fault == refused), "response code {code}");
        assert_eq!(asked.iter().map(has_opt).collect::<Vec<_>>(), [true, false]);
    }
}

#[tokio::test]
async fn that_there_is_no_such_name_is_an_answer() {
    let (outcome, _) = ask(|asked| vec![Packet::to(&asked.query).rcode(3).build()]).await;
    assert_eq!(u16::from(outcome.unwrap().rcode()), rcode::NXDOMAIN);
}

#[tokio::test]
async fn the_mixed_letters_of_the_question_do_not_come_back_in_records_that_point_at_it() {
    let points_at_question = [0, 10, 0xc0, 0x0c];
    for truncated in [false, true] {
        let server = FakeServer::start(move |asked| {
            let packet = Packet::to(&asked.query);
            let cut = truncated && !asked.over_tcp;
            let whole = |packet: Packet| packet.answer("registry.example.com", kind::MX, 60, &points_at_question);
            vec![if cut { packet.truncated() } else { whole(packet) }.build()]
        });
        let server = server.await;
        let inquiry = Inquiry::new(question("registry.example.com", kind::MX), MAX_TTL);
        let answer = Plain::new(server.address).ask(&inquiry).await.unwrap();
        let shown = shown(&answer, &inquiry.question).answers[0].to_string();
        assert!(shown.ends_with("10 registry.example.com."), "{shown}");
    }
}

#[tokio::test]
async fn a_dead_port_is_noticed_without_waiting() {
    let outcome = Plain::new(dead_port().await).ask(&inquiry()).await;
    assert!(matches!(outcome, Err(Trouble::Dead(_))), "{outcome:?}");
}

#[tokio::test]
async fn tcp_that_closes_or_answers_something_else_is_a_failure() {
    for over_tcp in [Vec::new(), vec![vec![0; 30]]] {
        let server = FakeServer::start(move |asked| {
            if asked.over_tcp { over_tcp.clone() } else { vec![Packet::to(&asked.query).truncated().build()] }
        });
        let outcome = Plain::new(server.await.address).ask(&inquiry()).await;
        assert!(matches!(outcome, Err(Trouble::Dead(_) | Trouble::Failing(_))), "{outcome:?}");
    }
}

#[tokio::test]
async fn no_question_costs_more_than_its_packets() {
    let server = FakeServer::healthy(TRUTH).await;
    let (plain, inquiry) = (Plain::new(server.address), inquiry());
    for _ in 0..6 {
        plain.ask(&inquiry).await.unwrap();
    }
    assert!(matches!(plain.ask(&inquiry).await, Err(Trouble::Spent)));
    assert_eq!(server.asked().len(), 6);
}

#[tokio::test]
async fn ports_ids_and_letters_are_different_each_time() {
    let server = FakeServer::healthy(TRUTH).await;
    let plain = Plain::new(server.address);
    for _ in 0..300 {
        plain.ask(&inquiry()).await.unwrap();
    }
    let asked = server.asked();
    let ports: HashSet<u16> = asked.iter().map(|asked| asked.from.port()).collect();
    let ids: HashSet<&[u8]> = asked.iter().map(|asked| &asked.query[..2]).collect();
    let spellings: HashSet<&[u8]> = asked.iter().map(Asked::spelled).collect();
    assert!(
        ports.len() >= 285 && ids.len() >= 285 && spellings.len() >= 285,
        "{} {} {}",
        ports.len(),
        ids.len(),
        spellings.len()
    );
    assert!(ports.iter().max().unwrap() - ports.iter().min().unwrap() > 20_000);
}

#[test]
fn ids_use_every_bit_alike() {
    let question = question("a", kind::A);
    let mut ones = [0u32; 16];
    for _ in 0..10_000 {
        let query = Query::new(&question, Letters::Lower, Edns::Yes);
        let id = u16::from_be_bytes([query.as_bytes()[0], query.as_bytes()[1]]);
        for (bit, count) in ones.iter_mut().enumerate() {
            *count += u32::from(id >> bit & 1);
        }
    }
    // Fair coins stray this far once in more than a million million times.
    assert!(ones.iter().all(|count| (4_600..=5_400).contains(count)), "{ones:?}");
}

#[test]
fn a_query_asks_for_recursion_and_small_answers_and_says_nothing_of_the_client() {
    let dnssec = Dnssec { ok: true, checking_disabled: true };
    let query = Query::new(&Question { dnssec, ..question("a", kind::A) }, Letters::Lower, Edns::Yes);
    let opt = [0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0];
    assert_eq!(
        query.as_bytes()[2..],
        [&[0x01, 0x10, 0, 1, 0, 0, 0, 0, 0, 1, 1, b'a', 0, 0, 1, 0, 1][..], &opt].concat()
    );
}

#[tokio::test]
async fn the_socket_hears_only_the_server() {
    let server = FakeServer::silent().await;
    let socket = Plain::new(server.address).socket().unwrap();
    assert_eq!(socket.peer_addr().unwrap(), server.address);
}
