//! How an upstream server is written: `system`, an address, `tls://ADDRESS#NAME`, `https://ADDRESS/PATH#NAME`.

use std::fmt;
use std::net::SocketAddr;

use super::UpstreamServer;
use crate::address::{self, DNS_PORT};
use crate::policy::pattern::Pattern;

/// What was seen, and what would do.
type Complaint = (String, String);

impl UpstreamServer {
    /// Reads one of the four forms. Addresses may have a port; encrypted ones need the name of their certificate, since
    /// an address alone proves nothing.
    pub(super) fn parse(text: &str) -> Result<Self, Complaint> {
        let (scheme, rest) = match text.split_once("://") {
            None if text == "system" => return Ok(Self::System),
            None => return reachable(text, DNS_PORT, "10.0.0.53").map(Self::Plain),
            Some(parts) => parts,
        };
        let (location, name) = rest.split_once('#').map_or((rest, None), |(location, name)| (location, Some(name)));
        let (authority, path) = location.find('/').map_or((location, ""), |slash| location.split_at(slash));
        match scheme {
            "tls" if path.is_empty() => {
                let addr = reachable(authority, TLS_PORT, TLS_EXAMPLE)?;
                Ok(Self::Tls { addr, name: certificate_name(text, name, &format!("tls://{authority}#"))? })
            }
            "tls" => Err((format!("`{text}` has a path, which DNS over TLS has not"), write(TLS_EXAMPLE))),
            "https" => {
                let addr = reachable(authority, HTTPS_PORT, HTTPS_EXAMPLE)?;
                let path = if path.len() > 1 { path } else { HTTPS_PATH };
                let name = certificate_name(text, name, &format!("https://{authority}{path}#"))?;
                Ok(Self::Https { addr, name, path: resource(path)? })
            }
            _ => Err((
                format!("`{scheme}://` is no way to ask an upstream"),
                format!("write an address, `{TLS_EXAMPLE}` or `{HTTPS_EXAMPLE}`"),
            )),
        }
    }

    /// Where it is; `None` for the system's.
    pub fn addr(&self) -> Option<SocketAddr> {
        match self {
            Self::System => None,
            Self::Plain(addr) | Self::Tls { addr, .. } | Self::Https { addr, .. } => Some(*addr),
        }
    }
}

fn reachable(text: &str, port: u16, example: &str) -> Result<SocketAddr, Complaint> {
    if Pattern::parse(text).is_ok() {
        let hint = format!("a resolver cannot look its own upstream up: write its address, as in `{example}`");
        return Err((format!("`{text}` is a name, not an address"), hint));
    }
    let addr = address::parse_socket(text, port).map_err(|fault| (fault.message, write(example)))?;
    if addr.port() == 0 || addr.ip().is_unspecified() || addr.ip().is_multicast() {
        return Err((format!("`{text}` is no server's address"), write(example)));
    }
    Ok(addr)
}

fn certificate_name(text: &str, name: Option<&str>, before: &str) -> Result<String, Complaint> {
    let Some(name) = name else {
        let hint = format!("write the name its certificate must have: `{before}dns.example`");
        return Err((format!("`{text}` does not say whose server it is"), hint));
    };
    match Pattern::parse(name).ok().filter(|pattern| pattern.exact().is_some()) {
        Some(pattern) => Ok(pattern.to_string()),
        None => {
            Err((format!("`{name}` is no name a certificate has"), format!("write it as in `{before}dns.example`")))
        }
    }
}

fn resource(path: &str) -> Result<String, Complaint> {
    if path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?\"<>\\^`{|}".contains(&byte)) {
        return Ok(path.to_owned());
    }
    Err((format!("`{path}` is no path of a URL"), write(HTTPS_EXAMPLE)))
}

fn write(example: &str) -> String {
    format!("write it as in `{example}`")
}

impl fmt::Display for UpstreamServer {
    /// The form it is written in, with its port.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::Plain(addr) => addr.fmt(f),
            Self::Tls { addr, name } => write!(f, "tls://{addr}#{name}"),
            Self::Https { addr, name, path } => write!(f, "https://{addr}{path}#{name}"),
        }
    }
}

/// RFC 7858 §3.1.
const TLS_PORT: u16 = 853;
/// RFC 8484 uses HTTPS's own.
const HTTPS_PORT: u16 = 443;
/// What nearly every server uses.
const HTTPS_PATH: &str = "/dns-query";
const TLS_EXAMPLE: &str = "tls://1.1.1.1#cloudflare-dns.com";
const HTTPS_EXAMPLE: &str = "https://8.8.8.8/dns-query#dns.google";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_forms_are_read_with_their_default_ports() {
        for (text, shown) in [
            ("system", "system"),
            ("9.9.9.9", "9.9.9.9:53"),
            ("127.0.0.1:5353", "127.0.0.1:5353"),
            ("[::1]:53", "[::1]:53"),
            ("2620:fe::fe", "[2620:fe::fe]:53"),
            ("tls://1.1.1.1#cloudflare-dns.com", "tls://1.1.1.1:853#cloudflare-dns.com"),
            ("tls://1.1.1.1:8853#Name.example", "tls://1.1.1.1:8853#name.example"),
            ("tls://[2606:4700::1111]#cloudflare-dns.com", "tls://[2606:4700::1111]:853#cloudflare-dns.com"),
            ("https://8.8.8.8/dns-query#dns.google", "https://8.8.8.8:443/dns-query#dns.google"),
            ("https://8.8.8.8#dns.google", "https://8.8.8.8:443/dns-query#dns.google"),
            ("https://127.0.0.1:8443/q/x#dns.example", "https://127.0.0.1:8443/q/x#dns.example"),
        ] {
            let read = UpstreamServer::parse(text).expect(text);
            assert_eq!(read.to_string(), shown);
            assert_eq!(UpstreamServer::parse(shown), Ok(read), "what is shown reads back");
        }
    }

    #[test]
    fn what_cannot_be_asked_says_what_would_do() {
        for (text, hint) in [
            ("dns.google", "a resolver cannot look its own upstream up: write its address, as in `10.0.0.53`"),
            (
                "https://dns.google/dns-query",
                "a resolver cannot look its own upstream up: write its address, as in `https://8.8.8.8/dns-query#dns.google`",
            ),
            ("tls://1.1.1.1", "write the name its certificate must have: `tls://1.1.1.1#dns.example`"),
            (
                "https://8.8.8.8/dns-query",
                "write the name its certificate must have: `https://8.8.8.8/dns-query#dns.example`",
            ),
            ("tls://1.1.1.1#", "write it as in `tls://1.1.1.1#dns.example`"),
            ("tls://1.1.1.1/x#a.example", "write it as in `tls://1.1.1.1#cloudflare-dns.com`"),
            (
                "udp://9.9.9.9",
                "write an address, `tls://1.1.1.1#cloudflare-dns.com` or `https://8.8.8.8/dns-query#dns.google`",
            ),
            ("9.9.9.9:0", "write it as in `10.0.0.53`"),
            ("0.0.0.0", "write it as in `10.0.0.53`"),
            ("https://8.8.8.8/a b#dns.google", "write it as in `https://8.8.8.8/dns-query#dns.google`"),
            ("", "write it as in `10.0.0.53`"),
        ] {
            assert_eq!(UpstreamServer::parse(text).expect_err(text).1, hint, "{text}");
        }
    }
}
