//! What is held of a question, read as hickory reads it: how old it is, where it leads, which of its addresses are
//! private.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::svcb::{IpHint, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, SVCB};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinEncodable;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tokio::time::Instant;

use crate::name::{DomainName, NameBuf};
use crate::upstream::{Answer, Content, Failure};

/// What is known of a question at some moment.
pub(super) enum Known {
    /// An answer.
    Answer(Held),
    /// That it failed, and nothing else.
    Failure(Failure),
    /// Nothing: it must be asked.
    Nothing,
}

/// An answer, and how old it is.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) message: Message,
    age: Duration,
    pub(super) is_stale: bool,
}

impl Known {
    /// What is known at `now`: a fresh answer; while a failure is remembered, one that is past its time by less than
    /// `longest`; else nothing.
    pub(super) fn at(now: Instant, content: &Content, longest: Duration) -> Self {
        let held = content.answer.as_ref().map(|(answer, at)| Held::of(answer, now.saturating_duration_since(*at)));
        let failure = content.failure.filter(|(_, until)| *until > now).map(|(failure, _)| failure);
        match (held, failure) {
            (Some(held), _) if held.age < held.lifetime() => Self::Answer(held),
            (Some(held), Some(_)) if held.age < held.lifetime() + longest => Self::Answer(held.stale()),
            (_, Some(failure)) => Self::Failure(failure),
            (_, None) => Self::Nothing,
        }
    }

    /// What is known at `now`, when servers have just answered, or failed to: there was nothing fresh before.
    pub(super) fn after_asking(now: Instant, content: &Content, longest: Duration) -> Self {
        match (&content.answer, content.failure) {
            (Some((answer, _)), None) => Self::Answer(Held::of(answer, Duration::ZERO)),
            (_, Some((failure, _))) => {
                let remembered = Content { failure: Some((failure, now + Duration::from_secs(1))), ..content.clone() };
                Self::at(now, &remembered, longest)
            }
            (None, None) => Self::Nothing,
        }
    }
}

impl Held {
    fn of(answer: &Answer, age: Duration) -> Self {
        let message = Message::from_vec(answer.message()).expect("hickory reads what the cache holds");
        Self { message, age, is_stale: false }
    }

    /// A denial that says nothing of its lifetime.
    pub(super) fn empty(rcode: u8) -> Self {
        let mut message = Message::response(0, OpCode::Query);
        message.metadata.response_code = ResponseCode::from(0, rcode);
        Self { message, age: Duration::ZERO, is_stale: false }
    }

    fn stale(self) -> Self {
        Self { is_stale: true, ..self }
    }

    fn lifetime(&self) -> Duration {
        let records = self.message.answers.iter().chain(&self.message.authorities);
        Duration::from_secs(records.map(|record| record.ttl).min().unwrap_or_default().into())
    }

    /// The records of a section with the time they have left; stale ones are good for half a minute (RFC 8767 §4).
    pub(super) fn with_time_left(&self, section: &[Record]) -> Vec<Record> {
        let age = u32::try_from(self.age.as_secs()).unwrap_or(u32::MAX);
        let mut records = section.to_vec();
        for record in &mut records {
            record.ttl = if self.is_stale { 30 } else { record.ttl.saturating_sub(age) };
        }
        records
    }

    /// Where the answer leads: the CNAMEs first, then DNAMEs and the targets of SVCB and HTTPS.
    pub(super) fn targets(&self) -> Vec<DomainName> {
        let links = self.message.answers.iter().filter_map(|record| match &record.data {
            RData::CNAME(target) => Some(domain_name(target)),
            _ => None,
        });
        let others = self.message.answers.iter().filter_map(|record| match &record.data {
            RData::SVCB(svcb) => Some(domain_name(&svcb.target_name)),
            RData::HTTPS(https) => Some(domain_name(&https.target_name)),
            RData::Unknown { code: RecordType::DNAME, rdata } => {
                NameBuf::read(&rdata.anything).ok().map(|name| name.as_name().to_owned())
            }
            _ => None,
        });
        links.chain(others.filter(|target| !target.as_name().is_root())).collect()
    }

    /// Whether it holds an address, as a record of its own.
    pub(super) fn has_address(&self) -> bool {
        self.message.answers.iter().any(|record| record.data.ip_addr().is_some())
    }

    /// Whether it holds or hints at a private address.
    pub(super) fn has_private(&self) -> bool {
        self.message.answers.iter().any(|record| addresses(record).into_iter().any(is_private))
    }

    /// It without private addresses, and without signatures of what was changed.
    pub(super) fn without_private(&self) -> Self {
        let mut held = self.clone();
        let changed: Vec<(Name, u16)> = (self.message.answers.iter())
            .filter(|record| addresses(record).into_iter().any(is_private))
            .map(|record| (record.name.clone(), record.record_type().into()))
            .collect();
        held.message.answers.retain_mut(retain_public);
        held.message.answers.retain(|record| !signs(record, &changed));
        held
    }
}

/// A name as the policy has them.
pub(super) fn domain_name(name: &Name) -> DomainName {
    let wire = name.to_lowercase().to_bytes().expect("a name that was read");
    NameBuf::read(&wire).expect("a whole name").as_name().to_owned()
}

fn addresses(record: &Record) -> Vec<IpAddr> {
    match &record.data {
        RData::SVCB(svcb) => hints(svcb),
        RData::HTTPS(https) => hints(https),
        data => data.ip_addr().into_iter().collect(),
    }
}

fn hints(svcb: &SVCB) -> Vec<IpAddr> {
    let of = |value: &SvcParamValue| match value {
        SvcParamValue::Ipv4Hint(IpHint(hints)) => hints.iter().map(|hint| hint.0.into()).collect(),
        SvcParamValue::Ipv6Hint(IpHint(hints)) => hints.iter().map(|hint| hint.0.into()).collect(),
        _ => Vec::new(),
    };
    svcb.svc_params.iter().flat_map(|(_, value)| of(value)).collect()
}

/// Takes private hints out of a record; false: it cannot stand without its private address.
fn retain_public(record: &mut Record) -> bool {
    match &mut record.data {
        RData::SVCB(svcb) => retain_public_hints(svcb),
        RData::HTTPS(https) => retain_public_hints(&mut https.0),
        data => !data.ip_addr().is_some_and(is_private),
    }
}

/// False: a hint that the record calls mandatory (RFC 9460 §8) is gone.
fn retain_public_hints(svcb: &mut SVCB) -> bool {
    let mandatory: Vec<SvcParamKey> = svcb.svc_params.iter().flat_map(|(_, value)| mandatory_keys(value)).collect();
    let mut stands = true;
    svcb.svc_params.retain_mut(|(key, value)| {
        let is_empty = match value {
            SvcParamValue::Ipv4Hint(IpHint(hints)) => {
                hints.retain(|A(hint)| !is_private((*hint).into()));
                hints.is_empty()
            }
            SvcParamValue::Ipv6Hint(IpHint(hints)) => {
                hints.retain(|AAAA(hint)| !is_private((*hint).into()));
                hints.is_empty()
            }
            _ => false,
        };
        stands &= !(is_empty && mandatory.contains(key));
        !is_empty
    });
    stands
}

fn mandatory_keys(value: &SvcParamValue) -> Vec<SvcParamKey> {
    if let SvcParamValue::Mandatory(keys) = value { keys.0.clone() } else { Vec::new() }
}

/// Whether a record is the signature of one of these (RFC 4034 §3.1.1).
fn signs(record: &Record, signed: &[(Name, u16)]) -> bool {
    let RData::Unknown { code: RecordType::RRSIG, rdata } = &record.data else { return false };
    let covered = rdata.anything.first_chunk().map(|covered| u16::from_be_bytes(*covered));
    signed.iter().any(|(owner, kind)| *owner == record.name && covered == Some(*kind))
}

/// Whether an address is in one of the ranges that are nobody's on the Internet, or stands for one that is.
fn is_private(address: IpAddr) -> bool {
    let within = |ranges: &[&str]| {
        ranges.iter().any(|range| range.parse::<IpNet>().expect("a range written here").contains(&address))
    };
    match address {
        IpAddr::V4(_) => within(&PRIVATE_V4),
        IpAddr::V6(v6) => {
            let bits = u128::from(v6);
            let stands_for = |prefix: &str, shift: u32| {
                let prefix: Ipv6Net = prefix.parse().expect("a prefix written here");
                let inner = u32::try_from(bits >> shift & 0xffff_ffff).expect("32 bits");
                let inner = Ipv4Addr::from(inner);
                let holds = |range: &str| range.parse::<Ipv4Net>().is_ok_and(|range| range.contains(&inner));
                prefix.contains(&v6) && PRIVATE_V4.iter().any(|range| holds(range))
            };
            within(&PRIVATE_V6) || WRAPPINGS.iter().any(|(prefix, shift)| stands_for(prefix, *shift))
        }
    }
}

/// This network, RFC 1918, 6598 and 3927, loopback, broadcast.
const PRIVATE_V4: [&str; 8] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "255.255.255.255/32",
];
/// Unspecified, loopback, RFC 4193, link-local, site-local.
const PRIVATE_V6: [&str; 5] = ["::/128", "::1/128", "fc00::/7", "fe80::/10", "fec0::/10"];
/// Prefixes with an IPv4 address inside, and how many bits are to its right: compatible, mapped, translated, NAT64
/// (RFC 6052, RFC 8215), 6to4.
const WRAPPINGS: [(&str, u32); 6] = [
    ("::/96", 0),
    ("::ffff:0:0/96", 0),
    ("::ffff:0:0:0/96", 0),
    ("64:ff9b::/96", 0),
    ("64:ff9b:1::/48", 0),
    ("2002::/16", 80),
];
