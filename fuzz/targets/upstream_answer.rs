//! Any bytes as an upstream's answer: what is believed of them is written out and has to be read by hickory as well.
#![no_main]

use std::time::Duration;

use hickory_proto::op::Message;
use hickory_proto::serialize::binary::BinDecodable;
use libfuzzer_sys::fuzz_target;
use pullgate::name::NameBuf;
use pullgate::upstream::{Answer, Dnssec, Lookup};

fuzz_target!(|bytes: &[u8]| {
    let Some(Ok(name)) = bytes.get(12..).map(NameBuf::read) else { return };
    let Some(question) = bytes.get(12..12 + name.as_name().as_wire().len() + 4) else { return };
    let [.., high, low, _, _] = *question else { return };
    let dnssec = Dnssec { ok: true, checking_disabled: false };
    let lookup = Lookup { name: name.as_name(), record_type: u16::from_be_bytes([high, low]), dnssec, servers: &[] };
    let Ok(answer) = Answer::parse(bytes, &lookup, Duration::from_secs(3600)) else { return };
    reread(&answer, question);
    let public = answer.without_private();
    assert!(!public.has_private(), "a private address is left");
    assert!(public.counts()[0] <= answer.counts()[0]);
    reread(&public, question);
});

/// Writes the answer behind its question and reads the whole with hickory.
fn reread(answer: &Answer, question: &[u8]) {
    let [answers, authority] = answer.counts();
    let mut out = vec![0, 1, 0x81, 0x80 | answer.rcode(), 0, 1];
    for count in [answers, authority, 0] {
        out.extend_from_slice(&count.to_be_bytes());
    }
    out.extend_from_slice(question);
    answer.write(Duration::from_secs(7), false, &mut out);
    assert!(out.len() <= usize::from(u16::MAX), "{} bytes", out.len());
    let Ok(message) = Message::from_bytes(&out) else { return }; // hickory reads the data of records, which we relay as they are
    assert_eq!((message.answers.len(), message.authorities.len()), (answers.into(), authority.into()));
}
