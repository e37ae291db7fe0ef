//! `discover`: walks a pull as a container engine does it, and tells which hosts it needs, which of them a policy denies,
//! and what to add.
//!
//! ```text
//! image ─walk─▶ hosts ─judge (whoever asked)─▶ verdicts ─┬─ table ─▶ rows
//!         │                                              └─ propose ─▶ TOML
//!         └── challenge, token, document, target, credentials, proxies: what is read; network, keyring: who is asked
//! ```

mod authorize;
mod certificates;
mod challenge;
mod credentials;
mod document;
mod drift;
mod journal;
mod keyring;
mod network;
mod propose;
mod proxies;
mod report;
mod target;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod token;
mod walk;

pub use self::certificates::{CertificateFault, Certificates};
pub use self::document::Platform;
pub use self::drift::{Drift, DriftHost, DriftState, Probe};
pub use self::journal::{Seen, Step};
pub use self::keyring::Keyring;
pub use self::network::{Network, ServersOf};
pub use self::propose::Proposal;
pub use self::proxies::{Proxies, ProxyFault};
pub use self::report::{Holder, HostReport, JudgedBy, Report};
pub use self::target::Host;
pub use self::walk::{Walked, Wanted, walk};

/// What the target in fuzz/ reaches.
#[cfg(fuzzing)]
pub mod fuzzing {
    use super::credentials::{Credentials, DockerConfig};
    use super::target::Target;
    use super::{Proxies, challenge, document, token};

    /// Reads `WWW-Authenticate`, and makes the requests for a token that it leads to. What is asked can be asked again.
    pub fn reads_challenge(header: &str) {
        let asked = Target::parse("https://registry.example/v2/").expect("it is a web address");
        for challenge in challenge::parse(header.split('\n')) {
            let Some(Ok(bearer)) = challenge.bearer(&asked) else { continue };
            let identity = Credentials::IdentityToken("token".to_owned());
            for ask in token::asks(&bearer, "repository:a:pull", Some(&identity)) {
                assert_eq!(Target::parse(ask.target.absolute()).as_ref(), Ok(&ask.target));
            }
        }
    }

    /// Reads where a redirect leads. What is shown of it is no more than whom it leads to.
    pub fn reads_location(location: &str) {
        let asked = Target::parse("https://registry.example/v2/a/blobs/x?y").expect("it is a web address");
        let Ok(next) = asked.join(location) else { return };
        assert_eq!(Target::parse(next.absolute()).as_ref(), Ok(&next));
        assert!(next.to_string().matches('/').count() == 2 && !next.to_string().contains(['@', '?']), "{next}");
    }

    /// Reads the body of an answer: a manifest, a token, an error.
    pub fn reads_body(body: &[u8]) {
        let _ = (token::read(body), token::error_code(body));
        if let Ok(document::Document::Index(listed)) = document::read(body) {
            assert!(document::chosen(&listed, None).len() <= listed.len());
            assert!(document::chosen(&listed, Some(&super::Platform::here())).len() <= 1);
        }
    }

    /// Reads what this user has written: Docker's settings, a helper's answer, the variables of proxies.
    pub fn reads_settings(text: &str) {
        let _ = Credentials::of_helper(text);
        if let Ok(config) = DockerConfig::parse(text) {
            let _ = (config.source("docker.io"), config.source("registry.example:5000"));
        }
        if let Ok(proxies) = Proxies::of(|_| Some(text.to_owned())) {
            let _ = proxies.for_target(&Target::parse("https://registry.example/").expect("it is a web address"));
        }
    }
}
