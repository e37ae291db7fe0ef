//! Where a request goes: a web address without credentials. Reads what registries hand out: realms, redirects, the `urls`
//! of layers.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::Url;

use crate::name::DomainName;
use crate::policy::image_reference::ImageReference;

/// An address that can be asked: `http` or `https`, with a host. Shown without path and query, which may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Target {
    url: Url,
    host: Host,
}

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// By a name, which is looked up.
    Name(DomainName),
    /// By its address: DNS has no part in it.
    Address(IpAddr),
}

/// Whether a registry is reached over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    /// It is.
    Tls,
    /// It is not, as Docker has it for registries on this machine.
    Plain,
}

/// Why a text is no such address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TargetFault {
    /// Too long, or none at all.
    #[error("it is no web address")]
    NotAnAddress,
    /// Another scheme.
    #[error("it is neither https nor http")]
    Scheme,
    /// Without a host that could be asked.
    #[error("its host is none that could be asked")]
    Host,
}

/// Scheme, host and port: whom credentials are for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    /// Whether it is reached over TLS.
    pub is_tls: bool,
    /// Who is asked.
    pub host: Host,
    /// On which port.
    pub port: u16,
}

impl Target {
    /// The registry of an image, at `path` below `/v2/`.
    pub(super) fn registry(image: &ImageReference, security: Security, path: &str) -> Result<Self, TargetFault> {
        let scheme = if security == Security::Tls { "https" } else { "http" };
        let port = image.port.map(|port| format!(":{port}")).unwrap_or_default();
        Self::parse(&format!("{scheme}://{}{port}/v2/{path}", image.registry))
    }

    /// Reads a whole address.
    ///
    /// # Errors
    /// What is relative, of another scheme, or without a host.
    pub(super) fn parse(text: &str) -> Result<Self, TargetFault> {
        let text = bounded(text)?;
        Self::of(Url::parse(text).map_err(|_| TargetFault::NotAnAddress)?)
    }

    /// Reads an address as this one's answer has it: whole, or relative to this one (RFC 9110 §10.2.2).
    ///
    /// # Errors
    /// As [`Target::parse`].
    pub(super) fn join(&self, text: &str) -> Result<Self, TargetFault> {
        let text = bounded(text)?;
        Self::of(self.url.join(text).map_err(|_| TargetFault::NotAnAddress)?)
    }

    fn of(mut url: Url) -> Result<Self, TargetFault> {
        if !["http", "https"].contains(&url.scheme()) {
            return Err(TargetFault::Scheme);
        }
        let host = match url.host() {
            Some(url::Host::Domain(name)) => Host::Name(read_name(name)?),
            Some(url::Host::Ipv4(address)) => Host::Address(IpAddr::V4(address)),
            Some(url::Host::Ipv6(address)) => Host::Address(IpAddr::V6(address)),
            None => return Err(TargetFault::Host),
        };
        // Whoever hands out an address has no part in how we prove who we are.
        let removed = url.set_username("").and_then(|()| url.set_password(None));
        removed.map_err(|()| TargetFault::Host)?;
        url.set_fragment(None);
        Ok(Self { url, host })
    }

    /// The same with these parameters after those that it has.
    #[must_use]
    pub(super) fn with_query<'a>(&self, parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut url = self.url.clone();
        url.query_pairs_mut().extend_pairs(parameters);
        Self { url, host: self.host.clone() }
    }

    /// Whether it has a parameter of this name.
    pub(super) fn has_parameter(&self, wanted: &str) -> bool {
        self.url.query_pairs().any(|(name, _)| name == wanted)
    }

    /// Who is asked.
    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// On which port.
    pub(super) fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or(HTTPS_PORT)
    }

    /// Whether it is reached over TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Whom credentials are for.
    pub(super) fn origin(&self) -> Origin {
        Origin { is_tls: self.is_tls(), host: self.host.clone(), port: self.port() }
    }

    /// Host, and port where it is not the scheme's own: the `Host` header, and the key of stored credentials.
    pub(super) fn authority(&self) -> String {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}{port}", self.host.in_url())
    }

    /// Path and query: what stands in a request's first line.
    pub(super) fn path_and_query(&self) -> String {
        let query = self.url.query().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{}{query}", self.url.path())
    }

    /// All of it, as a proxy takes it that hands on requests without TLS.
    pub(super) fn absolute(&self) -> &str {
        self.url.as_str()
    }
}

impl Host {
    /// The name, if it is one.
    pub fn name(&self) -> Option<&DomainName> {
        match self {
            Self::Name(name) => Some(name),
            Self::Address(_) => None,
        }
    }

    /// The addresses of a host that is looked up nowhere: itself, or for `localhost` this machine (RFC 6761 §6.3).
    pub fn known_addresses(&self) -> Option<Vec<IpAddr>> {
        match self {
            Self::Address(address) => Some(vec![*address]),
            Self::Name(name) => {
                let last = name.as_name().labels().last()?;
                (last == b"localhost").then(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
            }
        }
    }

    /// As it stands in an address: IPv6 in brackets.
    pub(super) fn in_url(&self) -> String {
        match self {
            Self::Address(IpAddr::V6(address)) => format!("[{address}]"),
            host => host.to_string(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.url.scheme(), self.authority())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self}/…)")
    }
}

fn bounded(text: &str) -> Result<&str, TargetFault> {
    if text.len() <= MAX_TEXT { Ok(text) } else { Err(TargetFault::NotAnAddress) }
}

/// A host's name: letters, digits, `-` and `_`, as a policy can name it.
fn read_name(text: &str) -> Result<DomainName, TargetFault> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let name: DomainName = text.parse().map_err(|_| TargetFault::Host)?;
    let is_host = text.bytes().all(plain) && !name.as_name().is_root();
    if is_host { Ok(name) } else { Err(TargetFault::Host) }
}

/// RFC 9110 §4.2.2.
const HTTPS_PORT: u16 = 443;
/// Longer than any signed address seen, which have some 2,000 characters.
const MAX_TEXT: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(text: &str) -> Target {
        Target::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"))
    }

    #[test]
    fn a_redirect_is_whole_or_relative_to_what_was_asked() {
        let asked = target("https://registry.example/v2/a/blobs/sha256:00?ns=x");
        for (location, authority, rest) in [
            ("https://cdn.example/x?sig=1", "cdn.example", "/x?sig=1"),
            ("http://cdn.example:80/x", "cdn.example", "/x"),
            ("//cdn.example/x", "cdn.example", "/x"),
            ("/artifacts/x?y", "registry.example", "/artifacts/x?y"),
            ("../uploads/1", "registry.example", "/v2/a/uploads/1"),
            ("?y", "registry.example", "/v2/a/blobs/sha256:00?y"),
            ("https://user:secret@CDN.example:8443/x#part", "cdn.example:8443", "/x"),
            ("http://10.0.0.5:9000/bucket/x", "10.0.0.5:9000", "/bucket/x"),
            ("https://[fd00::5]/x", "[fd00::5]", "/x"),
        ] {
            let next = asked.join(location).unwrap_or_else(|fault| panic!("{location}: {fault}"));
            assert_eq!((next.authority().as_str(), next.path_and_query().as_str()), (authority, rest), "{location}");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        let asked = target("https://registry.example/v2/");
        for (location, fault) in [
            ("ftp://cdn.example/x", TargetFault::Scheme),
            ("file:///etc/passwd", TargetFault::Scheme),
            ("https://", TargetFault::NotAnAddress),
            ("https://cdn.example:99999/", TargetFault::NotAnAddress),
            ("https://a..example/", TargetFault::Host),
        ] {
            assert_eq!(asked.join(location), Err(fault), "{location}");
        }
        assert_eq!(Target::parse("/v2/"), Err(TargetFault::NotAnAddress));
        assert_eq!(
            Target::parse(&format!("https://a.example/{}", "x".repeat(MAX_TEXT))),
            Err(TargetFault::NotAnAddress)
        );
    }

    #[test]
    fn what_is_shown_tells_no_secret() {
        let signed = target("https://u:p@cdn.example/token-in-path?X-Amz-Signature=secret");
        assert_eq!(
            (signed.to_string(), format!("{signed:?}")),
            ("https://cdn.example".into(), "Target(https://cdn.example/…)".into())
        );
    }

    #[test]
    fn parameters_are_added_to_those_that_are_there() {
        let realm = target("https://auth.example/token?scope=a%20b");
        let asked = realm.with_query([("service", "IBM Cloud"), ("scope", "repository:x:pull")]);
        assert_eq!(asked.path_and_query(), "/token?scope=a%20b&service=IBM+Cloud&scope=repository%3Ax%3Apull");
        assert!(realm.has_parameter("scope") && !realm.has_parameter("service"));
    }

    #[test]
    fn this_machine_is_known_without_asking() {
        let known = |text: &str| target(text).host().known_addresses();
        let here: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        assert_eq!(known("http://localhost:5000/").unwrap(), here);
        assert_eq!(known("http://x.localhost/").unwrap(), here);
        assert_eq!(known("http://127.0.0.1/").unwrap(), here[..1]);
        assert_eq!(known("http://localhost.example/"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_is_read_reads_again(text in "\\PC{0,60}|https?://[a-z0-9.:@/?#%_-]{0,40}") {
            let asked = target("https://registry.example/v2/");
            if let Ok(next) = asked.join(&text) {
                let again = Target::parse(next.absolute());
                prop_assert_eq!(again.as_ref(), Ok(&next));
                prop_assert!(!next.authority().contains('@'));
            }
        }
    }
}
