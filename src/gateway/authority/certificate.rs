//! What the certificate of an authority says, as far as the gateway and its users need it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, GeneralSubtree};
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::name::{DomainName, NameRef};

/// A certificate that may sign others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaCertificate {
    der: CertificateDer<'static>,
    subject: String,
    public_key: Vec<u8>,
    not_before: SystemTime,
    not_after: SystemTime,
    /// The names it may sign for; `None`: every name.
    permitted: Option<Vec<Subtree>>,
    excluded: Vec<Subtree>,
    is_self_signed: bool,
}

/// A name and what lies below it, as name constraints have them (RFC 5280 §4.2.1.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subtree {
    base: DomainName,
    /// With a leading dot, as OpenSSL and others read it: not the name itself.
    below_only: bool,
}

/// Why bytes are no certificate of an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// No PEM block of a certificate.
    #[error("no certificate in PEM")]
    NotPem,
    /// Bytes that are no X.509 certificate.
    #[error("a certificate that cannot be read")]
    NotX509,
    /// It is no authority's, or may not sign certificates.
    #[error("a certificate that may not sign others")]
    NotAnAuthority,
    /// Name constraints that cannot be read.
    #[error("a certificate whose name constraints cannot be read")]
    Constraints,
}

/// Every certificate in a text of PEM blocks; other blocks are passed over.
///
/// # Errors
/// None is in it, or one is no authority's.
pub fn parse_pem(text: &[u8]) -> Result<Vec<CaCertificate>, CertificateFault> {
    let mut found = Vec::new();
    for der in CertificateDer::pem_slice_iter(text) {
        found.push(CaCertificate::parse(der.map_err(|_| CertificateFault::NotPem)?)?);
    }
    if found.is_empty() { Err(CertificateFault::NotPem) } else { Ok(found) }
}

impl CaCertificate {
    /// Reads one.
    ///
    /// # Errors
    /// It is no certificate, no authority's, or its constraints are not understood.
    pub fn parse(der: CertificateDer<'static>) -> Result<Self, CertificateFault> {
        let (rest, read) = X509Certificate::from_der(&der).map_err(|_| CertificateFault::NotX509)?;
        if !rest.is_empty() {
            return Err(CertificateFault::NotX509);
        }
        if !may_sign(&read)? {
            return Err(CertificateFault::NotAnAuthority);
        }
        let constraints = read.name_constraints().map_err(|_| CertificateFault::Constraints)?;
        let subtrees = |list: &Option<Vec<GeneralSubtree<'_>>>| list.as_deref().map_or(Ok(Vec::new()), subtrees);
        let (permitted, excluded) = match constraints {
            Some(found) => (subtrees(&found.value.permitted_subtrees)?, subtrees(&found.value.excluded_subtrees)?),
            None => (Vec::new(), Vec::new()),
        };
        let subject = visible(&read.subject().to_string());
        let public_key = read.public_key().subject_public_key.data.to_vec();
        let (not_before, not_after) = (moment(read.validity().not_before), moment(read.validity().not_after));
        let is_self_signed = read.subject().as_raw() == read.issuer().as_raw();
        // Of the names only those of hosts are constrained, and only if one is listed.
        let permitted = (!permitted.is_empty()).then_some(permitted);
        Ok(Self { der, subject, public_key, not_before, not_after, permitted, excluded, is_self_signed })
    }

    /// Its bytes.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The same, kept.
    pub fn into_der(self) -> CertificateDer<'static> {
        self.der
    }

    /// The same as a block of PEM (RFC 7468).
    pub fn to_pem(&self) -> String {
        let text = data_encoding::BASE64.encode(&self.der);
        let lines = text.as_bytes().chunks(PEM_LINE).map(|line| String::from_utf8_lossy(line).into_owned() + "\n");
        format!("-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n", lines.collect::<String>())
    }

    /// Its subject: `CN=pullgate image gateway 2026-11-28 1f2e`.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// SHA-256 over its bytes, as tools show it: pairs of digits with colons between.
    pub fn fingerprint(&self) -> String {
        Sha256::digest(&self.der).iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
    }

    /// When it begins to count.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// When it ends to.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Whether it counts at a moment.
    pub fn is_valid(&self, now: SystemTime) -> bool {
        self.not_before <= now && now < self.not_after
    }

    /// The names it may sign for; `None`: it could sign for every name there is.
    pub fn permitted(&self) -> Option<&[Subtree]> {
        self.permitted.as_deref()
    }

    /// Whether clients take what it signs for a name.
    pub fn permits(&self, name: NameRef<'_>) -> bool {
        let holds = |subtrees: &[Subtree]| subtrees.iter().any(|subtree| subtree.holds(name));
        self.permitted.as_deref().is_none_or(holds) && !holds(&self.excluded)
    }

    /// Whether nobody stands above it.
    pub fn is_self_signed(&self) -> bool {
        self.is_self_signed
    }

    pub(super) fn public_key(&self) -> &[u8] {
        &self.public_key
    }
}

impl Subtree {
    fn parse(text: &str) -> Option<Self> {
        let base = text.strip_prefix('.').unwrap_or(text);
        let base = if base.is_empty() { Some(DomainName::root()) } else { base.parse().ok() };
        Some(Self { base: base?, below_only: text.starts_with('.') })
    }

    /// The name, without the dot.
    pub fn base(&self) -> &DomainName {
        &self.base
    }

    /// Whether it holds a name.
    pub fn holds(&self, name: NameRef<'_>) -> bool {
        name.is_within(self.base.as_name()) && !(self.below_only && name == self.base.as_name())
    }
}

impl fmt::Display for Subtree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.below_only { "." } else { "" }, self.base)
    }
}

fn may_sign(read: &X509Certificate<'_>) -> Result<bool, CertificateFault> {
    let basic = read.basic_constraints().map_err(|_| CertificateFault::NotX509)?;
    let usage = read.key_usage().map_err(|_| CertificateFault::NotX509)?;
    Ok(basic.is_some_and(|basic| basic.value.ca) && usage.is_none_or(|usage| usage.value.key_cert_sign()))
}

/// Those of host names; constraints of addresses and the like say nothing of them.
fn subtrees(list: &[GeneralSubtree<'_>]) -> Result<Vec<Subtree>, CertificateFault> {
    let names = list.iter().filter_map(|subtree| match &subtree.base {
        GeneralName::DNSName(text) => Some(*text),
        _ => None,
    });
    names.map(|text| Subtree::parse(text).ok_or(CertificateFault::Constraints)).collect()
}

/// A moment of a certificate; one out of the clock's range is as good as the epoch.
fn moment(time: ASN1Time) -> SystemTime {
    let seconds = Duration::from_secs(time.timestamp().unsigned_abs());
    let moment = if time.timestamp() < 0 { UNIX_EPOCH.checked_sub(seconds) } else { UNIX_EPOCH.checked_add(seconds) };
    moment.unwrap_or(UNIX_EPOCH)
}

/// A text from a file, without what a terminal would obey.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

const PEM_LINE: usize = 64;
