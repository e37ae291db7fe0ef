//! Which records are believed, how they are held, and what is taken out of them.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use proptest::prelude::*;

use super::super::answer::Answer;
use super::super::testing::{MAX_TTL, Packet, name, question, shown, shown_at, soa, target};
use super::super::wire::{Message, kind};
use super::super::{Dnssec, Lookup, Question};
use super::{DomainName, Fault};

const SIGNED: Dnssec = Dnssec { ok: true, checking_disabled: false };

/// The answer section as lines.
fn lines(answer: &Answer, question: &Question) -> Vec<String> {
    shown(answer, question).answers.iter().map(ToString::to_string).collect()
}

fn a(text: &str) -> Question {
    question(text, kind::A)
}

/// A response to `n0.example` A that leads over this many CNAMEs to an address.
fn chain_of(links: usize) -> Result<Answer, Fault> {
    let question = a("n0.example");
    let mut packet = Packet::answering(&question);
    for link in 0..links {
        let next = target(&format!("n{}.example", link + 1));
        packet = packet.answer(&format!("n{link}.example"), kind::CNAME, 60, &next);
    }
    packet.answer(&format!("n{links}.example"), kind::A, 60, &[1, 1, 1, 1]).read(&question)
}

/// RRSIG data that covers a type.
fn signature(covered: u16) -> Vec<u8> {
    [&covered.to_be_bytes()[..], &[8, 2, 0, 0, 0, 60, 0, 0, 0, 9, 0, 0, 0, 1, 0, 7], &target("example"), &[1; 64]]
        .concat()
}

/// HTTPS data: priority, target, parameters as they stand.
fn https(priority: u8, host: &str, parameters: &[u8]) -> Vec<u8> {
    [&[0, priority][..], &target(host), parameters].concat()
}

#[test]
fn a_cname_that_is_asked_for_leads_to_its_target_as_well() {
    let question = question("ok.example", kind::CNAME);
    let packet = Packet::answering(&question).answer("ok.example", kind::CNAME, 60, &target("other.example"));
    assert_eq!(packet.read(&question).unwrap().targets(), [name("other.example")]);
}

#[test]
fn records_of_other_owners_types_and_sections_are_dropped() {
    let question = a("ok.example");
    let answer = Packet::answering(&question)
        .answer("evil.example", kind::A, 60, &[6, 6, 6, 6])
        .answer("ok.example", kind::A, 60, &[1, 1, 1, 1])
        .answer("ok.example", 16, 60, b"\x04text")
        .answer("sub.ok.example", kind::A, 60, &[6, 6, 6, 7])
        .authority("example", kind::NS, 60, &target("ns.evil.example"))
        .authority("example", kind::SOA, 60, &soa(60))
        .additional("ns.evil.example", kind::A, 60, &[6, 6, 6, 8])
        .read(&question)
        .unwrap();
    assert_eq!(lines(&answer, &question), ["ok.example. 60 IN A 1.1.1.1"]);
    assert_eq!(answer.counts(), [1, 0]);
}

#[test]
fn an_answer_for_another_name_alone_is_an_empty_one() {
    let question = a("ok.example");
    let answer =
        Packet::answering(&question).answer("evil.example", kind::A, 60, &[6, 6, 6, 6]).read(&question).unwrap();
    assert_eq!((answer.counts(), answer.lifetime()), ([0, 0], Duration::ZERO));
}

#[test]
fn a_chain_is_kept_whole_and_in_order_however_it_came() {
    let question = a("ok.example");
    let answer = Packet::answering(&question)
        .answer("c.example", kind::A, 10, &[1, 1, 1, 1])
        .answer("b.example", kind::CNAME, 20, &target("c.example"))
        .answer("OK.EXAMPLE", kind::CNAME, 30, &target("b.example"))
        .read(&question)
        .unwrap();
    assert_eq!(
        lines(&answer, &question),
        ["ok.example. 30 IN CNAME b.example.", "b.example. 20 IN CNAME c.example.", "c.example. 10 IN A 1.1.1.1"]
    );
    assert_eq!(answer.targets(), [name("b.example"), name("c.example")]);
    assert_eq!(answer.lifetime(), Duration::from_secs(10));
}

#[test]
fn of_two_aliases_of_one_name_the_first_is_followed() {
    let question = a("ok.example");
    let answer = Packet::answering(&question)
        .answer("ok.example", kind::CNAME, 60, &target("b.example"))
        .answer("ok.example", kind::CNAME, 60, &target("evil.example"))
        .answer("evil.example", kind::A, 60, &[6, 6, 6, 6])
        .answer("b.example", kind::A, 60, &[1, 1, 1, 1])
        .read(&question)
        .unwrap();
    assert_eq!(lines(&answer, &question), ["ok.example. 60 IN CNAME b.example.", "b.example. 60 IN A 1.1.1.1"]);
}

#[test]
fn an_alias_of_itself_or_in_a_ring_is_no_answer() {
    let question = a("ok.example");
    let looping = Packet::answering(&question).answer("ok.example", kind::CNAME, 60, &target("ok.example"));
    assert_eq!(looping.read(&question).unwrap_err(), Fault::Endless);
    let ring = Packet::answering(&question).answer("ok.example", kind::CNAME, 60, &target("b.example")).answer(
        "b.example",
        kind::CNAME,
        60,
        &target("ok.example"),
    );
    assert_eq!(ring.read(&question).unwrap_err(), Fault::Endless);
}

#[test]
fn eight_links_are_followed_and_no_more() {
    assert_eq!(chain_of(8).unwrap().counts(), [9, 0]);
    for links in [9, 12, 200] {
        assert_eq!(chain_of(links).unwrap_err(), Fault::Endless, "{links}");
    }
}

#[test]
fn a_dname_is_kept_with_its_alias_which_is_made_if_it_did_not_come() {
    let question = a("x.old.example");
    let dname = Packet::answering(&question).answer("old.example", kind::DNAME, 60, &target("new.example"));
    let with_alias = dname.clone().answer("x.old.example", kind::CNAME, 60, &target("x.new.example"));
    for packet in [dname, with_alias] {
        let answer = packet.answer("x.new.example", kind::A, 60, &[1, 1, 1, 1]).read(&question).unwrap();
        let kinds: Vec<u16> =
            shown(&answer, &question).answers.iter().map(|record| record.record_type().into()).collect();
        assert_eq!(kinds, [kind::DNAME, kind::CNAME, kind::A]);
        assert_eq!(answer.targets(), [name("x.new.example"), name("new.example")]);
    }
}

#[test]
fn an_alias_that_a_dname_makes_answers_a_question_for_it() {
    let question = question("ok.example", kind::CNAME);
    let dname = Packet::answering(&question).answer("example", kind::DNAME, 60, &[0]);
    let with_alias = dname.clone().answer("ok.example", kind::CNAME, 60, &target("ok"));
    for packet in [dname, with_alias] {
        let answer = packet.read(&question).unwrap();
        let kinds: Vec<u16> =
            shown(&answer, &question).answers.iter().map(|record| record.record_type().into()).collect();
        assert_eq!((kinds, answer.targets()), (vec![kind::DNAME, kind::CNAME], &[name("ok")][..]));
    }
}

#[test]
fn a_dname_that_contradicts_the_alias_is_dropped() {
    let question = a("x.old.example");
    let answer = Packet::answering(&question)
        .answer("old.example", kind::DNAME, 60, &target("evil.example"))
        .answer("x.old.example", kind::CNAME, 60, &target("x.new.example"))
        .answer("x.new.example", kind::A, 60, &[1, 1, 1, 1])
        .read(&question)
        .unwrap();
    assert_eq!(answer.targets(), [name("x.new.example")]);
}

#[test]
fn of_dnames_above_each_other_the_topmost_counts_in_whatever_order_they_come() {
    let question = a("x.low.old.example");
    let (low, top) = (("low.old.example", "low.example"), ("old.example", "new.example"));
    for dnames in [[low, top], [top, low]] {
        let packet = dnames.iter().fold(Packet::answering(&question), |packet, (owner, to)| {
            packet.answer(owner, kind::DNAME, 60, &target(to))
        });
        let answer = packet.read(&question).unwrap();
        assert_eq!(answer.targets(), [name("x.low.new.example"), name("new.example")]);
    }
}

#[test]
fn a_negative_answer_holds_for_the_least_of_what_its_soa_says() {
    for (ttl, minimum, lifetime) in [(300, 60, 60), (60, 300, 60), (100_000, 100_000, 3600)] {
        let question = a("no.example");
        let packet = Packet::answering(&question).rcode(3).authority("example", kind::SOA, ttl, &soa(minimum));
        let answer = packet.authority("example", kind::NS, 60, &target("ns.example")).read(&question).unwrap();
        assert_eq!(answer.lifetime(), Duration::from_secs(lifetime));
        let message = shown(&answer, &question);
        assert_eq!((message.metadata.response_code, answer.counts()), (ResponseCode::NXDomain, [0, 1]));
        assert_eq!(u64::from(message.authorities[0].ttl), lifetime);
    }
}

#[test]
fn the_soa_of_a_zone_that_does_not_hold_the_name_is_dropped() {
    let question = a("no.example");
    let packet = Packet::answering(&question).rcode(3).authority("other.test", kind::SOA, 300, &soa(300));
    let answer = packet.read(&question).unwrap();
    assert_eq!((answer.counts(), answer.lifetime()), ([0, 0], Duration::ZERO));
}

#[test]
fn ttls_are_capped_and_impossible_ones_are_nothing() {
    for (ttl, held) in [(u32::MAX, 0), (0x8000_0000, 0), (0x7fff_ffff, 3600), (3601, 3600), (59, 59)] {
        let question = a("ok.example");
        let answer =
            Packet::answering(&question).answer("ok.example", kind::A, ttl, &[1, 1, 1, 1]).read(&question).unwrap();
        assert_eq!(shown(&answer, &question).answers[0].ttl, held, "{ttl}");
    }
}

#[test]
fn ttls_count_down_and_stale_ones_are_thirty_seconds() {
    let question = a("ok.example");
    let answer = Packet::answering(&question).with_address(&question, [1, 1, 1, 1]).read(&question).unwrap();
    let ttl = |age, stale| shown_at(&answer, &question, Duration::from_secs(age), stale).answers[0].ttl;
    assert_eq!([ttl(0, false), ttl(40, false), ttl(400, false), ttl(400, true)], [300, 260, 0, 30]);
}

#[test]
fn signatures_are_kept_for_those_who_want_them() {
    for (dnssec, counts) in [(SIGNED, [2, 0]), (Dnssec::default(), [1, 0])] {
        let question = Question { dnssec, ..a("ok.example") };
        let answer = Packet::answering(&question)
            .with_address(&question, [1, 1, 1, 1])
            .answer("ok.example", kind::RRSIG, 60, &signature(kind::A))
            .answer("ok.example", kind::RRSIG, 60, &signature(16))
            .answer("evil.example", kind::RRSIG, 60, &signature(kind::A))
            .read(&question)
            .unwrap();
        assert_eq!(answer.counts(), counts);
    }
}

#[test]
fn a_signed_denial_keeps_its_proof_from_within_its_zone() {
    let question = Question { dnssec: SIGNED, ..a("no.example") };
    let answer = Packet::answering(&question)
        .rcode(3)
        .authority("example", kind::SOA, 60, &soa(60))
        .authority("example", kind::RRSIG, 60, &signature(kind::SOA))
        .authority("ma.example", kind::NSEC, 60, &[&target("nz.example")[..], &[0, 1, 0x40]].concat())
        .authority("evil.test", kind::NSEC, 60, &[&target("z.test")[..], &[0, 1, 0x40]].concat())
        .authority("example", kind::RRSIG, 60, &signature(kind::NS))
        .read(&question)
        .unwrap();
    assert_eq!(answer.counts(), [0, 3]);
}

#[test]
fn failures_are_no_answers_whatever_they_hold() {
    for code in [1, 2, 4, 5, 9] {
        let question = a("ok.example");
        let packet = Packet::answering(&question).rcode(code).with_address(&question, [1, 1, 1, 1]);
        assert_eq!(packet.read(&question).unwrap_err(), Fault::Refused(u16::from(code)));
    }
}

#[test]
fn bytes_that_answer_another_question_are_no_answer() {
    let (asked, other) = (a("ok.example"), a("other.example"));
    let (asked_name, other_name) = (asked.name.clone(), other.name.clone());
    let response = Packet::answering(&asked).with_address(&asked, [1, 1, 1, 1]).build();
    let parse = |name: &DomainName| {
        let lookup = Lookup { name: name.as_name(), record_type: kind::A, dnssec: Dnssec::default(), servers: &[] };
        Answer::parse(&response, &lookup, MAX_TTL)
    };
    assert_eq!(parse(&asked_name).unwrap().counts(), [1, 0]);
    assert_eq!(parse(&other_name).unwrap_err(), Fault::Malformed);
}

#[test]
fn one_address_takes_sixteen_bytes() {
    let question = a("registry-1.docker.example");
    let answer = Packet::answering(&question).with_address(&question, [1, 1, 1, 1]).read(&question).unwrap();
    let mut body = Vec::new();
    answer.write(Duration::ZERO, false, &mut body);
    assert_eq!(body, [0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 1, 1, 1, 1]);
}

#[test]
fn compressed_names_in_data_are_made_whole() {
    let question = question("ok.example", kind::MX);
    let packet =
        Packet::answering(&question).answer("ok.example", kind::MX, 60, &[0, 5, 4, b'm', b'a', b'i', b'l', 0xc0, 12]);
    let answer = packet.read(&question).unwrap();
    assert_eq!(lines(&answer, &question), ["ok.example. 60 IN MX 5 mail.ok.example."]);
}

#[test]
fn addresses_of_the_wrong_length_are_malformed() {
    for (kind, data) in [(kind::A, &[1, 1, 1][..]), (kind::A, &[1; 16]), (kind::AAAA, &[1; 4])] {
        let question = question("ok.example", kind);
        let packet = Packet::answering(&question).answer("ok.example", kind, 60, data);
        assert_eq!(packet.read(&question).unwrap_err(), Fault::Malformed);
    }
}

#[test]
fn private_addresses_are_noticed_and_taken_out() {
    let question = Question { dnssec: SIGNED, ..a("ok.example") };
    let answer = Packet::answering(&question)
        .answer("ok.example", kind::CNAME, 60, &target("b.example"))
        .answer("b.example", kind::A, 60, &[10, 0, 0, 1])
        .answer("b.example", kind::A, 60, &[1, 1, 1, 1])
        .answer("b.example", kind::RRSIG, 60, &signature(kind::A))
        .answer("ok.example", kind::RRSIG, 60, &signature(kind::CNAME))
        .read(&question)
        .unwrap();
    assert!(answer.has_private());
    let public = answer.without_private();
    assert!(!public.has_private());
    assert_eq!(public.addresses(), ["1.1.1.1".parse::<std::net::IpAddr>().unwrap()]);
    let kinds: Vec<u16> = shown(&public, &question).answers.iter().map(|record| record.record_type().into()).collect();
    assert_eq!(kinds, [kind::CNAME, kind::RRSIG, kind::A], "the signature over what was taken out of goes too");
}

#[test]
fn an_answer_of_private_addresses_alone_is_left_with_its_chain() {
    let question = question("ok.example", kind::AAAA);
    let answer = Packet::answering(&question)
        .answer("ok.example", kind::CNAME, 60, &target("b.example"))
        .answer("b.example", kind::AAAA, 60, &[0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, 192, 168, 1, 1])
        .read(&question)
        .unwrap();
    let public = answer.without_private();
    assert_eq!((answer.has_private(), public.counts(), public.addresses().len()), (true, [1, 0], 0));
}

#[test]
fn hints_at_private_addresses_are_noticed_and_taken_out() {
    let question = question("ok.example", kind::HTTPS);
    let hint = [0, 1, 0, 3, 2, b'h', b'2', 0, 4, 0, 8, 169, 254, 169, 254, 1, 1, 1, 1];
    let answer = Packet::answering(&question)
        .answer("ok.example", kind::HTTPS, 60, &https(1, ".", &hint))
        .read(&question)
        .unwrap();
    assert!(answer.has_private());
    let public = answer.without_private();
    assert_eq!((public.has_private(), public.counts(), public.addresses().len()), (false, [1, 0], 1));
    assert_eq!(shown(&public, &question).answers.len(), 1);
}

#[test]
fn where_an_https_record_leads_is_a_target() {
    let question = question("ok.example", kind::HTTPS);
    for (priority, host, targets) in [(0, "pool.example", vec![name("pool.example")]), (1, ".", vec![])] {
        let packet = Packet::answering(&question).answer("ok.example", kind::HTTPS, 60, &https(priority, host, &[]));
        assert_eq!(packet.read(&question).unwrap().targets(), targets);
    }
}

#[test]
fn a_full_message_of_addresses_is_kept_whole() {
    let question = a("ok.example");
    let packet = (0..2000u16).fold(Packet::answering(&question), |packet, index| {
        let [high, low] = index.to_be_bytes();
        packet.answer("ok.example", kind::A, 60, &[1, 1, high, low])
    });
    assert_eq!(packet.read(&question).unwrap().counts(), [2000, 0]);
}

prop_compose! {
    fn any_record()(owner in 0..4usize, kind in prop::sample::select(vec![1, 2, 5, 6, 15, 28, 33, 39, 46, 64, 65]),
                    target_of in 0..4usize, raw in prop::collection::vec(any::<u8>(), 0..24), whole in any::<bool>())
        -> (usize, u16, Vec<u8>) {
        const NAMES: [&str; 4] = ["ok.example", "b.example", "c.ok.example", "example"];
        let data = match kind {
            _ if !whole => raw,
            1 => vec![1, 2, 3, 4],
            28 => vec![9; 16],
            6 => soa(5),
            _ => target(NAMES[target_of]),
        };
        (owner, kind, data)
    }
}

proptest! {
    #[test]
    fn whatever_comes_only_the_chain_is_kept_and_reads_back(records in prop::collection::vec(any_record(), 0..12)) {
        const NAMES: [&str; 4] = ["ok.example", "b.example", "c.ok.example", "example"];
        for record_type in [kind::A, kind::AAAA, kind::HTTPS, kind::CNAME] {
            let question = Question { dnssec: SIGNED, ..question("ok.example", record_type) };
            let packet = records.iter().fold(Packet::answering(&question), |packet, (owner, kind, data)| {
                packet.answer(NAMES[*owner], *kind, 60, data)
            });
            let Ok(answer) = packet.read(&question) else { continue };
            prop_assert!(!answer.without_private().has_private());
            let mut bytes = super::super::wire::Writer::new(question.name.as_name(), record_type).finish().into_vec();
            bytes[2] = 0x80;
            bytes[5] = 1;
            bytes[7] = u8::try_from(answer.counts()[0]).unwrap();
            answer.write(Duration::ZERO, false, &mut bytes);
            let read = Message::parse(&bytes).unwrap();
            for record in read.answers() {
                let owner = record.owner().unwrap().as_name().to_owned();
                let on_the_way = owner == question.name || answer.targets().contains(&owner);
                prop_assert!(on_the_way || matches!(record.kind, kind::DNAME | kind::RRSIG), "{owner}");
            }
            prop_assert_eq!(Answer::read(&read, &question, MAX_TTL).unwrap().counts()[0], answer.counts()[0]);
        }
    }
}
