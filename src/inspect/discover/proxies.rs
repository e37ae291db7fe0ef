//! The proxies that a program in Go, such as Docker, takes from its environment, and what goes past them.

use std::net::IpAddr;

use hyper::Uri;
use ipnet::IpNet;

use super::target::{Host, Target};
use crate::config::ParentProxy;

/// `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    https: Option<ParentProxy>,
    http: Option<ParentProxy>,
    exceptions: Vec<Exception>,
}

/// A part of `NO_PROXY`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Exception {
    Everything,
    Range(IpNet),
    Address(IpAddr, Option<u16>),
    /// A domain without its leading dot; whether the name itself is meant too; a port.
    Domain(String, Reach, Option<u16>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Whole,
    Below,
}

/// A variable that names no proxy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {message}")]
pub struct ProxyFault {
    /// The variable.
    pub variable: &'static str,
    /// What was seen, without a password.
    pub message: String,
    /// What would do.
    pub hint: String,
}

impl Proxies {
    /// From the variables of an environment; upper case counts before lower case.
    ///
    /// # Errors
    /// A proxy that is none, or of a kind that is not spoken here.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ProxyFault> {
        let value = |name: &str| {
            let said = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
            said(name).or_else(|| said(&name.to_ascii_lowercase()))
        };
        let proxy = |name: &'static str| value(name).map(|text| read_proxy(name, text.trim())).transpose();
        let exceptions = value("NO_PROXY").unwrap_or_default();
        Ok(Self {
            https: proxy("HTTPS_PROXY")?,
            http: proxy("HTTP_PROXY")?,
            exceptions: exceptions.split(',').filter_map(|part| Exception::read(part.trim())).collect(),
        })
    }

    /// The proxy for a target; this machine is reached without.
    pub(super) fn for_target(&self, target: &Target) -> Option<&ParentProxy> {
        let proxy = if target.is_tls() { &self.https } else { &self.http };
        let is_here = target.host().known_addresses().is_some_and(|known| known.iter().all(IpAddr::is_loopback));
        let is_excepted = self.exceptions.iter().any(|exception| exception.covers(target));
        proxy.as_ref().filter(|_| !is_here && !is_excepted)
    }
}

/// Reads `http://proxy.corp.example:8080`; as in Go the scheme may be left out, and the port is 80 then.
fn read_proxy(variable: &'static str, text: &str) -> Result<ParentProxy, ProxyFault> {
    let hint = "write it as in `http://proxy.corp.example:8080`";
    let fault = |message: String| ProxyFault { variable, message, hint: hint.to_owned() };
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let (scheme, rest) = with_scheme.split_once("://").unwrap_or_default();
    if scheme != "http" {
        return Err(fault(format!("a proxy of scheme `{scheme}`, of which only `http` is spoken here")));
    }
    let rest = rest.trim_end_matches('/');
    let uri: Uri = with_scheme.parse().map_err(|_| fault("no URL of a proxy".to_owned()))?;
    let port = if uri.port().is_none() { ":80" } else { "" };
    // Its own complaint would show the whole of it, and with it a password.
    ParentProxy::parse(&format!("http://{rest}{port}")).map_err(|_| fault("no URL of a proxy".to_owned()))
}

impl Exception {
    fn read(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Everything);
        }
        if let Ok(range) = text.parse::<IpNet>() {
            return Some(Self::Range(range));
        }
        let bare = |text: &str| text.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        if let Some(address) = bare(text) {
            return Some(Self::Address(address, None));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (text, None),
        };
        if let Some(address) = bare(host) {
            return Some(Self::Address(address, port));
        }
        let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host).to_ascii_lowercase();
        let (domain, reach) = match host.strip_prefix('.') {
            Some(domain) => (domain, Reach::Below),
            None => (host.as_str(), Reach::Whole),
        };
        (!domain.is_empty()).then(|| Self::Domain(domain.to_owned(), reach, port))
    }

    fn covers(&self, target: &Target) -> bool {
        let fits = |port: &Option<u16>| port.is_none_or(|port| port == target.port());
        match (self, target.host()) {
            (Self::Everything, _) => true,
            (Self::Range(range), Host::Address(address)) => range.contains(address),
            (Self::Address(own, port), Host::Address(address)) => own == address && fits(port),
            (Self::Domain(domain, reach, port), Host::Name(name)) => {
                let name = name.to_string();
                let below = name.strip_suffix(domain.as_str());
                let is_below = below.is_some_and(|rest| rest.ends_with('.'));
                fits(port) && (is_below || *reach == Reach::Whole && name == *domain)
            }
            (Self::Range(_) | Self::Address(..), Host::Name(_)) | (Self::Domain(..), Host::Address(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, ProxyFault> {
        let of =
            |wanted: &str| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
        Proxies::of(of)
    }

    fn proxy_for(variables: &[(&str, &str)], target: &str) -> Option<String> {
        let proxies = proxies(variables).unwrap();
        proxies.for_target(&Target::parse(target).unwrap()).map(ToString::to_string)
    }

    #[test]
    fn each_scheme_has_its_proxy_as_in_go() {
        let both = [("HTTPS_PROXY", "http://u:p@proxy.example:3128/"), ("http_proxy", "plain.example")];
        assert_eq!(proxy_for(&both, "https://a.example/").as_deref(), Some("http://proxy.example:3128"));
        assert_eq!(proxy_for(&both, "http://a.example/").as_deref(), Some("http://plain.example:80"));
        for here in ["https://localhost:5000/", "https://127.0.0.1/", "http://[::1]:5000/"] {
            assert_eq!(proxy_for(&both, here), None, "{here}");
        }
        assert_eq!(proxy_for(&[("HTTPS_PROXY", " ")], "https://a.example/"), None);
    }

    #[test]
    fn exceptions_are_read_as_go_reads_them() {
        for (exceptions, target, is_direct) in [
            ("example", "https://a.example/", true),
            ("a.example", "https://a.example/", true),
            ("a.example", "https://ba.example/", false),
            ("A.Example", "https://b.a.example/", true),
            (".example", "https://a.example/", true),
            (".a.example", "https://a.example/", false),
            ("*.a.example", "https://b.a.example/", true),
            ("*.a.example", "https://a.example/", false),
            ("x, a.example:8443", "https://a.example:8443/", true),
            ("a.example:8443", "https://a.example/", false),
            ("10.0.0.0/8", "https://10.1.2.3/", true),
            ("10.1.2.3", "https://10.1.2.3/", true),
            ("10.1.2.3:80", "https://10.1.2.3/", false),
            ("fd00::/8", "https://[fd00::1]/", true),
            ("[fd00::1]:443", "https://[fd00::1]/", true),
            ("*", "https://a.example/", true),
            (", ,:,*", "https://a.example/", true),
            ("10.0.0.0/8", "https://a.example/", false),
        ] {
            let variables = [("HTTPS_PROXY", "http://proxy.example:1"), ("NO_PROXY", exceptions)];
            assert_eq!(proxy_for(&variables, target).is_none(), is_direct, "{exceptions} {target}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_telling_its_password() {
        for text in [
            "https://u:hunter2@p.example:1",
            "socks5://u:hunter2@p.example:1",
            "http://u:hunter2@p.example:0",
            "http://u:hunter2@/x y",
        ] {
            let fault = proxies(&[("HTTPS_PROXY", text)]).unwrap_err();
            assert!(!fault.to_string().contains("hunter2"), "{fault}");
            assert!(fault.to_string().starts_with("HTTPS_PROXY: "), "{fault}");
        }
    }

    proptest! {
        #[test]
        fn no_variable_makes_it_panic(proxy in "\\PC{0,40}|http://[a-z:@/.0-9%]{0,30}", exceptions in "\\PC{0,40}|[a-z.*:,0-9/]{0,40}") {
            let variables = [("HTTPS_PROXY", proxy.as_str()), ("NO_PROXY", exceptions.as_str())];
            if let Ok(proxies) = proxies(&variables) {
                let _ = proxies.for_target(&Target::parse("https://a.example/").unwrap());
            }
        }
    }
}
