use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{ServerName, UnixTime};
use tempfile::TempDir;

use super::*;
use crate::policy::pattern::Pattern;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// 2026-11-28, in whole seconds as certificates have them.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_824_000)
}

fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

fn folder() -> TempDir {
    TempDir::new().unwrap()
}

/// Makes a pair for these patterns that counts from `not_before` on, for a year.
fn make(folder: &TempDir, patterns: &[&str], not_before: SystemTime) -> Stored {
    let patterns: Vec<Pattern> = patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect();
    let (constraints, _) = constraints(&patterns);
    let creation = Creation { constraints: &constraints, not_before, lifetime: 365 * DAY, owner: None };
    create(folder.path(), &creation).unwrap()
}

fn load(folder: &TempDir) -> Authority {
    Authority::load(folder.path(), now()).unwrap()
}

/// Whether a client that trusts these certificates takes a chain for a name.
fn verify(
    trusted: &[CertificateDer<'static>],
    chain: &[CertificateDer<'static>],
    host: &str,
    at: SystemTime,
) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted.iter().cloned());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let at = UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).unwrap());
    let host = ServerName::try_from(host.to_owned()).unwrap();
    let (leaf, above) = chain.split_first().unwrap();
    verifier.verify_server_cert(leaf, above, &host, &[], at).map(drop).map_err(|error| error.to_string())
}

/// What a certificate says, as another parser than ours reads it.
fn parsed(der: &CertificateDer<'_>, look: impl FnOnce(&x509_parser::certificate::X509Certificate<'_>)) {
    look(&x509_parser::parse_x509_certificate(der).unwrap().1);
}

#[test]
fn a_client_that_trusts_the_authority_takes_a_leaf_for_its_name_and_for_no_other() {
    let folder = folder();
    make(&folder, &["registry-1.docker.io"], now() - DAY);
    let authority = load(&folder);
    let leaf = authority.issue(&name("registry-1.docker.io"), now()).unwrap();
    assert_eq!(verify(authority.certificates(), &leaf.chain, "registry-1.docker.io", now()), Ok(()));
    assert!(verify(authority.certificates(), &leaf.chain, "ghcr.io", now()).is_err());
    assert!(verify(authority.certificates(), &leaf.chain, "registry-1.docker.io", leaf.expires + DAY).is_err());
}

#[test]
fn no_client_takes_what_the_authority_signs_for_a_name_or_an_address_that_it_is_not_for() {
    let folder = folder();
    let stored = make(&folder, &["registry-1.docker.io", "*.corp.example"], now() - DAY);
    let pair = Pair::of(stored).unwrap().unwrap();
    let trusted = [pair.stored.certificate.der().clone()];
    for (host, is_taken) in [
        ("registry-1.docker.io", true),
        ("a.b.corp.example", true),
        ("ghcr.io", false),
        ("docker.io", false),
        ("xcorp.example", false),
    ] {
        let leaf = pair.issue(&name(host), now()).unwrap();
        let verdict = verify(&trusted, &leaf.chain, host, now());
        assert_eq!(verdict.is_ok(), is_taken, "{host}: {verdict:?}");
        assert_eq!(pair.stored.certificate.permits(name(host).as_name()), is_taken, "{host}");
    }
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["192.0.2.1".to_owned()]).unwrap();
    params.not_after = (now() + DAY).into();
    let leaf = params.signed_by(&key, &pair.issuer).unwrap();
    assert!(verify(&trusted, &[leaf.into()], "192.0.2.1", now()).is_err());
}

#[test]
fn the_authority_signs_certificates_of_servers_and_no_authority_below_it() {
    let folder = folder();
    let stored = make(&folder, &["ghcr.io"], now() - DAY);
    parsed(stored.certificate.der(), |read| {
        assert_eq!(read.basic_constraints().unwrap().unwrap().value.path_len_constraint, Some(0));
        assert!(read.basic_constraints().unwrap().unwrap().critical);
        assert!(read.name_constraints().unwrap().unwrap().critical);
        let usage = read.key_usage().unwrap().unwrap();
        assert!(usage.value.key_cert_sign() && !usage.value.digital_signature() && !usage.value.crl_sign());
        assert!(read.extended_key_usage().unwrap().unwrap().value.server_auth);
    });
    let leaf = load(&folder).issue(&name("ghcr.io"), now()).unwrap();
    parsed(&leaf.chain[0], |read| {
        assert!(!read.is_ca());
        assert!(!read.key_usage().unwrap().unwrap().value.key_cert_sign());
    });
}

#[test]
fn no_two_subjects_are_alike() {
    let folder = folder();
    let [one, two] = [(); 2].map(|()| make(&folder, &["ghcr.io"], now() - DAY));
    assert_ne!(one.certificate.subject(), two.certificate.subject());
    assert_ne!(one.path, two.path);
    let subject = one.certificate.subject();
    assert!(subject.starts_with("CN=pullgate image gateway 2026-11-27 "), "{subject}");
    let leaf = load(&folder).issue(&name("ghcr.io"), now()).unwrap();
    parsed(&leaf.chain[0], |read| assert_ne!(read.subject().as_raw(), read.issuer().as_raw()));
}

#[test]
fn the_key_is_for_its_user_alone_and_certificates_are_for_all() {
    let root = folder();
    let made = TempDir::new_in(root.path()).unwrap();
    let stored = make(&made, &["ghcr.io"], now());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&stored.key_path()), 0o600);
    assert_eq!(mode(&stored.path), 0o644);
    let names: Vec<_> = fs::read_dir(made.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "no draft is left: {names:?}");
}

#[test]
fn the_newest_pair_that_is_valid_signs_and_a_later_one_takes_over_when_its_time_comes() {
    let folder = folder();
    make(&folder, &["ghcr.io"], now() - 20 * DAY);
    let current = make(&folder, &["ghcr.io"], now() - 10 * DAY);
    let next = make(&folder, &["ghcr.io"], now() + 10 * DAY);
    make(&folder, &["ghcr.io"], now() - 400 * DAY);
    let authority = load(&folder);
    assert_eq!(authority.certificates().len(), 4);
    let signer = |at| {
        let leaf = authority.issue(&name("ghcr.io"), at).unwrap();
        let by = |stored: &Stored| verify(&[stored.certificate.der().clone()], &leaf.chain, "ghcr.io", at).is_ok();
        if by(&current) {
            "current"
        } else if by(&next) {
            "next"
        } else {
            "another"
        }
    };
    assert_eq!(signer(now()), "current");
    assert_eq!(signer(now() + 11 * DAY), "next");
    assert_eq!(in_use(&read_folder(folder.path()).unwrap(), now()), Some(&current));
}

#[test]
fn a_name_that_only_an_older_pair_is_for_is_signed_by_that() {
    let folder = folder();
    make(&folder, &["ghcr.io", "quay.io"], now() - 20 * DAY);
    make(&folder, &["ghcr.io"], now() - 10 * DAY);
    make(&folder, &["gcr.io"], now() + 10 * DAY);
    let authority = load(&folder);
    let leaf = authority.issue(&name("quay.io"), now()).unwrap();
    assert_eq!(verify(authority.certificates(), &leaf.chain, "quay.io", now()), Ok(()));
    assert!(authority.covers(&name("quay.io")) && authority.covers(&name("a.ghcr.io")));
    assert!(!authority.covers(&name("gcr.io")), "not yet");
    assert!(matches!(authority.issue(&name("gcr.io"), now()), Err(AuthorityError::NotCovered { .. })));
}

#[test]
fn a_leaf_lives_a_week_is_renewed_before_and_never_outlives_its_authority() {
    let folder = folder();
    make(&folder, &["ghcr.io"], now() - 362 * DAY);
    let authority = Authority::load(folder.path(), now() - 300 * DAY).unwrap();
    let early = authority.issue(&name("ghcr.io"), now() - 300 * DAY).unwrap();
    assert_eq!(early.expires, now() - 293 * DAY);
    assert!(early.renew_at > now() - 300 * DAY && early.renew_at < early.expires);
    let late = authority.issue(&name("ghcr.io"), now()).unwrap();
    assert_eq!(late.expires, now() + 3 * DAY);
    assert!(matches!(authority.issue(&name("ghcr.io"), now() + 4 * DAY), Err(AuthorityError::NoneValid(_))));
}

#[test]
fn a_clock_that_is_behind_takes_a_leaf_as_well() {
    let folder = folder();
    make(&folder, &["ghcr.io"], now() - DAY);
    let authority = load(&folder);
    let leaf = authority.issue(&name("ghcr.io"), now()).unwrap();
    assert_eq!(verify(authority.certificates(), &leaf.chain, "ghcr.io", now() - BACKDATED / 2), Ok(()));
}

#[test]
fn an_authority_that_somebody_else_signed_shows_the_one_above_it() {
    let folder = folder();
    let root_key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::default();
    root.distinguished_name = common_name("company root");
    root.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root_certificate = root.self_signed(&root_key).unwrap();
    let issuer = Issuer::new(root, root_key);
    let key = KeyPair::generate().unwrap();
    let mut middle = CertificateParams::default();
    middle.distinguished_name = common_name("company gateway");
    middle.is_ca = IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    let middle = middle.signed_by(&key, &issuer).unwrap();
    fs::write(folder.path().join("company.crt"), middle.pem()).unwrap();
    fs::write(folder.path().join("company.key"), key.serialize_pem()).unwrap();
    let authority = load(&folder);
    let leaf = authority.issue(&name("ghcr.io"), now()).unwrap();
    assert!(verify(&[root_certificate.der().clone()], &leaf.chain, "ghcr.io", now()).is_err(), "one is missing");
    fs::write(folder.path().join("company.crt"), middle.pem() + &middle.pem()).unwrap();
    let leaf = load(&folder).issue(&name("ghcr.io"), now()).unwrap();
    assert_eq!(verify(&[root_certificate.der().clone()], &leaf.chain, "ghcr.io", now()), Ok(()));
}

/// What loading says of a folder that was damaged.
fn said(damage: impl FnOnce(&Stored)) -> String {
    let folder = folder();
    let stored = make(&folder, &["ghcr.io"], now() - DAY);
    damage(&stored);
    let error = Authority::load(folder.path(), now()).err().map(|error| error.to_string()).unwrap_or_default();
    error.replace(&folder.path().display().to_string(), "DIR").replace(&stored.name(), "NAME")
}

#[test]
fn damaged_folders_are_told_with_the_file_that_is_wrong() {
    let replace = |text: &'static str| move |path: &Path| fs::write(path, text).unwrap();
    assert_eq!(said(|stored| replace("")(&stored.path)), "DIR/NAME.crt: no certificate in PEM");
    assert_eq!(said(|stored| replace("\u{1}")(&stored.key_path())), "DIR/NAME.key: no private key in PEM (PKCS #8)");
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(said(|stored| replace(broken)(&stored.path)), "DIR/NAME.crt: a certificate that cannot be read");
    let other = KeyPair::generate().unwrap().serialize_pem();
    assert_eq!(
        said(|stored| fs::write(stored.key_path(), other).unwrap()),
        "DIR/NAME.key: not the key of the certificate beside it"
    );
    assert_eq!(
        said(|stored| fs::remove_file(stored.key_path()).unwrap()),
        "DIR holds no authority: no certificate with its key"
    );
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(["ghcr.io".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    assert_eq!(
        said(|stored| fs::write(&stored.path, server).unwrap()),
        "DIR/NAME.crt: a certificate that may not sign others"
    );
    let nowhere = Authority::load(Path::new("/does/not/exist"), now()).err().unwrap().to_string();
    assert_eq!(nowhere, "/does/not/exist holds no authority: no certificate with its key");
}

#[test]
fn a_folder_whose_only_pair_is_still_to_come_says_so() {
    let folder = folder();
    make(&folder, &["ghcr.io"], now() + DAY);
    assert!(matches!(Authority::load(folder.path(), now()), Err(AuthorityError::NoneValid(_))));
}

#[test]
fn an_authority_for_every_name_is_not_made() {
    let folder = folder();
    let creation = Creation { constraints: &[], not_before: now(), lifetime: DAY, owner: None };
    assert!(matches!(create(folder.path(), &creation), Err(AuthorityError::Unconstrained)));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_certificate_is_written_again_as_it_was_and_its_fingerprint_is_that_of_its_bytes() {
    let folder = folder();
    let stored = make(&folder, &["ghcr.io"], now());
    let again = parse_pem(stored.certificate.to_pem().as_bytes()).unwrap();
    assert_eq!(again, std::slice::from_ref(&stored.certificate));
    assert_eq!(fs::read_to_string(&stored.path).unwrap().replace('\r', ""), stored.certificate.to_pem());
    let fingerprint = stored.certificate.fingerprint();
    assert_eq!(fingerprint.len(), 32 * 3 - 1);
    assert!(fingerprint.chars().all(|c| c == ':' || c.is_ascii_digit() || ('A'..='F').contains(&c)), "{fingerprint}");
}

mod laws {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    static CERTIFICATE: LazyLock<CertificateDer<'static>> =
        LazyLock::new(|| make(&folder(), &["ghcr.io"], now()).certificate.into_der());

    proptest! {
        #[test]
        fn bytes_that_are_nearly_a_certificate_are_read_or_refused(at in 0_usize..600, byte in any::<u8>(), cut in 0_usize..600) {
            let mut der = CERTIFICATE.to_vec();
            let at = at % der.len();
            der[at] = byte;
            der.truncate(der.len().max(cut + 1) - cut);
            if let Ok(read) = CaCertificate::parse(der.into()) {
                prop_assert!(!read.fingerprint().is_empty() && !read.subject().contains('\n'));
                prop_assert_eq!(parse_pem(read.to_pem().as_bytes()).unwrap(), [read]);
            }
        }

        #[test]
        fn no_text_in_place_of_a_certificate_panics(text in "\\PC{0,200}") {
            let block = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
            prop_assert!(parse_pem(text.as_bytes()).is_err());
            let _ = parse_pem(block.as_bytes());
        }
    }
}
