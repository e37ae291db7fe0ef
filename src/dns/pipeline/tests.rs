//! Each row of the table of answers, in real packets.

use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::config::{QueryLog, Route, UpstreamServer};
use crate::dns::testing::{Lab, POLICY, extended_error, option, parse, peer, query, with_opt, with_opt_of};
use crate::event::{Bearing, Decision, Subject};
use crate::policy::compile::Options;
use crate::policy::reload::{Cause, Origin, Reloader, SystemClock};
use crate::policy::watch::{Timing, Watch};

fn rcode(answer: &Message) -> ResponseCode {
    answer.metadata.response_code
}

fn addresses(answer: &Message) -> Vec<String> {
    let address = |record: &Record| record.data.ip_addr().map(|address| address.to_string());
    answer.answers.iter().filter_map(address).collect()
}

#[test]
fn a_defect_costs_its_packet_and_no_more() {
    assert!(matches!(contain(|| panic!("a defect, on purpose")), Step::Drop));
    assert!(matches!(contain(|| Step::Reply), Step::Reply));
}

/// Code, TTL and minimum of a denial.
fn soa(answer: &Message) -> (Name, u32, u32) {
    let [record] = &answer.authorities[..] else { panic!("one authority record: {answer:?}") };
    let RData::SOA(soa) = &record.data else { panic!("an SOA: {record:?}") };
    (record.name.clone(), record.ttl, soa.minimum)
}

fn is_no_data(answer: &Message) -> bool {
    rcode(answer) == ResponseCode::NoError && answer.answers.is_empty() && soa(answer).2 == 10
}

/// How many answers resolved only because of audit, and how many were denied.
fn decided(lab: &Lab) -> [u64; 2] {
    let mut decided = [0; 2];
    lab.pipeline.events.tallies().take(|table| {
        for row in table.rows() {
            match row.facts.decision {
                Decision::Audit => decided[0] += row.count,
                Decision::Deny => decided[1] += row.count,
                Decision::Allow => {}
            }
        }
    });
    decided
}

// ── denied ──

#[tokio::test]
async fn a_denied_name_does_not_exist_and_nothing_is_asked_upstream() {
    let lab = Lab::new(POLICY).await;
    for record_type in [RecordType::A, RecordType::AAAA, RecordType::TXT, RecordType::ANY, RecordType::HTTPS] {
        let answer = lab.ask_for("evil.test", record_type).await;
        assert_eq!(rcode(&answer), ResponseCode::NXDomain, "{record_type}");
        assert_eq!(soa(&answer), (Name::root(), 10, 10));
        assert_eq!(extended_error(&answer), Some((15, "not on the allowlist".to_owned())));
    }
    assert_eq!(lab.upstream.asked(), []);
    assert_eq!(decided(&lab), [0, 5]);
}

#[tokio::test]
async fn the_ttl_of_denials_is_the_settings() {
    let lab = Lab::with(POLICY, |settings| settings.blocked.ttl = Duration::from_secs(3)).await;
    assert_eq!(soa(&lab.ask_for("evil.test", RecordType::A).await), (Name::root(), 3, 3));
}

#[tokio::test]
async fn a_denial_is_hardly_longer_than_its_query() {
    let reason = "a very long reason ".repeat(30);
    let policy = format!("{POLICY}\n[[deny]]\nhosts = [\"*.evil.test\"]\nreason = \"{reason}\"\n");
    let lab = Lab::new(&policy).await;
    let plain = query("a.evil.test", RecordType::A);
    let cookie = b"\0\x0a\0\x08ABCDEFGH";
    let padded = [b"\0\x0c\x01\x90", &[0; 400][..]].concat();
    for packet in
        [plain.clone(), with_opt(plain.clone(), b""), with_opt(plain.clone(), cookie), with_opt(plain, &padded)]
    {
        let answer = lab.exchange(&packet).await.unwrap();
        assert!(answer.len() <= packet.len() + 80, "{} for {}", answer.len(), packet.len());
        assert!(answer.len() <= 512);
        assert_eq!(rcode(&parse(&answer)), ResponseCode::NXDomain);
    }
}

#[tokio::test]
async fn without_edns_there_is_no_opt_in_the_answer() {
    let lab = Lab::new(POLICY).await;
    let answer = lab.ask(&query("evil.test", RecordType::A)).await;
    assert!(answer.edns.is_none() && answer.additionals.is_empty());
    assert_eq!(rcode(&answer), ResponseCode::NXDomain);
}

#[tokio::test]
async fn ancestors_of_allowed_names_are_denied_or_empty_as_the_settings_say() {
    let lab = Lab::new(POLICY).await;
    assert_eq!(rcode(&lab.ask_for("example", RecordType::A).await), ResponseCode::NXDomain);
    let lab = Lab::with(POLICY, |settings| settings.blocked.ancestors = Ancestors::Nodata).await;
    let answer = lab.ask_for("example", RecordType::A).await;
    assert!(is_no_data(&answer));
    assert_eq!(extended_error(&answer).unwrap().0, 15);
    assert_eq!(rcode(&lab.ask_for("test", RecordType::A).await), ResponseCode::NXDomain);
}

#[tokio::test]
async fn the_root_always_exists() {
    let lab = Lab::new(POLICY).await;
    for record_type in [RecordType::NS, RecordType::A, RecordType::ANY] {
        assert!(is_no_data(&lab.ask_for(".", record_type).await));
    }
    assert_eq!(lab.upstream.asked(), []);
}

// ── allowed ──

#[tokio::test]
async fn an_allowed_name_resolves_and_then_comes_from_the_cache() {
    let lab = Lab::new(POLICY).await;
    for _ in 0..3 {
        let answer = lab.ask_for("ok.example", RecordType::A).await;
        assert_eq!((rcode(&answer), addresses(&answer)), (ResponseCode::NoError, vec!["203.0.113.1".to_owned()]));
        assert!(answer.metadata.recursion_available && answer.metadata.recursion_desired);
        assert!(!answer.metadata.authentic_data && !answer.metadata.authoritative);
    }
    assert_eq!(lab.upstream.asked(), [("ok.example".to_owned(), RecordType::A)]);
    assert_eq!(lab.pipeline.counters().cache_hits.value(), 2);
}

#[tokio::test]
async fn the_question_is_echoed_in_its_own_case() {
    let lab = Lab::new(POLICY).await;
    for name in ["Ok.eXamPLE", "eViL.tEsT"] {
        let packet = query(name, RecordType::A);
        let answer = lab.exchange(&packet).await.unwrap();
        assert_eq!(answer[12..packet.len()], packet[12..]);
        assert_eq!(answer[..2], packet[..2]);
    }
}

#[tokio::test]
async fn an_upstream_that_says_nothing_is_there_is_believed() {
    let lab = Lab::new(POLICY).await;
    let answer = lab.ask_for("nothing.good.example", RecordType::A).await;
    assert_eq!(rcode(&answer), ResponseCode::NXDomain);
    assert_eq!(soa(&answer).0, Name::from_ascii("example.").unwrap());
    assert_eq!(extended_error(&answer), None);
}

#[tokio::test]
async fn record_types_that_are_not_handed_out_are_empty() {
    let lab = Lab::new(POLICY).await;
    for record_type in [RecordType::TXT, RecordType::NULL, RecordType::MX, RecordType::OPT] {
        let answer = lab.ask_for("ok.example", record_type).await;
        assert!(is_no_data(&answer), "{record_type}");
        assert_eq!(extended_error(&answer).unwrap().0, 17);
    }
    assert_eq!(lab.upstream.asked(), []);
}

#[tokio::test]
async fn a_service_says_which_types_its_names_answer_and_who_resolves_them() {
    let policy = r#"
version = 1
[[service]]
name = "corp"
names = [".corp.example"]
servers = ["UPSTREAM"]
types = "any"
private-addresses = true
"#;
    let lab = Lab::with(policy, |settings| {
        settings.upstream.servers = vec![UpstreamServer::Plain("127.0.0.1:9".parse().unwrap())];
    })
    .await;
    let answer = lab.ask_for("a.corp.example", RecordType::TXT).await;
    assert_eq!((rcode(&answer), answer.answers.len()), (ResponseCode::NoError, 1));
    assert_eq!(addresses(&lab.ask_for("private.corp.example", RecordType::A).await), ["10.0.0.1"]);
}

#[tokio::test]
async fn any_is_answered_with_a_record_that_says_so() {
    let lab = Lab::new(POLICY).await;
    let answer = lab.ask_for("ok.example", RecordType::ANY).await;
    let [record] = &answer.answers[..] else { panic!("one record: {answer:?}") };
    assert_eq!(record.record_type(), RecordType::HINFO);
    assert!(matches!(&record.data, RData::HINFO(hinfo) if &*hinfo.cpu == b"RFC8482"));
    assert_eq!(lab.upstream.asked(), []);
}

// ── static and built-in names ──

#[tokio::test]
async fn static_names_are_answered_from_the_settings() {
    let lab = Lab::with(POLICY, |settings| {
        let addresses = vec!["172.17.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        settings.statics.insert("host.docker.internal".parse().unwrap(), addresses);
    })
    .await;
    let name = "Host.Docker.internal";
    assert_eq!(addresses(&lab.ask_for(name, RecordType::A).await), ["172.17.0.1"]);
    assert_eq!(addresses(&lab.ask_for(name, RecordType::AAAA).await), ["fd00::1"]);
    assert!(is_no_data(&lab.ask_for(name, RecordType::TXT).await));
    assert_eq!(rcode(&lab.ask_for("a.host.docker.internal", RecordType::A).await), ResponseCode::NXDomain);
    assert_eq!(lab.upstream.asked(), []);
}

#[tokio::test]
async fn localhost_is_this_host() {
    let lab = Lab::new(POLICY).await;
    assert_eq!(addresses(&lab.ask_for("localhost", RecordType::A).await), ["127.0.0.1"]);
    assert_eq!(addresses(&lab.ask_for("a.LOCALHOST", RecordType::AAAA).await), ["::1"]);
    assert!(is_no_data(&lab.ask_for("localhost", RecordType::MX).await));
    assert_eq!(rcode(&lab.ask_for("localhost.test", RecordType::A).await), ResponseCode::NXDomain);
}

/// What the answer's only record, a TXT that nobody may cache, says.
fn text(answer: &Message) -> String {
    let [record] = &answer.answers[..] else { panic!("one record: {answer:?}") };
    let RData::TXT(txt) = &record.data else { panic!("a TXT: {record:?}") };
    assert_eq!(record.ttl, 0);
    txt.to_string()
}

#[tokio::test]
async fn the_probe_tells_a_client_how_things_stand_for_it() {
    let groups = "[[group]]\nname = \"ci\"\nclients = [\"10.20.0.0/16\"]\nmode = \"audit\"\nunlisted = \"forward\"\n";
    let mut lab = Lab::new(&format!("{POLICY}{groups}")).await;
    let version = env!("CARGO_PKG_VERSION");
    for (client, expected) in [
        ("127.0.0.1", "client=127.0.0.1 mode=no-group"),
        ("10.20.0.7", "client=10.20.0.7 mode=audit unlisted=forward group=ci"),
    ] {
        lab.peer = peer(client);
        let answer = lab.ask_for("Probe.Pullgate.internal", RecordType::TXT).await;
        assert_eq!(text(&answer), format!("pullgate {version} generation=1 {expected}"));
    }
    assert_eq!(lab.upstream.asked(), []);
}

#[tokio::test]
async fn the_probe_has_an_address_for_programs_that_ask_for_nothing_else() {
    let lab = Lab::new(POLICY).await;
    assert_eq!(addresses(&lab.ask_for("probe.pullgate.internal", RecordType::A).await), ["192.0.0.8"]);
    assert!(is_no_data(&lab.ask_for("probe.pullgate.internal", RecordType::AAAA).await));
    assert_eq!(rcode(&lab.ask_for("a.probe.pullgate.internal", RecordType::A).await), ResponseCode::NXDomain);
}

#[tokio::test]
async fn a_client_outside_the_networks_learns_nothing_from_the_probe() {
    let mut lab = Lab::new(POLICY).await;
    lab.peer = peer("203.0.113.9");
    let answer = lab.ask_for("probe.pullgate.internal", RecordType::TXT).await;
    assert_eq!((rcode(&answer), answer.answers.len()), (ResponseCode::Refused, 0));
}

#[tokio::test]
async fn a_long_group_name_is_cut_in_the_probe() {
    let name = "g".repeat(300);
    let lab = Lab::new(&format!("{POLICY}[[group]]\nname = \"{name}\"\nclients = [\"127.0.0.0/8\"]\n")).await;
    let answer = lab.ask(&query("probe.pullgate.internal", RecordType::TXT)).await;
    assert_eq!(text(&answer).len(), 255);
}

/// The strings of the answer's only record, a TXT that nobody may cache.
fn facts(answer: &Message) -> Vec<String> {
    let [record] = &answer.answers[..] else { panic!("one record: {answer:?}") };
    let RData::TXT(txt) = &record.data else { panic!("a TXT: {record:?}") };
    assert_eq!(record.ttl, 0);
    txt.txt_data.iter().map(|string| String::from_utf8(string.to_vec()).unwrap()).collect()
}

#[tokio::test]
async fn a_client_that_asks_why_is_told_what_the_policy_makes_of_a_name_for_it() {
    let groups = "[[group]]\nname = \"ci\"\nclients = [\"10.20.0.0/16\"]\nregistries = [\"*\"]\nmode = \"audit\"\n";
    let mut lab = Lab::with(&format!("{POLICY}{groups}"), |settings| {
        settings.blocked.contact = Some("platform team, #registries".to_owned());
    })
    .await;
    for (client, name, expected) in [
        (
            "127.0.0.1",
            "why.quay.io.pullgate",
            &["verdict=deny", "reason=no-group", "ask=platform team, #registries"][..],
        ),
        ("10.20.0.7", "Why.Quay.io.Pullgate", &["verdict=audit", "name=quay.io", "group=ci", "registry=quay-io"]),
        ("10.20.0.7", "why.good.example.pullgate", &["verdict=allow", "client=10.20.0.7"]),
        ("10.20.0.7", "why.pullgate", &["usage=dig TXT why.quay.io.pullgate", "mode=audit unlisted=deny"]),
    ] {
        lab.peer = peer(client);
        let told = facts(&lab.ask_for(name, RecordType::TXT).await);
        for fact in expected {
            assert!(told.iter().any(|told| told == fact), "{name}: {fact}: {told:?}");
        }
    }
    assert!(is_no_data(&lab.ask_for("why.quay.io.pullgate", RecordType::A).await));
    assert_eq!(lab.upstream.asked(), []);
}

#[tokio::test]
async fn who_asks_why_makes_no_decision_about_the_name() {
    let lab = Lab::new(POLICY).await;
    assert_eq!(rcode(&lab.ask_for("why.quay.io.pullgate", RecordType::TXT).await), ResponseCode::NoError);
    assert_eq!(rcode(&lab.ask_for("quay.io.pullgate", RecordType::TXT).await), ResponseCode::NXDomain);
    assert_eq!(lab.pipeline.counters().answered_local.value(), 1);
}

#[tokio::test]
async fn what_there_is_to_say_is_cut_to_what_fits_and_asked_for_again_by_tcp() {
    let group = "g".repeat(300);
    let entry = "e".repeat(300);
    let policy = format!(
        "version = 1\n[[registry]]\nname = \"{entry}\"\nhosts = [\"a.example\"]\n[[group]]\nname = \"{group}\"\nclients = [\"127.0.0.0/8\"]\nregistries = [\"*\"]\n"
    );
    let mut lab = Lab::new(&policy).await;
    let short = lab.ask(&query("why.a.example.pullgate", RecordType::TXT)).await;
    assert!(short.metadata.truncation && short.answers.is_empty());
    lab.peer.transport = Transport::Tcp;
    let told = facts(&lab.ask_for("why.a.example.pullgate", RecordType::TXT).await);
    assert!(told.iter().any(|fact| fact.starts_with("group=ggg") && fact.len() == 255), "{told:?}");
}

// ── chains ──

#[tokio::test]
async fn a_trusted_chain_is_whole() {
    let lab = Lab::new(POLICY).await;
    let answer = lab.ask_for("chain.good.example", RecordType::A).await;
    assert_eq!(answer.answers.len(), 2);
    assert_eq!(addresses(&answer), ["203.0.113.3"]);
}

#[tokio::test]
async fn a_deny_holds_for_targets_also_when_the_chain_is_trusted() {
    let policy = format!("{POLICY}\n[[deny]]\nhosts = [\"*.cdn.example\"]\n");
    let lab = Lab::new(&policy).await;
    for (name, record_type) in [("chain.good.example", RecordType::A), ("alias.good.example", RecordType::HTTPS)] {
        for _also_from_the_cache in 0..2 {
            let answer = lab.ask_for(name, record_type).await;
            assert_eq!((rcode(&answer), answer.answers.len()), (ResponseCode::NXDomain, 0));
            let (code, text) = extended_error(&answer).unwrap();
            assert!(code == 15 && text.starts_with("target target.cdn.example"), "{text}");
        }
    }
    assert_eq!(lab.pipeline.counters().denied_targets.value(), 4);
}

#[tokio::test]
async fn an_inspected_chain_may_only_lead_where_the_client_may_ask() {
    let inspected = POLICY.replace("hosts", "cname = \"inspect\"\nhosts");
    let lab = Lab::new(&inspected).await;
    assert_eq!(rcode(&lab.ask_for("chain.good.example", RecordType::A).await), ResponseCode::NXDomain);
    let allowed = format!("{inspected}redirects = [\"target.cdn.example\"]\n");
    let lab = Lab::new(&allowed).await;
    assert_eq!(rcode(&lab.ask_for("chain.good.example", RecordType::A).await), ResponseCode::NoError);
}

// ── private addresses ──

#[tokio::test]
async fn private_addresses_are_taken_out() {
    let lab = Lab::new(POLICY).await;
    for _also_from_the_cache in 0..2 {
        assert_eq!(addresses(&lab.ask_for("half-private.good.example", RecordType::A).await), ["203.0.113.2"]);
        for record_type in [RecordType::A, RecordType::AAAA] {
            let answer = lab.ask_for("private.good.example", record_type).await;
            assert!(is_no_data(&answer), "{record_type}");
            assert_eq!(extended_error(&answer), Some((15, "private address".to_owned())));
        }
    }
    assert_eq!(lab.pipeline.counters().filtered_private.value(), 6);
}

#[tokio::test]
async fn private_hints_are_taken_out_and_the_record_stays() {
    let lab = Lab::new(POLICY).await;
    let answer = lab.ask_for("hinted.good.example", RecordType::HTTPS).await;
    let [record] = &answer.answers[..] else { panic!("one record: {answer:?}") };
    assert!(matches!(&record.data, RData::HTTPS(https) if https.svc_params.is_empty()), "{record:?}");
}

#[tokio::test]
async fn private_addresses_stay_where_the_entry_or_a_route_permits_them() {
    let permitted = POLICY.replace("hosts", "private-addresses = true\nhosts");
    let lab = Lab::new(&permitted).await;
    assert_eq!(addresses(&lab.ask_for("private.good.example", RecordType::A).await), ["10.0.0.1"]);

    let lab = Lab::with(POLICY, |settings| {
        let servers = settings.upstream.servers.clone();
        settings.upstream.routes = vec![Route { domains: vec!["good.example".parse().unwrap()], servers }];
    })
    .await;
    assert_eq!(addresses(&lab.ask_for("private.good.example", RecordType::A).await), ["10.0.0.1"]);
}

// ── audit ──

#[tokio::test]
async fn under_audit_the_answer_is_the_upstreams() {
    let policy = format!("{POLICY}\n[[group]]\nname = \"default\"\nmode = \"audit\"\nregistries = [\"*\"]\n");
    let mut lab = Lab::new(&policy).await;
    assert_eq!(addresses(&lab.ask_for("private.test", RecordType::A).await), ["10.0.0.1"]);
    assert_eq!(lab.ask_for("evil.test", RecordType::TXT).await.answers.len(), 1);
    assert_eq!(rcode(&lab.ask_for("nothing.test", RecordType::SRV).await), ResponseCode::NXDomain);
    assert_eq!((decided(&lab), lab.pipeline.counters().would_filter.value()), ([3, 0], 3));
    let event = lab.events.recv().await.unwrap();
    assert!(event.decision == Decision::Audit && event.reason == "not on the allowlist", "{event:?}");
}

#[tokio::test]
async fn under_audit_what_is_allowed_is_not_filtered_either() {
    let audited = "[[group]]\nname = \"default\"\nmode = \"audit\"\nregistries = [\"*\"]\n";
    let mut lab = Lab::new(&format!("{}\n{audited}", POLICY.replace("hosts", "cname = \"inspect\"\nhosts"))).await;
    for _also_from_the_cache in 0..2 {
        assert_eq!(addresses(&lab.ask_for("private.good.example", RecordType::A).await), ["10.0.0.1"]);
        assert_eq!(lab.ask_for("ok.example", RecordType::TXT).await.answers.len(), 1);
        assert_eq!(addresses(&lab.ask_for("chain.good.example", RecordType::A).await), ["203.0.113.3"]);
    }
    let counters = lab.pipeline.counters();
    assert_eq!((counters.filtered_types.value(), counters.filtered_private.value()), (0, 0));
    assert_eq!((counters.would_filter.value(), counters.denied_targets.value()), (4, 0));
    let mut events = std::iter::from_fn(|| lab.events.try_recv().ok());
    let event = events.find(|event| event.decision != Decision::Allow).unwrap();
    assert!(event.decision == Decision::Audit && event.reason.starts_with("target target.cdn.example"), "{event:?}");
}

#[tokio::test]
async fn a_deny_holds_for_targets_under_audit_as_well() {
    let audited = "[[group]]\nname = \"default\"\nmode = \"audit\"\nregistries = [\"*\"]\n";
    let lab = Lab::new(&format!("{POLICY}\n[[deny]]\nhosts = [\"*.cdn.example\"]\n{audited}")).await;
    assert_eq!(rcode(&lab.ask_for("chain.good.example", RecordType::A).await), ResponseCode::NXDomain);
}

// ── upstreams in trouble ──

#[tokio::test]
async fn a_failing_upstream_is_a_failure_with_its_reason() {
    let lab = Lab::new(POLICY).await;
    lab.upstream.break_down();
    let answer = lab.ask_for("ok.example", RecordType::A).await;
    assert_eq!(rcode(&answer), ResponseCode::ServFail);
    assert_eq!(extended_error(&answer).unwrap().0, 23);
}

#[tokio::test]
async fn a_silent_upstream_is_a_failure_in_time() {
    let lab = Lab::with(POLICY, |settings| settings.upstream.timeout = Duration::from_millis(200)).await;
    let answer = lab.ask_for("silent.good.example", RecordType::A).await;
    assert_eq!(rcode(&answer), ResponseCode::ServFail);
    assert_eq!(extended_error(&answer).unwrap().0, 22);
}

#[tokio::test]
async fn a_stale_answer_is_better_than_none_and_says_what_it_is() {
    let lab = Lab::new(POLICY).await;
    lab.ask_for("ok.example", RecordType::A).await;
    lab.ask_for("many.good.example", RecordType::A).await;
    lab.ask_for("nothing.good.example", RecordType::A).await;
    lab.upstream.break_down();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(120)).await;
    tokio::time::resume();
    let answer = lab.ask_for("ok.example", RecordType::A).await;
    assert_eq!((addresses(&answer), extended_error(&answer).unwrap().0), (vec!["203.0.113.1".to_owned()], 3));
    let answer = lab.ask_for("many.good.example", RecordType::A).await;
    assert_eq!((answer.answers.len(), extended_error(&answer).unwrap().0), (20, 3));
    let answer = lab.ask_for("nothing.good.example", RecordType::A).await;
    assert_eq!((rcode(&answer), extended_error(&answer).unwrap().0), (ResponseCode::NXDomain, 19));
}

// ── who may ask ──

#[tokio::test]
async fn clients_outside_the_networks_are_refused_whatever_they_send() {
    let mut lab = Lab::new(POLICY).await;
    lab.peer = peer("203.0.113.9");
    let answer = lab.ask_for("ok.example", RecordType::A).await;
    assert_eq!((rcode(&answer), extended_error(&answer).unwrap().0), (ResponseCode::Refused, 18));
    let broken = lab.ask(&query("ok.example", RecordType::A)[..20]).await;
    assert_eq!(rcode(&broken), ResponseCode::Refused);
    assert_eq!(lab.pipeline.counters().outside_clients.value(), 2);
}

#[tokio::test]
async fn a_client_in_ipv6_clothes_is_an_ipv4_client() {
    let policy = format!("{POLICY}\n[[group]]\nname = \"ci\"\nclients = [\"10.1.0.0/16\"]\nregistries = [\"good\"]\n");
    let mut lab = Lab::new(&policy).await;
    assert_eq!(rcode(&lab.ask_for("ok.example", RecordType::A).await), ResponseCode::NXDomain);
    lab.peer = peer("::ffff:10.1.2.3");
    assert_eq!(rcode(&lab.ask_for("ok.example", RecordType::A).await), ResponseCode::NoError);
}

#[tokio::test]
async fn the_cache_never_answers_what_the_policy_denies_to_this_client() {
    let policy = format!("{POLICY}\n[[group]]\nname = \"ci\"\nclients = [\"10.1.0.0/16\"]\nregistries = [\"good\"]\n");
    let mut lab = Lab::new(&policy).await;
    lab.peer = peer("10.1.2.3");
    lab.ask_for("ok.example", RecordType::A).await;
    lab.peer = peer("10.2.2.3");
    assert_eq!(rcode(&lab.ask_for("ok.example", RecordType::A).await), ResponseCode::NXDomain);
}

// ── EDNS ──

#[tokio::test]
async fn answers_fit_what_the_client_takes() {
    let lab = Lab::new(POLICY).await;
    let question = query("large.good.example", RecordType::A);
    let sizes = [(None, 512), (Some(100), 512), (Some(600), 600), (Some(1232), 1232), (Some(65535), 1232)];
    for (size, limit) in sizes {
        let packet = size.map_or(question.clone(), |size| with_opt_of(question.clone(), size, [0; 4], b""));
        let bytes = lab.exchange(&packet).await.unwrap();
        let answer = parse(&bytes);
        assert!(bytes.len() <= limit && answer.metadata.truncation && answer.answers.is_empty(), "{size:?}");
        assert_eq!(answer.edns.is_some(), size.is_some());
        assert_eq!(bytes[12..question.len()], question[12..]);
    }
    assert_eq!(lab.pipeline.counters().truncated.value(), 5);
}

#[tokio::test]
async fn over_tcp_a_long_answer_is_whole() {
    let mut lab = Lab::new(POLICY).await;
    lab.peer.transport = Transport::Tcp;
    let answer = lab.ask(&query("large.good.example", RecordType::A)).await;
    assert_eq!((answer.answers.len(), answer.metadata.truncation), (100, false));
}

#[tokio::test]
async fn an_unknown_edns_version_is_said_to_be_unknown() {
    let lab = Lab::new(POLICY).await;
    let answer = lab.ask(&with_opt_of(query("ok.example", RecordType::A), 1232, [0, 1, 0, 0], b"")).await;
    // 16; hickory-proto calls it BADSIG, its name where there is a TSIG.
    assert_eq!(u16::from(rcode(&answer)), 16);
    assert_eq!(answer.edns.unwrap().version(), 0);
    assert_eq!(lab.upstream.asked(), []);
}

#[tokio::test]
async fn a_cookie_comes_back_with_our_half() {
    let mut lab = Lab::new(POLICY).await;
    let packet = with_opt(query("evil.test", RecordType::A), b"\0\x0a\0\x08ABCDEFGH");
    let one = option(&lab.ask(&packet).await, 10).unwrap();
    lab.peer = peer("127.0.0.2");
    let other = option(&lab.ask(&packet).await, 10).unwrap();
    assert_eq!((one.len(), &one[..9]), (24, &b"ABCDEFGH\x01"[..]));
    assert_ne!(one[16..], other[16..]);
}

#[tokio::test]
async fn do_is_echoed_and_other_flags_are_not() {
    let lab = Lab::new(POLICY).await;
    let answer = lab.ask(&with_opt_of(query("ok.example", RecordType::A), 1232, [0, 0, 0xff, 0xff], b"")).await;
    let flags = *answer.edns.unwrap().flags();
    assert!(flags.dnssec_ok && flags.z == 0);
}

#[tokio::test]
async fn unknown_options_are_neither_an_error_nor_echoed() {
    let lab = Lab::new(POLICY).await;
    let subnet = b"\0\x08\0\x07\0\x01\x18\0\xcb\0\x71";
    let answer = lab.ask(&with_opt(query("ok.example", RecordType::A), subnet)).await;
    assert_eq!(rcode(&answer), ResponseCode::NoError);
    assert_eq!(answer.edns.unwrap().options().as_ref(), []);
}

// ── the rest ──

#[tokio::test]
async fn what_is_no_plain_question_is_turned_away_before_the_policy() {
    let lab = Lab::new(POLICY).await;
    let plain = query("ok.example", RecordType::A);
    let changed = |at: usize, byte: u8| {
        let mut packet = plain.clone();
        packet[at] = byte;
        packet
    };
    let class_at = plain.len() - 1;
    let rows = [
        ("class CH", changed(class_at, 3), ResponseCode::Refused),
        ("class NONE", changed(class_at, 254), ResponseCode::Refused),
        ("class ANY", changed(class_at, 255), ResponseCode::Refused),
        ("AXFR", query("ok.example", RecordType::AXFR), ResponseCode::Refused),
        ("IXFR", query("ok.example", RecordType::IXFR), ResponseCode::Refused),
        ("opcode IQUERY", changed(2, 0x08), ResponseCode::NotImp),
        ("opcode NOTIFY", changed(2, 0x20), ResponseCode::NotImp),
        ("opcode UPDATE", changed(2, 0x28), ResponseCode::NotImp),
        ("opcode 15", changed(2, 0x78), ResponseCode::NotImp),
        ("no question", changed(5, 0), ResponseCode::FormErr),
        ("two questions", changed(5, 2), ResponseCode::FormErr),
        ("an answer count", changed(7, 1), ResponseCode::FormErr),
        ("a missing record", changed(11, 1), ResponseCode::FormErr),
        ("a cut question", plain[..plain.len() - 1].to_vec(), ResponseCode::FormErr),
        ("a header alone", plain[..12].to_vec(), ResponseCode::FormErr),
        ("two OPT", with_opt(with_opt(plain.clone(), b""), b""), ResponseCode::FormErr),
    ];
    for (what, packet, expected) in rows {
        assert_eq!(rcode(&lab.ask(&packet).await), expected, "{what}");
    }
    assert_eq!(lab.upstream.asked(), []);
}

#[tokio::test]
async fn responses_and_runts_get_no_answer() {
    let lab = Lab::new(POLICY).await;
    let mut response = query("ok.example", RecordType::A);
    response[2] |= 0x80;
    for packet in [&response[..], &response[..13], &[], &[0; 11]] {
        assert_eq!(lab.exchange(packet).await, None);
    }
    assert_eq!(lab.pipeline.counters().dropped_packets.value(), 4);
}

#[tokio::test]
async fn no_spelling_walks_past_the_policy() {
    let lab = Lab::new(POLICY).await;
    let with_name = |name: &[u8]| [b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0", name, b"\0\x01\0\x01"].concat();
    let names: [&[u8]; 9] = [
        b"\x0aok.example\0",
        b"\x0fok.example\0evil\x04test\0",
        b"\x02ok\x08example\0\x04evil\x04test\0",
        b"\x04evil\x02ok\x07example\x04test\0",
        b"\x02ok\x07example\x05local\0",
        b"\x05xgood\x07example\0",
        b"\x06a\0good\x07example\0",
        b"\x02ok\x08example \0",
        b"\x09a.b.c\\000\x04evil\0",
    ];
    for name in names {
        assert_eq!(rcode(&lab.ask(&with_name(name)).await), ResponseCode::NXDomain, "{name:?}");
    }
    // Below an allowed suffix, but not made of what host names are made of.
    assert_eq!(rcode(&lab.ask(&with_name(b"\x03a\0b\x04good\x07example\0")).await), ResponseCode::NXDomain);
    assert_eq!(lab.upstream.asked(), []);
}

#[tokio::test]
async fn an_answer_in_use_is_renewed_before_it_expires() {
    let lab = Lab::new(POLICY).await;
    for _ in 0..2 {
        lab.ask_for("ok.example", RecordType::A).await;
    }
    assert_eq!(lab.upstream.asked().len(), 1);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(55)).await;
    tokio::time::resume();
    let answer = lab.ask_for("ok.example", RecordType::A).await;
    assert_eq!(answer.answers[0].ttl, 5, "from the cache");
    let renewed = async {
        while lab.upstream.asked().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), renewed).await.expect("a second question upstream");
}

#[tokio::test]
async fn a_question_under_way_is_judged_by_the_policy_it_came_under() {
    let (policy, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let allow = |host: &str| {
        let text = format!("version = 1\n[[registry]]\nname = \"r\"\nhosts = [{host:?}]\n");
        std::fs::write(policy.path().join("a.toml"), text).unwrap();
    };
    allow("held.example");
    let origin = Origin::Directory(policy.path().to_owned());
    let reloader = Reloader::start(origin, Options::default(), state.path(), Arc::new(SystemClock));
    let store = Arc::clone(reloader.store());
    let lab = Lab::under(Arc::clone(&store)).await;
    let (watch, reload) = Watch::new(reloader, Timing::default());
    tokio::spawn(watch.run(std::future::pending()));

    let packet = query("held.example", RecordType::A);
    let begun = lab.begin(&packet);
    assert!(matches!(begun.step, Step::Miss(_)), "it is in no cache");
    allow("other.example");
    let _ = reload.reload(Cause::Control).await;
    assert_eq!(store.current().generation, 2);
    lab.upstream.release();
    assert_eq!(rcode(&parse(&lab.end(begun).await.unwrap())), ResponseCode::NoError);
    assert_eq!(rcode(&lab.ask(&packet).await), ResponseCode::NXDomain, "also from the cache");
}

#[tokio::test]
async fn an_event_says_who_asked_what_and_which_rule_decided() {
    let mut lab = Lab::new(POLICY).await;
    lab.ask_for("ok.example", RecordType::A).await;
    let event = lab.events.recv().await.unwrap();
    assert_eq!(
        (event.name.to_string(), event.subject),
        ("ok.example".to_owned(), Subject::Question { record_type: 1, rcode: 0 })
    );
    assert_eq!(
        (event.decision, event.entry.as_deref(), event.client),
        (Decision::Allow, Some("good"), lab.peer.client)
    );
    let rule = event.rule.unwrap();
    assert_eq!((rule.pattern.as_str(), rule.place.unwrap().line), ("ok.example", 5));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Bytes that look like a query often enough to get somewhere.
    #[test]
    fn whatever_comes_the_answer_is_a_whole_message_within_its_limits(packet in packets()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let lab = Lab::new(POLICY).await;
            match lab.exchange(&packet).await {
                None => prop_assert!(packet.len() < 12 || packet[2] & 0x80 != 0),
                Some(answer) => {
                    prop_assert!(packet.len() >= 12 && packet[2] & 0x80 == 0);
                    prop_assert!(answer.len() <= 1232);
                    let answer = parse(&answer);
                    prop_assert_eq!(answer.metadata.id.to_be_bytes(), [packet[0], packet[1]]);
                }
            }
            for (name, _) in lab.upstream.asked() {
                prop_assert!(name == "ok.example" || name == "good.example" || name.ends_with(".good.example"), "{}", name);
            }
            Ok(())
        })?;
    }
}

/// Real queries with bytes changed, cut or added, and plain noise.
fn packets() -> impl Strategy<Value = Vec<u8>> {
    let seeds = [
        query("ok.example", RecordType::A),
        with_opt(query("evil.test", RecordType::ANY), b"\0\x0a\0\x08ABCDEFGH\0\x08\0\x04\0\x01\0\0"),
        with_opt(query("large.good.example", RecordType::A), b""),
    ];
    let mutated = (
        0..seeds.len(),
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(move |(seed, changes, cut, cuts)| {
            let mut packet = seeds[seed].clone();
            for (at, byte) in changes {
                let at = at.index(packet.len());
                packet[at] = byte;
            }
            if cuts {
                packet.truncate(cut.index(packet.len()));
            }
            packet
        });
    prop_oneof![4 => mutated, 1 => prop::collection::vec(any::<u8>(), 0..600)]
}

#[tokio::test]
async fn an_event_says_what_its_question_may_have_to_do_with_a_pull() {
    let policy = format!(
        "{POLICY}\n[[service]]\nname = \"s\"\nnames = [\"ok.good.example\"]\n[[deny]]\nhosts = [\"bad.example\"]\n"
    );
    let mut lab = Lab::with(&policy, |settings| settings.log.queries = QueryLog::All).await;
    for (name, bearing) in [
        ("ok.example", Bearing::Registry),
        ("evil.test", Bearing::Unlisted),
        ("ok.good.example", Bearing::None),
        ("bad.example", Bearing::None),
    ] {
        lab.ask_for(name, RecordType::A).await;
        assert_eq!(lab.events.try_recv().unwrap().bearing, bearing, "{name}");
    }
}

// ── steered ──

/// A registry that is passed on, one that is inspected, one that is answered as it is.
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
redirects = ["direct.example"]
path = "inspect"
[[images]]
registry = "inspected"
[[registry]]
name = "trial"
hosts = ["trial.example"]
path = "pass"
mode = "audit"
"#;

async fn steering(addresses: &[&str]) -> Lab {
    let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let text = format!("[gateway]\naddress = {:?}", addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>());
    let source = crate::diagnostic::Source::new("pullgate.toml", text);
    let (settings, _) = Settings::parse(&source, &crate::config::Environment::default()).unwrap();
    Lab::with(STEERED, |lab| lab.gateway = settings.gateway).await
}

#[tokio::test]
async fn a_steered_name_has_the_gateways_addresses_and_no_record_that_leads_past_it() {
    let lab = steering(&["192.0.2.53", "10.0.0.53", "2001:db8::53"]).await;
    for name in ["ok.example", "a.good.example", "inspected.example"] {
        let answer = lab.ask_for(name, RecordType::A).await;
        assert_eq!(addresses(&answer), ["192.0.2.53", "10.0.0.53"], "{name}");
        assert_eq!(answer.answers[0].ttl, 30);
        assert_eq!(addresses(&lab.ask_for(name, RecordType::AAAA).await), ["2001:db8::53"], "{name}");
        for record_type in [RecordType::HTTPS, RecordType::SVCB, RecordType::CNAME, RecordType::TXT] {
            assert!(is_no_data(&lab.ask_for(name, record_type).await), "{name} {record_type}");
        }
    }
    assert_eq!(lab.upstream.asked(), [], "nothing of it is asked upstream");
    assert_eq!(lab.pipeline.counters().answered_steered.value(), 18);
}

#[tokio::test]
async fn a_family_that_the_gateway_has_not_is_answered_without_records() {
    let lab = steering(&["192.0.2.53"]).await;
    assert!(is_no_data(&lab.ask_for("ok.example", RecordType::AAAA).await));
}

#[tokio::test]
async fn what_is_not_looked_into_and_what_is_on_trial_is_answered_as_it_is() {
    let lab = steering(&["192.0.2.53"]).await;
    for name in ["direct.example", "trial.example"] {
        lab.ask_for(name, RecordType::A).await;
        assert_eq!(lab.upstream.asked().last().map(|(asked, _)| asked.clone()), Some(name.to_owned()), "{name}");
    }
    assert_eq!(lab.pipeline.counters().answered_steered.value(), 0);
}
