//! A registry for the tests, with its token service and the hosts it sends to: one listener with TLS, one without, told
//! apart by the name they are asked by, and what each test has them answer.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::HOST;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_rustls::TlsAcceptor;

use super::{Certificates, Keyring, Network, Proxies, Walked, Wanted, walk};
use crate::config::{Environment, Settings, UpstreamServer};
use crate::inspect::machine::Machine;
use crate::policy::image_reference::ImageReference;
use crate::upstream::Resolver;

/// A request as a server saw it.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The name it was asked by.
    pub(super) host: String,
    /// Method, path and query.
    pub(super) line: String,
    /// `Authorization`.
    pub(super) authorization: Option<String>,
    /// `Range`.
    pub(super) range: Option<String>,
    pub(super) body: String,
}

pub(super) type Reply = Response<Full<Bytes>>;
type Answers = Arc<dyn Fn(&Asked, Ports) -> Reply + Send + Sync>;

/// The ports of the servers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) tls: u16,
    pub(super) plain: u16,
}

/// The servers, and how a walk reaches them.
pub(super) struct Lab {
    pub(super) ports: Ports,
    pub(super) keyring: Keyring,
    network: Network,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Lab {
    /// With servers that answer so.
    pub(super) async fn new(answers: impl Fn(&Asked, Ports) -> Reply + Send + Sync + 'static) -> Self {
        Self::through(Proxies::default(), answers).await
    }

    /// The same, reached through proxies.
    pub(super) async fn through(
        proxies: Proxies,
        answers: impl Fn(&Asked, Ports) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let (tls, plain) = (listen().await.unwrap(), listen().await.unwrap());
        let ports = Ports { tls: port(&tls), plain: port(&plain) };
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let (config, authority) = server_config();
        let answers: Answers = Arc::new(answers);
        serve(tls, Some(TlsAcceptor::from(config)), Arc::clone(&answers), Arc::clone(&asked), ports);
        serve(plain, None, answers, Arc::clone(&asked), ports);
        let mut roots = RootCertStore::empty();
        roots.add(authority).unwrap();
        let certificates = Certificates::new(roots, Machine::under("/nowhere"), None);
        let network = Network::new(resolver().await, Box::new(|_| Vec::new()), proxies, certificates).unwrap();
        Self { ports, keyring: Keyring::default(), network, asked }
    }

    /// What a pull of `image` would be; `:TLS` and `:PLAIN` stand for the servers' ports.
    pub(super) fn wanted(&self, image: &str) -> Wanted {
        let Ports { tls, plain } = self.ports;
        let image = image.replace(":TLS", &format!(":{tls}")).replace(":PLAIN", &format!(":{plain}"));
        let image = ImageReference::parse(&image).unwrap();
        let platform = Some("linux/amd64".parse().unwrap());
        Wanted { image, platform, push: false, repeat: 1, limit: Duration::from_secs(20) }
    }

    pub(super) async fn walk(&self, wanted: &Wanted) -> Walked {
        walk(&self.network, &self.keyring, wanted).await
    }

    /// Walks, and shows each host as `name purposes steps outcomes`.
    pub(super) async fn hosts(&self, image: &str) -> Vec<String> {
        let walked = self.walk(&self.wanted(image)).await;
        assert_eq!(walked.end, None, "{walked:#?}");
        rows(&walked)
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// Each host as `name purposes steps outcomes`.
pub(super) fn rows(walked: &Walked) -> Vec<String> {
    let words = |words: Vec<String>| words.join(",");
    let row = |seen: &super::Seen| {
        let purposes = words(seen.purposes.iter().map(ToString::to_string).collect());
        let steps = words(seen.steps.iter().map(ToString::to_string).collect());
        format!("{} {purposes} {steps} {}", seen.host, words(seen.outcomes.clone()))
    };
    walked.hosts.iter().map(row).collect()
}

/// An answer with a status, headers and a body.
pub(super) fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Full::from(body.to_owned())).unwrap()
}

/// A digest with this number in it.
pub(super) fn digest(number: u8) -> String {
    format!("sha256:{}", format!("{number:02x}").repeat(32))
}

/// The manifest of an image with a config and a layer, numbers 1 and 2.
pub(super) fn manifest() -> String {
    format!(r#"{{"config":{{"digest":"{}"}},"layers":[{{"digest":"{}","size":9}}]}}"#, digest(1), digest(2))
}

/// A proxy that connects whoever asks to a port of this machine, and what it was asked.
pub(super) async fn proxy(to: impl Fn(&str) -> Option<u16> + Send + 'static) -> (Proxies, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = format!("http://user:hunter2@{}", listener.local_addr().unwrap());
    let lines = Arc::<Mutex<Vec<String>>>::default();
    let heard = Arc::clone(&lines);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            heard.lock().unwrap().push(head.lines().next().unwrap().to_owned());
            let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, to(&head).unwrap_or(1))).await.unwrap();
            if head.starts_with("CONNECT ") {
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            } else {
                server.write_all(head.as_bytes()).await.unwrap();
            }
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
        }
    });
    let proxies = Proxies::of(|name| name.ends_with("_PROXY").then(|| address.clone()).filter(|_| name != "NO_PROXY"));
    (proxies.unwrap(), lines)
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

fn serve(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    answers: Answers,
    asked: Arc<Mutex<Vec<Asked>>>,
    ports: Ports,
) {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, answers, asked) = (acceptor.clone(), Arc::clone(&answers), Arc::clone(&asked));
            tokio::spawn(async move {
                let service =
                    service_fn(move |request| respond(Arc::clone(&answers), Arc::clone(&asked), ports, request));
                let builder = hyper::server::conn::http1::Builder::new();
                match acceptor {
                    None => {
                        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                    }
                    Some(acceptor) => {
                        let Ok(stream) = acceptor.accept(stream).await else { return };
                        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                    }
                }
            });
        }
    });
}

async fn respond(
    answers: Answers,
    all: Arc<Mutex<Vec<Asked>>>,
    ports: Ports,
    request: Request<Incoming>,
) -> Result<Reply, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let host = header(HOST.as_str()).unwrap_or_default();
    let asked = Asked {
        host: host.split(':').next().unwrap_or_default().to_owned(),
        line: format!("{} {}", head.method, head.uri.path_and_query().map_or("", |path| path.as_str())),
        authorization: header("authorization"),
        range: header("range"),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    all.lock().unwrap().push(asked.clone());
    Ok(answers(&asked, ports))
}

/// An authority, and a server with its certificate for the names of the tests.
fn server_config() -> (Arc<ServerConfig>, CertificateDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap().der().clone();
    let issuer = Issuer::new(params, key);
    let leaf_key = KeyPair::generate().unwrap();
    let names = ["registry.example", "auth.example", "cdn.example", "deep.example"].map(str::to_owned);
    let leaf = CertificateParams::new(names).unwrap().signed_by(&leaf_key, &issuer).unwrap();
    let key = PrivateKeyDer::from_pem_slice(leaf_key.serialize_pem().as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    (Arc::new(config), authority)
}

/// A resolver for which every name is this machine, but for those that begin with `gone`.
async fn resolver() -> Arc<Resolver> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address: SocketAddr = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query).await {
            let _ = socket.send_to(&dns_answer(&query[..length]), client).await;
        }
    });
    let mut settings = Settings::embedded(&Environment::default());
    settings.upstream.servers = vec![UpstreamServer::Plain(address)];
    Resolver::start(&settings.upstream, &settings.cache, &[]).unwrap()
}

fn dns_answer(query: &[u8]) -> Vec<u8> {
    let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let is_gone = query[13..].to_ascii_lowercase().starts_with(b"gone");
    let is_a = query[end - 4..end - 2] == [0, 1] && !is_gone;
    let counts = [0, 1, 0, u8::from(is_a), 0, 0, 0, 0];
    let flags = [0x81, if is_gone { 0x83 } else { 0x80 }];
    let mut answer = [&query[..2], &flags, &counts, &query[12..end]].concat();
    if is_a {
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    answer
}
