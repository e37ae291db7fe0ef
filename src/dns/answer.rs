//! An answer as it goes into its packet. Every row of the table of answers is one constructor of [`Reply`]; the writer
//! below them is the only code that lays out bytes for a client.
//!
//! Truncation is ours: an answer that does not fit is the question, TC and OPT, nothing half-written behind.

use std::fmt::{self, Write as _};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::Transport;
use super::wire::{CLASS_IN, CLIENT_COOKIE_LEN, EDNS_FLAG_DO, Edns, FLAG_TRUNCATED, HEADER_LEN, Header, Query};
use super::wire::{option, rtype};
use crate::policy::probe::{NOT_A_CLIENT, Standing};
use crate::upstream::Held;

/// What is said; the bytes follow from it, the query and the transport.
pub(crate) struct Reply<'a> {
    rcode: Rcode,
    body: Body<'a>,
    note: Option<Note<'a>>,
}

/// What the answer and authority sections hold.
#[derive(Clone, Copy)]
enum Body<'a> {
    /// Nothing.
    Empty,
    /// The SOA that bounds how long a denial is kept (RFC 2308).
    Negative,
    /// The HINFO that answers ANY (RFC 8482).
    Hinfo,
    /// Addresses of one family, from the settings, with their TTL.
    Addresses(&'a [IpAddr], u32),
    /// A TXT record with how things stand for the client.
    Standing(Standing<'a>),
    /// A TXT record with facts, each a string of its own, for who may have a contact to be told.
    Facts(&'a dyn Facts, Option<&'a str>),
    /// An upstream's answer.
    Upstream(&'a Held),
}

/// What there is to say to who asks; put into words when it is written.
pub(crate) trait Facts {
    /// Each of at most 255 bytes; `contact` is whom people ask.
    fn facts(&self, contact: Option<&str>) -> Vec<String>;
}

/// An extended DNS error (RFC 8914).
#[derive(Clone, Copy)]
struct Note<'a> {
    code: u16,
    text: Text<'a>,
}

/// What an extended error says.
#[derive(Clone, Copy)]
pub(crate) enum Text<'a> {
    /// Words that are there already, to be copied.
    Words(&'static str),
    /// What has to be put into words.
    Of(&'a dyn fmt::Display),
}

/// An extended response code (RFC 6891 §6.1.3): the low four bits go to the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rcode(pub(crate) u16);

impl Rcode {
    pub(crate) const NOERROR: Self = Self(0);
    pub(crate) const FORMERR: Self = Self(1);
    pub(crate) const SERVFAIL: Self = Self(2);
    pub(crate) const NXDOMAIN: Self = Self(3);
    pub(crate) const NOTIMP: Self = Self(4);
    pub(crate) const REFUSED: Self = Self(5);
    pub(crate) const BADVERS: Self = Self(16);
}

impl<'a> Reply<'a> {
    /// A bare response code.
    pub(crate) fn code(rcode: Rcode) -> Self {
        Self { rcode, body: Body::Empty, note: None }
    }

    /// For a client outside `server.clients`: *Prohibited*.
    pub(crate) fn outside_clients() -> Self {
        Self::code(Rcode::REFUSED).note(PROHIBITED, Text::Words(NOT_A_CLIENT))
    }

    /// The name does not exist, as far as this client is told: *Blocked*, with the reason.
    pub(crate) fn denied(reason: Text<'a>) -> Self {
        Self { rcode: Rcode::NXDOMAIN, body: Body::Negative, note: None }.note(BLOCKED, reason)
    }

    /// The same for a name that must seem to exist, since names below it do (RFC 8020).
    pub(crate) fn denied_ancestor(reason: Text<'a>) -> Self {
        Self::no_data().note(BLOCKED, reason)
    }

    /// The name exists, without records of this type.
    pub(crate) fn no_data() -> Self {
        Self { rcode: Rcode::NOERROR, body: Body::Negative, note: None }
    }

    /// The record type is not handed out: *Filtered*.
    pub(crate) fn type_not_permitted() -> Self {
        Self::no_data().note(FILTERED, Text::Words("record type not permitted"))
    }

    /// Only private addresses were there, and they are not permitted: *Blocked*.
    pub(crate) fn only_private() -> Self {
        Self::no_data().note(BLOCKED, Text::Words("private address"))
    }

    /// ANY is answered with a record that says so.
    pub(crate) fn any() -> Self {
        Self { rcode: Rcode::NOERROR, body: Body::Hinfo, note: None }
    }

    /// Static addresses from the settings; all of one family.
    pub(crate) fn addresses(addresses: &'a [IpAddr]) -> Self {
        Self::own(addresses, STATIC_TTL)
    }

    /// The gateway's addresses, for a name that is reached through it; all of one family.
    pub(crate) fn steered(addresses: &'a [IpAddr]) -> Self {
        Self::own(addresses, STEERED_TTL)
    }

    fn own(addresses: &'a [IpAddr], ttl: u32) -> Self {
        if addresses.is_empty() {
            return Self::no_data();
        }
        Self { rcode: Rcode::NOERROR, body: Body::Addresses(addresses, ttl), note: None }
    }

    /// How things stand for the client.
    pub(crate) fn standing(standing: Standing<'a>) -> Self {
        Self { rcode: Rcode::NOERROR, body: Body::Standing(standing), note: None }
    }

    /// What a client is told of a name it asks about.
    pub(crate) fn facts(facts: &'a dyn Facts, contact: Option<&'a str>) -> Self {
        Self { rcode: Rcode::NOERROR, body: Body::Facts(facts, contact), note: None }
    }

    /// What an upstream said; *Stale Answer* or *Stale NXDOMAIN Answer* if it is older than it should be.
    pub(crate) fn upstream(held: &'a Held) -> Self {
        let rcode = Rcode(u16::from(held.answer.rcode()));
        let reply = Self { rcode, body: Body::Upstream(held), note: None };
        match (held.stale, rcode) {
            (false, _) => reply,
            (true, Rcode::NXDOMAIN) => reply.note(STALE_NXDOMAIN, Text::Words("")),
            (true, _) => reply.note(STALE, Text::Words("")),
        }
    }

    /// No upstream answered: *No Reachable Authority*.
    pub(crate) fn unreachable() -> Self {
        Self::code(Rcode::SERVFAIL).note(NO_REACHABLE_AUTHORITY, Text::Words("no upstream answers"))
    }

    /// Every upstream failed or refused: *Network Error*.
    pub(crate) fn failing() -> Self {
        Self::code(Rcode::SERVFAIL).note(NETWORK_ERROR, Text::Words("upstream fails"))
    }

    /// Too much is being resolved already: *Other*.
    pub(crate) fn busy() -> Self {
        Self::code(Rcode::SERVFAIL).note(OTHER, Text::Words("too many questions in flight"))
    }

    /// The response code, as it will be sent.
    pub(crate) fn rcode(&self) -> Rcode {
        self.rcode
    }

    fn note(self, code: u16, text: Text<'a>) -> Self {
        Self { note: Some(Note { code, text }), ..self }
    }
}

/// Lays out answers. One for the whole server: it holds what all of them share.
pub(crate) struct Writer {
    /// The authority section of denials, SOA included, ready to be copied.
    soa: [u8; SOA_LEN],
    /// Keys the server's half of cookies; a new one each start.
    cookie_key: RandomState,
}

/// Whether an answer went out whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    Whole,
    Truncated,
}

impl Writer {
    /// `blocked_ttl` is how long clients may keep a denial.
    pub(crate) fn new(blocked_ttl: Duration) -> Self {
        Self { soa: render_soa(blocked_ttl), cookie_key: RandomState::new() }
    }

    /// Answers a query, over what it came by and to whom it came from.
    pub(crate) fn write(
        &self,
        query: &Query<'_>,
        reply: &Reply<'_>,
        to: (Transport, IpAddr),
        out: &mut Vec<u8>,
    ) -> Fit {
        let (transport, client) = to;
        out.clear();
        push_header(query.header, reply.rcode, 1, out);
        out.extend_from_slice(query.question.wire);
        let after_question = out.len();
        let [answers, authorities] = self.push_body(reply.body, out);
        let options = query.edns.map(|edns| self.options(&edns, client));
        let limit = size_limit(query, transport);
        if out.len() + options.map_or(0, Options::len) > limit {
            out.truncate(after_question);
            out[2] |= FLAG_TRUNCATED.to_be_bytes()[0];
            push_options(options, reply.rcode, None, 0, out);
            return Fit::Truncated;
        }
        out[ANSWER_COUNT..][..2].copy_from_slice(&answers.to_be_bytes());
        out[AUTHORITY_COUNT..][..2].copy_from_slice(&authorities.to_be_bytes());
        let text_room = match reply.body {
            Body::Upstream(_) => limit,
            Body::Empty | Body::Negative | Body::Hinfo | Body::Addresses(..) | Body::Standing(_) | Body::Facts(..) => {
                limit.min(query.packet.len() + MAX_GROWTH)
            }
        };
        push_options(options, reply.rcode, reply.note, text_room, out);
        Fit::Whole
    }

    /// Appends the sections between question and OPT; returns how many records answer and authority hold.
    fn push_body(&self, body: Body<'_>, out: &mut Vec<u8>) -> [u16; 2] {
        match body {
            Body::Empty => [0, 0],
            Body::Negative => {
                out.extend_from_slice(&self.soa);
                [0, 1]
            }
            Body::Hinfo => {
                push_record(rtype::HINFO, ANY_TTL, b"\x07RFC8482\x00", out);
                [1, 0]
            }
            Body::Addresses(addresses, ttl) => [push_addresses(addresses, ttl, out), 0],
            Body::Standing(standing) => {
                push_text(&standing, out);
                [1, 0]
            }
            Body::Facts(facts, contact) => {
                push_facts(&facts.facts(contact), out);
                [1, 0]
            }
            Body::Upstream(held) => {
                held.answer.write(held.age, held.stale, out);
                held.answer.counts()
            }
        }
    }

    fn options(&self, edns: &Edns, client: IpAddr) -> Options {
        Options { dnssec_ok: edns.dnssec_ok, cookie: edns.cookie.map(|half| self.cookie(half, client)) }
    }

    /// The client's cookie with our half, in the layout of RFC 9018 §4 (version, reserved, time, hash). The hash is the
    /// standard library's keyed SipHash; nobody but this process needs to be able to compute it.
    fn cookie(&self, half: [u8; CLIENT_COOKIE_LEN], client: IpAddr) -> [u8; COOKIE_LEN] {
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut cookie = [0; COOKIE_LEN];
        cookie[..8].copy_from_slice(&half);
        cookie[8] = COOKIE_VERSION;
        cookie[12..16].copy_from_slice(&time.to_be_bytes()[4..]);
        let mut hasher = self.cookie_key.build_hasher();
        hasher.write(&cookie[..16]);
        match client {
            IpAddr::V4(address) => hasher.write(&address.octets()),
            IpAddr::V6(address) => hasher.write(&address.octets()),
        }
        cookie[16..].copy_from_slice(&hasher.finish().to_be_bytes());
        cookie
    }
}

/// Answers a packet whose question cannot be read, or is not looked at: twelve bytes.
pub(crate) fn write_bare(header: Header, rcode: Rcode, out: &mut Vec<u8>) {
    out.clear();
    push_header(header, rcode, 0, out);
}

/// What an OPT record always carries.
#[derive(Clone, Copy)]
struct Options {
    dnssec_ok: bool,
    cookie: Option<[u8; COOKIE_LEN]>,
}

impl Options {
    /// The length of an OPT record without an extended error.
    fn len(self) -> usize {
        OPT_LEN + self.cookie.map_or(0, |cookie| OPTION_HEADER_LEN + cookie.len())
    }
}

/// The largest answer this client takes: what its OPT says over UDP, within what never needs fragments (RFC 9715).
fn size_limit(query: &Query<'_>, transport: Transport) -> usize {
    match (transport, query.edns) {
        (Transport::Udp, None) => MIN_UDP_SIZE,
        (Transport::Udp, Some(edns)) => usize::from(edns.udp_size).clamp(MIN_UDP_SIZE, MAX_UDP_SIZE),
        (Transport::Tcp | Transport::Tls | Transport::Https, _) => MAX_STREAM_SIZE,
    }
}

fn push_header(header: Header, rcode: Rcode, questions: u16, out: &mut Vec<u8>) {
    let flags = header.answer_flags() | (rcode.0 & 0x0f);
    let mut bytes = [0; HEADER_LEN];
    for (place, field) in bytes.chunks_exact_mut(2).zip([header.id, flags, questions]) {
        place.copy_from_slice(&field.to_be_bytes());
    }
    out.extend_from_slice(&bytes);
}

/// Appends a record whose owner is the question's name.
fn push_record(record_type: u16, ttl: u32, data: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(data.len()).expect("records made here are some hundred bytes long");
    out.extend_from_slice(&POINTER_TO_QUESTION);
    out.extend_from_slice(&record_type.to_be_bytes());
    out.extend_from_slice(&CLASS_IN.to_be_bytes());
    out.extend_from_slice(&ttl.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(data);
}

fn push_addresses(addresses: &[IpAddr], ttl: u32, out: &mut Vec<u8>) -> u16 {
    for address in addresses {
        match address {
            IpAddr::V4(address) => push_record(rtype::A, ttl, &address.octets(), out),
            IpAddr::V6(address) => push_record(rtype::AAAA, ttl, &address.octets(), out),
        }
    }
    u16::try_from(addresses.len()).unwrap_or(u16::MAX)
}

/// Appends a TXT record of one string, which is cut when it is too long.
fn push_text(text: &dyn fmt::Display, out: &mut Vec<u8>) {
    let mut data = vec![0];
    // An error only says that the text was cut.
    let _ = write!(Bounded { room: MAX_STRING, out: &mut data }, "{text}");
    data[0] = u8::try_from(data.len() - 1).expect("a string is cut before it is too long");
    push_record(rtype::TXT, UNCACHED, &data, out);
}

/// Appends a TXT record of one string a fact.
fn push_facts(facts: &[String], out: &mut Vec<u8>) {
    let mut data = Vec::new();
    for fact in facts {
        let start = data.len();
        data.push(0);
        // An error only says that the text was cut.
        let _ = Bounded { room: MAX_STRING, out: &mut data }.write_str(fact);
        data[start] = u8::try_from(data.len() - start - 1).expect("a string is cut before it is too long");
    }
    push_record(rtype::TXT, UNCACHED, &data, out);
}

/// Appends the OPT record, if the query had one; the extended error's text is cut so that the packet stays within
/// `text_room` bytes.
fn push_options(options: Option<Options>, rcode: Rcode, note: Option<Note<'_>>, text_room: usize, out: &mut Vec<u8>) {
    let Some(options) = options else { return };
    out[ADDITIONAL_COUNT..][..2].copy_from_slice(&1u16.to_be_bytes());
    let [extended_rcode, _] = (rcode.0 << 4).to_be_bytes();
    let flags = if options.dnssec_ok { EDNS_FLAG_DO } else { 0 };
    let ([type_high, type_low], [size_high, size_low]) = (rtype::OPT.to_be_bytes(), OUR_UDP_SIZE.to_be_bytes());
    out.extend_from_slice(&[0, type_high, type_low, size_high, size_low, extended_rcode, 0, flags, 0]);
    let start = open_length(out);
    if let Some(cookie) = options.cookie {
        out.extend_from_slice(&option::COOKIE.to_be_bytes());
        let start = open_length(out);
        out.extend_from_slice(&cookie);
        close_length(start, out);
    }
    if let Some(note) = note {
        push_note(note, text_room, out);
    }
    close_length(start, out);
}

fn push_note(note: Note<'_>, text_room: usize, out: &mut Vec<u8>) {
    let Some(room) = text_room.checked_sub(out.len() + OPTION_HEADER_LEN + 2) else { return };
    out.extend_from_slice(&option::EXTENDED_ERROR.to_be_bytes());
    let start = open_length(out);
    out.extend_from_slice(&note.code.to_be_bytes());
    let mut text = Bounded { room: room.min(MAX_TEXT), out };
    // An error only says that the text was cut.
    let _ = match note.text {
        Text::Words(words) => text.write_str(words),
        Text::Of(reason) => write!(text, "{reason}"),
    };
    close_length(start, out);
}

/// Leaves room for a 16-bit length; [`close_length`] fills it in.
fn open_length(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[0, 0]);
    out.len()
}

fn close_length(start: usize, out: &mut [u8]) {
    let length = u16::try_from(out.len() - start).expect("options written here are short");
    out[start - 2..start].copy_from_slice(&length.to_be_bytes());
}

/// Text that is cut at a character when it is too long.
struct Bounded<'a> {
    room: usize,
    out: &'a mut Vec<u8>,
}

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut fitting = self.room.min(text.len());
        while !text.is_char_boundary(fitting) {
            fitting -= 1;
        }
        self.out.extend_from_slice(&text.as_bytes()[..fitting]);
        self.room -= fitting;
        if fitting < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// An SOA at the root whose TTL and minimum are `blocked_ttl`; both its names are the root, to stay short.
fn render_soa(blocked_ttl: Duration) -> [u8; SOA_LEN] {
    let ttl = u32::try_from(blocked_ttl.as_secs()).unwrap_or(MAX_TTL).min(MAX_TTL).to_be_bytes();
    let mut soa = [0; SOA_LEN];
    soa[1..3].copy_from_slice(&rtype::SOA.to_be_bytes());
    soa[3..5].copy_from_slice(&CLASS_IN.to_be_bytes());
    soa[5..9].copy_from_slice(&ttl);
    soa[9..11].copy_from_slice(&22u16.to_be_bytes());
    // mname and rname are the root: two zero bytes. Then serial, refresh, retry, expire, minimum.
    for (field, value) in soa[13..].chunks_exact_mut(4).zip([[0, 0, 0, 1], ttl, ttl, ttl, ttl]) {
        field.copy_from_slice(&value);
    }
    soa
}

/// Root owner, type, class, TTL, length, two root names, five numbers.
const SOA_LEN: usize = 1 + 2 + 2 + 4 + 2 + 2 + 20;
/// RFC 2181 §8.
const MAX_TTL: u32 = i32::MAX.cast_unsigned();

/// RFC 1035 §4.2.1; clients that say less mean this (RFC 6891 §6.2.3).
const MIN_UDP_SIZE: usize = 512;
/// Fits the smallest IPv6 packet without fragments (RFC 9715 §3.1).
const MAX_UDP_SIZE: usize = OUR_UDP_SIZE as usize;
/// What clients are told that we take.
pub(super) const OUR_UDP_SIZE: u16 = 1232;
/// What the length before a message on a stream can say.
const MAX_STREAM_SIZE: usize = u16::MAX as usize;
/// A denial is at most this much longer than its query, so that nobody is worth being reflected by us.
const MAX_GROWTH: usize = 80;
/// No reason needs more, however long the query was.
const MAX_TEXT: usize = 64;

const ANSWER_COUNT: usize = 6;
const AUTHORITY_COUNT: usize = 8;
const ADDITIONAL_COUNT: usize = 10;
/// A compression pointer to the name right behind the header (RFC 1035 §4.1.4).
const POINTER_TO_QUESTION: [u8; 2] = [0xc0, 12];
const OPT_LEN: usize = 11;
const OPTION_HEADER_LEN: usize = 4;
const COOKIE_LEN: usize = 24;
const COOKIE_VERSION: u8 = 1;

/// The length of a string in a TXT record is one byte (RFC 1035 §3.3.14).
const MAX_STRING: usize = u8::MAX as usize;
/// What holds for one client at one moment.
const UNCACHED: u32 = 0;
/// Settings change with a restart, which should be seen soon.
const STATIC_TTL: u32 = 60;
/// A registry's path changes with the policy, at once but for what clients keep.
const STEERED_TTL: u32 = 30;
/// RFC 8482 §4.2 leaves it open; there is no reason to ask again soon.
const ANY_TTL: u32 = 3600;

// RFC 8914 §4.
const OTHER: u16 = 0;
const STALE: u16 = 3;
const BLOCKED: u16 = 15;
const FILTERED: u16 = 17;
const PROHIBITED: u16 = 18;
const STALE_NXDOMAIN: u16 = 19;
const NO_REACHABLE_AUTHORITY: u16 = 22;
const NETWORK_ERROR: u16 = 23;
