//! `[[signal]]`: whom to tell by themselves what somebody should know.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use hyper::Uri;

use super::gateway::{HTTPS_PORT, ProxyHost};

/// One who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// How.
    pub way: SignalWay,
    /// Of what; at least one, each once.
    pub on: Vec<SignalKind>,
    /// Of a new denied name when more clients than this asked for it within an hour.
    pub clients: usize,
}

/// How somebody is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignalWay {
    /// By HTTP.
    Webhook {
        /// Where to.
        url: WebhookUrl,
        /// The file with the bearer token (RFC 6750).
        token_file: Option<PathBuf>,
    },
    /// By a program and its arguments; at least the program, by its whole path.
    Command(Vec<String>),
}

/// Where a webhook listens.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl {
    /// Whether it is reached over TLS.
    pub is_tls: bool,
    /// Its host.
    pub host: ProxyHost,
    /// Its port.
    pub port: u16,
    /// Path and query, with the leading `/`: often enough the secret itself.
    pub path: String,
}

/// What somebody can be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SignalKind {
    /// The policy files as they are were refused.
    Refused,
    /// The service started with an earlier policy, or with none.
    Degraded,
    /// No server of those for some names answers.
    UpstreamDown,
    /// A name that was not denied before is denied to several clients.
    NewDeniedName,
    /// An entry of the policy runs out.
    Expiring,
}

/// What was seen, and what would do.
type Complaint = (String, String);

impl SignalKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Refused, Self::Degraded, Self::UpstreamDown, Self::NewDeniedName, Self::Expiring];

    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Degraded => "degraded",
            Self::UpstreamDown => "upstream-down",
            Self::NewDeniedName => "new-denied-name",
            Self::Expiring => "expiring",
        }
    }
}

impl SignalWay {
    /// The program of a command; `None`: it is told by HTTP.
    pub fn program(&self) -> Option<&str> {
        match self {
            Self::Webhook { .. } => None,
            Self::Command(arguments) => arguments.first().map(String::as_str),
        }
    }
}

impl fmt::Display for SignalWay {
    /// Without what may be secret: the path of a webhook, the arguments of a command.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Webhook { url, .. } => url.fmt(f),
            Self::Command(arguments) => f.write_str(arguments.first().map_or("", String::as_str)),
        }
    }
}

impl WebhookUrl {
    /// Reads `https://hooks.corp.example/pullgate`.
    pub(super) fn parse(text: &str) -> Result<Self, Complaint> {
        let wrong = |what: &str| (what.to_owned(), format!("write it as in `{EXAMPLE}`"));
        let uri: Uri = text.parse().map_err(|_| wrong("not a URL"))?;
        let (is_tls, port) = match uri.scheme_str() {
            Some("https") => (true, HTTPS_PORT),
            Some("http") => (false, HTTP_PORT),
            _ => return Err(wrong("neither `http://` nor `https://`")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("a URL without a host"))?;
        if authority.as_str().contains('@') {
            return Err(("a user in a URL".to_owned(), "a token is read from `token-file`".to_owned()));
        }
        let host = match authority.host().trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => ProxyHost::Address(address.to_canonical()),
            Err(_) => ProxyHost::Name(authority.host().parse().map_err(|_| wrong("no name of a host"))?),
        };
        let port = authority.port_u16().unwrap_or(port);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        if port == 0 || authority.host().is_empty() {
            return Err(wrong("a URL without a host or port"));
        }
        Ok(Self { is_tls, host, port, path })
    }

    /// Host and port as a request names them.
    pub fn authority(&self) -> String {
        let Self { is_tls, host, port, .. } = self;
        let usual = if *is_tls { HTTPS_PORT } else { HTTP_PORT };
        if *port == usual { host.to_string() } else { format!("{host}:{port}") }
    }
}

impl fmt::Display for WebhookUrl {
    /// Without the path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.is_tls { "https" } else { "http" }, self.authority())
    }
}

impl fmt::Debug for WebhookUrl {
    /// Without the path, which no log is to hold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookUrl({self})")
    }
}

const EXAMPLE: &str = "https://hooks.corp.example/pullgate";
/// RFC 9110 §4.2.1.
const HTTP_PORT: u16 = 80;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_webhook_has_a_host_and_perhaps_a_port_and_a_path_which_is_not_shown() {
        for (text, shown, path) in [
            (
                "https://hooks.corp.example/services/T0/secret?x=1",
                "https://hooks.corp.example",
                "/services/T0/secret?x=1",
            ),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000", "/"),
            ("http://[::1]:80/x", "http://[::1]", "/x"),
            ("https://hooks.corp.example:443/", "https://hooks.corp.example", "/"),
        ] {
            let url = WebhookUrl::parse(text).unwrap();
            assert_eq!((url.to_string().as_str(), url.path.as_str()), (shown, path), "{text}");
            assert!(!format!("{url:?}").contains("secret"));
        }
    }

    #[test]
    fn what_is_no_webhook_is_refused_with_what_would_do() {
        for text in
            ["hooks.corp.example", "ftp://x/", "https://", "https://user:word@hooks.corp.example/", "", "http://a:0/"]
        {
            assert!(WebhookUrl::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_webhook_that_can_be_asked_or_none(text in "(https?://)?\\PC{0,40}") {
            if let Ok(url) = WebhookUrl::parse(&text) {
                prop_assert!(url.path.starts_with('/') && url.port > 0 && !url.authority().is_empty());
                prop_assert!(url.path.parse::<Uri>().is_ok());
            }
        }
    }
}
