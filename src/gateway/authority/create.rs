//! Makes a pair: a key that only its user may read, and a certificate that may sign for the given names alone.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair,
    KeyUsagePurpose, NameConstraints,
};

use super::{AuthorityError, CERTIFICATE, Constraint, KEY, Stored, common_name, read_stored};

/// What to make.
#[derive(Clone, Debug)]
pub struct Creation<'a> {
    /// The names it is for; at least one.
    pub constraints: &'a [Constraint],
    /// From when on it is used.
    pub not_before: SystemTime,
    /// For how long from then.
    pub lifetime: Duration,
    /// The user and group who are to have the key; `None`: whoever makes it.
    pub owner: Option<(u32, u32)>,
}

/// Makes a pair in a folder, which is made as well; what is there stays.
///
/// # Errors
/// No constraint is given; nothing can be written there.
pub fn create(folder: &Path, creation: &Creation<'_>) -> Result<Stored, AuthorityError> {
    if creation.constraints.is_empty() {
        return Err(AuthorityError::Unconstrained);
    }
    make_folder(folder).map_err(|error| AuthorityError::Io { path: folder.to_owned(), error })?;
    let identity = Identity::choose(folder, creation.not_before);
    let key = KeyPair::generate()?;
    let certificate = params(creation, &identity.subject).self_signed(&key)?;
    let path = |extension: &str| folder.join(format!("{}.{extension}", identity.name));
    // A key without a certificate is nothing to anybody; the other way round hosts would be told to trust it.
    put(&path(KEY), &key.serialize_pem(), KEY_MODE, creation.owner)?;
    put(&path(CERTIFICATE), &certificate.pem(), CERTIFICATE_MODE, None).inspect_err(|_| {
        // It is the first failure that is told.
        let _ = fs::remove_file(path(KEY));
    })?;
    read_stored(path(CERTIFICATE))
}

/// What tells a pair from others.
struct Identity {
    /// Of its files: `ca-20261128-1f2e`.
    name: String,
    /// Of its certificate. No two of a machine's authorities have the same: verifiers look issuers up by it.
    subject: String,
}

impl Identity {
    /// One that no file of the folder has.
    fn choose(folder: &Path, not_before: SystemTime) -> Self {
        let day = jiff::Timestamp::try_from(not_before).unwrap_or_default().to_string();
        let day = day.split('T').next().unwrap_or_default();
        loop {
            let tag = format!("{:04x}", rand::random::<u16>());
            let name = format!("ca-{}-{tag}", day.replace('-', ""));
            if fs::symlink_metadata(folder.join(format!("{name}.{KEY}"))).is_err() {
                return Self { name, subject: format!("pullgate image gateway {day} {tag}") };
            }
        }
    }
}

fn params(creation: &Creation<'_>, subject: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(subject);
    params.not_before = creation.not_before.into();
    params.not_after = (creation.not_before + creation.lifetime).into();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    // Verifiers take it for a bound on what the authority signs: servers, neither mail nor code.
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let permitted = creation.constraints.iter().map(|constraint| GeneralSubtree::DnsName(constraint.to_string()));
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: permitted.collect(),
        // A list of names says nothing of addresses (RFC 5280 §4.2.1.10).
        excluded_subtrees: vec![
            GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
            GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
        ],
    });
    params
}

/// Makes a folder, and those above it, that everybody may look into: certificates are no secret, and whoever builds or
/// looks for faults needs them.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent().filter(|above| !above.as_os_str().is_empty()) {
        make_folder(above)?;
    }
    DirBuilder::new().mode(FOLDER_MODE).create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(FOLDER_MODE))
}

/// Writes a file that is there whole or not at all, and never readable to more than in the end.
fn put(path: &Path, text: &str, mode: u32, owner: Option<(u32, u32)>) -> Result<(), AuthorityError> {
    let draft = draft_of(path);
    let written = write(&draft, text, mode, owner).and_then(|()| fs::rename(&draft, path)).and_then(|()| sync(path));
    written.map_err(|error| {
        // It is the first failure that is told; a draft that stays is no file of the folder.
        let _ = fs::remove_file(&draft);
        AuthorityError::Io { path: path.to_owned(), error }
    })
}

fn draft_of(path: &Path) -> PathBuf {
    path.with_file_name(format!(".{}.draft", path.file_name().unwrap_or_default().to_string_lossy()))
}

fn write(path: &Path, text: &str, mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(KEY_MODE).open(path)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    if let Some((user, group)) = owner {
        fchown(&file, Some(user), Some(group))?;
    }
    file.sync_all()
}

/// Makes a rename last.
fn sync(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

const FOLDER_MODE: u32 = 0o755;
const KEY_MODE: u32 = 0o600;
const CERTIFICATE_MODE: u32 = 0o644;
