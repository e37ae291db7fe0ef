//! Which authorities the programs of a machine trust: the system's bundle, and the folder that additions to it come from.
//!
//! Programs in Go, and with them Docker, containerd, BuildKit and podman, read the first of a list of bundles, once, when
//! they first need it ([crypto/x509]). The distributions' tools make the bundle from what their maintainers ship and from
//! a folder of the administrator's.
//!
//! [crypto/x509]: https://pkg.go.dev/crypto/x509#SystemCertPool

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::machine::Machine;
use crate::gateway::authority::{CaCertificate, parse_pem};

/// How a distribution's bundle is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Store {
    /// What people call those distributions.
    pub name: &'static str,
    /// The folder for certificates of one's own: one a file, in PEM.
    pub anchors: &'static str,
    /// What makes the bundle from them.
    pub update: &'static str,
    /// Paths of which one tells that a machine is of those.
    signs: &'static [&'static str],
}

/// A certificate that this program added to a machine's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The file, as the machine sees it.
    pub path: PathBuf,
    /// What it holds.
    pub certificate: CaCertificate,
}

/// The certificates that a machine's programs trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The file, as the machine sees it.
    pub path: PathBuf,
    certificates: Vec<CertificateDer<'static>>,
}

impl Store {
    /// The one that a machine has, if its distribution is known.
    pub fn find(machine: &Machine) -> Option<&'static Self> {
        STORES.iter().find(|store| store.signs.iter().any(|sign| machine.has(sign)))
    }

    /// The file that holds a certificate in the folder. Its name is made from the content: the same certificate is never
    /// there twice, and another's is never written over.
    pub fn file(&self, certificate: &CaCertificate) -> PathBuf {
        let digits: String =
            certificate.fingerprint().chars().filter(char::is_ascii_hexdigit).take(NAME_DIGITS).collect();
        Path::new(self.anchors).join(format!("{PREFIX}{}.crt", digits.to_ascii_lowercase()))
    }

    /// What this program added to the folder, in name order; what cannot be read as a certificate is passed over.
    ///
    /// # Errors
    /// The folder or a file cannot be read.
    pub fn added(&self, machine: &Machine) -> io::Result<Vec<Anchor>> {
        let mut found = Vec::new();
        for path in machine.list(self.anchors)?.into_iter().filter(|path| is_ours(path)) {
            let text = machine.read(&path)?.unwrap_or_default();
            let certificates = parse_pem(text.as_bytes()).unwrap_or_default();
            found.extend(certificates.into_iter().map(|certificate| Anchor { path: path.clone(), certificate }));
        }
        Ok(found)
    }
}

impl Bundle {
    /// The first of a machine's that programs in Go read; `None`: it has none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(machine: &Machine) -> io::Result<Option<Self>> {
        for path in BUNDLES {
            if let Some(text) = machine.read(path)? {
                let certificates = CertificateDer::pem_slice_iter(text.as_bytes()).filter_map(Result::ok).collect();
                return Ok(Some(Self { path: path.into(), certificates }));
            }
        }
        Ok(None)
    }

    /// Whether a certificate is in it.
    pub fn holds(&self, certificate: &CaCertificate) -> bool {
        self.certificates.contains(certificate.der())
    }
}

/// When a file of a machine was last written, links followed; `None` where there is none.
pub fn written(machine: &Machine, path: &Path) -> Option<SystemTime> {
    let end = machine.end_of(path).ok()?;
    std::fs::metadata(machine.locate(&end).ok()?).ok()?.modified().ok()
}

/// Whether a path is that of a file that this program adds.
pub fn is_ours(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(PREFIX) && name.ends_with(".crt")
}

/// SUSE has the program that Debian has, and Arch the one that Fedora has: their own folders tell them apart.
const STORES: &[Store] = &[
    Store {
        name: "SUSE",
        anchors: "/etc/pki/trust/anchors",
        update: "update-ca-certificates",
        signs: &["/etc/pki/trust/anchors", "/usr/share/pki/trust"],
    },
    Store {
        name: "Fedora and RHEL",
        anchors: "/etc/pki/ca-trust/source/anchors",
        update: "update-ca-trust",
        signs: &["/etc/pki/ca-trust/source", "/usr/share/pki/ca-trust-source"],
    },
    Store {
        name: "Arch",
        anchors: "/etc/ca-certificates/trust-source/anchors",
        update: "update-ca-trust",
        signs: &["/etc/ca-certificates/trust-source", "/usr/share/ca-certificates/trust-source"],
    },
    Store {
        name: "Debian, Ubuntu and Alpine",
        anchors: "/usr/local/share/ca-certificates",
        update: "update-ca-certificates",
        signs: &["/usr/sbin/update-ca-certificates", "/etc/ca-certificates.conf", "/usr/local/share/ca-certificates"],
    },
];
/// The files of crypto/x509 on Linux, in its order.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
const PREFIX: &str = "pullgate-";
/// Of the 64 of a fingerprint; as many as nobody makes by chance.
const NAME_DIGITS: usize = 16;

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn each_distribution_is_told_by_what_it_has_also_where_it_shares_a_tool() {
        for (signs, name) in [
            (&["/usr/sbin/update-ca-certificates"][..], Some("Debian, Ubuntu and Alpine")),
            (&["/usr/sbin/update-ca-certificates", "/etc/pki/trust/anchors/x"], Some("SUSE")),
            (&["/etc/pki/ca-trust/source/anchors/x"], Some("Fedora and RHEL")),
            (&["/etc/ca-certificates/trust-source/anchors/x", "/usr/bin/update-ca-trust"], Some("Arch")),
            (&[], None),
        ] {
            let root = TempDir::new().unwrap();
            for sign in signs {
                let path = root.path().join(sign.trim_start_matches('/'));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
            }
            let found = Store::find(&Machine::under(root.path()));
            assert_eq!(found.map(|store| store.name), name, "{signs:?}");
        }
    }
}
