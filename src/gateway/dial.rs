//! Connections to registries: resolved here, never steered, directly or through the site's proxy.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::parent;
use super::stream::Stream;
use crate::config::{ParentProxy, ProxyHost};
use crate::name::{DomainName, NameRef};
use crate::record_type;
use crate::upstream::{Dnssec, Failure, Held, Lookup, Probe, Resolution, Resolver};

/// Makes connections to registries.
pub(crate) struct Dialer {
    resolver: Arc<Resolver>,
    parent: Option<ParentProxy>,
    /// The gateway's own addresses: a name that leads here would lead here again.
    own: Vec<IpAddr>,
    tls: TlsConnector,
}

/// Whom to connect to, and on whose terms.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    /// The name.
    pub name: &'a DomainName,
    /// The port.
    pub port: u16,
    /// Who resolves the name; empty: whoever the routes say.
    pub servers: &'a [SocketAddr],
    /// Whether its addresses may be private; `None`: those of a route may.
    pub private: Option<bool>,
    /// Why its answer must not lead to a name, if so.
    pub forbids: &'a (dyn Fn(NameRef<'_>) -> Option<String> + Sync),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// No server answered, or none did well.
    #[error("its name cannot be resolved: {0}")]
    Unresolved(&'static str),
    /// The name has no address.
    #[error("its name has no address")]
    NoAddress,
    /// It has private ones alone, which its entry does not permit.
    #[error("its name has private addresses, which its entry does not permit")]
    Private,
    /// It leads back to the gateway.
    #[error("its name leads back to this gateway")]
    Loop,
    /// Its answer leads to a name that is denied.
    #[error("its name leads to {0}")]
    ForbiddenTarget(String),
    /// No address takes the connection.
    #[error("{0}")]
    Connect(#[source] io::Error),
    /// The proxy does not hand on.
    #[error("the proxy {proxy} says {answer}")]
    Proxy {
        /// The proxy.
        proxy: String,
        /// Its answer.
        answer: String,
    },
    /// Its certificate is not one that this host trusts, or it speaks no TLS.
    #[error("TLS: {0}")]
    Tls(#[source] io::Error),
    /// It took too long.
    #[error("no connection within {}", humantime::format_duration(DIAL_TIME))]
    TooSlow,
}

impl Dialer {
    /// Resolves with `resolver`; `own` are the gateway's addresses, `tls` is how registries prove who they are.
    pub(crate) fn new(
        resolver: Arc<Resolver>,
        parent: Option<ParentProxy>,
        own: Vec<IpAddr>,
        tls: Arc<ClientConfig>,
    ) -> Self {
        Self { resolver, parent, own, tls: TlsConnector::from(tls) }
    }

    /// A connection to a registry, as it is.
    ///
    /// # Errors
    /// There is none within ten seconds.
    pub(super) async fn dial(&self, target: &Target<'_>) -> Result<Box<dyn Stream>, DialError> {
        let dial = async {
            match &self.parent {
                Some(proxy) => self.dial_through(proxy, target).await,
                None => Ok(Box::new(self.dial_directly(target).await?) as Box<dyn Stream>),
            }
        };
        timeout(DIAL_TIME, dial).await.unwrap_or(Err(DialError::TooSlow))
    }

    /// A connection to a registry, with TLS in it, once it has proved that the name is its own.
    ///
    /// # Errors
    /// As [`Self::dial`], and when it does not prove that.
    pub(super) async fn dial_tls(&self, target: &Target<'_>) -> Result<TlsStream<Box<dyn Stream>>, DialError> {
        let stream = self.dial(target).await?;
        let wrong = |_| DialError::Tls(io::Error::other("not a name that a certificate can have"));
        let name = ServerName::try_from(target.name.to_string()).map_err(wrong)?;
        match timeout(DIAL_TIME, self.tls.connect(name, stream)).await {
            Ok(shaken) => shaken.map_err(DialError::Tls),
            Err(_elapsed) => Err(DialError::TooSlow),
        }
    }

    async fn dial_directly(&self, target: &Target<'_>) -> Result<TcpStream, DialError> {
        let addresses = self.resolve(target).await?;
        connect_any(&addresses, target.port).await.map_err(DialError::Connect)
    }

    /// Through the proxy, which resolves the registry's name itself.
    async fn dial_through(&self, proxy: &ParentProxy, target: &Target<'_>) -> Result<Box<dyn Stream>, DialError> {
        let stream = self.dial_proxy(proxy).await?;
        parent::connect(proxy, stream, target.name, target.port).await
    }

    /// A connection to a proxy itself.
    ///
    /// # Errors
    /// Its name cannot be resolved, or it takes no connection.
    pub(crate) async fn dial_proxy(&self, proxy: &ParentProxy) -> Result<TcpStream, DialError> {
        let addresses = match &proxy.host {
            ProxyHost::Address(address) => vec![*address],
            ProxyHost::Name(name) => {
                let nothing = |_: NameRef<'_>| None;
                self.resolve(&Target { name, port: 0, servers: &[], private: Some(true), forbids: &nothing }).await?
            }
        };
        connect_any(&addresses, proxy.port).await.map_err(DialError::Connect)
    }

    /// The addresses of a target, those of IPv6 first, as far as they may be connected to.
    ///
    /// # Errors
    /// It has none of that kind, or nobody says which.
    pub(crate) async fn resolve(&self, target: &Target<'_>) -> Result<Vec<IpAddr>, DialError> {
        let (v6, v4) = tokio::join!(self.ask(target, record_type::AAAA), self.ask(target, record_type::A));
        let answers: Vec<Held> = match (v6, v4) {
            (Err(failure), Err(_)) => return Err(DialError::Unresolved(in_words(failure))),
            (v6, v4) => v6.into_iter().chain(v4).collect(),
        };
        for name in answers.iter().flat_map(|held| held.answer.targets()) {
            if let Some(reason) = (target.forbids)(name.as_name()) {
                return Err(DialError::ForbiddenTarget(format!("{name}: {reason}")));
            }
        }
        let private = target.private.unwrap_or_else(|| self.resolver.is_routed(&lookup(target, record_type::A)));
        let mut seen_private = false;
        let mut addresses = Vec::new();
        for held in &answers {
            seen_private |= held.answer.has_private() && !private;
            if private {
                addresses.extend(held.answer.addresses());
            } else {
                addresses.extend(held.answer.without_private().addresses());
            }
        }
        let all = addresses.len();
        addresses.retain(|address| !self.own.contains(address));
        match (addresses.is_empty(), all) {
            (false, _) => Ok(alternating(addresses)),
            (true, 0) if seen_private => Err(DialError::Private),
            (true, 0) => Err(DialError::NoAddress),
            (true, _) => Err(DialError::Loop),
        }
    }

    async fn ask(&self, target: &Target<'_>, record_type: u16) -> Result<Held, Failure> {
        let lookup = lookup(target, record_type);
        match self.resolver.probe(&lookup) {
            Probe::Hit(held) => {
                if held.refresh_due {
                    self.resolver.refresh(lookup.to_owned());
                }
                Ok(held)
            }
            Probe::Failed(failure) => Err(failure),
            Probe::Miss => match self.resolver.resolve(lookup.to_owned()).await {
                Resolution::Answer(held) => Ok(held),
                Resolution::Failed(failure) => Err(failure),
            },
        }
    }
}

fn lookup<'a>(target: &Target<'a>, record_type: u16) -> Lookup<'a> {
    Lookup { name: target.name.as_name(), record_type, dnssec: Dnssec::default(), servers: target.servers }
}

fn in_words(failure: Failure) -> &'static str {
    match failure {
        Failure::Unreachable => "no upstream server answers",
        Failure::Failing => "the upstream servers fail",
        Failure::Busy => "too much is being resolved",
    }
}

/// One of each family in turn (RFC 8305 §4).
fn alternating(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let (v6, v4): (Vec<IpAddr>, Vec<IpAddr>) = addresses.into_iter().partition(IpAddr::is_ipv6);
    let longest = v6.len().max(v4.len());
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    (0..longest).flat_map(|_| [v6.next(), v4.next()]).flatten().take(MAX_ADDRESSES).collect()
}

/// The first connection that comes about; the next address is tried when the one before fails or takes its time
/// (RFC 8305 §5).
pub(crate) async fn connect_any(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    let mut rest = addresses.iter();
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(&address) = rest.next() {
            attempts.spawn(connect(SocketAddr::new(address, port)));
        } else if attempts.is_empty() {
            return Err(failed);
        }
        let is_last = rest.len() == 0;
        tokio::select! {
            Some(joined) = attempts.join_next() => match joined {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failed = error,
                Err(panic) => failed = io::Error::other(panic),
            },
            () = sleep(HEAD_START), if !is_last => {}
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
    // Requests are small and whole: waiting to fill a segment only delays them.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Engines give up after 30 s; what comes of it is to reach them before.
const DIAL_TIME: Duration = Duration::from_secs(10);
/// RFC 8305 §8: "Connection Attempt Delay".
const HEAD_START: Duration = Duration::from_millis(250);
/// More are not tried in the time there is.
const MAX_ADDRESSES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let mixed = addresses(&["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"]);
        assert_eq!(
            alternating(mixed),
            addresses(&["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3"])
        );
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_passed_over() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connected = connect_any(&addresses(&["127.0.0.2", "::1", "127.0.0.1"]), port).await.unwrap();
        assert_eq!(connected.peer_addr().unwrap().ip(), addresses(&["127.0.0.1"])[0]);
    }

    #[tokio::test]
    async fn where_nobody_listens_the_error_names_the_address() {
        let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let error = connect_any(&addresses(&["127.0.0.1"]), port).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(error.to_string().starts_with(&format!("127.0.0.1:{port}: ")), "{error}");
    }
}
