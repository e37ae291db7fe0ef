//! What of a message answers its question: the chain from the question's name to records of the asked type.
//!
//! Everything else that a server sends along (records of other owners, glue, additional data, a second CNAME) is not
//! looked at again, so none of it can be relayed or cached.

use super::Question;
use super::wire::{Malformed, Message, RawRecord, kind, plain_name, rcode, read_u16, read_u32};
use crate::name::{DomainName, NameBuf, NameRef};

/// Why a server's answer to the right question is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is no response to the question, or a record of the chain cannot be read.
    #[error("a malformed answer")]
    Malformed,
    /// The chain comes back to a name it passed, or has more links than are followed.
    #[error("a chain of aliases that loops or does not end")]
    Endless,
    /// Neither success nor "no such name".
    #[error("the server failed to answer, response code {0}")]
    Refused(u16),
}

impl From<Malformed> for Fault {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// One kept record, its names whole.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) owner: DomainName,
    pub(super) kind: u16,
    pub(super) ttl: u32,
    pub(super) data: Vec<u8>,
}

/// What is kept of a message.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) rcode: u8,
    pub(super) answers: Vec<Record>,
    pub(super) authority: Vec<Record>,
    pub(super) targets: Vec<DomainName>,
    /// Whether records of the asked type were found.
    pub(super) positive: bool,
}

/// Reduces a response to the chain that its question justifies.
pub(super) fn reduce(message: &Message<'_>, question: &Question) -> Result<Kept, Fault> {
    let rcode = match message.rcode() {
        code @ (rcode::NOERROR | rcode::NXDOMAIN) => u8::try_from(code).unwrap_or_default(),
        code => return Err(Fault::Refused(code)),
    };
    let mut chain = Chain { message: *message, question, records: Vec::new(), targets: Vec::new() };
    let positive = chain.follow()?;
    let Chain { records, targets, .. } = chain;
    let last = targets.last().unwrap_or(&question.name);
    let authority = if positive { Vec::new() } else { denial(message, question, last)? };
    let mut kept = Kept { rcode, answers: records, authority, targets, positive };
    add_other_targets(&mut kept)?;
    Ok(kept)
}

struct Chain<'m> {
    message: Message<'m>,
    question: &'m Question,
    records: Vec<Record>,
    /// The names that it has led to.
    targets: Vec<DomainName>,
}

impl<'m> Chain<'m> {
    /// Walks link by link; each link is one pass over the answer section, so time is linear in the message.
    fn follow(&mut self) -> Result<bool, Fault> {
        let question = self.question;
        if question.record_type == kind::CNAME {
            // A link is what is asked for, also one that a DNAME makes.
            return Ok(self.step(question.name.as_name())?.is_some());
        }
        for _ in 0..=MAX_LINKS {
            let target = self.targets.last().cloned();
            let name = target.as_ref().unwrap_or(&question.name);
            if self.keep(name.as_name(), question.record_type, usize::MAX)? > 0 {
                return Ok(true);
            }
            let Some(target) = self.step(name.as_name())? else {
                return Ok(false);
            };
            self.targets.push(target);
        }
        Err(Fault::Endless)
    }

    /// Keeps the link that leads on from `name`: the first CNAME there, or the one that a DNAME above makes (RFC 6672).
    fn step(&mut self, name: NameRef<'_>) -> Result<Option<DomainName>, Fault> {
        let alias = self.find(|record| record.kind == kind::CNAME && record.is_owned_by(name));
        let target = alias.map(|record| record.target()).transpose()?;
        let above = self.dname_above(name);
        let rewritten = above.map(|record| rewrite(name, &record)).transpose()?.flatten();
        let rewritten_alike = rewritten.is_some() && (target.is_none() || target == rewritten);
        if let Some(above) = above.filter(|_| rewritten_alike) {
            self.keep(above.owner()?.as_name(), kind::DNAME, 1)?;
        }
        if target.is_some() {
            self.keep(name, kind::CNAME, 1)?;
            return Ok(target);
        }
        if let (Some(above), Some(rewritten)) = (above, &rewritten) {
            let (owner, data) = (name.to_owned(), rewritten.as_wire().to_vec());
            self.records.push(Record { owner, kind: kind::CNAME, ttl: above.ttl, data });
        }
        Ok(rewritten)
    }

    /// The DNAME that rewrites `name`: the topmost, which hides whatever else stands below it (RFC 6672 §2.4).
    fn dname_above(&self, name: NameRef<'_>) -> Option<RawRecord<'m>> {
        let is_above = |record: &RawRecord<'_>| record.owner().is_ok_and(|owner| is_below(name, owner.as_name()));
        let dnames =
            self.message.answers().filter(|record| record.class == kind::CLASS_IN && record.kind == kind::DNAME);
        dnames.filter(is_above).min_by_key(|record| record.owner().map_or(0, |owner| owner.as_name().as_wire().len()))
    }

    fn find(&self, wanted: impl Fn(&RawRecord<'_>) -> bool) -> Option<RawRecord<'m>> {
        self.message.answers().find(|record| record.class == kind::CLASS_IN && wanted(record))
    }

    /// Keeps up to `most` records of one owner and type, and their signatures if the client wants them.
    fn keep(&mut self, owner: NameRef<'_>, kind: u16, most: usize) -> Result<usize, Malformed> {
        let found = self.message.answers().filter(|record| is_of(record, owner, kind)).take(most);
        let before = self.records.len();
        for record in found {
            self.records.push(whole(&record, owner)?);
        }
        let kept = self.records.len() - before;
        if self.question.dnssec.ok && kept > 0 && kind != kind::RRSIG {
            for record in self.message.answers().filter(|record| is_of(record, owner, kind::RRSIG)) {
                if read_u16(record.raw_data(), 0)? == kind {
                    self.records.push(whole(&record, owner)?);
                }
            }
        }
        Ok(kept)
    }
}

fn is_of(record: &RawRecord<'_>, owner: NameRef<'_>, kind: u16) -> bool {
    record.kind == kind && record.class == kind::CLASS_IN && record.is_owned_by(owner)
}

fn is_below(name: NameRef<'_>, above: NameRef<'_>) -> bool {
    name != above && name.is_within(above)
}

fn whole(record: &RawRecord<'_>, owner: NameRef<'_>) -> Result<Record, Malformed> {
    let data = record.data()?;
    let right_length = match record.kind {
        kind::A => data.len() == 4,
        kind::AAAA => data.len() == 16,
        _ => true,
    };
    let ttl = if record.ttl > i32::MAX.unsigned_abs() { 0 } else { record.ttl }; // RFC 2181 §8
    right_length.then(|| Record { owner: owner.to_owned(), kind: record.kind, ttl, data }).ok_or(Malformed)
}

/// The name with the DNAME's owner replaced by its target; `None` if that is too long for a name (RFC 6672 §2.2).
fn rewrite(name: NameRef<'_>, record: &RawRecord<'_>) -> Result<Option<DomainName>, Malformed> {
    let target = record.target()?;
    let kept = name.as_wire().len() - record.owner()?.as_name().as_wire().len();
    let rewritten = [&name.as_wire()[..kept], target.as_wire()].concat();
    Ok(NameBuf::read(&rewritten).ok().map(|name| name.as_name().to_owned()))
}

/// What says that there is nothing: the SOA of a zone that holds the chain's last name (RFC 2308), with the signed
/// proof from within that zone when the client wants it.
fn denial(message: &Message<'_>, question: &Question, name: &DomainName) -> Result<Vec<Record>, Malformed> {
    let mut soas = message.authority().filter(|record| record.kind == kind::SOA && record.class == kind::CLASS_IN);
    let holds = |owner: &NameBuf| name.as_name().is_within(owner.as_name());
    let found = soas.find_map(|soa| Some((soa, soa.owner().ok().filter(holds)?)));
    let Some((soa, zone)) = found else {
        return Ok(Vec::new());
    };
    let zone = zone.as_name();
    let mut kept = whole(&soa, zone)?;
    let minimum = read_u32(&kept.data, kept.data.len() - 4)?;
    kept.ttl = kept.ttl.min(minimum);
    let mut records = vec![kept];
    if question.dnssec.ok {
        let proofs = message.authority().filter(|record| {
            let proof = matches!(record.kind, kind::RRSIG | kind::NSEC | kind::NSEC3);
            let within = || record.owner().is_ok_and(|owner| owner.as_name().is_within(zone));
            proof && record.class == kind::CLASS_IN && within()
        });
        for record in proofs.filter(|record| !signs_something_else(record)).take(MAX_PROOFS) {
            records.push(whole(&record, record.owner()?.as_name())?);
        }
    }
    Ok(records)
}

fn signs_something_else(record: &RawRecord<'_>) -> bool {
    let covered = read_u16(record.raw_data(), 0);
    record.kind == kind::RRSIG && !matches!(covered, Ok(kind::SOA | kind::NSEC | kind::NSEC3))
}

/// Adds where DNAME, HTTPS and SVCB records of the chain lead, and a CNAME that was asked for by its type.
fn add_other_targets(kept: &mut Kept) -> Result<(), Malformed> {
    for record in &kept.answers {
        let at = match record.kind {
            kind::CNAME | kind::DNAME => 0,
            kind::SVCB | kind::HTTPS => 2,
            _ => continue,
        };
        let (target, _) = plain_name(&record.data, at)?;
        if !target.as_name().is_root() && !kept.targets.contains(&target) {
            kept.targets.push(target);
        }
    }
    Ok(())
}

/// More links than a sensible chain has; a ring runs out of them too. CVE-2019-19331 is about longer ones.
const MAX_LINKS: usize = 8;
/// More denial-of-existence records than any negative answer needs (RFC 5155 §7.2: three, signed).
const MAX_PROOFS: usize = 12;

#[cfg(test)]
mod tests;
