//! The table of answers in hickory's types, written by hickory's encoder, and how an answer is compared with it.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::{A, AAAA, HINFO, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use super::held::Held;
use super::query::Query;
use crate::dns::Transport;

/// What is answered.
#[derive(Clone, Default)]
pub(super) struct Reply {
    /// Extended (RFC 6891 §6.1.3).
    pub(super) rcode: u16,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    /// Code and text of an extended error (RFC 8914).
    note: Option<(u16, String)>,
    /// Whether the records are an upstream's, which may be as long as they are.
    is_relayed: bool,
}

impl Reply {
    /// A response code and nothing else.
    pub(super) fn bare(rcode: u16) -> Self {
        Self { rcode, ..Self::default() }
    }

    /// A response code, with the SOA that says for how long.
    pub(super) fn negative(rcode: u16, blocked_ttl: Duration) -> Self {
        let ttl = i32::try_from(blocked_ttl.as_secs()).unwrap_or(i32::MAX);
        let soa = SOA::new(Name::root(), Name::root(), 1, ttl, ttl, ttl, ttl.unsigned_abs());
        let record = Record::from_rdata(Name::root(), ttl.unsigned_abs(), RData::SOA(soa));
        Self { rcode, authorities: vec![record], ..Self::default() }
    }

    /// What answers ANY (RFC 8482).
    pub(super) fn any(query: &Query) -> Self {
        let hinfo = HINFO::new("RFC8482".to_owned(), String::new());
        Self { answers: vec![own_record(query, 3600, RData::HINFO(hinfo))], ..Self::default() }
    }

    /// Addresses of the asked family; without any, that there is nothing of it.
    pub(super) fn addresses(query: &Query, addresses: &[IpAddr], ttl: u32, blocked_ttl: Duration) -> Self {
        let data = |address: &IpAddr| match (address, query.record_type()) {
            (IpAddr::V4(address), 1) => Some(RData::A(A(*address))),
            (IpAddr::V6(address), 28) => Some(RData::AAAA(AAAA(*address))),
            _ => None,
        };
        let answers: Vec<Record> = addresses.iter().filter_map(data).map(|data| own_record(query, ttl, data)).collect();
        if answers.is_empty() { Self::negative(0, blocked_ttl) } else { Self { answers, ..Self::default() } }
    }

    /// Text that nobody may keep.
    pub(super) fn text(query: &Query, text: &str) -> Self {
        Self::texts(query, &[text.to_owned()])
    }

    /// The same of several strings.
    pub(super) fn texts(query: &Query, texts: &[String]) -> Self {
        let txt = TXT::new(texts.iter().map(|text| cut(text, 255).to_owned()).collect());
        Self { answers: vec![own_record(query, 0, RData::TXT(txt))], ..Self::default() }
    }

    /// An upstream's answer, which says so if it is stale.
    pub(super) fn relayed(held: &Held) -> Self {
        let rcode = u16::from(held.message.metadata.response_code);
        let stale_code = if rcode == NXDOMAIN { 19 } else { 3 };
        Self {
            rcode,
            answers: held.with_time_left(&held.message.answers),
            authorities: held.with_time_left(&held.message.authorities),
            note: held.is_stale.then(|| (stale_code, String::new())),
            is_relayed: true,
        }
    }

    /// It with an extended error.
    pub(super) fn note(self, code: u16, text: &str) -> Self {
        Self { note: Some((code, text.to_owned())), ..self }
    }
}

fn own_record(query: &Query, ttl: u32, data: RData) -> Record {
    Record::from_rdata(query.message.queries[0].name().clone(), ttl, data)
}

/// What a client may be sent.
pub(super) struct Expected {
    /// The answer if it fits.
    whole: Message,
    /// It without the extended error, where that may have to be left out.
    unannotated: Option<Message>,
    /// If it does not fit: the question, TC and the OPT record.
    cut: Message,
    /// The length of what hickory makes of the whole, without the extended error.
    whole_len: usize,
    /// How long an answer this client takes.
    limit: usize,
}

impl Expected {
    /// The answer to a query.
    pub(super) fn to(query: &Query, reply: &Reply, transport: Transport) -> Self {
        let mut cut = header(&query.message, reply.rcode);
        cut.add_query(query.message.queries[0].clone());
        cut.edns = options(query);
        let mut whole = cut.clone();
        cut.metadata.truncation = true;
        whole.add_answers(reply.answers.clone());
        whole.add_authorities(reply.authorities.clone());
        let whole_len = encoded_len(&whole);
        let limit = limit(query, transport);
        let unannotated = (reply.is_relayed && reply.note.is_some()).then(|| whole.clone());
        let room = if reply.is_relayed { limit } else { limit.min(query.len + 80) };
        if let (Some(edns), Some((code, text))) = (&mut whole.edns, &reply.note)
            && let Some(room) = room.checked_sub(whole_len + NOTE_LEN).or(reply.is_relayed.then_some(0))
        {
            let data = [&code.to_be_bytes(), cut_text(text, room).as_bytes()].concat();
            edns.options_mut().insert(EdnsOption::Unknown(EXTENDED_ERROR, data));
        }
        Self { whole, unannotated, cut, whole_len, limit }
    }

    /// The answer to a packet whose question was not read: a header.
    pub(super) fn to_unread(packet: &[u8], rcode: u16) -> Self {
        let mut bare = packet[..12].to_vec();
        bare[4..].fill(0);
        let asked = Message::from_vec(&bare).expect("a header without counts");
        let whole = header(&asked, rcode);
        Self { cut: whole.clone(), unannotated: None, whole, whole_len: 12, limit: 12 }
    }

    /// What is wrong with an answer, if anything is.
    ///
    /// Whether it had to be cut is known but for what compression spares: hickory tells names by their letters, so it
    /// never spares more than is possible.
    pub(super) fn objection(&self, answer: &[u8]) -> Option<String> {
        let mut decoder = BinDecoder::new(answer);
        let message = match Message::read(&mut decoder) {
            Ok(message) if decoder.is_empty() => message,
            Ok(_) => return Some("bytes behind the last record".to_owned()),
            Err(error) => return Some(format!("hickory does not read it: {error}")),
        };
        let is_cut = message.metadata.truncation;
        if answer.len() > self.limit || is_cut && self.whole_len <= self.limit {
            return Some(format!(
                "{} bytes, cut: {is_cut}, of {} where {} may be sent",
                answer.len(),
                self.whole_len,
                self.limit
            ));
        }
        let has_no_room = answer.len() + NOTE_LEN > self.limit;
        let expected = match &self.unannotated {
            _ if is_cut => &self.cut,
            Some(unannotated) if has_no_room => unannotated,
            _ => &self.whole,
        };
        let expected = Message::from_vec(&expected.to_vec().expect("hickory writes what it reads"));
        let (expected, said) = (shown(&expected.expect("hickory reads what it writes")), shown(&message));
        (expected != said).then(|| format!("the plain path says\n{expected}\nand the fast one\n{said}"))
    }
}

/// A response: recursion is available, RD and CD are as asked.
fn header(asked: &Message, rcode: u16) -> Message {
    let mut message = Message::response(asked.metadata.id, asked.metadata.op_code);
    message.metadata.recursion_desired = asked.metadata.recursion_desired;
    message.metadata.checking_disabled = asked.metadata.checking_disabled;
    message.metadata.recursion_available = true;
    message.metadata.response_code = ResponseCode::from((rcode >> 4).to_be_bytes()[1], rcode.to_be_bytes()[1]);
    message
}

/// Size, DO and cookie; the server's half is ours to choose, so it is only as long as it must be.
fn options(query: &Query) -> Option<Edns> {
    let asked = query.message.edns.as_ref()?;
    let mut edns = Edns::new();
    edns.set_max_payload(1232).set_version(0).set_dnssec_ok(asked.flags().dnssec_ok);
    if let Some(cookie) = query.cookie() {
        edns.options_mut().insert(EdnsOption::Unknown(COOKIE, [&cookie[..], &[1], &[0; 15]].concat()));
    }
    Some(edns)
}

/// The most that a client takes: over UDP what its OPT record says, from 512 to 1232.
fn limit(query: &Query, transport: Transport) -> usize {
    match (transport, &query.message.edns) {
        (Transport::Udp, None) => 512,
        (Transport::Udp, Some(edns)) => usize::from(edns.max_payload().clamp(512, 1232)),
        (Transport::Tcp | Transport::Tls | Transport::Https, _) => 65_535,
    }
}

/// In lower case, since hickory only spares names that are written alike.
fn encoded_len(message: &Message) -> usize {
    let mut message = message.clone();
    for query in &mut message.queries {
        query.set_name(query.name().to_lowercase());
    }
    for record in &mut message.answers {
        record.name = record.name.to_lowercase();
    }
    message.to_vec().expect("hickory writes what it reads").len()
}

/// Text of at most 64 bytes.
fn cut_text(text: &str, room: usize) -> &str {
    cut(text, room.min(64))
}

/// Text of at most so many bytes, cut at a character.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    &text[..end]
}

/// All that a message says, a line for each thing; the letters of names count in the question alone.
fn shown(message: &Message) -> String {
    let mut text = format!("{:?}\n", message.metadata);
    let mut line = |line: String| {
        let _ = writeln!(text, "{line}");
    };
    for query in &message.queries {
        line(format!("question {} {:?} {:?}", letters(query.name()), query.query_class(), query.query_type()));
    }
    let sections =
        [("answer", &message.answers), ("authority", &message.authorities), ("additional", &message.additionals)];
    for (section, records) in sections {
        for record in records {
            let owner = letters(&record.name.to_lowercase());
            line(format!("{section} {owner} {} {:?} {}", record.ttl, record.dns_class, shown_data(&record.data)));
        }
    }
    if let Some(edns) = &message.edns {
        line(format!("edns {} size {} {:?}", edns.version(), edns.max_payload(), edns.flags()));
        for (code, option) in &edns.options().options {
            line(format!("option {} {}", u16::from(*code), shown_option(option)));
        }
    }
    text
}

/// The data of a record; names that may be compressed have the letters of what they point at.
fn shown_data(data: &RData) -> String {
    match data {
        RData::CNAME(target) => format!("CNAME {}", letters(&target.to_lowercase())),
        RData::SOA(soa) => {
            let SOA { mname, rname, serial, refresh, retry, expire, minimum, .. } = soa;
            let [mname, rname] = [mname, rname].map(|name| letters(&name.to_lowercase()));
            format!("SOA {mname} {rname} {serial} {refresh} {retry} {expire} {minimum}")
        }
        other => format!("{other:?}"),
    }
}

/// Of a cookie the client's half, our version, and the length.
fn shown_option(option: &EdnsOption) -> String {
    let data = Vec::try_from(option).expect("an option that was read");
    let told = if option_code(option) == COOKIE { &data[..data.len().min(9)] } else { &data[..] };
    format!("{} ({} bytes)", told.escape_ascii(), data.len())
}

fn option_code(option: &EdnsOption) -> u16 {
    hickory_proto::rr::rdata::opt::EdnsCode::from(option).into()
}

fn letters(name: &Name) -> String {
    name.iter().fold(String::new(), |text, label| format!("{text}{}.", label.escape_ascii()))
}

/// RFC 1035 §4.1.1.
pub(super) const NXDOMAIN: u16 = 3;
const COOKIE: u16 = 10;
const EXTENDED_ERROR: u16 = 15;
/// An extended error without its text.
const NOTE_LEN: usize = 4 + 2;
