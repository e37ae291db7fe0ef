//! What the tests of this module share: a gateway on loopback, a registry behind it, and the names between them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::authority::{self, Creation};
use super::{Counters, Gateway, Parts};
use crate::config::{self, BadgeSource, Environment, QueryLog, Settings, UpstreamServer};
use crate::diagnostic::Source;
use crate::event::tally::Tallies;
use crate::event::{Event, EventSink};
use crate::policy::compile::{Options, load};
use crate::policy::pattern::Pattern;
use crate::policy::store::PolicyStore;
use crate::upstream::Resolver;

/// A registry whose images are judged, one that is passed on, one that is forbidden.
pub(super) const POLICY: &str = r#"
version = 1
[[registry]]
name = "inspected"
hosts = ["registry.example"]
path = "inspect"
private-addresses = true
[[registry]]
name = "passed"
hosts = ["passed.example"]
path = "pass"
private-addresses = true
[[images]]
registry = "inspected"
allow = ["good/*"]
push = ["good/own"]
"#;

/// A gateway in its surroundings.
pub(super) struct Lab {
    /// Where it is.
    pub(super) gateway: SocketAddr,
    /// Where it takes CONNECT.
    pub(super) connect: SocketAddr,
    pub(super) registry: Registry,
    pub(super) counters: Arc<Counters>,
    pub(super) tallies: Arc<Tallies>,
    pub(super) events: mpsc::Receiver<Event>,
    client: Arc<ClientConfig>,
    web: CertificateDer<'static>,
    _folder: tempfile::TempDir,
    _stop: oneshot::Sender<()>,
}

/// A registry over TLS that remembers what it was asked.
pub(super) struct Registry {
    pub(super) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// A request that reached the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Method and path with query.
    pub(super) line: String,
    /// In lower case, sorted.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: usize,
}

/// Makes an authority in a folder that may sign for these patterns.
pub(super) fn authority(folder: &Path, patterns: &[&str]) {
    let patterns: Vec<Pattern> = patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect();
    let (constraints, _) = authority::constraints(&patterns);
    let not_before = SystemTime::now() - authority::BACKDATED;
    let lifetime = Duration::from_secs(365 * 24 * 60 * 60);
    authority::create(folder, &Creation { constraints: &constraints, not_before, lifetime, owner: None }).unwrap();
}

impl Lab {
    pub(super) async fn new() -> Self {
        Self::with(POLICY, |_| {}).await
    }

    /// With another policy and other settings.
    pub(super) async fn with(policy: &str, change: impl FnOnce(&mut config::Gateway)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca");
        authority(&ca, &["registry.example"]);
        let (registry, web) = Registry::start().await;
        let roots = folder.path().join("web.pem");
        std::fs::write(&roots, web.pem()).unwrap();
        let web: CertificateDer<'static> = web.der().clone();
        let mut settings = gateway_settings(&registry, ca.clone());
        settings.upstream_roots = Some(roots);
        change(&mut settings);
        let (events, receiver) = EventSink::new(QueryLog::All);
        let tallies = Arc::clone(events.tallies());
        let clients = vec!["127.0.0.0/8".parse().unwrap()];
        let parts = Parts { policy: compile(policy), resolver: resolver().await, events, clients, contact: None };
        let gateway = Gateway::bind(&settings, folder.path(), parts).unwrap();
        let addresses = gateway.addresses();
        let counters = gateway.counters();
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(gateway.run(async {
            let _ = stopped.await;
        }));
        Self {
            gateway: addresses[0].0,
            connect: addresses[1].0,
            registry,
            counters,
            tallies,
            events: receiver,

            client: trusting(authority::read_folder(&ca).unwrap().into_iter().map(|it| it.certificate.into_der())),
            web,
            _folder: folder,
            _stop: stop,
        }
    }

    /// A connection of a client that trusts the gateway's authority alone.
    pub(super) async fn connect(&self, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
        shake(&self.client, TcpStream::connect(self.gateway).await?, name).await
    }

    /// A connection of a client that trusts whom the web trusts, through a stream.
    pub(super) async fn connect_as_web(&self, stream: TcpStream, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
        shake(&trusting([self.web.clone()]), stream, name).await
    }

    /// What a client that trusts the authority is answered to a request, written out, on a connection of its own.
    pub(super) async fn ask(&self, name: &str, request: &str) -> String {
        let mut stream = self.connect(name).await.unwrap();
        exchange(&mut stream, request).await
    }

    /// The same for a request of only a method and path; the connection is closed after it.
    pub(super) async fn get(&self, method: &str, path: &str) -> String {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: registry.example\r\nConnection: close\r\n\r\n");
        self.ask("registry.example", &request).await
    }
}

/// Sends all of it and reads until the end.
pub(super) async fn exchange<S: super::stream::Stream>(stream: &mut S, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A close without close_notify is an end as well.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// The store of a policy.
pub(super) fn compile(policy: &str) -> Arc<PolicyStore> {
    let options = Options { has_gateway: true, ..Options::default() };
    let compiled = load(vec![Source::new("policy.toml", policy)], &options, SystemTime::now())
        .unwrap_or_else(|faults| panic!("the policy has faults: {faults:#?}"));
    PolicyStore::fixed(compiled.snapshot, SystemTime::now())
}

/// On the registry's port, since that is the port that a connection arrives on.
fn gateway_settings(registry: &Registry, authority: std::path::PathBuf) -> config::Gateway {
    let loopback = Ipv4Addr::LOCALHOST;
    config::Gateway {
        addresses: vec!["192.0.2.53".parse().unwrap()],
        listen: vec![SocketAddr::new(loopback.into(), registry.address.port())],
        connect: vec![SocketAddr::new(loopback.into(), 0)],
        parent: None,
        authority,
        upstream_roots: None,
        badges: BadgeSource { host: "hub.example".parse().unwrap(), port: registry.address.port() },
        separate: false,
        metrics: None,
        idle_timeout: Duration::from_secs(60),
        connections: 64,
        connections_per_client: 64,
    }
}

/// A resolver for which every name has the registry's address, and none of IPv6.
async fn resolver() -> Arc<Resolver> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut settings = Settings::embedded(&Environment::default());
    settings.upstream.servers = vec![UpstreamServer::Plain(socket.local_addr().unwrap())];
    tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query).await {
            let _ = socket.send_to(&dns_answer(&query[..length]), client).await;
        }
    });
    Resolver::start(&settings.upstream, &settings.cache, &[]).unwrap()
}

/// One A record for a question of type A; nothing for others.
fn dns_answer(query: &[u8]) -> Vec<u8> {
    let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let is_a = query[end - 4..end - 2] == [0, 1];
    let counts = [0, 1, 0, u8::from(is_a), 0, 0, 0, 0];
    let mut answer = [&query[..2], &[0x81, 0x80], &counts, &query[12..end]].concat();
    if is_a {
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend_from_slice(&REGISTRY_ADDRESS.octets());
    }
    answer
}

/// Beside the gateway's, so that both can have the same port.
const REGISTRY_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

impl Registry {
    /// Listens on a port that is free at the gateway's address as well; with the authority that the web trusts.
    async fn start() -> (Self, rcgen::Certificate) {
        let (listener, address) = loop {
            let listener = TcpListener::bind((REGISTRY_ADDRESS, 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            if TcpListener::bind((Ipv4Addr::LOCALHOST, address.port())).await.is_ok() {
                break (listener, address);
            }
        };
        let (config, web) = server_config();
        let acceptor = TlsAcceptor::from(config);
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let registry = Self { address, asked: Arc::clone(&asked) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, asked) = (acceptor.clone(), Arc::clone(&asked));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(|request| respond(Arc::clone(&asked), request));
                    let builder = hyper::server::conn::http1::Builder::new();
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        (registry, web)
    }

    /// What it was asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The lines of what it was asked so far.
    pub(super) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }
}

/// An authority, and a server with its certificate for all the names of the tests.
fn server_config() -> (Arc<ServerConfig>, rcgen::Certificate) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let web = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let leaf_key = KeyPair::generate().unwrap();
    let names = ["registry.example", "passed.example", "hub.example"].map(str::to_owned);
    let leaf = CertificateParams::new(names).unwrap().signed_by(&leaf_key, &issuer).unwrap();
    let key = PrivateKeyDer::from_pem_slice(leaf_key.serialize_pem().as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    (Arc::new(config), web)
}

/// Answers as a registry does, as far as the tests need it.
async fn respond(
    asked: Arc<Mutex<Vec<Asked>>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let line = format!("{} {}", head.method, head.uri);
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut headers: Vec<_> = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    headers.sort();
    asked.lock().unwrap().push(Asked { line, headers, body: body.len() });
    let response = Response::builder();
    let response = match head.uri.path() {
        "/v2/" => response
            .status(StatusCode::UNAUTHORIZED)
            .header("www-authenticate", "Bearer realm=\"https://registry.example/token\",service=\"x\"")
            .body(Full::default()),
        "/token" => response.body(Full::from("{\"token\":\"t\"}")),
        "/v2/orgs/verified/" => response.body(Full::from("{\"badge\":\"verified_publisher\"}")),
        path if path.ends_with("/uploads/") => response
            .status(StatusCode::ACCEPTED)
            .header("location", format!("http://registry.example{path}one?_state=x"))
            .body(Full::default()),
        path if path.ends_with("/manifests/gone") => response.status(StatusCode::NOT_FOUND).body(Full::default()),
        _ => response.header("keep-alive", "timeout=5").body(Full::from("a manifest")),
    };
    Ok(response.unwrap())
}

fn trusting(roots: impl IntoIterator<Item = CertificateDer<'static>>) -> Arc<ClientConfig> {
    let mut store = RootCertStore::empty();
    roots.into_iter().for_each(|root| store.add(root).unwrap());
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    Arc::new(config)
}

async fn shake(config: &Arc<ClientConfig>, stream: TcpStream, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await
}
