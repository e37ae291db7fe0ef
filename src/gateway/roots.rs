//! Whose certificates registries may have: those of the host's authorities and of the settings, and never the gateway's
//! own, which stands in the host's bundle for clients and would vouch for anybody who could make the gateway connect to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Why registries cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The host trusts nobody.
    #[error(
        "no trusted certificates to check registries with; install the system's ca-certificates, or set `upstream-ca`"
    )]
    None,
    /// The settings' own file.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// rustls takes them not.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// How the gateway checks registries: by the host's authorities without those of the folder `own`, and by those in
/// `extra`.
pub(super) fn client_config(own: &Path, extra: Option<&Path>) -> Result<Arc<ClientConfig>, RootsError> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(trusted(Some(own), extra)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The host's authorities without those of the folder `own`, and those in `extra`.
///
/// # Errors
/// There are none, or `extra` holds none.
pub(crate) fn trusted(own: Option<&Path>, extra: Option<&Path>) -> Result<RootCertStore, RootsError> {
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "a trusted certificate of the host cannot be read");
    }
    let own = own.map(own_certificates).unwrap_or_default();
    let mut roots = RootCertStore::empty();
    let trusted = native.certs.into_iter().filter(|certificate| !own.contains(certificate));
    let (mut count, _) = roots.add_parsable_certificates(trusted);
    if let Some(path) = extra {
        count += add_file(&mut roots, path)?;
    }
    if count == 0 {
        return Err(RootsError::None);
    }
    Ok(roots)
}

/// Every certificate of the authority's folder, whatever else lies there: a damaged file must not make another one trusted.
fn own_certificates(folder: &Path) -> Vec<CertificateDer<'static>> {
    let files = folder.read_dir().into_iter().flatten().flatten().map(|file| file.path());
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "crt"));
    files.filter_map(|file| CertificateDer::pem_file_iter(file).ok()).flatten().flatten().collect()
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<usize, RootsError> {
    let wrong = |reason: String| RootsError::File { path: path.to_owned(), reason };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    let mut count = 0;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        count += 1;
    }
    if count == 0 { Err(wrong("no certificate in PEM".to_owned())) } else { Ok(count) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::testing;

    #[test]
    fn what_lies_in_the_authoritys_folder_vouches_for_no_registry_whatever_lies_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        testing::authority(folder.path(), &["ghcr.io"]);
        testing::authority(folder.path(), &["quay.io"]);
        std::fs::write(folder.path().join("a-damaged.crt"), "-----BEGIN CERTIFICATE-----\n!\n").unwrap();
        std::fs::write(folder.path().join("notes.txt"), "not a certificate").unwrap();
        assert_eq!(own_certificates(folder.path()).len(), 2);
        assert_eq!(own_certificates(&folder.path().join("nowhere")).len(), 0);
    }

    #[test]
    fn a_file_of_more_authorities_must_hold_some() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("roots.pem");
        let error = |text: &str| {
            std::fs::write(&file, text).unwrap();
            add_file(&mut RootCertStore::empty(), &file).unwrap_err().to_string()
        };
        assert!(error("").ends_with("no certificate in PEM"));
        assert!(add_file(&mut RootCertStore::empty(), &folder.path().join("nowhere")).is_err());
    }
}
