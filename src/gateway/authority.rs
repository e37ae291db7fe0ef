//! The gateway's own authority: a folder of certificates that may sign for the inspected names alone, and what they sign.
//!
//! ```text
//! folder ─read─▶ Stored (NAME.crt) ─with NAME.key─▶ Authority ─issue─▶ Leaf, for one name, for days
//! ```
//!
//! Hosts trust every certificate of the folder; the newest that is valid signs. A pair whose time has not come lies there
//! so that hosts can be told before it is used.

mod certificate;
mod constraint;
mod create;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

pub use self::certificate::{CaCertificate, CertificateFault, Subtree, parse_pem};
pub use self::constraint::{Constraint, SharedTail, constraints, inspected};
pub use self::create::{Creation, create};

use crate::name::DomainName;
use crate::policy::pattern::is_host_label;

/// The pairs of a folder that may sign.
pub struct Authority {
    folder: PathBuf,
    /// The newest first; none had expired when they were read.
    pairs: Vec<Pair>,
    /// Every certificate of the folder, those without a key as well.
    certificates: Vec<CertificateDer<'static>>,
    loaded: SystemTime,
}

/// A certificate for one name, with its key.
#[derive(Debug)]
pub struct Leaf {
    /// What a client is shown: the certificate itself, and those above it that no host needs to have.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the certificate.
    pub key: PrivateKeyDer<'static>,
    /// When another has to be issued.
    pub renew_at: SystemTime,
    /// When no client takes this one any more.
    pub expires: SystemTime,
}

/// A certificate file of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its path.
    pub path: PathBuf,
    /// What signs.
    pub certificate: CaCertificate,
    /// What stands above it, where somebody else signed it.
    pub above: Vec<CertificateDer<'static>>,
}

/// What a file of the folder is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It signs.
    InUse,
    /// It will sign when its time comes.
    Next,
    /// It signed before, and what it signed still counts.
    Previous,
    /// It is trusted, but has no key here to sign with.
    WithoutKey,
    /// Its time is over.
    Expired,
}

/// A certificate and its key.
struct Pair {
    stored: Stored,
    issuer: Issuer<'static, KeyPair>,
}

/// Why there is no authority, or no certificate of it.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// What the file system says.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        error: io::Error,
    },
    /// A file that is no certificate of an authority.
    #[error("{}: {fault}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: CertificateFault,
    },
    /// A file that is no private key in PEM, or of a kind that is not known.
    #[error("{}: no private key in PEM (PKCS #8)", _0.display())]
    Key(PathBuf),
    /// A key that is not that of the certificate beside it.
    #[error("{}: not the key of the certificate beside it", _0.display())]
    ForeignKey(PathBuf),
    /// No certificate with a key.
    #[error("{} holds no authority: no certificate with its key", _0.display())]
    Missing(PathBuf),
    /// All have expired, or their time has not come.
    #[error("no authority in {} is valid now", _0.display())]
    NoneValid(PathBuf),
    /// No certificate may sign for a name.
    #[error("the authority in {} may not sign for {name}", folder.display())]
    NotCovered {
        /// The folder.
        folder: PathBuf,
        /// The name.
        name: DomainName,
    },
    /// An authority that could sign for every site there is.
    #[error("an authority needs at least one name that it is for")]
    Unconstrained,
    /// A certificate could not be made.
    #[error("the certificate cannot be made: {0}")]
    Signing(#[from] rcgen::Error),
}

impl Authority {
    /// Reads a folder. A pair whose time has not come is kept until it comes; one that has expired is passed over.
    ///
    /// # Errors
    /// A certificate or key that cannot be read, keys and certificates that do not belong together, nothing valid now.
    pub fn load(folder: &Path, now: SystemTime) -> Result<Self, AuthorityError> {
        let all = read_folder(folder)?;
        let certificates = all.iter().map(|stored| stored.certificate.der().clone()).collect();
        let mut pairs = Vec::new();
        for stored in all.into_iter().filter(|stored| stored.certificate.not_after() > now) {
            if let Some(pair) = Pair::of(stored)? {
                pairs.push(pair);
            }
        }
        if pairs.is_empty() {
            return Err(AuthorityError::Missing(folder.to_owned()));
        }
        pairs.sort_by_key(|pair| Reverse(pair.stored.certificate.not_before()));
        if !pairs.iter().any(|pair| pair.stored.certificate.is_valid(now)) {
            return Err(AuthorityError::NoneValid(folder.to_owned()));
        }
        Ok(Self { folder: folder.to_owned(), pairs, certificates, loaded: now })
    }

    /// Makes a certificate for a name: by the newest pair that is valid now and may sign for it.
    ///
    /// # Errors
    /// None is valid any more, or none may sign for that name.
    pub fn issue(&self, name: &DomainName, now: SystemTime) -> Result<Leaf, AuthorityError> {
        let mut valid = self.pairs.iter().filter(|pair| pair.stored.certificate.is_valid(now)).peekable();
        if valid.peek().is_none() {
            return Err(AuthorityError::NoneValid(self.folder.clone()));
        }
        let pair = valid.find(|pair| pair.stored.certificate.permits(name.as_name())).filter(|_| is_host_name(name));
        let not_covered = || AuthorityError::NotCovered { folder: self.folder.clone(), name: name.clone() };
        pair.ok_or_else(not_covered)?.issue(name, now)
    }

    /// Whether a pair that was valid when the folder was read may sign for a name.
    pub fn covers(&self, name: &DomainName) -> bool {
        let certificates = self.pairs.iter().map(|pair| &pair.stored.certificate);
        certificates.filter(|it| it.is_valid(self.loaded)).any(|it| it.permits(name.as_name()))
    }

    /// Every certificate of the folder: none of them may vouch for a registry that the gateway itself connects to.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }
}

impl Pair {
    /// A certificate with its key; `None` where there is no key, as of an authority that was withdrawn.
    fn of(stored: Stored) -> Result<Option<Self>, AuthorityError> {
        let path = stored.key_path();
        let Some(text) = read_limited(&path)? else { return Ok(None) };
        let text = String::from_utf8(text).map_err(|_| AuthorityError::Key(path.clone()))?;
        let key = KeyPair::from_pem(&text).map_err(|_| AuthorityError::Key(path.clone()))?;
        if key.public_key_raw() != stored.certificate.public_key() {
            return Err(AuthorityError::ForeignKey(path));
        }
        let issuer = Issuer::from_ca_cert_der(stored.certificate.der(), key)?;
        Ok(Some(Self { stored, issuer }))
    }

    fn issue(&self, name: &DomainName, now: SystemTime) -> Result<Leaf, AuthorityError> {
        let authority = &self.stored.certificate;
        let expires = (now + LEAF_LIFETIME).min(authority.not_after());
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName(name.to_string().try_into()?)];
        params.distinguished_name = common_name(LEAF_NAME);
        params.not_before = (now - BACKDATED).max(authority.not_before()).into();
        params.not_after = expires.into();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let chain = std::iter::once(certificate.into()).chain(self.stored.above.iter().cloned()).collect();
        let left = expires.duration_since(now).unwrap_or_default();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(Leaf { chain, key, renew_at: now + left / 2, expires })
    }
}

impl Stored {
    /// Where its key lies, if the folder has it.
    pub fn key_path(&self) -> PathBuf {
        self.path.with_extension(KEY)
    }

    /// Its name in the folder: `ca-20261128-1f2e`.
    pub fn name(&self) -> String {
        self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// Every certificate file of a folder, in name order; none where there is no folder. Keys are not looked at.
///
/// # Errors
/// Permissions; a file that is no certificate of an authority.
pub fn read_folder(folder: &Path) -> Result<Vec<Stored>, AuthorityError> {
    let io_error = |error| AuthorityError::Io { path: folder.to_owned(), error };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error(error)),
    };
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(io_error)?;
    paths.retain(|path| is_certificate_file(path));
    paths.sort();
    paths.into_iter().map(read_stored).collect()
}

/// The certificates of a folder, or of a file of them that was made from one.
///
/// # Errors
/// As [`read_folder`]; there is neither.
pub fn read_certificates(path: &Path) -> Result<Vec<CaCertificate>, AuthorityError> {
    if path.is_file() {
        let text = read_limited(path)?.unwrap_or_default();
        return parse_pem(&text).map_err(|fault| AuthorityError::Certificate { path: path.to_owned(), fault });
    }
    let all: Vec<CaCertificate> = read_folder(path)?.into_iter().map(|stored| stored.certificate).collect();
    if all.is_empty() { Err(AuthorityError::Missing(path.to_owned())) } else { Ok(all) }
}

/// What each of a folder's files is at a moment, in their order.
pub fn states(files: &[Stored], now: SystemTime) -> Vec<State> {
    let state = |stored: &Stored| {
        let certificate = &stored.certificate;
        match () {
            () if certificate.not_after() <= now => State::Expired,
            () if !stored.key_path().exists() => State::WithoutKey,
            () if certificate.not_before() > now => State::Next,
            () => State::Previous,
        }
    };
    let mut states: Vec<State> = files.iter().map(state).collect();
    let usable = (0..files.len()).filter(|&index| states[index] == State::Previous);
    if let Some(newest) = usable.min_by_key(|&index| Reverse(files[index].certificate.not_before())) {
        states[newest] = State::InUse;
    }
    states
}

/// Of a folder's files the one that signs at a moment.
pub fn in_use(files: &[Stored], now: SystemTime) -> Option<&Stored> {
    files.iter().zip(states(files, now)).find(|(_, state)| *state == State::InUse).map(|(stored, _)| stored)
}

fn read_stored(path: PathBuf) -> Result<Stored, AuthorityError> {
    let fault = |fault| AuthorityError::Certificate { path: path.clone(), fault };
    let text = read_limited(&path)?.ok_or_else(|| AuthorityError::Missing(path.clone()))?;
    let mut certificates = parse_pem(&text).map_err(fault)?.into_iter();
    let certificate = certificates.next().ok_or_else(|| fault(CertificateFault::NotPem))?;
    let above =
        if certificate.is_self_signed() { Vec::new() } else { certificates.map(CaCertificate::into_der).collect() };
    Ok(Stored { path, certificate, above })
}

fn is_certificate_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    !name.starts_with(b".") && path.extension().is_some_and(|extension| extension == CERTIFICATE)
}

/// A file's bytes, `None` where there is none; of a longer file the start, which is then no certificate.
fn read_limited(path: &Path) -> Result<Option<Vec<u8>>, AuthorityError> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(AuthorityError::Io { path: path.to_owned(), error }),
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

/// Whether a certificate can be made for a name: certificates hold text.
fn is_host_name(name: &DomainName) -> bool {
    name.as_name().labels().all(is_host_label)
}

/// The extensions of the two files of a pair.
const CERTIFICATE: &str = "crt";
const KEY: &str = "key";
/// Not the authority's own: OpenSSL takes a certificate for self-signed whose subject is its issuer.
const LEAF_NAME: &str = "pullgate image gateway leaf";
/// Short, since nobody can revoke them; long enough for a machine that sleeps over a weekend.
const LEAF_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Clients whose clock is behind take it as well.
pub const BACKDATED: Duration = Duration::from_secs(60 * 60);
/// Far more than a chain of certificates takes.
const MAX_FILE: u64 = 256 * 1024;
