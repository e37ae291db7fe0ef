//! One upstream answer, reduced to the chain that its question justifies, and encoded once for every client after.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::addresses::is_private;
use super::chain::{Fault, Kept, Record, reduce};
use super::query::{Edns, Letters, Query};
use super::wire::{HEADER, Malformed, Message, Writer, change_ttls, kind, read_u16, read_u32};
use super::{Dnssec, Lookup, Question, svcb};
use crate::name::{DomainName, NameBuf};

/// An answer as it is held: records in wire form, names in lower case and compressed against the question's name at
/// offset 12 of the message they will stand in; with what a policy wants to know of them beside.
#[derive(Clone, Debug)]
pub struct Answer {
    /// A whole message: header, question, records. Only the records leave this module.
    message: Box<[u8]>,
    /// Where the records begin.
    body: u16,
    counts: [u16; 2],
    rcode: u8,
    /// In seconds.
    lifetime: u32,
    has_private: bool,
    targets: Box<[DomainName]>,
}

impl Answer {
    /// Reduces a server's response to this lookup, as bytes from the network; its id is not looked at.
    ///
    /// # Errors
    /// The bytes are no response to the question, or hold a failure or an endless chain.
    pub fn parse(response: &[u8], lookup: &Lookup<'_>, max_ttl: Duration) -> Result<Self, Fault> {
        let message = Message::parse(response)?;
        let question = lookup.question();
        if message.truncated() || !Query::new(&question, Letters::Lower, Edns::Yes).asks_what(&message) {
            return Err(Fault::Malformed);
        }
        Self::read(&message, &question, max_ttl)
    }

    /// Reduces a server's response. TTLs are capped at `max_ttl`, so that no later refresh is put off for longer.
    pub(super) fn read(message: &Message<'_>, question: &Question, max_ttl: Duration) -> Result<Self, Fault> {
        let mut kept = reduce(message, question)?;
        let cap = u32::try_from(max_ttl.as_secs()).unwrap_or(u32::MAX);
        for record in kept.answers.iter_mut().chain(&mut kept.authority) {
            record.ttl = record.ttl.min(cap);
        }
        Ok(Self::encode(kept, question)?)
    }

    fn encode(kept: Kept, question: &Question) -> Result<Self, Malformed> {
        let mut writer = Writer::new(question.name.as_name(), question.record_type);
        let counts = [kept.answers.len(), kept.authority.len()];
        let counts = counts.map(|count| u16::try_from(count).unwrap_or(u16::MAX));
        writer.patch(2, 0x8000 | u16::from(kept.rcode));
        for (at, count) in [(4, 1), (6, counts[0]), (8, counts[1])] {
            writer.patch(at, count);
        }
        let body = u16::try_from(writer.len()).map_err(|_| Malformed)?;
        for record in kept.answers.iter().chain(&kept.authority) {
            write_record(&mut writer, record)?;
            if writer.len() > MAX_MESSAGE {
                return Err(Malformed);
            }
        }
        let mut has_private = false;
        for record in &kept.answers {
            has_private |= addresses_of(record.kind, &record.data)?.into_iter().any(is_private);
        }
        Ok(Self {
            message: writer.finish(),
            body,
            counts,
            rcode: kept.rcode,
            lifetime: lifetime(&kept),
            has_private,
            targets: kept.targets.into(),
        })
    }

    /// NOERROR (0) or NXDOMAIN (3).
    pub fn rcode(&self) -> u8 {
        self.rcode
    }

    /// How many records [`write`](Self::write) appends: of the answer section, of the authority section.
    pub fn counts(&self) -> [u16; 2] {
        self.counts
    }

    /// Appends the records, answer section first, with `age` taken off their TTLs; `stale` ones all have 30 s
    /// (RFC 8767). They fit a message in which the question's name stands at offset 12, as every question's does.
    pub fn write(&self, age: Duration, stale: bool, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.message[usize::from(self.body)..]);
        let age = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
        change_ttls(&mut out[start..], |held| if stale { STALE_TTL } else { held.saturating_sub(age) });
    }

    /// A whole message: header, the question in lower case, the records with the TTLs they came with.
    #[cfg(any(test, fuzzing))]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The names that the answer leads to: of CNAMEs in the order of the chain, of DNAME, SVCB and HTTPS records.
    pub fn targets(&self) -> &[DomainName] {
        &self.targets
    }

    /// The addresses that a client may connect to: A, AAAA, and the hints of SVCB and HTTPS records.
    pub fn addresses(&self) -> Vec<IpAddr> {
        // Read again by whoever needs them: held beside, they would take as much memory as the records.
        let records = Message::parse(&self.message).into_iter().flat_map(|message| message.answers());
        records.flat_map(|record| addresses_of(record.kind, record.raw_data()).unwrap_or_default()).collect()
    }

    /// Whether an address is private, loopback, link-local, or one of those in IPv6 clothes.
    pub fn has_private(&self) -> bool {
        self.has_private
    }

    /// The answer without the records and hints that [`has_private`](Self::has_private) is about, and without the
    /// signatures that no longer fit. The chain stays; nothing else may be left.
    #[must_use]
    pub fn without_private(&self) -> Self {
        self.strip().unwrap_or_else(|_| self.emptied())
    }

    fn strip(&self) -> Result<Self, Malformed> {
        let name = NameBuf::read(&self.message[HEADER..]).map_err(|_| Malformed)?.as_name().to_owned();
        let record_type = read_u16(&self.message, usize::from(self.body) - 4)?;
        let question = Question { name, record_type, dnssec: Dnssec { ok: true, checking_disabled: false } };
        let message = Message::parse(&self.message)?;
        let mut kept = reduce(&message, &question).map_err(|_| Malformed)?;
        let signed = kept.answers.iter().any(|record| record.kind == kind::RRSIG);
        let mut altered = Vec::new();
        kept.answers.retain_mut(|record| retain_public(record, &mut altered));
        if signed {
            kept.answers.retain(|record| !covers(record, &altered));
        }
        Self::encode(kept, &question)
    }

    /// The same verdict with no records: what is left when even the chain cannot be read again.
    fn emptied(&self) -> Self {
        let message = self.message[..usize::from(self.body)].into();
        Self {
            message,
            body: self.body,
            counts: [0; 2],
            rcode: self.rcode,
            lifetime: self.lifetime,
            has_private: false,
            targets: Box::default(),
        }
    }

    /// How long the answer is good for: the least of its TTLs; nothing for a negative one without SOA (RFC 2308 §5).
    pub(super) fn lifetime(&self) -> Duration {
        Duration::from_secs(self.lifetime.into())
    }

    /// About how many bytes of memory it takes.
    pub(super) fn weight(&self) -> usize {
        let targets: usize = self.targets.iter().map(|target| target.as_wire().len() + size_of::<DomainName>()).sum();
        size_of::<Self>() + self.message.len() + targets
    }
}

fn write_record(writer: &mut Writer, record: &Record) -> Result<(), Malformed> {
    writer.name(record.owner.as_name());
    writer.raw(&record.kind.to_be_bytes());
    writer.raw(&kind::CLASS_IN.to_be_bytes());
    writer.raw(&record.ttl.to_be_bytes());
    let length = writer.len();
    writer.raw(&[0, 0]);
    write_data(writer, record)?;
    let written = u16::try_from(writer.len() - length - 2).map_err(|_| Malformed)?;
    writer.patch(length, written);
    Ok(())
}

/// Names are compressed in the data of CNAME and SOA only: the two types seen here that every reader expects it of.
fn write_data(writer: &mut Writer, record: &Record) -> Result<(), Malformed> {
    let names = match record.kind {
        kind::CNAME => 1,
        kind::SOA => 2,
        _ => 0,
    };
    let mut rest = &record.data[..];
    for _ in 0..names {
        let name = NameBuf::read(rest).map_err(|_| Malformed)?;
        writer.name(name.as_name());
        rest = &rest[name.as_name().as_wire().len()..];
    }
    writer.raw(rest);
    Ok(())
}

fn lifetime(kept: &Kept) -> u32 {
    if !kept.positive && kept.authority.is_empty() {
        return 0;
    }
    kept.answers.iter().chain(&kept.authority).map(|record| record.ttl).min().unwrap_or_default()
}

/// The addresses in the data of a record of this type.
fn addresses_of(kind: u16, data: &[u8]) -> Result<Vec<IpAddr>, Malformed> {
    match (kind, data) {
        (kind::A, data) => Ok(vec![Ipv4Addr::from(read_u32(data, 0)?).into()]),
        (kind::AAAA, data) => Ok(vec![Ipv6Addr::from(<[u8; 16]>::try_from(data).map_err(|_| Malformed)?).into()]),
        (kind::SVCB | kind::HTTPS, data) => svcb::hints(data),
        _ => Ok(Vec::new()),
    }
}

/// Takes private addresses out of a record; false if nothing is left of it. Notes what was altered.
fn retain_public(record: &mut Record, altered: &mut Vec<(DomainName, u16)>) -> bool {
    let addresses = addresses_of(record.kind, &record.data).unwrap_or_default();
    if !addresses.into_iter().any(is_private) {
        return true;
    }
    altered.push((record.owner.clone(), record.kind));
    let hinted = matches!(record.kind, kind::SVCB | kind::HTTPS);
    match hinted.then(|| svcb::without_private_hints(&record.data)).flatten() {
        Some(data) => {
            record.data = data;
            true
        }
        None => false,
    }
}

fn covers(record: &Record, altered: &[(DomainName, u16)]) -> bool {
    let covered = read_u16(&record.data, 0);
    let of = |(owner, kind): &(DomainName, u16)| *owner == record.owner && covered == Ok(*kind);
    record.kind == kind::RRSIG && altered.iter().any(of)
}

/// The TTL of records served past their time (RFC 8767 §4).
const STALE_TTL: u32 = 30;
/// More than a message can hold beside a question and an OPT record.
const MAX_MESSAGE: usize = 65_000;
