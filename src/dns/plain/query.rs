//! A query as hickory reads it, and where that is not how it is to be read.
//!
//! hickory reads the header, the question and the OPT record, whose letters and numbers the plain path goes by. An
//! outline, drawn field by field, tells what hickory does not: whether everything of the packet was looked at, and how.
//! Where outline and hickory differ is [`Fault::is_hickorys`] for what hickory takes and a query must not hold, and
//! [`Outline::has_foreign_parts`] for what hickory refuses and a query may hold; any other difference panics.

use hickory_proto::op::Message;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, DecodeError};

use crate::name::{DomainName, NameBuf};

/// A query that can be read in exactly one way.
pub(super) struct Query {
    /// Its header, question and OPT record; of the options the cookies alone.
    pub(super) message: Message,
    /// The name it asks for, in lower case.
    pub(super) name: DomainName,
    /// The length of its packet.
    pub(super) len: usize,
}

/// Why a packet is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It ends within a field, a length is neither a label's nor a pointer's, or the question's name is too long.
    Broken,
    /// More than one OPT record (RFC 6891 §6.1.1).
    SecondOpt,
    /// No question, or several (RFC 9619).
    Questions,
    /// Records where a query has none; only IXFR has one authority (RFC 1995 §3).
    Records,
    /// More additional records than any query needs: a bound of ours.
    Additionals,
    /// A question whose name points at something: only the header stands before it, which is no name (RFC 1035 §4.1.4).
    CompressedQuestion,
    /// An OPT record whose owner is the root by way of a pointer: it must be the byte 0 (RFC 6891 §6.1.2).
    PointedOpt,
    /// Options that do not end where their record ends (RFC 6891 §6.1.2).
    Options,
    /// A cookie of a length that none has (RFC 7873 §5.2.2).
    Cookie,
    /// Something behind the last record, which the header does not tell of.
    TrailingBytes,
}

impl Fault {
    /// Whether hickory may read the packet all the same.
    fn is_hickorys(self) -> bool {
        !matches!(self, Self::Broken | Self::SecondOpt)
    }
}

impl Query {
    /// Reads a packet that is at least a header.
    ///
    /// # Panics
    /// hickory and the outline differ in a way that nobody has thought about.
    pub(super) fn read(packet: &[u8]) -> Result<Self, Fault> {
        let outline = Outline::draw(packet);
        let whole = Message::read(&mut BinDecoder::new(packet));
        match (&outline, &whole) {
            (Err(fault), Ok(_)) => assert!(fault.is_hickorys(), "{fault:?}, but hickory reads {packet:02x?}"),
            (Ok(outline), Err(error)) => {
                assert!(outline.has_foreign_parts(), "hickory does not read {packet:02x?}: {error}");
            }
            (Ok(_), Ok(_)) | (Err(_), Err(_)) => {}
        }
        let outline = outline?;
        let message = outline.read_known().expect("hickory reads a question, an OPT record and cookies");
        if let Ok(whole) = whole {
            assert_alike(&whole, &message);
        }
        let name = NameBuf::read(outline.question).expect("a name whose labels were counted");
        Ok(Self { message, name: name.as_name().to_owned(), len: packet.len() })
    }

    /// The record type asked for.
    pub(super) fn record_type(&self) -> u16 {
        self.message.queries[0].query_type().into()
    }

    /// The class asked for.
    pub(super) fn class(&self) -> u16 {
        self.message.queries[0].query_class().into()
    }

    /// The client's half of its cookie.
    pub(super) fn cookie(&self) -> Option<Vec<u8>> {
        let options = self.message.edns.as_ref()?.options();
        let (_, cookie) = options.options.first()?;
        Vec::try_from(cookie).ok().map(|cookie: Vec<u8>| cookie[..CLIENT_COOKIE].to_vec())
    }
}

/// What hickory says of the whole packet, and of the known parts of it alone, is the same.
fn assert_alike(whole: &Message, known: &Message) {
    assert_eq!(whole.metadata, known.metadata);
    assert_eq!(whole.queries, known.queries);
    assert!(whole.queries[0].name().eq_case(known.queries[0].name()));
    let fixed =
        |message: &Message| message.edns.as_ref().map(|edns| (edns.max_payload(), edns.version(), *edns.flags()));
    assert_eq!(fixed(whole), fixed(known));
}

/// Where the parts of a packet lie.
struct Outline<'p> {
    header: &'p [u8],
    question: &'p [u8],
    opt: Option<Opt<'p>>,
    /// Records that are neither question nor OPT.
    others: usize,
    /// Bytes of options that nobody here knows.
    unread: bool,
}

/// An OPT record.
struct Opt<'p> {
    /// Class and TTL.
    fixed: &'p [u8],
    /// Their codes and data.
    cookies: Vec<(u16, &'p [u8])>,
}

impl<'p> Outline<'p> {
    fn draw(packet: &'p [u8]) -> Result<Self, Fault> {
        let mut pen = Pen { packet, at: 0 };
        let header = pen.take(12)?;
        let [questions, answers, authorities, additionals] = [4, 6, 8, 10].map(|at| number(&header[at..]));
        if questions != 1 {
            return Err(Fault::Questions);
        }
        let question = pen.question()?;
        let is_ixfr = number(&question[question.len() - 4..]) == IXFR;
        if answers != 0 || authorities > u16::from(is_ixfr) {
            return Err(Fault::Records);
        }
        if additionals > MAX_ADDITIONALS {
            return Err(Fault::Additionals);
        }
        let mut outline = Self { header, question, opt: None, others: usize::from(authorities), unread: false };
        for _ in 0..authorities {
            pen.record()?;
        }
        for _ in 0..additionals {
            outline.add(&pen.record()?)?;
        }
        if pen.at == packet.len() { Ok(outline) } else { Err(Fault::TrailingBytes) }
    }

    fn add(&mut self, record: &Record<'p>) -> Result<(), Fault> {
        if record.kind != OPT {
            self.others += 1;
            return Ok(());
        }
        if self.opt.is_some() {
            return Err(Fault::SecondOpt);
        }
        match record.owner {
            [0] => {}
            [0xc0..=0xff, _] => return Err(Fault::PointedOpt),
            _ => return Err(Fault::Broken),
        }
        let version = record.fixed[3];
        let options = if version == 0 { options(record.data)? } else { Vec::new() };
        let cookies: Vec<_> = options.iter().filter(|(code, _)| *code == COOKIE).copied().collect();
        if cookies.first().is_some_and(|(_, data)| !matches!(data.len(), 8 | 16..=40)) {
            return Err(Fault::Cookie);
        }
        self.unread = cookies.len() != options.len() || version != 0 && !record.data.is_empty();
        self.opt = Some(Opt { fixed: record.fixed, cookies });
        Ok(())
    }

    /// Whether there is something that hickory interprets and that means nothing here, be it whole or not: records other
    /// than OPT (RFC 6891 §6.1.1 and RFC 8945 put OPT beside TSIG, and there may be more to come), options other than
    /// cookies (to be ignored, RFC 6891 §6.1.2), options of another version.
    fn has_foreign_parts(&self) -> bool {
        self.others > 0 || self.unread
    }

    /// The packet without its foreign parts, as hickory reads it.
    fn read_known(&self) -> Result<Message, DecodeError> {
        let counts = [0, 1, 0, 0, 0, 0, 0, u8::from(self.opt.is_some())];
        let mut packet = [&self.header[..4], &counts].concat();
        packet.extend(self.question);
        if let Some(Opt { fixed, cookies }) = &self.opt {
            let option = |(code, data): &(u16, &[u8])| [&code.to_be_bytes(), &length(data)[..], data].concat();
            let options: Vec<u8> = cookies.iter().flat_map(option).collect();
            packet.extend([&[0, 0, 41], *fixed, &length(&options), &options].concat());
        }
        Message::from_vec(&packet)
    }
}

/// Code and data of each option.
fn options(data: &[u8]) -> Result<Vec<(u16, &[u8])>, Fault> {
    let mut pen = Pen { packet: data, at: 0 };
    let mut found = Vec::new();
    while pen.at < data.len() {
        let mut option = || Ok((number(pen.take(2)?), pen.prefixed()?));
        found.push(option().map_err(|_: Fault| Fault::Options)?);
    }
    Ok(found)
}

struct Record<'p> {
    owner: &'p [u8],
    kind: u16,
    /// Class and TTL.
    fixed: &'p [u8],
    data: &'p [u8],
}

/// Draws an outline from left to right.
struct Pen<'p> {
    packet: &'p [u8],
    at: usize,
}

impl<'p> Pen<'p> {
    fn take(&mut self, count: usize) -> Result<&'p [u8], Fault> {
        let taken = self.packet.get(self.at..self.at + count).ok_or(Fault::Broken)?;
        self.at += count;
        Ok(taken)
    }

    fn prefixed(&mut self) -> Result<&'p [u8], Fault> {
        let count = number(self.take(2)?);
        self.take(usize::from(count))
    }

    /// The bytes of a name; a pointer ends it.
    fn name(&mut self) -> Result<&'p [u8], Fault> {
        let start = self.at;
        loop {
            match self.take(1)?[0] {
                0 => break,
                0xc0.. => {
                    self.take(1)?;
                    break;
                }
                length @ 1..0x40 => {
                    self.take(usize::from(length))?;
                }
                0x40..0xc0 => return Err(Fault::Broken),
            }
        }
        Ok(&self.packet[start..self.at])
    }

    fn question(&mut self) -> Result<&'p [u8], Fault> {
        let start = self.at;
        let name = self.name()?;
        if !name.ends_with(&[0]) || ends_in_pointer(name) {
            return Err(Fault::CompressedQuestion);
        }
        if name.len() > 255 {
            return Err(Fault::Broken);
        }
        self.take(4)?;
        Ok(&self.packet[start..self.at])
    }

    fn record(&mut self) -> Result<Record<'p>, Fault> {
        Ok(Record { owner: self.name()?, kind: number(self.take(2)?), fixed: self.take(6)?, data: self.prefixed()? })
    }
}

/// Whether the bytes of a name, stepped over before, end in a pointer, the second byte of which may be 0.
fn ends_in_pointer(name: &[u8]) -> bool {
    let mut at = 0;
    while name[at] != 0 {
        if name[at] >= 0xc0 {
            return true;
        }
        at += 1 + usize::from(name[at]);
    }
    false
}

fn number(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

fn length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).expect("it came out of a field whose length has 16 bits").to_be_bytes()
}

const OPT: u16 = 41;
const IXFR: u16 = 251;
const COOKIE: u16 = 10;
const CLIENT_COOKIE: usize = 8;
const MAX_ADDITIONALS: u16 = 8;
