//! The certificate of the DoT and DoH listeners. What comes over TLS is served as over plain TCP: [`super::tcp`] takes
//! the connections, with its clocks and limits, and [`super::https`] reads the requests of DoH.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

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

    /// What takes TLS connections of clients that speak one of `protocols` (RFC 7301), the first one rather.
    pub(super) fn acceptor(&self, protocols: &[&[u8]]) -> TlsAcceptor {
        let mut config = self.config.clone();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
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

#[cfg(test)]
mod tests {
    //! Real TLS and HTTPS clients.

    use std::net::SocketAddr;
    use std::time::Duration;

    use hickory_proto::op::{DnsRequest, DnsRequestOptions, Message, Query, ResponseCode};
    use hickory_proto::rr::{Name, RecordType};
    use hickory_server::net::h2::HttpsClientStream;
    use hickory_server::net::runtime::TokioRuntimeProvider;
    use hickory_server::net::tls::tls_exchange;
    use hickory_server::net::xfer::{DnsExchange, DnsHandle, FirstAnswer};
    use rustls::{ClientConfig, RootCertStore};
    use tempfile::TempDir;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;

    use super::*;
    use crate::config::Tls;
    use crate::dns::Transport;
    use crate::dns::https::PATH;
    use crate::dns::listen::Listeners;
    use crate::dns::tcp::IDLE_TIME;
    use crate::dns::testing::{Lab, POLICY, extended_error, parse, query};

    const PATIENCE: Duration = Duration::from_secs(5);

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
                return tls_exchange(server, name, config, PATIENCE, None, provider).await.unwrap();
            }
            config.alpn_protocols = vec![b"h2".to_vec()];
            let builder = HttpsClientStream::builder(Arc::new(config), provider);
            builder.exchange(server, server.ip().to_string().into(), PATH.into()).await.unwrap()
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

    /// A server with a DoT and a DoH listener.
    struct Served {
        trust: Trust,
        lab: Lab,
        dot: SocketAddr,
        doh: SocketAddr,
        stop: oneshot::Sender<()>,
        running: JoinHandle<std::io::Result<()>>,
    }

    impl Served {
        async fn new() -> Self {
            let trust = Trust::new();
            let lab = Lab::with(POLICY, |settings| {
                settings.server.listen.clear();
                settings.server.tls = Some(trust.settings());
            })
            .await;
            let listeners = Listeners::bind(&lab.settings.server).unwrap();
            let addresses = listeners.addresses();
            let [(dot, Transport::Tls), (doh, Transport::Https)] = addresses[..] else { panic!("{addresses:?}") };
            let (stop, stopped) = oneshot::channel::<()>();
            let running = tokio::spawn(listeners.run(Arc::clone(&lab.pipeline), async {
                let _ = stopped.await;
            }));
            Self { trust, lab, dot, doh, stop, running }
        }

        /// A TLS connection without a word spoken on it.
        async fn connect(&self, server: SocketAddr) -> TlsStream<TcpStream> {
            let connector = TlsConnector::from(Arc::new(self.trust.client.clone()));
            connector.connect(server.ip().into(), TcpStream::connect(server).await.unwrap()).await.unwrap()
        }

        /// Sends a request as it stands, and gives status line, headers and body.
        async fn http(&self, request: &[u8]) -> (String, Vec<u8>) {
            let mut stream = self.connect(self.doh).await;
            stream.write_all(request).await.unwrap();
            let mut response = Vec::new();
            tokio::time::timeout(PATIENCE, stream.read_to_end(&mut response))
                .await
                .expect("a closed connection")
                .unwrap();
            let end = response.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head") + 4;
            let body = response.split_off(end);
            (String::from_utf8(response).unwrap(), body)
        }

        async fn stop(self) {
            self.stop.send(()).unwrap();
            self.running.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn encrypted_questions_get_the_same_answers() {
        let served = Served::new().await;
        for (server, transport) in [(served.dot, Transport::Tls), (served.doh, Transport::Https)] {
            let connection = served.trust.connect(server, transport).await;
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
        let counters = served.lab.pipeline.counters();
        assert_eq!((counters.queries_tls.value(), counters.queries_https.value()), (3, 3));
        served.stop().await;
    }

    #[tokio::test]
    async fn a_query_comes_by_get_and_by_post_over_http_1() {
        let served = Served::new().await;
        let packet = query("evil.test", RecordType::A);
        let parameter = data_encoding::BASE64URL_NOPAD.encode(&packet);
        let get = format!("GET {PATH}?dns={parameter} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes();
        let post = [
            format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n").as_bytes(),
            format!("Content-Type: application/dns-message\r\nContent-Length: {}\r\n\r\n", packet.len()).as_bytes(),
            &packet,
        ]
        .concat();
        for request in [get, post] {
            let (head, body) = served.http(&request).await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            assert!(head.contains("content-type: application/dns-message\r\n"), "{head}");
            assert_eq!(parse(&body).metadata.response_code, ResponseCode::NXDomain);
        }
        served.stop().await;
    }

    #[tokio::test]
    async fn a_request_that_is_no_query_is_refused_with_its_reason() {
        let served = Served::new().await;
        for (line, headers, status) in [
            ("GET /", "", "404"),
            ("GET /dns-query", "", "400"),
            ("GET /dns-query?dns=*", "", "400"),
            // A response, which nobody answers.
            ("GET /dns-query?dns=AACAAAAAAAAAAAAA", "", "400"),
            ("DELETE /dns-query", "", "405"),
            ("POST /dns-query", "Content-Length: 0\r\n", "415"),
            ("POST /dns-query", "Content-Type: text/plain\r\nContent-Length: 0\r\n", "415"),
            ("POST /dns-query", "Content-Type: application/dns-message\r\nContent-Length: 4097\r\n", "413"),
        ] {
            let request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
            let (head, _) = served.http(request.as_bytes()).await;
            assert_eq!(head.split(' ').nth(1), Some(status), "{line}");
        }
        assert_eq!(served.lab.pipeline.counters().https_refused.value(), 8);
        served.stop().await;
    }

    #[tokio::test]
    async fn a_connection_whose_requests_were_given_up_is_idle() {
        let served = Served::new().await;
        let (mut requests, mut connection) = h2::client::handshake(served.connect(served.doh).await).await.unwrap();
        let mut pings = connection.ping_pong().unwrap();
        let ended = tokio::spawn(connection);
        let parameter = data_encoding::BASE64URL_NOPAD.encode(&query("held.good.example", RecordType::A));
        let request = http::Request::get(format!("https://x{PATH}?dns={parameter}")).body(()).unwrap();
        let (response, mut stream) = requests.send_request(request, true).unwrap();
        served.lab.upstream.wait_for("held.good.example").await;
        stream.send_reset(h2::Reason::CANCEL);
        // The first ping may overtake the reset; the second one is answered after it.
        for _ in 0..2 {
            pings.ping(h2::Ping::opaque()).await.unwrap();
        }
        tokio::time::pause();
        let _ = tokio::time::timeout(4 * IDLE_TIME, ended).await.expect("a closed connection");
        assert_eq!(served.lab.pipeline.counters().tcp_timed_out.value(), 1);
        drop((requests, response));
    }

    #[tokio::test]
    async fn requests_of_a_connection_are_few_and_short() {
        let served = Served::new().await;
        let (requests, mut connection) = h2::client::handshake(served.connect(served.doh).await).await.unwrap();
        let mut pings = connection.ping_pong().unwrap();
        tokio::select! {
            ended = &mut connection => panic!("{ended:?}"),
            answered = pings.ping(h2::Ping::opaque()) => drop(answered.unwrap()),
        }
        assert_eq!(connection.max_concurrent_send_streams(), 16);
        let ended = tokio::spawn(connection);
        let request = http::Request::post(format!("https://x{PATH}")).header("content-type", "application/dns-message");
        let mut requests = requests.ready().await.unwrap();
        let (response, mut body) = requests.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data(vec![0; 4097].into(), false).unwrap();
        let response = tokio::time::timeout(PATIENCE / 2, response).await.expect("no wait for the rest").unwrap();
        assert_eq!(response.status(), 413);
        drop((requests, ended));
        served.stop().await;
    }

    #[tokio::test]
    async fn a_client_that_does_not_shake_hands_holds_up_no_stop() {
        let served = Served::new().await;
        let silent = [TcpStream::connect(served.dot).await.unwrap(), TcpStream::connect(served.doh).await.unwrap()];
        while served.lab.pipeline.counters().tcp_connections.value() < 2 {
            tokio::task::yield_now().await;
        }
        let start = std::time::Instant::now();
        served.stop().await;
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        drop(silent);
    }

    #[tokio::test]
    async fn a_client_that_speaks_no_tls_is_let_go_and_counted() {
        let served = Served::new().await;
        let mut stream = TcpStream::connect(served.dot).await.unwrap();
        stream.write_all(b"\x00\x11 this is plain, not TLS").await.unwrap();
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("a closed connection");
        assert_eq!(served.lab.pipeline.counters().tls_failed.value(), 1);
        served.stop().await;
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
