//! DNS messages as bytes, read without trust: header, question, records (RFC 1035 §4), and a writer that compresses.
//!
//! Nothing here allocates by what a message claims, compression pointers only lead backwards (RFC 9267), and reading
//! costs time linear in the message. Knows nothing of what a message is good for.

use crate::name::{DomainName, MAX_LABEL, MAX_NAME, NameBuf, NameRef};

/// Record types and the one class that this module tree speaks of by name.
pub(super) mod kind {
    pub(in crate::upstream) const A: u16 = 1;
    pub(in crate::upstream) const NS: u16 = 2;
    pub(in crate::upstream) const CNAME: u16 = 5;
    pub(in crate::upstream) const SOA: u16 = 6;
    pub(in crate::upstream) const PTR: u16 = 12;
    pub(in crate::upstream) const MX: u16 = 15;
    pub(in crate::upstream) const AAAA: u16 = 28;
    pub(in crate::upstream) const SRV: u16 = 33;
    pub(in crate::upstream) const DNAME: u16 = 39;
    pub(in crate::upstream) const OPT: u16 = 41;
    pub(in crate::upstream) const RRSIG: u16 = 46;
    pub(in crate::upstream) const NSEC: u16 = 47;
    pub(in crate::upstream) const NSEC3: u16 = 50;
    pub(in crate::upstream) const SVCB: u16 = 64;
    pub(in crate::upstream) const HTTPS: u16 = 65;
    pub(in crate::upstream) const CLASS_IN: u16 = 1;
}

/// Response codes that are looked at (RFC 1035 §4.1.1).
pub(super) mod rcode {
    pub(in crate::upstream) const NOERROR: u16 = 0;
    pub(in crate::upstream) const FORMERR: u16 = 1;
    pub(in crate::upstream) const NXDOMAIN: u16 = 3;
    pub(in crate::upstream) const NOTIMP: u16 = 4;
}

/// The fixed part of every message.
pub(super) const HEADER: usize = 12;
/// Header flag: this is a response.
pub(super) const QR: u16 = 0x8000;
/// Header flag: the message was cut to fit a datagram.
const TC: u16 = 0x0200;
/// Header flag: please recurse.
pub(super) const RD: u16 = 0x0100;
/// Header flag: the client wants no validation done for it (RFC 4035 §3.2.2).
pub(super) const CD: u16 = 0x0010;
/// More pointers than a name can have labels.
const MAX_HOPS: usize = 127;
/// Room for the records of most answers.
const USUAL_RECORDS: usize = 68;
/// Names that are pointed at: more than any answer has that is not made to cost time.
const MAX_KNOWN: usize = 64;

/// The bytes are no DNS message, or a record in them is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a malformed message")]
pub(super) struct Malformed;

/// A message of one question whose records have all been walked over once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    bytes: &'a [u8],
    layout: Layout,
}

/// Where the parts of a message stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    question_end: usize,
    authorities: usize,
    additionals: usize,
    end: usize,
}

/// One record, its data still as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawRecord<'a> {
    message: &'a [u8],
    owner: usize,
    pub(super) kind: u16,
    pub(super) class: u16,
    pub(super) ttl: u32,
    data: usize,
    end: usize,
}

impl<'a> Message<'a> {
    /// Reads a response to one question. A truncated one is read no further than its question: what follows was cut.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let flags = read_u16(bytes, 2)?;
        let one_question = read_u16(bytes, 4)? == 1;
        let plain_query = flags & 0x7800 == 0;
        if flags & QR == 0 || !one_question || !plain_query {
            return Err(Malformed);
        }
        let question_end = skip_name(bytes, HEADER)? + 4;
        if bytes.len() < question_end {
            return Err(Malformed);
        }
        let mut layout =
            Layout { question_end, authorities: question_end, additionals: question_end, end: question_end };
        if flags & TC == 0 {
            layout.authorities = skip_records(bytes, question_end, read_u16(bytes, 6)?)?;
            layout.additionals = skip_records(bytes, layout.authorities, read_u16(bytes, 8)?)?;
            layout.end = skip_records(bytes, layout.additionals, read_u16(bytes, 10)?)?;
        }
        Ok(Self { bytes, layout })
    }

    /// The message that was laid out so, when no more than the case of letters has changed in it since.
    pub(super) fn again(bytes: &'a [u8], layout: Layout) -> Self {
        Self { bytes, layout }
    }

    /// Where its parts stand.
    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    /// The id that the sender chose.
    pub(super) fn id(&self) -> u16 {
        u16::from_be_bytes([self.bytes[0], self.bytes[1]])
    }

    /// Whether the sender cut the message to fit.
    pub(super) fn truncated(&self) -> bool {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]]) & TC != 0
    }

    /// The question as it stands: name, type, class.
    pub(super) fn question(&self) -> &'a [u8] {
        &self.bytes[HEADER..self.layout.question_end]
    }

    /// The response code, with the upper bits of an OPT record (RFC 6891 §6.1.3).
    pub(super) fn rcode(&self) -> u16 {
        let upper = self.section(self.layout.additionals, self.layout.end).find(|record| record.kind == kind::OPT);
        let upper = upper.map_or(0, |opt| u16::from(opt.ttl.to_be_bytes()[0]) << 4);
        upper | u16::from(self.bytes[3] & 0x0f)
    }

    /// The records of the answer section.
    pub(super) fn answers(&self) -> impl Iterator<Item = RawRecord<'a>> + use<'a> {
        self.section(self.layout.question_end, self.layout.authorities)
    }

    /// The records of the authority section.
    pub(super) fn authority(&self) -> impl Iterator<Item = RawRecord<'a>> + use<'a> {
        self.section(self.layout.authorities, self.layout.additionals)
    }

    fn section(&self, start: usize, end: usize) -> impl Iterator<Item = RawRecord<'a>> + use<'a> {
        let bytes = self.bytes;
        let mut at = start;
        std::iter::from_fn(move || {
            let record = (at < end).then(|| read_record(bytes, at).ok())??;
            at = record.end;
            Some(record)
        })
    }
}

impl<'a> RawRecord<'a> {
    /// Whose record it is, whole and in lower case.
    pub(super) fn owner(&self) -> Result<NameBuf, Malformed> {
        let mut owner = [0; MAX_NAME];
        expand_into(self.message, self.owner, &mut owner)?;
        NameBuf::read(&owner).map_err(|_| Malformed)
    }

    /// Whether it is a record of this name.
    pub(super) fn is_owned_by(&self, name: NameRef<'_>) -> bool {
        is_name(self.message, self.owner, name)
    }

    /// The data as it came: names in it may be compressed.
    pub(super) fn raw_data(&self) -> &'a [u8] {
        &self.message[self.data..self.end]
    }

    /// The data with every name in it whole (RFC 3597 §4 lists the types whose names may be compressed).
    pub(super) fn data(&self) -> Result<Vec<u8>, Malformed> {
        let (prefix, names, suffix) = match self.kind {
            kind::CNAME | kind::DNAME | kind::NS | kind::PTR => (0, 1, 0),
            kind::SOA => (0, 2, 20),
            kind::MX => (2, 1, 0),
            kind::SRV => (6, 1, 0),
            _ => return Ok(self.raw_data().to_vec()),
        };
        let mut at = self.data + prefix;
        let mut data = self.message.get(self.data..at).ok_or(Malformed)?.to_vec();
        for _ in 0..names {
            at = expand(self.message, at, &mut data)?;
        }
        if at + suffix != self.end {
            return Err(Malformed);
        }
        data.extend_from_slice(&self.message[at..self.end]);
        Ok(data)
    }

    /// The name that the data consists of, in lower case: the target of a CNAME or DNAME.
    pub(super) fn target(&self) -> Result<DomainName, Malformed> {
        let mut name = Vec::with_capacity(MAX_NAME);
        let end = expand(self.message, self.data, &mut name)?;
        let name = NameBuf::read(&name).map_err(|_| Malformed)?;
        if end == self.end { Ok(name.as_name().to_owned()) } else { Err(Malformed) }
    }
}

/// A message being written. Names are compressed against the names written before, the question's at offset 12 first.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    /// Where names stand that can be pointed at.
    known: [u16; MAX_KNOWN],
    known_count: usize,
}

impl Writer {
    /// Begins a message of zeroed header and question.
    pub(super) fn new(name: NameRef<'_>, record_type: u16) -> Self {
        let mut bytes = Vec::with_capacity(HEADER + name.as_wire().len() + USUAL_RECORDS);
        bytes.resize(HEADER, 0);
        let mut writer = Self { bytes, known: [0; MAX_KNOWN], known_count: 0 };
        writer.name(name);
        writer.bytes.extend_from_slice(&record_type.to_be_bytes());
        writer.bytes.extend_from_slice(&kind::CLASS_IN.to_be_bytes());
        writer
    }

    /// How many bytes have been written.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a name, as a pointer from the first suffix that was written before.
    pub(super) fn name(&mut self, name: NameRef<'_>) {
        for suffix in name.ancestors() {
            if suffix.is_root() {
                self.bytes.push(0);
                return;
            }
            if let Some(offset) = self.known().iter().find(|at| is_name(&self.bytes, usize::from(**at), suffix)) {
                self.bytes.extend_from_slice(&(0xc000 | offset).to_be_bytes());
                return;
            }
            if let (Ok(offset @ ..0x4000), ..MAX_KNOWN) = (u16::try_from(self.bytes.len()), self.known_count) {
                self.known[self.known_count] = offset;
                self.known_count += 1;
            }
            let label = usize::from(suffix.as_wire()[0]);
            self.bytes.extend_from_slice(&suffix.as_wire()[..=label]);
        }
    }

    fn known(&self) -> &[u16] {
        &self.known[..self.known_count]
    }

    /// Appends bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Overwrites two bytes that were written before.
    pub(super) fn patch(&mut self, at: usize, value: u16) {
        self.bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }

    /// The message.
    pub(super) fn finish(self) -> Box<[u8]> {
        self.bytes.into_boxed_slice()
    }
}

/// Reads a name that stands uncompressed in `data` at `at`, in lower case, with the place after it.
pub(super) fn plain_name(data: &[u8], at: usize) -> Result<(DomainName, usize), Malformed> {
    let name = NameBuf::read(data.get(at..).ok_or(Malformed)?).map_err(|_| Malformed)?;
    Ok((name.as_name().to_owned(), at + name.as_name().as_wire().len()))
}

pub(super) fn read_u16(bytes: &[u8], at: usize) -> Result<u16, Malformed> {
    let pair = bytes.get(at..at + 2).ok_or(Malformed)?;
    Ok(u16::from_be_bytes([pair[0], pair[1]]))
}

pub(super) fn read_u32(bytes: &[u8], at: usize) -> Result<u32, Malformed> {
    Ok(u32::from(read_u16(bytes, at)?) << 16 | u32::from(read_u16(bytes, at + 2)?))
}

/// Changes the TTL of each record in a row of records that was written here. Allocates nothing: part of every hit.
pub(super) fn change_ttls(records: &mut [u8], change: impl Fn(u32) -> u32) {
    let mut at = 0;
    while let Some(owner) = written_name(records, at) {
        at += owner;
        let Some([.., ttl_0, ttl_1, ttl_2, ttl_3, length_0, length_1]) = records.get_mut(at..at + 10) else {
            return;
        };
        let ttl = change(u32::from_be_bytes([*ttl_0, *ttl_1, *ttl_2, *ttl_3]));
        [*ttl_0, *ttl_1, *ttl_2, *ttl_3] = ttl.to_be_bytes();
        at += 10 + usize::from(u16::from_be_bytes([*length_0, *length_1]));
    }
}

/// How many bytes the name at `at` takes where it stands, a pointer at its end included.
fn written_name(bytes: &[u8], at: usize) -> Option<usize> {
    let mut length = 0;
    loop {
        match *bytes.get(at + length)? {
            0 => return Some(length + 1),
            0xc0.. => return Some(length + 2),
            label => length += usize::from(label) + 1,
        }
    }
}

fn skip_records(bytes: &[u8], mut at: usize, count: u16) -> Result<usize, Malformed> {
    for _ in 0..count {
        at = read_record(bytes, at)?.end;
    }
    Ok(at)
}

fn read_record(message: &[u8], at: usize) -> Result<RawRecord<'_>, Malformed> {
    let (owner, fixed) = (at, skip_name(message, at)?);
    let data = fixed + 10;
    let end = data + usize::from(read_u16(message, fixed + 8)?);
    if end > message.len() {
        return Err(Malformed);
    }
    let (kind, class, ttl) = (read_u16(message, fixed)?, read_u16(message, fixed + 2)?, read_u32(message, fixed + 4)?);
    Ok(RawRecord { message, owner, kind, class, ttl, data, end })
}

/// The place after the name at `at`.
fn skip_name(message: &[u8], at: usize) -> Result<usize, Malformed> {
    walk(message, at, |_label| {})
}

/// Whether the name at `at` is this one, in whatever letters.
fn is_name(message: &[u8], at: usize, name: NameRef<'_>) -> bool {
    let mut rest = Some(name.as_wire());
    let walked = walk(message, at, |label| {
        let split = rest.and_then(|rest| rest.split_at_checked(label.len()));
        rest = split.filter(|(own, _)| own.eq_ignore_ascii_case(label)).map(|(_, rest)| rest);
    });
    walked.is_ok() && rest.is_some_and(<[u8]>::is_empty)
}

/// Appends the name at `at`, whole and in its own case; returns the place after it.
fn expand(message: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, Malformed> {
    walk(message, at, |label| out.extend_from_slice(label))
}

/// Copies the name at `at` into `out`.
fn expand_into(message: &[u8], at: usize, out: &mut [u8; MAX_NAME]) -> Result<(), Malformed> {
    let mut length = 0;
    walk(message, at, |label| {
        out[length..length + label.len()].copy_from_slice(label);
        length += label.len();
    })?;
    Ok(())
}

/// Hands each label of the name at `at` to `each`, its length before it, following pointers; they are 255 bytes together
/// at most. Returns the place after the name in the message.
fn walk<'m>(message: &'m [u8], mut at: usize, mut each: impl FnMut(&'m [u8])) -> Result<usize, Malformed> {
    let mut length = 0;
    let mut end = None;
    for _ in 0..=MAX_HOPS {
        let lowest = at;
        loop {
            let label = usize::from(*message.get(at).ok_or(Malformed)?);
            if label > MAX_LABEL {
                break;
            }
            length += label + 1;
            if length > MAX_NAME {
                return Err(Malformed);
            }
            each(message.get(at..=at + label).ok_or(Malformed)?);
            at += label + 1;
            if label == 0 {
                return Ok(end.unwrap_or(at));
            }
        }
        let pointer = read_u16(message, at)?;
        end.get_or_insert(at + 2);
        at = usize::from(pointer & 0x3fff);
        if pointer < 0xc000 || at >= lowest {
            return Err(Malformed);
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A response with the question `a.` A, then `rest` as its records.
    fn response(answers: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 7, 0x80, 0, 0, 1, 0, answers, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1];
        bytes.extend_from_slice(rest);
        bytes
    }

    #[test]
    fn a_pointer_that_leads_forwards_or_to_itself_is_malformed() {
        for pointer in [[0xc0, 19], [0xc0, 25]] {
            let record = [&pointer[..], &[0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 1, 2, 3, 4]].concat();
            assert_eq!(Message::parse(&response(1, &record)).unwrap_err(), Malformed);
        }
    }

    #[test]
    fn a_chain_of_pointers_longer_than_any_name_is_malformed() {
        let mut rest = vec![0, 0, 10, 0, 1, 0, 0, 0, 1, 0x01, 0x90];
        let data = HEADER + 7 + rest.len();
        rest.extend_from_slice(&[0xc0, 12]);
        for hop in 1..200u16 {
            rest.extend_from_slice(&(0xc000 | (u16::try_from(data).unwrap() + 2 * (hop - 1))).to_be_bytes());
        }
        rest.extend_from_slice(&(0xc000 | (u16::try_from(data).unwrap() + 398)).to_be_bytes());
        rest.extend_from_slice(&[0, 1, 0, 1, 0, 0, 0, 1, 0, 0]);
        assert_eq!(Message::parse(&response(2, &rest)).unwrap_err(), Malformed);
    }

    #[test]
    fn queries_and_messages_without_exactly_one_question_are_no_answers() {
        let good = response(0, &[]);
        assert!(Message::parse(&good).is_ok());
        for (at, value) in [(2, 0x00), (5, 0), (5, 2), (2, 0x88)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(Message::parse(&bad).is_err(), "byte {at} = {value:#x}");
        }
    }

    #[test]
    fn the_upper_bits_of_the_response_code_come_from_the_opt_record() {
        let mut bytes = response(0, &[0, 0, 41, 4, 0xd0, 1, 0, 0, 0, 0, 0]);
        bytes[11] = 1;
        assert_eq!(Message::parse(&bytes).unwrap().rcode(), 16);
    }

    #[test]
    fn what_is_written_twice_is_written_once() {
        let name: DomainName = "layers.example.com".parse().unwrap();
        let sibling: DomainName = "x.example.com".parse().unwrap();
        let mut writer = Writer::new(name.as_name(), kind::A);
        let question = writer.len();
        writer.name(name.as_name());
        writer.name(sibling.as_name());
        assert_eq!(writer.finish()[question..], [0xc0, 12, 1, b'x', 0xc0, 19]);
    }

    proptest! {
        #[test]
        fn reading_arbitrary_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600), answers in 0u8..4) {
            for bytes in [bytes.clone(), response(answers, &bytes)] {
                if let Ok(message) = Message::parse(&bytes) {
                    message.rcode();
                    for record in message.answers().chain(message.authority()) {
                        let _ = (record.data(), record.target());
                    }
                }
            }
        }
    }
}
