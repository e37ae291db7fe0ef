//! One request to one host: resolved here, through the proxy if there is one for it, over TLS if it says so, the answer
//! read as far as it is of use.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderMap, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::certificates::{CertificateFault, Certificates};
use super::proxies::Proxies;
use super::target::{Host, Target};
use crate::config::ParentProxy;
use crate::gateway::{DialError, Dialer, Stream, connect_any, connect_through};
use crate::name::{DomainName, NameRef};
use crate::upstream::Resolver;

/// How hosts are reached.
pub struct Network {
    dialer: Dialer,
    servers: ServersOf,
    proxies: Proxies,
    certificates: Certificates,
}

/// Who resolves a name by the policy; empty: whoever the settings say.
pub type ServersOf = Box<dyn Fn(&DomainName) -> Vec<SocketAddr> + Send + Sync>;

/// What is asked of a host.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// How much of the answer's body is read; 0: nothing, the connection is closed behind its head.
    pub(super) reads: usize,
}

/// What a host answers.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoReply {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Certificates(#[from] CertificateFault),
    #[error("TLS: {0}")]
    Tls(#[source] io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("its answer breaks off")]
    BrokenOff,
    #[error("its answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("no answer within {}", humantime::format_duration(REQUEST_TIME))]
    TooSlow,
}

impl NoReply {
    /// Whether somebody speaks TLS there, and shows a certificate that is not taken.
    pub(super) fn is_about_certificates(&self) -> bool {
        let Self::Tls(error) = self else { return matches!(self, Self::Certificates(_)) };
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
    }
}

impl Network {
    /// Names are resolved with `resolver`, or with those `servers` that the policy has for one.
    ///
    /// # Errors
    /// There is no authority to check hosts with.
    pub fn new(
        resolver: Arc<Resolver>,
        servers: ServersOf,
        proxies: Proxies,
        certificates: Certificates,
    ) -> Result<Self, CertificateFault> {
        // Only names are resolved with it: what speaks TLS is set up for each host.
        let tls = Arc::new(certificates.config_for("no-host-of-its-own")?);
        Ok(Self { dialer: Dialer::new(resolver, None, Vec::new(), tls), servers, proxies, certificates })
    }

    /// The proxy that a target is reached through.
    pub(super) fn proxy_for(&self, target: &Target) -> Option<&ParentProxy> {
        self.proxies.for_target(target)
    }

    /// Whether a host is this machine, and nothing else.
    pub(super) async fn is_here(&self, host: &Host) -> bool {
        let addresses = self.addresses(host).await.unwrap_or_default();
        !addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback)
    }

    /// Asks, and reads the answer.
    pub(super) async fn ask(&self, target: &Target, ask: &Ask) -> Result<Reply, NoReply> {
        timeout(REQUEST_TIME, self.exchange(target, ask)).await.unwrap_or(Err(NoReply::TooSlow))
    }

    async fn exchange(&self, target: &Target, ask: &Ask) -> Result<Reply, NoReply> {
        let proxy = self.proxy_for(target);
        let stream = self.connect(target, proxy).await?;
        let builder = http1::Builder::new().max_buf_size(MAX_HEAD).to_owned();
        let (mut sender, connection) = builder.handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await?;
        // It ends with this function, whatever is still to come.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let response = sender.send_request(request(target, ask, proxy)).await?;
        read(response, ask.reads).await
    }

    async fn connect(&self, target: &Target, proxy: Option<&ParentProxy>) -> Result<Box<dyn Stream>, NoReply> {
        let stream: Box<dyn Stream> = match proxy {
            None => {
                let addresses = self.addresses(target.host()).await?;
                Box::new(connect_any(&addresses, target.port()).await.map_err(DialError::Connect)?)
            }
            Some(proxy) => {
                let stream = self.dialer.dial_proxy(proxy).await?;
                if target.is_tls() {
                    connect_through(proxy, stream, target.host().in_url(), target.port()).await?
                } else {
                    Box::new(stream)
                }
            }
        };
        if target.is_tls() { self.shake_hands(target, stream).await } else { Ok(stream) }
    }

    async fn shake_hands(&self, target: &Target, stream: Box<dyn Stream>) -> Result<Box<dyn Stream>, NoReply> {
        let config = self.certificates.config_for(&target.authority())?;
        let wrong = |_| NoReply::Tls(io::Error::other("not a name that a certificate can have"));
        let name = ServerName::try_from(target.host().to_string()).map_err(wrong)?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(NoReply::Tls)?;
        Ok(Box::new(stream))
    }

    async fn addresses(&self, host: &Host) -> Result<Vec<IpAddr>, DialError> {
        let name = match (host.known_addresses(), host) {
            (Some(known), _) => return Ok(known),
            (None, Host::Name(name)) => name,
            (None, Host::Address(address)) => return Ok(vec![*address]),
        };
        let (servers, nothing) = ((self.servers)(name), |_: NameRef<'_>| None);
        // Whoever runs this may reach the addresses anyway.
        let target =
            crate::gateway::Target { name, port: 0, servers: &servers, private: Some(true), forbids: &nothing };
        self.dialer.resolve(&target).await
    }
}

impl Reply {
    /// The values of a header as text, odd bytes replaced.
    pub(super) fn texts(&self, name: hyper::header::HeaderName) -> Vec<String> {
        let values = self.headers.get_all(name).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    }
}

fn request(target: &Target, ask: &Ask, proxy: Option<&ParentProxy>) -> Request<Full<Bytes>> {
    let proxy = proxy.filter(|_| !target.is_tls());
    let line = if proxy.is_some() { target.absolute().to_owned() } else { target.path_and_query() };
    let mut request = Request::new(Full::new(ask.body.clone()));
    *request.method_mut() = ask.method.clone();
    *request.uri_mut() = line.parse().unwrap_or_default();
    *request.headers_mut() = ask.headers.clone();
    let headers = request.headers_mut();
    if let Ok(host) = HeaderValue::from_str(&target.authority()) {
        headers.insert(HOST, host);
    }
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("pullgate/", env!("CARGO_PKG_VERSION"))));
    let authorization = proxy.and_then(|proxy| proxy.authorization.as_deref());
    if let Some(mut value) = authorization.and_then(|value| HeaderValue::from_str(value).ok()) {
        value.set_sensitive(true);
        headers.insert(PROXY_AUTHORIZATION, value);
    }
    request
}

async fn read(response: Response<Incoming>, reads: usize) -> Result<Reply, NoReply> {
    let (head, body) = response.into_parts();
    let body = if reads == 0 { Bytes::new() } else { read_body(body, reads).await? };
    Ok(Reply { status: head.status, headers: head.headers, body })
}

async fn read_body(body: Incoming, reads: usize) -> Result<Bytes, NoReply> {
    match Limited::new(body, reads).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(NoReply::TooLong(reads)),
        Err(_) => Err(NoReply::BrokenOff),
    }
}

/// One host that says nothing is not to take the time of all.
const REQUEST_TIME: Duration = Duration::from_secs(15);
/// Signed addresses are long, and so are their cookies.
const MAX_HEAD: usize = 64 * 1024;
