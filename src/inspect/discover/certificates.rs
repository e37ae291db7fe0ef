//! Whose certificates a registry may have: the host's authorities, and what the administrator put beside them for one
//! registry, as Docker and podman read it: `certs.d/HOST:PORT/*.crt`, and `*.cert` with `*.key` to prove who asks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};

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
        let mut roots = self.roots.clone();
        let mut identity = None;
        for folder in &self.folders {
            let folder = folder.join(authority);
            for path in self.list(&folder)? {
                match path.extension().and_then(|extension| extension.to_str()) {
                    Some("crt") => self.add(&mut roots, &path)?,
                    Some("cert") if identity.is_none() => identity = Some(self.identity(&path)?),
                    _ => {}
                }
            }
        }
        let mut config = match identity {
            None => trusting(roots).with_no_client_auth(),
            Some((chain, key, path)) => {
                trusting(roots).with_client_auth_cert(chain, key).map_err(|error| fault(&path, error.to_string()))?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// How a host is checked that has no files of its own.
    pub(super) fn without_folders(&self) -> ClientConfig {
        trusting(self.roots.clone()).with_no_client_auth()
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

    fn add(&self, roots: &mut RootCertStore, path: &Path) -> Result<(), CertificateFault> {
        let mut chain = self.chain(path)?.into_iter();
        chain.try_for_each(|certificate| roots.add(certificate)).map_err(|error| fault(path, error.to_string()))
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

fn trusting(roots: RootCertStore) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider speaks what is safe by default")
        .with_root_certificates(roots)
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

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Certificates) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let home = Path::new("/home/me");
        let certificates = Certificates::new(RootCertStore::empty(), Machine::under(folder.path()), Some(home));
        (folder, certificates)
    }

    #[test]
    fn a_registry_s_own_files_count_for_it_alone() {
        let pair = rcgen::generate_simple_self_signed(["r.example".to_owned()]).unwrap();
        let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
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
}
