//! A message on its way to a webhook: resolved by this program's own upstreams, whatever its policy says of the name.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::{ProxyHost, WebhookUrl};
use crate::gateway::{DialError, Dialer, Stream, Target, connect_any, trusted};
use crate::name::NameRef;
use crate::upstream::Resolver;

/// How webhooks are reached.
pub(super) struct Network {
    dialer: Dialer,
    tls: Arc<ClientConfig>,
}

/// Why a message did not arrive.
#[derive(Debug, thiserror::Error)]
pub(super) enum WebhookFault {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("{0}")]
    Connect(#[source] io::Error),
    #[error("TLS: {0}")]
    Tls(#[source] io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("the token in {}: {reason}", path.display())]
    Token { path: PathBuf, reason: String },
    #[error("it answers {0}")]
    Status(StatusCode),
    #[error("no answer within {}", humantime::format_duration(REQUEST_TIME))]
    TooSlow,
}

impl WebhookFault {
    /// Whether the same message may be taken later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Status(status) => {
                status.is_server_error()
                    || matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
            }
            _ => true,
        }
    }
}

impl Network {
    /// Webhooks prove who they are to the host's authorities.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub(super) fn new(resolver: Arc<Resolver>) -> Result<Self, rustls::Error> {
        // Without any, only webhooks without TLS can be told; the others say so when they are.
        let roots = trusted(None, None).unwrap_or_else(|_| RootCertStore::empty());
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self::with(resolver, Arc::new(config)))
    }

    fn with(resolver: Arc<Resolver>, tls: Arc<ClientConfig>) -> Self {
        Self { dialer: Dialer::new(resolver, None, Vec::new(), Arc::clone(&tls)), tls }
    }

    /// Posts `body`, once.
    pub(super) async fn post(
        &self,
        url: &WebhookUrl,
        token_file: Option<&Path>,
        body: Vec<u8>,
    ) -> Result<(), WebhookFault> {
        timeout(REQUEST_TIME, self.exchange(url, token_file, body)).await.unwrap_or(Err(WebhookFault::TooSlow))
    }

    async fn exchange(&self, url: &WebhookUrl, token: Option<&Path>, body: Vec<u8>) -> Result<(), WebhookFault> {
        let token = token.map(read_token).transpose()?;
        let stream = self.connect(url).await?;
        let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await?;
        // It ends with this function, whatever is still to come.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let response = sender.send_request(request(url, token, body)).await?;
        if response.status().is_success() { Ok(()) } else { Err(WebhookFault::Status(response.status())) }
    }

    async fn connect(&self, url: &WebhookUrl) -> Result<Box<dyn Stream>, WebhookFault> {
        let addresses = self.addresses(&url.host).await?;
        let stream = connect_any(&addresses, url.port).await.map_err(WebhookFault::Connect)?;
        if !url.is_tls {
            return Ok(Box::new(stream));
        }
        let wrong = |_| WebhookFault::Tls(io::Error::other("not a name that a certificate can have"));
        let name = match &url.host {
            ProxyHost::Address(address) => ServerName::from(*address),
            ProxyHost::Name(name) => ServerName::try_from(name.to_string()).map_err(wrong)?,
        };
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        Ok(Box::new(connector.connect(name, stream).await.map_err(WebhookFault::Tls)?))
    }

    async fn addresses(&self, host: &ProxyHost) -> Result<Vec<IpAddr>, DialError> {
        let name = match host {
            ProxyHost::Address(address) => return Ok(vec![*address]),
            ProxyHost::Name(name) => name,
        };
        let nothing = |_: NameRef<'_>| None;
        // The settings name this host: its address may be any.
        self.dialer.resolve(&Target { name, port: 0, servers: &[], private: Some(true), forbids: &nothing }).await
    }
}

fn request(url: &WebhookUrl, token: Option<HeaderValue>, body: Vec<u8>) -> Request<Full<Bytes>> {
    let mut request = Request::post(url.path.as_str()).body(Full::from(body)).expect("the path was read as one");
    let headers = request.headers_mut();
    if let Ok(host) = HeaderValue::from_str(&url.authority()) {
        headers.insert(HOST, host);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("pullgate/", env!("CARGO_PKG_VERSION"))));
    if let Some(token) = token {
        headers.insert(AUTHORIZATION, token);
    }
    request
}

/// The header with the token of a file (RFC 6750 §2.1); read each time, so that it may change.
fn read_token(path: &Path) -> Result<HeaderValue, WebhookFault> {
    let wrong = |reason: &str| WebhookFault::Token { path: path.to_owned(), reason: reason.to_owned() };
    let bytes = std::fs::read(path).map_err(|error| wrong(&error.to_string()))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong("it is not text"))?.trim();
    if text.is_empty() || text.len() > MAX_TOKEN {
        return Err(wrong("it is empty, or too long"));
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {text}")).map_err(|_| wrong("it has odd characters"))?;
    value.set_sensitive(true);
    Ok(value)
}

const REQUEST_TIME: Duration = Duration::from_secs(10);
/// Larger than any that a server takes in a header.
const MAX_TOKEN: usize = 8192;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::config::{Environment, Settings, UpstreamServer};

    /// What a server that proves to be `127.0.0.1` reads of a request, and the network that believes it; it answers so.
    async fn asked(
        answer: &'static str,
        path: &'static str,
        token: Option<&Path>,
    ) -> (String, Result<(), WebhookFault>) {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider));
        let server = server.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let server = server.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let client = client.with_root_certificates(roots).with_no_client_auth();

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let reading = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = tokio_rustls::TlsAcceptor::from(Arc::new(server)).accept(stream).await.unwrap();
            let mut text = Vec::new();
            while !text.ends_with(b"{}") {
                text.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            String::from_utf8(text).unwrap()
        });
        let mut settings = Settings::embedded(&Environment::default());
        settings.upstream.servers = vec![UpstreamServer::Plain("127.0.0.1:1".parse().unwrap())];
        let resolver = Resolver::start(&settings.upstream, &settings.cache, &[]).unwrap();
        let network = Network::with(resolver, Arc::new(client));
        let host = ProxyHost::Address("127.0.0.1".parse().unwrap());
        let url = WebhookUrl { is_tls: true, host, port, path: path.to_owned() };
        let posted = network.post(&url, token, b"{}".to_vec()).await;
        (reading.await.unwrap(), posted)
    }

    #[tokio::test]
    async fn a_webhook_is_posted_to_over_tls_with_its_token() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "s3cret\n").unwrap();
        let (asked, posted) = asked("204 No Content", "/hook?a=b", Some(&file)).await;
        posted.unwrap();
        let asked = asked.to_lowercase();
        for part in [
            "post /hook?a=b http/1.1\r\n",
            "host: 127.0.0.1:",
            "authorization: bearer s3cret\r\n",
            "content-type: application/json\r\n",
        ] {
            assert!(asked.contains(part), "{part}: {asked}");
        }
    }

    #[tokio::test]
    async fn a_webhook_that_does_not_take_it_says_so_and_is_not_followed_elsewhere() {
        let (_, posted) = asked("302 Found", "/", None).await;
        assert_eq!(posted.unwrap_err().to_string(), "it answers 302 Found");
    }

    #[test]
    fn a_token_is_a_line_that_no_error_and_no_log_shows() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, " s3cret \n").unwrap();
        let value = read_token(&file).unwrap();
        assert_eq!((value.as_bytes(), format!("{value:?}").contains("s3cret")), (&b"Bearer s3cret"[..], false));
        for bytes in [&b""[..], b"\n", b"a\nb-s3cret", &[0xff]] {
            std::fs::write(&file, bytes).unwrap();
            assert!(!read_token(&file).unwrap_err().to_string().contains("s3cret"));
        }
        assert!(read_token(&folder.path().join("nowhere")).is_err());
    }

    #[test]
    fn what_the_webhook_will_not_take_later_either_is_not_tried_again() {
        for (status, may_pass) in [(404, false), (401, false), (302, false), (429, true), (408, true), (500, true)] {
            assert_eq!(WebhookFault::Status(StatusCode::from_u16(status).unwrap()).may_pass(), may_pass, "{status}");
        }
    }
}
