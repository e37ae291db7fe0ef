//! The gateway's listeners: bound first, served later, ended within a bound.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use ipnet::IpNet;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::badges::Badges;
use super::dial::Dialer;
use super::handed_out::HandedOut;
use super::leaves::Leaves;
use super::roots::{self, RootsError};
use super::stream::Watched;
use super::{Client, Counters, HTTPS_PORT, Shared, connect, connection};
use crate::config;
use crate::event::EventSink;
use crate::net::backoff::Backoff;
use crate::net::bind::{self, Families, SocketError};
use crate::net::connections::{Connections, Limits};
use crate::net::stop::stop;
use crate::policy::images::Badge;
use crate::policy::store::PolicyStore;
use crate::upstream::Resolver;

/// A gateway whose sockets are bound, and not yet served.
pub struct Gateway {
    listeners: Vec<(SocketAddr, Kind, TcpListener)>,
    shared: Arc<Shared>,
    clients: Arc<[IpNet]>,
    connections: Arc<Connections>,
    idle_timeout: Duration,
}

/// Knows which namespaces of Docker Hub are verified publishers' or sponsored projects': what the gateway itself goes by.
#[derive(Clone)]
pub struct Publishers(Arc<Shared>);

impl Publishers {
    /// The badge of a namespace; asks the Hub if the gateway would have to.
    pub async fn badge_of(&self, namespace: &str) -> Badge {
        self.0.badges.of(namespace, &self.0.dialer).await
    }
}

/// What connections of a listener begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A ClientHello: the resolver has steered the client here.
    Steered,
    /// A CONNECT: the client was told to.
    Connect,
}

/// Why there is no gateway.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// A socket could not be bound.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Registries could not be checked.
    #[error(transparent)]
    Roots(#[from] RootsError),
}

/// What the gateway works with.
pub struct Parts {
    /// The policy.
    pub policy: Arc<PolicyStore>,
    /// How registries' names are resolved: never steered.
    pub resolver: Arc<Resolver>,
    /// Who is told what happens.
    pub events: EventSink,
    /// Networks whose clients are served at all.
    pub clients: Vec<IpNet>,
    /// Whom people ask about the policy.
    pub contact: Option<String>,
}

impl Gateway {
    /// Binds everything that the settings name. `state` is the folder where it keeps what it has learned of publishers.
    ///
    /// # Errors
    /// A socket that cannot be bound; nobody to check registries' certificates with.
    pub fn bind(settings: &config::Gateway, state: &Path, parts: Parts) -> Result<Self, GatewayError> {
        let steered = settings.listen.iter().map(|&address| (address, Kind::Steered));
        let connects = settings.connect.iter().map(|&address| (address, Kind::Connect));
        let listeners = steered.chain(connects).map(bind_listener).collect::<Result<Vec<_>, _>>()?;
        let tls = roots::client_config(&settings.authority, settings.upstream_roots.as_deref())?;
        let Parts { policy, resolver, events, clients, contact } = parts;
        let counters = Arc::new(Counters::default());
        let shared = Shared {
            policy,
            dialer: Dialer::new(resolver, settings.parent.clone(), settings.addresses.clone(), tls),
            leaves: Arc::new(Leaves::new(settings.authority.clone())),
            badges: Badges::new(settings.badges.clone(), state.join(BADGES_FILE), Arc::clone(&counters)),
            handed_out: HandedOut::default(),
            events,
            counters,
            ports: ports(&listeners),
            via: own_name(),
            contact,
        };
        let limits = Limits { total: settings.connections, per_client: settings.connections_per_client };
        Ok(Self {
            listeners,
            shared: Arc::new(shared),
            clients: clients.into(),
            connections: Connections::new(limits),
            idle_timeout: settings.idle_timeout,
        })
    }

    /// What is listened on: for steered clients `gateway`, for those that name a proxy `connect`.
    pub fn addresses(&self) -> Vec<(SocketAddr, &'static str)> {
        self.listeners.iter().map(|(address, kind, _)| (*address, kind.word())).collect()
    }

    /// How often each thing happened.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// Who knows which namespaces are verified publishers'.
    pub fn publishers(&self) -> Publishers {
        Publishers(Arc::clone(&self.shared))
    }

    /// Serves until `shutdown`; then takes nothing new and gives what is under way three seconds.
    ///
    /// # Errors
    /// A socket cannot be handed to the runtime.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let (stop, stopped) = watch::channel(());
        let mut tasks = JoinSet::new();
        for (address, kind, listener) in self.listeners {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let server = Server {
                address,
                kind,
                shared: Arc::clone(&self.shared),
                clients: Arc::clone(&self.clients),
                connections: Arc::clone(&self.connections),
                idle_timeout: self.idle_timeout,
            };
            tasks.spawn(server.run(listener, stopped.clone()));
        }
        shutdown.await;
        drop((stop, stopped));
        let drained = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_TIME, drained).await.is_err() {
            tracing::info!("connections through the gateway are cut");
        }
        Ok(())
    }
}

/// One listener.
struct Server {
    address: SocketAddr,
    kind: Kind,
    shared: Arc<Shared>,
    clients: Arc<[IpNet]>,
    connections: Arc<Connections>,
    idle_timeout: Duration,
}

impl Server {
    /// Takes connections until `stopped`, then waits for those there are.
    async fn run(self, listener: tokio::net::TcpListener, stopped: watch::Receiver<()>) {
        let mut tasks = JoinSet::new();
        let mut backoff = Backoff::default();
        let mut stop = pin!(stop(stopped));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut stop => break,
            };
            match accepted {
                Ok((stream, client)) => {
                    backoff = Backoff::default();
                    if self.is_client(client) {
                        tasks.spawn(self.connection(stream, client));
                    } else {
                        self.shared.counters.outside_clients.increment();
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot take a connection");
                    self.shared.counters.accept_failed.increment();
                    backoff.wait().await;
                }
            }
            while tasks.try_join_next().is_some() {}
        }
        drop(listener);
        tasks.join_all().await;
    }

    fn is_client(&self, client: SocketAddr) -> bool {
        let address = client.ip().to_canonical();
        self.clients.iter().any(|network| network.contains(&address))
    }

    /// Everything that one connection does.
    fn connection(&self, stream: TcpStream, client: SocketAddr) -> impl Future<Output = ()> + use<> {
        let shared = Arc::clone(&self.shared);
        shared.counters.connections.increment();
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let listener = canonical(stream.local_addr().unwrap_or(self.address));
        let client = Client { address: canonical(client), listener, transport: self.kind.word() };
        let (place, evicted) = self.connections.enter(client.address.ip());
        if evicted {
            shared.counters.connections_evicted.increment();
        }
        let (kind, idle_timeout) = (self.kind, self.idle_timeout);
        async move {
            let _ = stream.set_nodelay(true);
            let activity = Arc::clone(&place.activity);
            let watched = Watched::new(stream, Arc::clone(&activity));
            let counters = Arc::clone(&shared.counters);
            let served = async {
                match kind {
                    Kind::Steered => connection::serve(shared, watched, client, None, &activity).await,
                    Kind::Connect => connect::serve(shared, watched, client, &activity).await,
                }
            };
            tokio::select! {
                () = served => {}
                () = activity.evicted.notified() => {}
                () = activity.quiet(idle_timeout) => counters.timed_out.increment(),
            }
        }
    }
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Steered => "gateway",
            Self::Connect => "connect",
        }
    }
}

fn bind_listener((address, kind): (SocketAddr, Kind)) -> Result<(SocketAddr, Kind, TcpListener), SocketError> {
    let purpose = match kind {
        Kind::Steered => "the gateway's",
        Kind::Connect => "the proxy's",
    };
    let listener = bind::tcp(address, Families::Own, purpose)?;
    Ok((bind::bound_address(&listener, address)?, kind, listener))
}

/// HTTPS's, and those that steered clients connect to.
fn ports(listeners: &[(SocketAddr, Kind, TcpListener)]) -> Vec<u16> {
    let steered = listeners.iter().filter(|(_, kind, _)| *kind == Kind::Steered);
    steered.map(|(address, ..)| address.port()).chain([HTTPS_PORT]).collect()
}

/// A name of its own for each gateway, since one may be behind another.
fn own_name() -> HeaderValue {
    let number: u64 = rand::random();
    HeaderValue::from_str(&format!("1.1 pullgate-{number:016x}")).expect("letters and digits")
}

/// Engines resume what is cut: no reason to hold up a restart.
const DRAIN_TIME: Duration = Duration::from_secs(3);
const BADGES_FILE: &str = "badges.json";
