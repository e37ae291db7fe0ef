//! `[gateway]`: where names of registries are steered to, and how registries are reached from there.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use data_encoding::BASE64;
use hyper::Uri;

use crate::name::DomainName;

/// `[gateway]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// What steered names are answered: addresses that clients reach the gateway by, at least one. Never loopback:
    /// engines take a registry whose name resolves to loopback for one that needs no encryption.
    pub addresses: Vec<IpAddr>,
    /// Where connections of clients are taken. The port one arrives on is the port of the registry it is for.
    pub listen: Vec<SocketAddr>,
    /// Where clients that must name a proxy may CONNECT (RFC 9110 §9.3.6).
    pub connect: Vec<SocketAddr>,
    /// The proxy through which registries are reached; `None`: directly.
    pub parent: Option<ParentProxy>,
    /// The folder of the certificate authority whose certificates inspected registries get.
    pub authority: PathBuf,
    /// Certificates (PEM) that registries may have beside those that the host trusts.
    pub upstream_roots: Option<PathBuf>,
    /// Where the Hub's API tells which publishers are verified: scheme and host.
    pub badges: BadgeSource,
    /// Whether it runs as `pullgate gateway`, a process of its own; `serve` then only steers.
    pub separate: bool,
    /// Where a gateway of its own serves its metrics; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// How long a connection may be quiet.
    pub idle_timeout: Duration,
    /// How many connections there may be.
    pub connections: usize,
    /// How many of them one client may have.
    pub connections_per_client: usize,
}

/// An HTTP proxy that carries connections to registries.
#[derive(Clone, PartialEq, Eq)]
pub struct ParentProxy {
    /// Where it is.
    pub host: ProxyHost,
    /// Its port.
    pub port: u16,
    /// The value of `Proxy-Authorization` (RFC 7617), if it wants to know who asks.
    pub authorization: Option<String>,
}

/// A proxy's host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyHost {
    /// By its address.
    Address(IpAddr),
    /// By a name, resolved as allowed names are.
    Name(DomainName),
}

/// The API that tells of a namespace which badge it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadgeSource {
    /// Its host, reached over TLS.
    pub host: DomainName,
    /// Its port.
    pub port: u16,
}

/// What was seen, and what would do.
type Complaint = (String, String);

impl ParentProxy {
    /// Reads `http://proxy.corp.example:8080`, with `user:password@` before the host if need be.
    ///
    /// # Errors
    /// Another scheme, no port, a path: what was seen, and what would do.
    pub fn parse(text: &str) -> Result<Self, (String, String)> {
        let uri: Uri = text.parse().map_err(|_| (format!("`{text}` is no URL of a proxy"), write(PROXY_EXAMPLE)))?;
        if uri.scheme_str() != Some("http") {
            return Err((format!("`{text}` does not begin with `http://`"), write(PROXY_EXAMPLE)));
        }
        let authority = uri.authority().ok_or_else(|| (format!("`{text}` names no proxy"), write(PROXY_EXAMPLE)))?;
        if uri.path() != "/" || uri.query().is_some() {
            return Err((format!("`{text}` has a path, which a proxy has not"), write(PROXY_EXAMPLE)));
        }
        let Some(port) = authority.port_u16().filter(|&port| port > 0) else {
            return Err((format!("`{text}` has no port"), write(PROXY_EXAMPLE)));
        };
        let user = authority.as_str().rsplit_once('@').map(|(user, _)| user);
        let authorization = user.map(authorization).transpose()?;
        Ok(Self { host: proxy_host(authority.host())?, port, authorization })
    }
}

fn proxy_host(host: &str) -> Result<ProxyHost, Complaint> {
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(ProxyHost::Address(address.to_canonical()));
    }
    let name = host.parse().map_err(|_| (format!("`{host}` is no name of a host"), write(PROXY_EXAMPLE)))?;
    Ok(ProxyHost::Name(name))
}

/// The credentials of RFC 7617; what is percent-encoded in a URL is sent as it is meant.
fn authorization(user: &str) -> Result<String, Complaint> {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let decode = |part: &str| percent_decoded(part);
    match (decode(name), decode(password)) {
        (Some(name), Some(password)) => {
            let credentials = [&name[..], b":", &password].concat();
            Ok(format!("Basic {}", BASE64.encode(&credentials)))
        }
        _ => {
            Err(("a broken `%` in the proxy's user or password".to_owned(), "write `%25` for a `%` itself".to_owned()))
        }
    }
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
        let (high, low) = (digit()?, digit()?);
        decoded.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(decoded)
}

impl BadgeSource {
    /// Reads `https://hub.docker.com`.
    pub(super) fn parse(text: &str) -> Result<Self, Complaint> {
        let wrong = || (format!("`{text}` is no address of the Hub's API"), write(HUB));
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
        let is_plain = uri.scheme_str() == Some("https") && uri.path() == "/" && uri.query().is_none();
        let host = authority.host().parse().map_err(|_| wrong())?;
        if !is_plain {
            return Err(wrong());
        }
        Ok(Self { host, port: authority.port_u16().unwrap_or(HTTPS_PORT) })
    }
}

impl Default for BadgeSource {
    fn default() -> Self {
        Self::parse(HUB).expect("the Hub's address is well formed")
    }
}

impl fmt::Display for BadgeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if *port == HTTPS_PORT { write!(f, "https://{host}") } else { write!(f, "https://{host}:{port}") }
    }
}

impl fmt::Display for ParentProxy {
    /// Without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for ParentProxy {
    /// Without credentials, which no log is to hold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ParentProxy({self})")
    }
}

impl fmt::Display for ProxyHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

fn write(example: &str) -> String {
    format!("write it as in `{example}`")
}

/// Where `pullgate images ca` keeps the authority.
pub const DEFAULT_AUTHORITY: &str = "/etc/pullgate/ca";
const PROXY_EXAMPLE: &str = "http://proxy.corp.example:8080";
/// Where the Hub's web pages ask, too.
const HUB: &str = "https://hub.docker.com";
/// RFC 9110 §4.2.2.
pub(super) const HTTPS_PORT: u16 = 443;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_has_a_host_a_port_and_perhaps_a_user() {
        let read = |text| ParentProxy::parse(text).unwrap();
        let named = read("http://proxy.corp.example:8080");
        assert_eq!((named.to_string().as_str(), named.authorization), ("http://proxy.corp.example:8080", None));
        assert_eq!(read("http://[fd00::1]:3128/").to_string(), "http://[fd00::1]:3128");
        let known = read("http://builder:p%40ss@10.0.0.1:3128");
        assert_eq!(known.authorization.as_deref(), Some("Basic YnVpbGRlcjpwQHNz"));
        assert_eq!(format!("{known:?}"), "ParentProxy(http://10.0.0.1:3128)");
    }

    #[test]
    fn what_is_no_proxy_is_refused_with_what_would_do() {
        for text in [
            "proxy.corp.example:8080",
            "https://proxy.corp.example:8080",
            "http://proxy.corp.example",
            "http://proxy.corp.example:8080/path",
            "http://proxy.corp.example:0",
            "http://a%zz:b@proxy.corp.example:8080",
            "",
        ] {
            assert!(ParentProxy::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_hubs_api_is_a_host_reached_over_tls() {
        assert_eq!(BadgeSource::default().to_string(), "https://hub.docker.com");
        assert_eq!(BadgeSource::parse("https://hub.lab.test:8443").unwrap().port, 8443);
        for text in ["http://hub.docker.com", "hub.docker.com", "https://hub.docker.com/v2", "https://u@hub.docker.com"]
        {
            assert!(BadgeSource::parse(text).is_err(), "{text}");
        }
    }
}
