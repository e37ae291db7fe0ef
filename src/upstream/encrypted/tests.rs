//! One exchange over TLS and one over HTTPS, with servers on loopback and a certificate made for the test.

use std::net::Ipv4Addr;
use std::sync::atomic::AtomicUsize;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::super::testing::{MAX_TTL, Packet, question};
use super::super::wire::kind;
use super::*;

const NAME: &str = "dns.example";

/// A certificate for [`NAME`]: what a server shows, and what a client trusts.
fn certificate() -> (ServerConfig, TlsConfig) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let server = server.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    (server, TlsConfig { config: client.with_root_certificates(roots).with_no_client_auth() })
}

/// Accepts connections one after another; `serve` has each to itself. Counts them.
async fn listen<F: Future<Output = ()> + Send + 'static>(
    mut config: ServerConfig,
    protocol: &[u8],
    serve: impl Fn(TlsStream<TcpStream>) -> F + Send + 'static,
) -> (SocketAddr, Arc<AtomicUsize>) {
    config.alpn_protocols = vec![protocol.to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = accepted.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(serve(stream));
            }
        }
    });
    (address, accepted)
}

/// A DNS-over-TLS server that closes each connection after this many answers.
async fn dot(config: ServerConfig, answers: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    listen(config, b"dot", move |mut stream| async move {
        for _ in 0..answers {
            let Ok(query) = read_framed(&mut stream).await else { return };
            write_framed(&mut stream, &truth(&query)).await;
        }
        stream.shutdown().await.unwrap();
    })
    .await
}

async fn read_framed(stream: &mut TlsStream<TcpStream>) -> std::io::Result<Vec<u8>> {
    let mut query = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut query).await?;
    Ok(query)
}

async fn write_framed(stream: &mut TlsStream<TcpStream>, response: &[u8]) {
    stream.write_u16(u16::try_from(response.len()).unwrap()).await.unwrap();
    stream.write_all(response).await.unwrap();
    stream.flush().await.unwrap();
}

async fn doh(config: ServerConfig) -> SocketAddr {
    let serve = |stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            assert_eq!(request.uri().path(), "/dns-query");
            tokio::spawn(async move {
                let mut body = request.into_body();
                let mut query = Vec::new();
                while let Some(part) = body.data().await {
                    query.extend_from_slice(&part.unwrap());
                }
                let response = truth(&query);
                let head = http::Response::builder().header("content-type", "application/dns-message");
                let head = head.header("content-length", response.len()).body(()).unwrap();
                respond.send_response(head, false).unwrap().send_data(response.into(), true).unwrap();
            });
        }
    };
    listen(config, b"h2", serve).await.0
}

fn truth(query: &[u8]) -> Vec<u8> {
    Packet::to(query)
        .answer("registry.example", kind::A, 300, &[192, 0, 2, 1])
        .answer("evil.example", kind::A, 300, &[6, 6, 6, 6])
        .build()
}

async fn ask(server: &Encrypted) -> Result<Vec<String>, Trouble> {
    let answer = server.ask(&Inquiry::new(question("registry.example", kind::A), MAX_TTL)).await?;
    Ok(answer.addresses().iter().map(ToString::to_string).collect())
}

#[tokio::test]
async fn an_answer_over_tls_is_reduced_like_any_other_and_the_connection_is_kept() {
    let (config, trust) = certificate();
    let (address, accepted) = dot(config, 10).await;
    let server = Encrypted::over_tls(address, NAME, trust);
    for _ in 0..3 {
        assert_eq!(ask(&server).await.unwrap(), ["192.0.2.1"]);
    }
    assert_eq!(accepted.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_made_again() {
    let (config, trust) = certificate();
    let (address, accepted) = dot(config, 1).await;
    let server = Encrypted::over_tls(address, NAME, trust);
    for _ in 0..3 {
        assert_eq!(ask(&server).await.unwrap(), ["192.0.2.1"]);
    }
    assert_eq!(accepted.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_connection_that_fell_silent_is_not_used_again() {
    let (config, trust) = certificate();
    let first = Arc::new(AtomicUsize::new(0));
    let serve = move |mut stream: TlsStream<TcpStream>| {
        let silent = first.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            while let Ok(query) = read_framed(&mut stream).await {
                if !silent {
                    write_framed(&mut stream, &truth(&query)).await;
                }
            }
        }
    };
    let (address, _) = listen(config, b"dot", serve).await;
    let server = Encrypted::over_tls(address, NAME, trust);
    {
        let mut waiting = Box::pin(ask(&server));
        while server.connection.try_lock().is_err() || server.connection.lock().await.number == 0 {
            let poll = std::future::poll_fn(|context| std::task::Poll::Ready(waiting.as_mut().poll(context))).await;
            assert!(poll.is_pending());
            tokio::task::yield_now().await;
        }
        tokio::time::pause();
        tokio::time::advance(SILENCE).await;
        tokio::time::resume();
    }
    assert_eq!(ask(&server).await.unwrap(), ["192.0.2.1"]);
}

#[tokio::test]
async fn a_server_whose_certificate_has_another_name_or_no_trust_is_not_asked() {
    let (config, trust) = certificate();
    let (address, _) = dot(config.clone(), 1).await;
    assert!(matches!(ask(&Encrypted::over_tls(address, "other.example", trust)).await, Err(Trouble::Dead(_))));
    let (_, strangers) = certificate();
    let (address, _) = dot(config, 1).await;
    assert!(matches!(ask(&Encrypted::over_tls(address, NAME, strangers)).await, Err(Trouble::Dead(_))));
}

#[tokio::test]
async fn an_answer_over_https_is_reduced_like_any_other() {
    let (config, trust) = certificate();
    let server = Encrypted::over_https(doh(config).await, NAME, "/dns-query", trust);
    for _ in 0..3 {
        assert_eq!(ask(&server).await.unwrap(), ["192.0.2.1"]);
    }
}

#[tokio::test]
async fn nobody_listening_is_noticed_without_waiting() {
    let (_, trust) = certificate();
    let address = super::super::testing::dead_port().await;
    assert!(matches!(ask(&Encrypted::over_tls(address, NAME, trust)).await, Err(Trouble::Dead(_))));
}
