//! Who may ask the page: requests that call it by a name it has, that no other site makes, and that only read.
//!
//! A browser sends any site's script's requests to this machine, and takes a site's own name for this machine's when its
//! owner says so (DNS rebinding). Such a request has that name in `Host`. What another site asks without rebinding says so
//! in `Origin` or `Sec-Fetch-Site` (Fetch Metadata); it could not read the answer, but is not given one either.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::header::{HOST, HeaderName, HeaderValue, ORIGIN};
use hyper::{Method, StatusCode};

use crate::name::DomainName;
use crate::observe::http::Head;

/// Knows by which names the page may be called.
#[derive(Debug)]
pub(super) struct Gate {
    bound: IpAddr,
    names: Vec<DomainName>,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It calls the page by another name, or by none.
    Host,
    /// Another site's page makes it.
    Site,
    /// It wants more than to read.
    Method,
}

/// What a client calls the server that it asks, without the port: that may be another one at the near end of a tunnel,
/// and rebinding changes names, not ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Called {
    /// An address, which nobody can rebind.
    Address(IpAddr),
    /// A name.
    Name(DomainName),
}

impl Gate {
    /// For a page that listens on `bound` and has these `names` beside.
    pub(super) fn new(bound: IpAddr, mut names: Vec<DomainName>) -> Self {
        names.extend(LOCALHOST.parse());
        Self { bound: bound.to_canonical(), names }
    }

    /// Whether a request may be answered.
    pub(super) fn admit(&self, head: &Head) -> Result<(), Refusal> {
        let authority = authority(head).ok_or(Refusal::Host)?;
        let called = Called::parse(authority).ok_or(Refusal::Host)?;
        if !self.is_own(&called) {
            return Err(Refusal::Host);
        }
        if !is_of_own_origin(head, authority) || !is_of_own_site(head) {
            return Err(Refusal::Site);
        }
        if [Method::GET, Method::HEAD].contains(head.method()) { Ok(()) } else { Err(Refusal::Method) }
    }

    fn is_own(&self, called: &Called) -> bool {
        match called {
            Called::Address(address) => self.bound.is_unspecified() || *address == self.bound || address.is_loopback(),
            Called::Name(name) => self.names.contains(name),
        }
    }
}

impl Refusal {
    /// The answer's status: 421 for what is meant for another server (RFC 9110 §15.5.20).
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Site => StatusCode::FORBIDDEN,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// What to do about it.
    pub(super) fn explanation(self) -> &'static str {
        match self {
            Self::Host => {
                "This page answers to its address, to localhost, and to what `[page] names` in the settings lists: \
                 otherwise a web site could have your browser ask it. Use one of these, or add the name there.\n"
            }
            Self::Site => {
                "Another site's page asked for this. Type the address, or follow a link to the page itself.\n"
            }
            Self::Method => "This page can only be read: use GET.\n",
        }
    }
}

impl Called {
    /// Reads the value of `Host` (RFC 9110 §7.2): a name or an address, an IPv6 one in brackets, with a port or without.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix('[') {
            let (address, port) = rest.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            return is_port(port).then(|| Self::Address(IpAddr::V6(address).to_canonical()));
        }
        let (host, port) = text.find(':').map_or((text, ""), |colon| text.split_at(colon));
        if !is_port(port) || host.is_empty() || !host.bytes().all(is_of_name) {
            return None;
        }
        // With a dot at its end it is an address to browsers, too (WHATWG URL, "ends-in-a-number checker").
        match host.strip_suffix('.').unwrap_or(host).parse::<Ipv4Addr>() {
            Ok(address) => Some(Self::Address(address.into())),
            Err(_) => host.parse().ok().map(Self::Name),
        }
    }
}

/// Whether `text` is nothing, or a colon and a port.
fn is_port(text: &str) -> bool {
    let Some(port) = text.strip_prefix(':') else { return text.is_empty() };
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

/// What names of web servers are made of: no escape, no separator.
fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)
}

/// Whom a request is for: what its line says (RFC 9112 §3.2.2), or its one `Host`.
fn authority(head: &Head) -> Option<&str> {
    let mut hosts = head.headers().get_all(HOST).iter();
    let host = hosts.next().filter(|_| hosts.next().is_none())?.to_str().ok()?;
    Some(head.uri().authority().map_or(host, |authority| authority.as_str()))
}

/// Whether an `Origin`, if there is one, is this page's: browsers leave it away where a page asks its own server.
fn is_of_own_origin(head: &Head, authority: &str) -> bool {
    head.headers().get_all(ORIGIN).iter().all(|origin| {
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        origin.is_some_and(|(_, from)| from.eq_ignore_ascii_case(authority))
    })
}

/// Whether a browser says that this page, or the person at it, asks; or that somebody follows a link to the page, which
/// shows nothing to the site that has the link.
fn is_of_own_site(head: &Head) -> bool {
    let said = |name: &HeaderName| head.headers().get(name).map(HeaderValue::as_bytes);
    let follows_a_link = head.uri().path() == "/"
        && said(&SEC_FETCH_MODE) == Some(b"navigate")
        && said(&SEC_FETCH_DEST) == Some(b"document");
    matches!(said(&SEC_FETCH_SITE), None | Some(b"same-origin" | b"none")) || follows_a_link
}

const LOCALHOST: &str = "localhost";
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

#[cfg(test)]
mod tests {
    use hyper::Request;
    use proptest::prelude::*;

    use super::*;

    fn gate(bound: &str) -> Gate {
        Gate::new(bound.parse().unwrap(), vec!["gate.corp.example".parse().unwrap()])
    }

    fn head(host: &str, more: &[(&str, &str)]) -> Head {
        let request = Request::get("/").header(HOST, host);
        more.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(()).unwrap()
    }

    fn admits(bound: &str, host: &str) -> bool {
        gate(bound).admit(&head(host, &[])).is_ok()
    }

    #[test]
    fn the_page_answers_to_its_address_to_loopback_and_to_its_names_on_any_port() {
        for host in [
            "127.0.0.1:8053",
            "127.0.0.1",
            "127.0.0.1:9000",
            "127.9.9.9:8053",
            "127.0.0.1.:8053",
            "localhost:8053",
            "LOCALHOST",
            "localhost.",
            "[::1]:8053",
            "[::ffff:127.0.0.1]:8053",
            "Gate.corp.example",
            "gate.corp.example.:443",
            "10.0.0.1:8053",
        ] {
            assert!(admits("10.0.0.1", host), "{host}");
        }
    }

    #[test]
    fn the_page_answers_to_nothing_else() {
        for host in [
            "evil.example:8053",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "a.gate.corp.example",
            "gate.corp.example.evil.example",
            "evil.example\\.localhost",
            "user@localhost",
            "localhost:8053:8053",
            "localhost:http",
            "localhost:+80",
            "localhost:65536",
            "localhost, evil.example",
            "[::1",
            "[::1]evil.example",
            "[127.0.0.1]",
            "::1",
            "127.1",
            "10.0.0.2:8053",
            "",
            ":8053",
            ".",
        ] {
            assert!(!admits("10.0.0.1", host), "{host}");
        }
    }

    #[test]
    fn a_page_on_every_address_answers_to_each_address_but_to_no_other_name() {
        assert!(admits("0.0.0.0", "192.0.2.1:8053") && admits("::", "[2001:db8::1]:8053"));
        assert!(!admits("0.0.0.0", "evil.example:8053"));
    }

    #[test]
    fn what_a_request_line_names_counts_more_than_its_host_and_two_hosts_are_none() {
        let named = Request::get("http://evil.example/").header(HOST, "localhost").body(()).unwrap();
        assert_eq!(gate("127.0.0.1").admit(&named), Err(Refusal::Host));
        assert_eq!(gate("127.0.0.1").admit(&head("localhost", &[("host", "evil.example")])), Err(Refusal::Host));
        assert_eq!(gate("127.0.0.1").admit(&Request::get("/").body(()).unwrap()), Err(Refusal::Host));
    }

    #[test]
    fn another_sites_requests_are_refused_and_links_to_the_page_followed() {
        let admits = |more: &[(&str, &str)]| gate("127.0.0.1").admit(&head("localhost:8053", more)).is_ok();
        assert!(admits(&[("origin", "http://localhost:8053")]));
        for origin in ["http://localhost:3000", "https://evil.example", "null", "http://localhost:8053.evil.example"] {
            assert!(!admits(&[("origin", origin)]), "{origin}");
        }
        assert!(admits(&[("sec-fetch-site", "same-origin")]) && admits(&[("sec-fetch-site", "none")]));
        assert!(!admits(&[("sec-fetch-site", "cross-site")]) && !admits(&[("sec-fetch-site", "same-site")]));
        let link =
            |mode, document| [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", mode), ("sec-fetch-dest", document)];
        assert!(admits(&link("navigate", "document")));
        assert!(!admits(&link("navigate", "iframe")) && !admits(&link("no-cors", "document")));
    }

    #[test]
    fn only_reading_is_possible() {
        let asked = |method: &str| {
            let request = Request::builder().method(method).uri("/").header(HOST, "localhost").body(()).unwrap();
            gate("127.0.0.1").admit(&request)
        };
        assert_eq!((asked("GET"), asked("HEAD")), (Ok(()), Ok(())));
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"] {
            assert_eq!(asked(method), Err(Refusal::Method), "{method}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_an_address_or_one_of_the_names(text in "[a-zA-Z0-9.:@/\\[\\] \\\\%-]{0,24}|.{0,12}") {
            if gate("127.0.0.1").is_own_text(&text) {
                let bare = text.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(&*text, |(host, _)| host);
                let bare = bare.trim_end_matches('.').to_ascii_lowercase();
                let address = bare.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
                let is_loopback = address.is_ok_and(|address| address.to_canonical().is_loopback());
                prop_assert!(is_loopback || ["localhost", "gate.corp.example"].contains(&&*bare), "{}", text);
            }
        }

        #[test]
        fn a_name_is_read_whatever_its_case_and_port(name in "[a-z]{1,8}(\\.[a-z]{1,8}){0,2}", port in any::<Option<u16>>()) {
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            let read = Called::parse(&format!("{}{port}", name.to_uppercase()));
            prop_assert_eq!(read, Some(Called::Name(name.parse().unwrap())));
        }

        #[test]
        fn an_address_is_read_as_it_is_written(address in any::<IpAddr>(), port in any::<u16>()) {
            let text = std::net::SocketAddr::new(address, port).to_string();
            prop_assert_eq!(Called::parse(&text), Some(Called::Address(address.to_canonical())));
        }
    }

    impl Gate {
        fn is_own_text(&self, text: &str) -> bool {
            Called::parse(text).is_some_and(|called| self.is_own(&called))
        }
    }
}
