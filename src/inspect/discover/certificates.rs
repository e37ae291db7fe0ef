//! Whose certificates a registry may have: the host's authorities, and what the administrator put beside them for one
//! registry, as Docker and podman read it: `certs.d/HOST:PORT/*.crt`, and `*.cert` with `*.key` to prove who asks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WantsClientCert, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use crate::inspect::machine::Machine;

/// The authorities for every registry, and where those for one are kept.
#[derive(Debug)]
pub struct Certificates {
    roots: RootCertStore,
    machine: Machine,
    folders: Vec<PathBuf>,
}

/// A file for one registry that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", path.display())]
pub struct CertificateFault {
    path: PathBuf,
    message: String,
}

impl Certificates {
    /// With the authorities for every registry; those for one are in the folders of the system and of this user.
    pub fn new(roots: RootCertStore, machine: Machine, home: Option<&Path>) -> Self {
        let of_user = home.into_iter().flat_map(|home| OF_USER.map(|folder| home.join(folder)));
        let folders = OF_SYSTEM.map(PathBuf::from).into_iter().chain(of_user).collect();
        Self { roots, machine, folders }
    }

    /// How the registry at `authority`, its host with its port, is checked.
    ///
    /// # Errors
    /// A file for it cannot be read, or holds nothing of the kind.
    pub(super) fn config_for(&self, authority: &str) -> Result<ClientConfig, CertificateFault> {
        let (mut own, mut identity) = (Vec::new(), None);
        for folder in &self.folders {
            let folder = folder.join(authority);
            for path in self.list(&folder)? {
                match path.extension().and_then(|extension| extension.to_str()) {
                    Some("crt") => {
                        own.extend(self.chain(&path)?.into_iter().map(|certificate| (certificate, path.clone())));
                    }
                    Some("cert") if identity.is_none() => identity = Some(self.identity(&path)?),
                    _ => {}
                }
            }
        }
        let builder = trusting(Arc::new(KnownByFile::or_by_authority(&self.roots, own)?));
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key, path)) => {
                builder.with_client_auth_cert(chain, key).map_err(|error| fault(&path, error.to_string()))?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn list(&self, folder: &Path) -> Result<Vec<PathBuf>, CertificateFault> {
        self.machine.list(folder).map_err(|error| fault(folder, error.to_string()))
    }

    fn text(&self, path: &Path) -> Result<String, CertificateFault> {
        let text = self.machine.read(path).map_err(|error| fault(path, error.to_string()))?;
        text.ok_or_else(|| fault(path, "there is no such file".to_owned()))
    }

    fn chain(&self, path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateFault> {
        let text = self.text(path)?;
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        match read {
            Ok(chain) if !chain.is_empty() => Ok(chain),
            Ok(_) => Err(fault(path, "no certificate in PEM".to_owned())),
            Err(error) => Err(fault(path, error.to_string())),
        }
    }

    /// What proves who asks: a chain, and the key beside it.
    fn identity(&self, path: &Path) -> Result<Identity, CertificateFault> {
        let beside = path.with_extension("key");
        let key = self.text(&beside)?;
        // What stands in a key is never shown, nor why it cannot be read.
        let key =
            PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| fault(&beside, "no key in PEM".to_owned()))?;
        Ok((self.chain(path)?, key, path.to_owned()))
    }
}

/// As Go has it, and so Docker: a certificate that lies in the registry's folder is the registry's own, though it may be an
/// authority, as those are that OpenSSL makes by default. All else is for the authorities.
#[derive(Debug)]
struct KnownByFile {
    own: Vec<CertificateDer<'static>>,
    by_authority: Arc<WebPkiServerVerifier>,
}

impl KnownByFile {
    fn or_by_authority(
        roots: &RootCertStore,
        own: Vec<(CertificateDer<'static>, PathBuf)>,
    ) -> Result<Self, CertificateFault> {
        let mut roots = roots.clone();
        for (certificate, path) in &own {
            roots.add(certificate.clone()).map_err(|error| fault(path, error.to_string()))?;
        }
        let by_authority =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()));
        let nothing = |error: VerifierBuilderError| fault(Path::new("the host's authorities"), error.to_string());
        let own = own.into_iter().map(|(certificate, _)| certificate).collect();
        Ok(Self { own, by_authority: by_authority.build().map_err(nothing)? })
    }
}

impl ServerCertVerifier for KnownByFile {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.own.iter().any(|own| own == certificate) {
            return self.by_authority.verify_server_cert(certificate, intermediates, name, ocsp, now);
        }
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
        let (_, read) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
        let is_valid = i64::try_from(now.as_secs())
            .ok()
            .and_then(|seconds| ASN1Time::from_timestamp(seconds).ok())
            .is_some_and(|now| read.validity().is_valid_at(now));
        if is_valid { Ok(ServerCertVerified::assertion()) } else { Err(CertificateError::Expired.into()) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_authority.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_authority.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_authority.supported_verify_schemes()
    }
}

fn trusting(verifier: Arc<KnownByFile>) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider speaks what is safe by default")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, PathBuf);

fn fault(path: &Path, message: String) -> CertificateFault {
    CertificateFault { path: path.to_owned(), message }
}

/// Docker's and podman's, for everybody.
const OF_SYSTEM: [&str; 2] = ["/etc/docker/certs.d", "/etc/containers/certs.d"];
/// The same of engines without root, in a user's home.
const OF_USER: [&str; 2] = [".config/docker/certs.d", ".config/containers/certs.d"];

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate that nobody else signed, and its key in PEM.
    fn certificate(is_authority: bool, name: &str) -> (CertificateDer<'static>, String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        if is_authority {
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        }
        let certificate = params.self_signed(&key).unwrap();
        (certificate.der().clone(), certificate.pem(), key.serialize_pem())
    }

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Certificates) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let home = Path::new("/home/me");
        let mut roots = RootCertStore::empty();
        roots.add(certificate(false, "elsewhere.example").0).unwrap();
        let certificates = Certificates::new(roots, Machine::under(folder.path()), Some(home));
        (folder, certificates)
    }

    #[test]
    fn a_registry_s_own_files_count_for_it_alone() {
        let (_, certificate, key) = certificate(true, "r.example");
        let (_folder, certificates) = machine(&[
            ("etc/docker/certs.d/r.example:5000/ca.crt", &certificate),
            ("home/me/.config/docker/certs.d/r.example:5000/client.cert", &certificate),
            ("home/me/.config/docker/certs.d/r.example:5000/client.key", &key),
            ("etc/docker/certs.d/broken.example/ca.crt", "nothing"),
            ("etc/docker/certs.d/keyless.example/client.cert", &certificate),
        ]);
        assert!(certificates.config_for("r.example:5000").unwrap().client_auth_cert_resolver.has_certs());
        assert!(!certificates.config_for("r.example").unwrap().client_auth_cert_resolver.has_certs());
        for (authority, words) in [
            ("broken.example", "broken.example/ca.crt: no certificate in PEM"),
            ("keyless.example", "keyless.example/client.key: there is no such file"),
        ] {
            let error = certificates.config_for(authority).unwrap_err().to_string();
            assert!(error.ends_with(words), "{error}");
        }
    }

    #[test]
    fn a_certificate_in_the_folder_is_the_registry_s_own_under_its_name_and_in_its_time() {
        let (own, pem, _) = certificate(true, "r.example");
        let other = certificate(true, "r.example").0;
        let read =
            CertificateDer::pem_slice_iter(pem.as_bytes()).map(|certificate| (certificate.unwrap(), PathBuf::new()));
        let verifier = KnownByFile::or_by_authority(&RootCertStore::empty(), read.collect()).unwrap();
        let verified = |certificate: &CertificateDer<'_>, name: &str, now: UnixTime| {
            let name = ServerName::try_from(name.to_owned()).unwrap();
            verifier.verify_server_cert(certificate, &[], &name, &[], now).is_ok()
        };
        let now = UnixTime::now();
        assert!(verified(&own, "r.example", now));
        assert!(!verified(&own, "other.example", now), "another name");
        assert!(!verified(&other, "r.example", now), "another certificate");
        let far = UnixTime::since_unix_epoch(std::time::Duration::from_secs(100_000_000_000));
        assert!(!verified(&own, "r.example", far), "in five thousand years it has expired");
    }
}
