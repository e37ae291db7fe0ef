//! Where hickory and a query's rules differ, each difference by itself; then both paths, for whatever comes.

use std::collections::BTreeSet;

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestRunner;

use super::query::{Fault, Query};
use super::scene::{NAMES, Scene, peers};
use crate::dns::pipeline::Step;
use crate::dns::testing::{extended_error, parse, peer, query, with_opt, with_opt_of};
use crate::dns::{Peer, wire};
use crate::name::NameBuf;

fn fault(packet: &[u8]) -> Option<Fault> {
    Query::read(packet).err()
}

/// Whether the fast path reads a packet.
fn is_read(packet: &[u8]) -> bool {
    let header = wire::Header::read(packet).expect("a query's header");
    wire::Query::read(header, packet, &mut NameBuf::default()).is_ok()
}

fn hickory_reads(packet: &[u8]) -> bool {
    Message::from_vec(packet).is_ok()
}

fn plain() -> Vec<u8> {
    query("Ok.example", RecordType::A)
}

/// The query with records behind it, which are so many of the answer, authority and additional section.
fn with_records(mut packet: Vec<u8>, counts: [u8; 3], records: &[u8]) -> Vec<u8> {
    for (at, count) in [7, 9, 11].into_iter().zip(counts) {
        packet[at] += count;
    }
    packet.extend(records);
    packet
}

#[test]
fn what_hickory_reads_and_a_query_must_not_hold_is_malformed() {
    let address: &[u8] = b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\x01\x02\x03\x04";
    let two_questions = [&plain()[..5], &[2], &plain()[6..], &plain()[12..]].concat();
    let no_question = [&plain()[..5], &[0; 7]].concat();
    // The header's id is a label of one byte, `a`, and the root.
    let compressed = [b"\x01a\0\0\0\x01\0\0\0\0\0\0", &b"\xc0\0"[..], b"\0\x01\0\x01"].concat();
    // Its owner points at the byte that ends the question's name.
    let pointed = b"\xc0\x17\0\x29\x04\xd0\0\0\0\0\0\0";
    for (packet, expected) in [
        ([&plain()[..], b"x"].concat(), Fault::TrailingBytes),
        (two_questions, Fault::Questions),
        (no_question, Fault::Questions),
        (with_records(plain(), [1, 0, 0], address), Fault::Records),
        (with_records(plain(), [0, 1, 0], address), Fault::Records),
        (with_records(plain(), [0, 0, 9], &address.repeat(9)), Fault::Additionals),
        (compressed, Fault::CompressedQuestion),
        (with_records(plain(), [0, 0, 1], pointed), Fault::PointedOpt),
        (with_opt(plain(), b"\0\x0a\0\x07ABC"), Fault::Options),
        (with_opt(plain(), b"\0\x03"), Fault::Options),
        (with_opt(plain(), b"\0\x0a\0\x07ABCDEFG"), Fault::Cookie),
        (with_opt(plain(), b"\0\x0a\0\x09ABCDEFGHI"), Fault::Cookie),
    ] {
        assert!(hickory_reads(&packet), "{expected:?}");
        assert_eq!((fault(&packet), is_read(&packet)), (Some(expected), false));
    }
}

#[test]
fn what_hickory_refuses_and_means_nothing_here_is_stepped_over() {
    let short_address = b"\0\0\x01\0\x01\0\0\0\0\0\x01\x07";
    let empty_address = b"\0\0\x01\0\x01\0\0\0\0\0\0";
    let pointing_ahead = b"\xc0\xff\0\x01\0\x01\0\0\0\0\0\x04\x01\x02\x03\x04";
    let ixfr = with_records(query("ok.example", RecordType::IXFR), [0, 1, 0], b"\0\0\x06\0\x01\0\0\0\0\0\0");
    for packet in [
        with_records(plain(), [0, 0, 1], short_address),
        with_records(plain(), [0, 0, 1], empty_address),
        with_records(plain(), [0, 0, 1], pointing_ahead),
        ixfr,
        with_opt(plain(), b"\0\x08\0\x01\0"),
        with_opt_of(plain(), 1232, [0, 1, 0, 0], b"\0\x08\0\x01\0"),
    ] {
        assert!(!hickory_reads(&packet), "{packet:02x?}");
        assert_eq!((fault(&packet), is_read(&packet)), (None, true), "{packet:02x?}");
    }
}

#[test]
fn what_neither_reads_is_malformed() {
    let long_name = [
        &plain()[..12],
        &b"\x3faaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".repeat(4),
        b"\0\0\x01\0\x01",
    ];
    for packet in [
        plain()[..20].to_vec(),
        with_opt(with_opt(plain(), b""), b""),
        with_records(plain(), [0, 0, 1], b"\x01a\0\0\x29\x04\xd0\0\0\0\0\0\0"),
        [&plain()[..12], b"\x41", &plain()[13..]].concat(),
        long_name.concat(),
    ] {
        assert!(!hickory_reads(&packet), "{packet:02x?}");
        assert!(fault(&packet).is_some() && !is_read(&packet), "{packet:02x?}");
    }
}

#[test]
fn both_paths_make_the_same_of_every_name_and_all_kinds_of_answers_are_among_it() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let mut seen = BTreeSet::new();
    for scene in Scene::all() {
        for name in NAMES {
            for record_type in [RecordType::A, RecordType::AAAA, RecordType::CNAME, RecordType::HTTPS, RecordType::TXT]
            {
                let packet = with_opt(query(name, record_type), b"");
                for client in ["127.0.0.1", "10.20.1.2", "203.0.113.9"] {
                    seen.extend(kind_of_answer(&scene, &packet, &peer(client)));
                }
            }
        }
    }
    for kind in [
        "Allow 0 None",
        "Allow 0 Some(3)",
        "Allow 0 Some(15)",
        "Allow 0 Some(17)",
        "Allow 2 Some(22)",
        "Allow 2 Some(23)",
        "Allow 3 None",
        "Allow 3 Some(19)",
        "Audit 0 None",
        "Deny 0 Some(15)",
        "Deny 3 Some(15)",
        "unjudged 5 Some(18)",
    ] {
        assert!(seen.contains(kind), "{kind} is not in {seen:#?}");
    }
}

/// Decision, response code and extended error, if there is an answer.
fn kind_of_answer(scene: &Scene, packet: &[u8], peer: &Peer) -> Option<String> {
    let mut answer = Vec::new();
    let (Step::Reply, telling) = scene.paths().answer(packet, peer, &mut answer) else { return None };
    let message = parse(&answer);
    let decision = telling.map_or("unjudged".to_owned(), |telling| format!("{:?}", telling.decision));
    let rcode = u16::from(message.metadata.response_code);
    Some(format!("{decision} {rcode} {:?}", extended_error(&message).map(|(code, _)| code)))
}

#[test]
fn both_paths_make_the_same_of_whatever_comes() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let (scenes, peers) = (Scene::all(), peers());
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() });
    let law = |(scene, peer, packet): (Index, Index, Vec<u8>)| {
        let _ = scene.get(&scenes).compare(&packet, peer.get(&peers));
        Ok(())
    };
    runner.run(&(any::<Index>(), any::<Index>(), packets()), law).unwrap_or_else(|failure| panic!("{failure}"));
}

/// Queries as clients send them, and such as nobody should: parts too many or too few, bytes changed, the end cut off.
fn packets() -> impl Strategy<Value = Vec<u8>> {
    let header = (prop_oneof![6 => Just(1u8), 1 => any::<u8>()], prop_oneof![6 => Just(0u8), 1 => any::<u8>()]);
    let class = prop_oneof![20 => Just(1u16), 1 => select(vec![0, 3, 254, 255, 4096])];
    let question = (names(), record_types(), class);
    let opts = prop_oneof![
        2 => Just(Vec::new()),
        6 => prop::collection::vec(opts(), 1..2),
        1 => prop::collection::vec(opts(), 2..3),
    ];
    let others = prop_oneof![8 => Just(Vec::new()), 1 => prop::collection::vec(other_records(), 1..4)];
    let counts = prop_oneof![12 => Just(None), 1 => (select(vec![5usize, 7, 9, 11]), 0u8..3).prop_map(Some)];
    let whole = (header, question, opts, others, counts).prop_map(|((high, low), question, opts, others, count)| {
        let mut packet = vec![0x12, 0x34, high & 0x7f, low, 0, 1, 0, 0, 0, 0, 0, 0];
        packet.extend(question.0);
        packet.extend([question.1.to_be_bytes(), question.2.to_be_bytes()].concat());
        for record in opts.iter().chain(&others) {
            packet[11] += 1;
            packet.extend(record);
        }
        if let Some((at, value)) = count {
            packet[at] = value;
        }
        packet
    });
    let changes = prop_oneof![6 => Just(Vec::new()), 1 => prop::collection::vec((any::<Index>(), any::<u8>()), 1..4)];
    let end = prop_oneof![12 => Just(None), 1 => any::<Index>().prop_map(Some)];
    (whole, changes, end).prop_map(|(mut packet, changes, end)| {
        for (at, byte) in changes {
            *at.get_mut(&mut packet[..]) = byte;
        }
        if let Some(end) = end {
            packet.truncate(end.index(packet.len()));
        }
        packet
    })
}

/// Names of the scenes, a label more or less, in letters of both cases, now and then with a byte that no host name has.
fn names() -> impl Strategy<Value = Vec<u8>> {
    let label = prop_oneof![Just(None), "[a-z0-9_-]{1,5}".prop_map(Some), Just(Some("a.b".to_owned()))];
    let upper = prop::collection::vec(any::<bool>(), 8);
    let odd = prop_oneof![12 => Just(None), 1 => (any::<Index>(), any::<u8>()).prop_map(Some)];
    (select(NAMES), label, upper, odd).prop_map(|(name, label, upper, odd)| {
        let mut wire = label.map_or(Vec::new(), |label| wire_label(label.as_bytes()));
        wire.extend(name.split('.').filter(|label| !label.is_empty()).flat_map(|label| wire_label(label.as_bytes())));
        for (byte, upper) in wire.iter_mut().zip(upper.iter().cycle()).filter(|(byte, _)| byte.is_ascii_lowercase()) {
            *byte = if *upper { byte.to_ascii_uppercase() } else { *byte };
        }
        if let (Some((at, byte)), false) = (odd, wire.is_empty()) {
            *at.get_mut(&mut wire[..]) = byte;
        }
        wire.push(0);
        wire
    })
}

fn wire_label(label: &[u8]) -> Vec<u8> {
    [&[u8::try_from(label.len()).unwrap()], label].concat()
}

fn record_types() -> impl Strategy<Value = u16> {
    prop_oneof![4 => Just(1u16), 6 => select(vec![0, 1, 2, 5, 6, 15, 16, 28, 33, 41, 64, 65, 250, 251, 252, 255, 65535])]
}

/// OPT records: of any size, version and flags, with cookies and other options, whole or not.
fn opts() -> impl Strategy<Value = Vec<u8>> {
    let size = prop_oneof![select(vec![0u16, 511, 512, 513, 600, 1231, 1232, 1233, 4096, 65535]), any::<u16>()];
    let fixed = prop_oneof![4 => Just([0, 0, 0, 0]), 4 => Just([0, 0, 0x80, 0]), 1 => any::<[u8; 4]>()];
    let length = prop_oneof![4 => Just(8usize), 4 => 16usize..=40, 1 => 0usize..50];
    let cookie = length.prop_map(|length| (10u16, (b'A'..).take(length).collect::<Vec<u8>>()));
    let other = (select(vec![3u16, 8, 10, 11, 12, 15, 65001]), prop::collection::vec(any::<u8>(), 0..20));
    let options = prop::collection::vec(prop_oneof![cookie, other], 0..3);
    let excess = prop_oneof![12 => Just(0u16), 1 => 1u16..4];
    (size, fixed, options, excess).prop_map(|(size, fixed, options, excess)| {
        let length = |length: usize| u16::try_from(length).unwrap();
        let option =
            |(code, data): &(u16, Vec<u8>)| [&code.to_be_bytes()[..], &length(data.len()).to_be_bytes(), data].concat();
        let options: Vec<u8> = options.iter().flat_map(option).collect();
        let record = [&[0, 0, 41][..], &size.to_be_bytes(), &fixed];
        [&record.concat()[..], &(length(options.len()) + excess).to_be_bytes(), &options].concat()
    })
}

/// Records that mean nothing in a query, whole and not.
fn other_records() -> impl Strategy<Value = Vec<u8>> {
    let owner = select(vec![&b"\0"[..], b"\xc0\x0c", b"\xc0\xff", b"\x01a\0", b"\x01a\xc0\x0c", b"\x41"]);
    let data = prop::collection::vec(any::<u8>(), 0..6);
    (owner, select(vec![1u16, 6, 24, 41, 250, 255]), data).prop_map(|(owner, kind, data)| {
        let length = u16::try_from(data.len()).unwrap().to_be_bytes();
        [owner, &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 0], &length, &data].concat()
    })
}
