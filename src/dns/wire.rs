//! A query as it lies in its packet: the raw header first, then one forward pass. Nothing is allocated, and only the name
//! is copied, to have it in lower case.
//!
//! Knows nothing of the policy. Lenient where real clients need it (unknown EDNS options and flags, a TSIG or two in
//! the additional section); whatever is ambiguous is [`Malformed`], because two readings of one packet are how an
//! allowlist is walked past.

use crate::name::{NameBuf, NameRef};

/// The length of a DNS header (RFC 1035 §4.1.1).
pub(crate) const HEADER_LEN: usize = 12;

/// Class IN.
pub(crate) const CLASS_IN: u16 = 1;

/// Record types that the pipeline or the writer treats in a way of their own.
pub(crate) mod rtype {
    pub(crate) const A: u16 = 1;
    pub(crate) const SOA: u16 = 6;
    pub(crate) const HINFO: u16 = 13;
    pub(crate) const TXT: u16 = 16;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const OPT: u16 = 41;
    pub(crate) const IXFR: u16 = 251;
    pub(crate) const AXFR: u16 = 252;
    pub(crate) const ANY: u16 = 255;
}

/// EDNS options that are read or written (RFC 7873, RFC 8914).
pub(crate) mod option {
    pub(crate) const COOKIE: u16 = 10;
    pub(crate) const EXTENDED_ERROR: u16 = 15;
}

/// The fixed part of a message that may be answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    /// Echoed.
    pub(crate) id: u16,
    flags: u16,
    questions: u16,
    answers: u16,
    authorities: u16,
    additionals: u16,
}

/// A whole query.
#[derive(Debug)]
pub(crate) struct Query<'p> {
    /// Its header.
    pub(crate) header: Header,
    /// Its only question.
    pub(crate) question: Question<'p>,
    /// What its OPT record says; `None` without one.
    pub(crate) edns: Option<Edns>,
    /// All of it; its length bounds that of some answers.
    pub(crate) packet: &'p [u8],
}

/// The question.
#[derive(Debug)]
pub(crate) struct Question<'p> {
    /// Its bytes as the client wrote them, to be echoed.
    pub(crate) wire: &'p [u8],
    /// Its name, in lower case.
    pub(crate) name: NameRef<'p>,
    /// Its record type.
    pub(crate) record_type: u16,
    /// Its class.
    pub(crate) class: u16,
}

/// An OPT record (RFC 6891).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edns {
    /// The largest UDP message that the client takes.
    pub(crate) udp_size: u16,
    /// Versions above 0 are not known; their options are not looked at.
    pub(crate) version: u8,
    /// DO (RFC 3225).
    pub(crate) dnssec_ok: bool,
    /// The client's half of its cookie (RFC 7873). A server half is checked for its length and otherwise ignored: every
    /// client gets the same service, so there is nothing a good one would buy.
    pub(crate) cookie: Option<[u8; CLIENT_COOKIE_LEN]>,
}

/// The packet cannot be read in exactly one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Header {
    /// Reads the header; `None` for what must never be answered: responses (two servers would talk for ever) and
    /// packets without a whole header.
    pub(crate) fn read(packet: &[u8]) -> Option<Self> {
        let mut reader = Reader(packet);
        let mut next = || reader.u16().ok();
        let header = Self {
            id: next()?,
            flags: next()?,
            questions: next()?,
            answers: next()?,
            authorities: next()?,
            additionals: next()?,
        };
        (header.flags & FLAG_RESPONSE == 0).then_some(header)
    }

    /// The operation asked for; 0 is QUERY.
    pub(crate) fn opcode(self) -> u16 {
        (self.flags & OPCODE_MASK) >> OPCODE_SHIFT
    }

    /// CD (RFC 4035 §3.2.2).
    pub(crate) fn checking_disabled(self) -> bool {
        self.flags & FLAG_CHECKING_DISABLED != 0
    }

    /// The flags of an answer: a response, recursion available, not authenticated; opcode, RD and CD as asked.
    pub(crate) fn answer_flags(self) -> u16 {
        let echoed = self.flags & (OPCODE_MASK | FLAG_RECURSION_DESIRED | FLAG_CHECKING_DISABLED);
        FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE | echoed
    }
}

impl<'p> Query<'p> {
    /// Reads what follows the header: one question, then records among which one may be an OPT. `room` is for the name.
    pub(crate) fn read(header: Header, packet: &'p [u8], room: &'p mut NameBuf) -> Result<Self, Malformed> {
        let body = packet.get(HEADER_LEN..).ok_or(Malformed)?;
        if header.questions != 1 || header.answers != 0 || header.additionals > MAX_ADDITIONALS {
            return Err(Malformed);
        }
        let question = Question::read(body, room)?;
        let mut reader = Reader(&body[question.wire.len()..]);
        skip_authorities(&mut reader, header.authorities, question.record_type)?;
        let edns = find_edns(&mut reader, header.additionals)?;
        if !reader.0.is_empty() {
            return Err(Malformed);
        }
        Ok(Self { header, question, edns, packet })
    }
}

impl<'p> Question<'p> {
    /// Reads a question from the start of `body`. Its name is not compressed: there is nothing before it to point at.
    fn read(body: &'p [u8], room: &'p mut NameBuf) -> Result<Self, Malformed> {
        let name = room.fill(body).map_err(|_| Malformed)?;
        let name_len = name.as_wire().len();
        let wire = body.get(..name_len + QUESTION_TAIL).ok_or(Malformed)?;
        let mut tail = Reader(&wire[name_len..]);
        Ok(Self { wire, name, record_type: tail.u16()?, class: tail.u16()? })
    }
}

/// An IXFR question carries the SOA that its sender has (RFC 1995); no other query has an authority section.
fn skip_authorities(reader: &mut Reader<'_>, count: u16, asked: u16) -> Result<(), Malformed> {
    match (count, asked) {
        (0, _) => Ok(()),
        (1, rtype::IXFR) => reader.record().map(|_| ()),
        _ => Err(Malformed),
    }
}

/// The OPT among the additional records; more than one is malformed (RFC 6891 §6.1.1).
fn find_edns(reader: &mut Reader<'_>, count: u16) -> Result<Option<Edns>, Malformed> {
    let mut found = None;
    for _ in 0..count {
        let record = reader.record()?;
        if record.record_type != rtype::OPT {
            continue;
        }
        if found.is_some() || !record.at_root {
            return Err(Malformed);
        }
        found = Some(Edns::read(&record)?);
    }
    Ok(found)
}

impl Edns {
    fn read(record: &RawRecord<'_>) -> Result<Self, Malformed> {
        let [_extended_rcode, version, flags, _] = record.ttl;
        let mut edns = Self { udp_size: record.class, version, dnssec_ok: flags & EDNS_FLAG_DO != 0, cookie: None };
        if version == 0 {
            edns.cookie = find_cookie(Reader(record.data))?;
        }
        Ok(edns)
    }
}

/// The client's half of the first COOKIE option; every option is stepped over, so that a broken list is noticed.
fn find_cookie(mut options: Reader<'_>) -> Result<Option<[u8; CLIENT_COOKIE_LEN]>, Malformed> {
    let mut cookie = None;
    while !options.0.is_empty() {
        let code = options.u16()?;
        let data = options.length_prefixed()?;
        if code == option::COOKIE && cookie.is_none() {
            cookie = Some(client_cookie(data)?);
        }
    }
    Ok(cookie)
}

/// A cookie is 8 bytes of the client's, then none or 8 to 32 of the server's (RFC 7873 §5.2.2).
fn client_cookie(data: &[u8]) -> Result<[u8; CLIENT_COOKIE_LEN], Malformed> {
    let (client, server) = data.split_first_chunk().ok_or(Malformed)?;
    match server.len() {
        0 | 8..=32 => Ok(*client),
        _ => Err(Malformed),
    }
}

/// A record, not interpreted.
struct RawRecord<'p> {
    /// Whether its owner is the root, written as one zero byte.
    at_root: bool,
    record_type: u16,
    class: u16,
    ttl: [u8; 4],
    data: &'p [u8],
}

/// Bytes that are read from the front.
struct Reader<'p>(&'p [u8]);

impl<'p> Reader<'p> {
    fn take(&mut self, count: usize) -> Result<&'p [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    fn length_prefixed(&mut self) -> Result<&'p [u8], Malformed> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    fn record(&mut self) -> Result<RawRecord<'p>, Malformed> {
        Ok(RawRecord {
            at_root: self.skip_name()?,
            record_type: self.u16()?,
            class: self.u16()?,
            ttl: self.array()?,
            data: self.length_prefixed()?,
        })
    }

    /// Steps over a name, which may end in a compression pointer (never followed); says whether it is a bare root.
    fn skip_name(&mut self) -> Result<bool, Malformed> {
        let mut bare = true;
        loop {
            let [length] = self.array()?;
            match length {
                0 => return Ok(bare),
                1..=63 => {
                    self.take(usize::from(length))?;
                }
                192..=255 => {
                    self.take(1)?;
                    return Ok(false);
                }
                _ => return Err(Malformed),
            }
            bare = false;
        }
    }
}

/// QTYPE and QCLASS.
const QUESTION_TAIL: usize = 4;
/// OPT, TSIG or SIG(0), and room for what is not known yet. A long list is only good for making servers work.
const MAX_ADDITIONALS: u16 = 8;
/// RFC 7873 §4.
pub(crate) const CLIENT_COOKIE_LEN: usize = 8;

const FLAG_RESPONSE: u16 = 0x8000;
const OPCODE_MASK: u16 = 0x7800;
const OPCODE_SHIFT: u16 = 11;
const FLAG_RECURSION_DESIRED: u16 = 0x0100;
const FLAG_RECURSION_AVAILABLE: u16 = 0x0080;
const FLAG_CHECKING_DISABLED: u16 = 0x0010;
/// TC, set by the writer on an answer that does not fit.
pub(crate) const FLAG_TRUNCATED: u16 = 0x0200;
/// DO, in the first byte of EDNS flags.
pub(crate) const EDNS_FLAG_DO: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'p>(packet: &'p [u8], room: &'p mut NameBuf) -> Result<Query<'p>, Malformed> {
        Query::read(Header::read(packet).expect("a query's header"), packet, room)
    }

    /// A query for `ghcr.io` A IN, with these records behind the question.
    fn query(counts: [u16; 3], records: &[&[u8]]) -> Vec<u8> {
        let mut packet = vec![0, 7, 1, 0, 0, 1];
        packet.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
        packet.extend(b"\x04gHCr\x02io\0\0\x01\0\x01");
        packet.extend(records.concat());
        packet
    }

    fn opt(options: &[u8]) -> Vec<u8> {
        let mut record = vec![0, 0, 41, 4, 208, 0, 0, 0x80, 0];
        record.extend(u16::try_from(options.len()).unwrap().to_be_bytes());
        record.extend(options);
        record
    }

    #[test]
    fn a_plain_query_is_read_and_its_name_lowered() {
        let packet = query([0, 0, 0], &[]);
        let mut room = NameBuf::default();
        let query = read(&packet, &mut room).unwrap();
        assert_eq!(query.question.name.to_string(), "ghcr.io");
        assert_eq!(query.question.wire, b"\x04gHCr\x02io\0\0\x01\0\x01");
        assert_eq!((query.question.record_type, query.question.class), (rtype::A, CLASS_IN));
        assert!(query.edns.is_none());
    }

    #[test]
    fn an_opt_record_is_found_behind_others() {
        let other = b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\x01\x02\x03\x04";
        let cookie = b"\0\x0a\0\x08ABCDEFGH";
        let packet = query([0, 0, 2], &[other, &opt(cookie)]);
        let edns = read(&packet, &mut NameBuf::default()).unwrap().edns.unwrap();
        assert_eq!((edns.udp_size, edns.version, edns.dnssec_ok), (1232, 0, true));
        assert_eq!(edns.cookie, Some(*b"ABCDEFGH"));
    }

    #[test]
    fn responses_and_runts_are_nothing_to_answer() {
        let mut response = query([0, 0, 0], &[]);
        response[2] |= 0x80;
        assert!(Header::read(&response).is_none());
        assert!(Header::read(&[0; 11]).is_none());
        assert!(Header::read(&[0; 12]).is_some());
    }

    #[test]
    fn what_has_two_readings_is_malformed() {
        let two_opts = query([0, 0, 2], &[&opt(b""), &opt(b"")]);
        let named_opt = query([0, 0, 1], &[b"\x01a\0\0\x29\x04\xd0\0\0\0\0\0\0"]);
        let pointed_opt = query([0, 0, 1], &[b"\xc0\x13\0\x29\x04\xd0\0\0\0\0\0\0"]);
        let an_answer = query([1, 0, 0], &[b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\0"]);
        let an_authority = query([0, 1, 0], &[b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\0"]);
        let a_missing_record = query([0, 0, 1], &[]);
        let trailing_bytes = query([0, 0, 0], &[b"x"]);
        let a_short_cookie = query([0, 0, 1], &[&opt(b"\0\x0a\0\x07ABCDEFG")]);
        let an_odd_server_cookie = query([0, 0, 1], &[&opt(b"\0\x0a\0\x09ABCDEFGHI")]);
        let a_cut_option = query([0, 0, 1], &[&opt(b"\0\x0a\0\x08ABC")]);
        let too_many_records = query([0, 0, 9], &[&[0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0][..]; 9]);
        for packet in [
            two_opts,
            named_opt,
            pointed_opt,
            an_answer,
            an_authority,
            a_missing_record,
            trailing_bytes,
            a_short_cookie,
            an_odd_server_cookie,
            a_cut_option,
            too_many_records,
        ] {
            assert_eq!(read(&packet, &mut NameBuf::default()).unwrap_err(), Malformed, "{packet:02x?}");
        }
    }

    #[test]
    fn questions_are_one_and_not_compressed() {
        for questions in [0, 2, 65535] {
            let mut packet = query([0, 0, 0], &[]);
            packet[4..6].copy_from_slice(&u16::to_be_bytes(questions));
            assert_eq!(read(&packet, &mut NameBuf::default()).unwrap_err(), Malformed);
        }
        let compressed = [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x01a\xc0\x0c\0\x01\0\x01"].concat();
        assert_eq!(read(&compressed, &mut NameBuf::default()).unwrap_err(), Malformed);
    }

    #[test]
    fn the_options_of_an_unknown_version_are_not_read() {
        let mut record = opt(b"\xff");
        record[6] = 1;
        let packet = query([0, 0, 1], &[&record]);
        assert_eq!(read(&packet, &mut NameBuf::default()).unwrap().edns.unwrap().version, 1);
    }

    #[test]
    fn an_answer_echoes_rd_and_cd_and_clears_ad() {
        let mut packet = query([0, 0, 0], &[]);
        packet[2..4].copy_from_slice(&[0x01, 0x30]);
        assert_eq!(Header::read(&packet).unwrap().answer_flags(), 0x8190);
    }
}
