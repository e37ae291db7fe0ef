//! DNS over TLS and DNS over HTTPS: hickory-server carries the bytes, the [`Pipeline`] answers them. The only file that
//! names hickory-server.
//!
//! Limits of hickory-server 0.26 that cannot be closed from here: it caps neither connections nor queries in flight,
//! answers what it cannot parse by itself (FORMERR), and takes the queries of one TLS connection one after another. So
//! these listeners belong on networks whose clients are trusted that far; what is resolved for them counts against the
//! same limit as everything else.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Header, HeaderCounts, Message};
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;

use super::listen::stop;
use super::pipeline::{Pipeline, Step};
use super::{Peer, Transport};

/// A certificate chain with its key, checked to belong together.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    /// Without application protocols, which depend on the listener.
    config: ServerConfig,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read, or is not PEM.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: pem::Error,
    },
    /// The file has no certificate in it.
    #[error("no certificate in {}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key are not a pair, or of a kind that is not supported.
    #[error("{} and {} cannot be used together: {source}", certificate.display(), key.display())]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
}

impl CertificateError {
    /// What would do.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { path, .. } => {
                format!("[server.tls] wants PEM files that the server's user can read: see `ls -l {}`", path.display())
            }
            Self::Empty { .. } => {
                "`certificate` is the chain, the server's own first, each between `-----BEGIN CERTIFICATE-----` lines"
                    .to_owned()
            }
            Self::Unusable { .. } => {
                "`key` must be the private key (RSA, ECDSA or Ed25519) of the first certificate in `certificate`"
                    .to_owned()
            }
        }
    }
}

impl Certificate {
    /// Reads PEM files.
    pub(super) fn load(certificate: &Path, key: &Path) -> Result<Self, CertificateError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| CertificateError::Unreadable { path, source }
        };
        let chain: Vec<_> =
            CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect).map_err(unreadable(certificate))?;
        if chain.is_empty() {
            return Err(CertificateError::Empty { path: certificate.to_owned() });
        }
        let private = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key))?;
        let config = server_config(chain, private).map_err(|source| CertificateError::Unusable {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            source,
        })?;
        Ok(Self { config })
    }

    fn for_protocol(&self, protocol: &[u8]) -> Arc<ServerConfig> {
        let mut config = self.config.clone();
        config.alpn_protocols = vec![protocol.to_vec()];
        Arc::new(config)
    }
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
}

/// One encrypted listener, served.
pub(super) struct Server(hickory_server::Server<Handler>);

/// Starts to serve `listener`, which is known by `address`.
pub(super) fn start(
    certificate: &Certificate,
    listener: std::net::TcpListener,
    (address, transport): (SocketAddr, Transport),
    pipeline: &Arc<Pipeline>,
) -> io::Result<Server> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let handler = Handler { pipeline: Arc::clone(pipeline), listener: address, transport };
    let mut server = hickory_server::Server::new(handler);
    if transport == Transport::Https {
        let config = certificate.for_protocol(b"h2");
        server.register_https_listener_with_tls_config(listener, TIMEOUT, config, None, DOH_PATH.to_owned())?;
    } else {
        server.register_tls_listener_with_tls_config(listener, TIMEOUT, certificate.for_protocol(b"dot"))?;
    }
    Ok(Server(server))
}

impl Server {
    /// Serves until `stopped`.
    pub(super) async fn run(mut self, stopped: watch::Receiver<()>) {
        stop(stopped).await;
        if let Err(error) = self.0.shutdown_gracefully().await {
            tracing::debug!(%error, "an encrypted listener ended with an error");
        }
    }
}

/// Hands requests to the pipeline as the bytes they came as, and its answers back as hickory-server wants them.
struct Handler {
    pipeline: Arc<Pipeline>,
    listener: SocketAddr,
    transport: Transport,
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, response: R) -> ResponseInfo {
        let peer = Peer::new(request.src(), self.listener, self.transport);
        let mut answer = Vec::new();
        match self.pipeline.answer(request.as_slice(), &peer, &mut answer) {
            Step::Drop => return nothing_sent(request),
            Step::Reply => {}
            Step::Miss(miss) => self.pipeline.finish(miss, &mut answer).await,
        }
        send(request, response, &answer).await.unwrap_or_else(|error| {
            tracing::debug!(%error, client = %peer.client, "cannot send an encrypted answer");
            nothing_sent(request)
        })
    }
}

async fn send<R: ResponseHandler>(request: &Request, mut response: R, answer: &[u8]) -> io::Result<ResponseInfo> {
    let message = Message::from_vec(answer).map_err(io::Error::other)?;
    let builder = MessageResponseBuilder::new(&request.queries, message.edns.as_ref());
    let built = builder.build(message.metadata, &message.answers, &message.authorities, [], &message.additionals);
    response.send_response(built).await.map_err(io::Error::other)
}

fn nothing_sent(request: &Request) -> ResponseInfo {
    Header { metadata: request.metadata, counts: HeaderCounts::default() }.into()
}

/// For the handshake, and for the next query after it; the same as over TCP.
const TIMEOUT: Duration = Duration::from_secs(5);
/// RFC 8484 §4.1 leaves the path to the server; this one is everybody's.
const DOH_PATH: &str = "/dns-query";

#[cfg(test)]
mod tests {
    //! Real TLS and HTTPS clients.

    use hickory_proto::op::{DnsRequest, DnsRequestOptions, Query, ResponseCode};
    use hickory_proto::rr::{Name, RecordType};
    use hickory_server::net::h2::HttpsClientStream;
    use hickory_server::net::runtime::TokioRuntimeProvider;
    use hickory_server::net::tls::tls_exchange;
    use hickory_server::net::xfer::{DnsExchange, DnsHandle, FirstAnswer};
    use rustls::{ClientConfig, RootCertStore};
    use tempfile::TempDir;
    use tokio::sync::oneshot;

    use super::*;
    use crate::config::Tls;
    use crate::dns::listen::Listeners;
    use crate::dns::testing::{Lab, extended_error};

    const POLICY: &str = r#"
version = 1
[[registry]]
name = "good"
hosts = ["ok.example", ".good.example"]
"#;

    /// A certificate for 127.0.0.1 in files, and a client that trusts it.
    struct Trust {
        folder: TempDir,
        client: ClientConfig,
        /// Holds the tasks of the clients' connections.
        provider: TokioRuntimeProvider,
    }

    impl Trust {
        fn new() -> Self {
            let folder = TempDir::new().unwrap();
            let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
            std::fs::write(folder.path().join("tls.crt"), pair.cert.pem()).unwrap();
            std::fs::write(folder.path().join("tls.key"), pair.signing_key.serialize_pem()).unwrap();
            let mut roots = RootCertStore::empty();
            roots.add(pair.cert.der().clone()).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
            let client = builder.with_root_certificates(roots).with_no_client_auth();
            Self { folder, client, provider: TokioRuntimeProvider::new() }
        }

        fn settings(&self) -> Tls {
            let any_port = vec!["127.0.0.1:0".parse().unwrap()];
            let file = |name: &str| self.folder.path().join(name);
            Tls { certificate: file("tls.crt"), key: file("tls.key"), dot: any_port.clone(), doh: any_port }
        }

        async fn connect(&self, server: SocketAddr, transport: Transport) -> DnsExchange<TokioRuntimeProvider> {
            let (mut config, provider) = (self.client.clone(), self.provider.clone());
            if transport == Transport::Tls {
                let name = server.ip().into();
                return tls_exchange(server, name, config, TIMEOUT, None, provider).await.unwrap();
            }
            config.alpn_protocols = vec![b"h2".to_vec()];
            let builder = HttpsClientStream::builder(Arc::new(config), provider);
            builder.exchange(server, server.ip().to_string().into(), DOH_PATH.into()).await.unwrap()
        }
    }

    async fn ask(connection: &DnsExchange<TokioRuntimeProvider>, name: &str, record_type: RecordType) -> Message {
        let mut query = Message::query();
        query.metadata.recursion_desired = true;
        query.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
        query.edns = Some(hickory_proto::op::Edns::new());
        let request = DnsRequest::new(query, DnsRequestOptions::default());
        connection.send(request).first_answer().await.unwrap().into_message()
    }

    #[tokio::test]
    async fn encrypted_questions_get_the_same_answers() {
        let trust = Trust::new();
        let lab = Lab::with(POLICY, |settings| {
            settings.server.listen.clear();
            settings.server.tls = Some(trust.settings());
        })
        .await;
        let listeners = Listeners::bind(&lab.settings.server).unwrap();
        let addresses = listeners.addresses();
        assert_eq!(
            addresses.iter().map(|(_, transport)| *transport).collect::<Vec<_>>(),
            [Transport::Tls, Transport::Https]
        );
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(listeners.run(Arc::clone(&lab.pipeline), async {
            let _ = stopped.await;
        }));

        for (server, transport) in addresses {
            let connection = trust.connect(server, transport).await;
            let allowed = ask(&connection, "ok.example.", RecordType::A).await;
            assert_eq!(
                (allowed.metadata.response_code, allowed.answers.len()),
                (ResponseCode::NoError, 1),
                "{transport:?}"
            );
            let denied = ask(&connection, "evil.test.", RecordType::A).await;
            assert_eq!((denied.metadata.response_code, denied.authorities.len()), (ResponseCode::NXDomain, 1));
            assert_eq!(extended_error(&denied), Some((15, "not on the allowlist".to_owned())));
            let large = ask(&connection, "large.good.example.", RecordType::A).await;
            assert_eq!((large.answers.len(), large.metadata.truncation), (100, false));
        }
        let counters = lab.pipeline.counters();
        assert_eq!((counters.queries_tls.value(), counters.queries_https.value()), (3, 3));
        stop.send(()).unwrap();
        running.await.unwrap().unwrap();
    }

    #[test]
    fn a_certificate_that_cannot_be_used_says_why() {
        let (trust, other) = (Trust::new(), Trust::new());
        let file = |name: &str| trust.folder.path().join(name);
        std::fs::write(file("empty"), "").unwrap();
        let load = |certificate: PathBuf, key: PathBuf| Certificate::load(&certificate, &key).unwrap_err();

        let missing = load(file("none"), file("tls.key"));
        assert!(matches!(missing, CertificateError::Unreadable { .. }));
        assert!(missing.to_string().contains("/none: "), "{missing}");
        assert!(matches!(load(file("empty"), file("tls.key")), CertificateError::Empty { .. }));
        assert!(matches!(load(file("tls.crt"), file("empty")), CertificateError::Unreadable { .. }));
        let mismatch = load(file("tls.crt"), other.folder.path().join("tls.key"));
        assert!(matches!(mismatch, CertificateError::Unusable { .. }), "{mismatch}");
        assert!(mismatch.hint().contains("private key"));
    }
}
