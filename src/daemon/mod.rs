//! The running service: puts the parts together, in order, and takes them apart again.
//!
//! ```text
//! start:  listeners bound ─ policy compiled ─ resolver ─ pipeline ─ gateway ─ control socket, metrics bound
//! run:    tasks started ─ READY ─ … ─ told to stop ─ STOPPING ─ answers in flight, five seconds at most
//! ```
//!
//! A process answers questions, is a gateway, or both ([`Role`]): all else is the same. It prints nothing and reads no
//! arguments: `cli::serve` and `cli::gateway` do.

mod follow;
mod panics;
mod publishers;
mod readiness;
mod signals;
mod watchdog;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tracing::{info, warn};

pub use self::panics::{Panics, count_panics};
pub use self::signals::termination;

use crate::config::{self, PolicySource, Settings};
use crate::control::api::{Api, Badges};
use crate::control::page;
use crate::control::report::ListenReport;
use crate::control::server;
use crate::control::socket::{ControlSocket, SocketError};
use crate::dns::Transport;
use crate::dns::listen::{BindError, Listeners};
use crate::dns::pipeline::Pipeline;
use crate::event::tap::Tapped;
use crate::event::{self, Event, EventSink};
use crate::gateway::{self, Gateway, GatewayError};
use crate::name::DomainName;
use crate::net::stop::stop as until_stopped;
use crate::observe::dnstap;
use crate::observe::history::History;
use crate::observe::log;
use crate::observe::metrics::{self, Metrics};
use crate::observe::query_log::QueryLog;
use crate::observe::recent::Recent;
use crate::observe::signals::{Signals, Sources};
use crate::observe::totals::{self, Totals};
use crate::observe::writer::LineWriter;
use crate::policy::compile::Options;
use crate::policy::reload::{Origin, Reloader, SystemClock};
use crate::policy::store::PolicyStore;
use crate::policy::watch::{ReloadHandle, Timing, Watch};
use crate::upstream::{Resolver, UpstreamError};

/// A service whose sockets are bound and whose policy is in force, not yet answering.
pub struct Daemon {
    hangups: Signal,
    /// What answers questions, in a process that does.
    resolver: Option<(Listeners, Arc<Pipeline>)>,
    /// What registries are reached through, in a process that is one.
    gateway: Option<Gateway>,
    policy: Arc<PolicyStore>,
    watch: Watch,
    reload: ReloadHandle,
    control: (ControlSocket, UnixListener),
    metrics_listener: Option<TcpListener>,
    /// Where the page is served, and by which names.
    page: Option<(TcpListener, Vec<DomainName>)>,
    metrics: Metrics,
    events: mpsc::Receiver<Event>,
    tapping: Option<Tapping>,
    recent: Arc<Recent>,
    record_types: Vec<u16>,
    contact: Option<String>,
    /// Who is told by itself; a gateway of its own leaves that to the process that answers questions.
    signals: Option<Signals>,
}

/// Whom whole messages go to, where they come from, and how that goes.
type Tapping = (config::Dnstap, mpsc::Receiver<Tapped>, Arc<dnstap::Standing>);

/// The tasks of a serving daemon.
struct Running {
    /// What must not end before it is told to: without one of these there is no service.
    core: JoinSet<io::Result<()>>,
    /// What the service can be without for a moment.
    helpers: JoinSet<()>,
    /// The core ends when this is dropped.
    stop: watch::Sender<()>,
    _socket_file: ControlSocket,
}

/// What a process is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It answers questions, and is the gateway unless that is a process of its own.
    Resolver,
    /// It is the gateway alone.
    Gateway,
}

/// What the process brings along.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Where its log lines go; `None`: nowhere of ours.
    pub log: Option<LineWriter>,
    /// What counts its panics.
    pub panics: Panics,
}

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener, or its certificate.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The gateway.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// Nobody to resolve with.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] SocketError),
    /// SIGHUP.
    #[error("cannot listen to signals: {0}")]
    Signals(#[source] io::Error),
    /// The log's file.
    #[error("cannot write the log to {}: {source}", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The metrics listener.
    #[error("cannot listen on {address} for metrics: {source}")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The page's listener.
    #[error("cannot listen on {address} for the page: {source}")]
    Page {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

impl Daemon {
    /// Binds everything and puts the policy in force. A faulty policy is no error: the last good one, or none, is in
    /// force then, and says so. Needs a tokio runtime.
    ///
    /// # Errors
    /// A listener, the control socket, the metrics or the upstreams cannot be had. What was bound by then is free again.
    pub async fn start(settings: &Settings, role: Role, process: Process) -> Result<Self, StartError> {
        let hangups = signals::hangups().map_err(StartError::Signals)?;
        let listeners = match role {
            Role::Resolver => Some(Listeners::bind(&settings.server)?),
            Role::Gateway => None,
        };
        let control = ControlSocket::bind(&settings.control.socket)?;
        let metrics_listener = bind_metrics(settings.metrics).await?;
        let page = bind_page(settings.page.as_ref()).await?;
        let (reloader, policy) = compile_policy(settings);
        let resolver =
            Resolver::start(&settings.upstream, &settings.cache, &own_addresses(settings, listeners.as_ref()))?;
        let history = open_history(settings);
        let lines = open_log(&settings.log, process.log.as_ref())?;
        let limits = if lines.is_file() { event::Limits::of_a_file() } else { event::Limits::default() };
        let limits = event::Limits { follows_pulls: history.is_some(), ..limits };
        let (sink, events) = EventSink::with_limits(settings.log.queries, limits);
        let tapping = settings.dnstap.as_ref().and_then(|dnstap| {
            let messages = sink.tap(dnstap.queries)?;
            Some((dnstap.clone(), messages, Arc::default()))
        });
        let totals = Totals::new(Arc::clone(sink.tallies()), Arc::clone(&policy), history);
        let pipeline = || Pipeline::new(Arc::clone(&policy), Arc::clone(&resolver), settings, sink.clone());
        let answering = listeners.map(|listeners| (listeners, Arc::new(pipeline())));
        let parts = gateway::Parts {
            policy: Arc::clone(&policy),
            resolver: Arc::clone(&resolver),
            events: sink.clone(),
            clients: settings.server.clients.clone(),
            contact: settings.blocked.contact.clone(),
        };
        let gateway =
            gateway_of(settings, role).map(|it| Gateway::bind(it, &settings.policy.state, parts)).transpose()?;
        let (watch, reload) = Watch::new(reloader, Timing::default());
        let recent = Arc::new(Recent::default());
        let signals = signals_of(settings, role, (&policy, &resolver, &totals));
        let metrics = Metrics {
            signals: signals.as_ref().map(|signals| (signals.counts(), signals.names())),
            pipeline: answering.as_ref().map(|(_, pipeline)| Arc::clone(pipeline)),
            gateway: gateway.as_ref().map(Gateway::counters),
            resolver,
            policy: Arc::clone(&policy),
            events: sink,
            recent: Arc::clone(&recent),
            log: process.log,
            page: page.as_ref().map(|_| Arc::default()),
            totals,
            lines: lines.clone(),
            dnstap: tapping.as_ref().map(|(.., standing): &Tapping| Arc::clone(standing)),
            panics: process.panics,
            started: SystemTime::now(),
        };
        let (record_types, contact) = (settings.server.record_types.clone(), settings.blocked.contact.clone());
        Ok(Self {
            hangups,
            resolver: answering,
            gateway,
            policy,
            watch,
            reload,
            control,
            metrics_listener,
            page,
            metrics,
            events,
            tapping,
            recent,
            record_types,
            contact,
            signals,
        })
    }

    /// What is listened on; plain addresses once for UDP and once for TCP, the gateway's last.
    pub fn listening(&self) -> Vec<(SocketAddr, &'static str)> {
        let named = |(address, transport): (SocketAddr, Transport)| (address, transport.name());
        let gateway = self.gateway.as_ref().map(Gateway::addresses).unwrap_or_default();
        self.answering().into_iter().map(named).chain(gateway).collect()
    }

    /// Where questions are answered.
    fn answering(&self) -> Vec<(SocketAddr, Transport)> {
        self.resolver.as_ref().map(|(listeners, _)| listeners.addresses()).unwrap_or_default()
    }

    /// The policy in force.
    pub fn policy(&self) -> &PolicyStore {
        &self.policy
    }

    /// Where the control socket is.
    pub fn control_socket(&self) -> &Path {
        self.control.0.path()
    }

    /// Where the metrics are, if they are.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_listener.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Where the page is, if it is.
    pub fn page_address(&self) -> Option<SocketAddr> {
        self.page.as_ref().and_then(|(listener, _)| listener.local_addr().ok())
    }

    /// Serves until `shutdown`; then answers what is in flight and ends within five seconds.
    ///
    /// # Errors
    /// A socket cannot be handed to the runtime, or a part that must not end did.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let mut running = self.begin();
        readiness::ready();
        let outcome = tokio::select! {
            () = shutdown => Ok(()),
            Some(ended) = running.core.join_next() => Err(ended_early(ended)),
        };
        readiness::stopping();
        info!("stopping");
        running.end().await;
        outcome
    }

    /// Starts every task.
    fn begin(self) -> Running {
        let (listening, answering, api) = (self.listening(), self.answering(), Arc::new(self.api()));
        let (stop, stopped) = watch::channel(());
        let (socket_file, control) = self.control;

        let mut core = JoinSet::new();
        if let Some((listeners, pipeline)) = self.resolver {
            core.spawn(listeners.run(pipeline, until_stopped(stopped.clone())));
        }
        if let Some(gateway) = self.gateway {
            core.spawn(gateway.run(until_stopped(stopped.clone())));
        }
        core.spawn(succeed(self.watch.run(until_stopped(stopped.clone()))));
        let totals = Arc::clone(&self.metrics.totals);
        let lines = self.metrics.lines.clone();
        let reopen = lines.reopen();
        core.spawn(succeed(log::run(self.events, self.recent, Some(Arc::clone(&totals)), lines)));
        if let Some((settings, messages, standing)) = self.tapping {
            core.spawn(succeed(dnstap::run(settings, messages, standing)));
        }
        core.spawn(succeed(totals::run(totals, until_stopped(stopped))));

        let mut helpers = JoinSet::new();
        helpers.spawn(signals::follow_hangups(self.hangups, self.reload, reopen));
        helpers.spawn(follow::follow(self.policy.subscribe()));
        helpers.spawn(server::serve(control, Arc::clone(&api)));
        if let Some((listener, names)) = self.page {
            helpers.spawn(page::serve(listener, names, api));
        }
        if let Some(listener) = self.metrics_listener {
            helpers.spawn(metrics::serve(listener, self.metrics));
        }
        helpers.spawn(watchdog::run(answering));
        if let Some(signals) = self.signals {
            helpers.spawn(signals.run());
        }
        info!(listen = %addresses(&listening), version = env!("CARGO_PKG_VERSION"), "serving");
        Running { core, helpers, stop, _socket_file: socket_file }
    }

    fn api(&self) -> Api {
        let listen = self.listening().into_iter();
        let report =
            |(address, transport): (SocketAddr, &str)| ListenReport { address, transport: transport.to_owned() };
        Api {
            policy: Arc::clone(&self.policy),
            reload: self.reload.clone(),
            recent: Arc::clone(&self.recent),
            metrics: self.metrics.clone(),
            listen: listen.map(report).collect(),
            record_types: self.record_types.clone(),
            contact: self.contact.clone(),
            signals: self.signals.as_ref().map(Signals::tester),
            badges: self.gateway.as_ref().map(|gateway| Arc::new(gateway.publishers()) as Arc<dyn Badges>),
        }
    }
}

/// The settings of the gateway that a process is.
fn gateway_of(settings: &Settings, role: Role) -> Option<&config::Gateway> {
    settings.gateway.as_ref().filter(|gateway| role == Role::Gateway || !gateway.separate)
}

/// Those who are told by itself. The service is not worth less for those who ask it if nobody can be.
fn signals_of(
    settings: &Settings,
    role: Role,
    (policy, resolver, totals): (&Arc<PolicyStore>, &Arc<Resolver>, &Arc<Totals>),
) -> Option<Signals> {
    if role == Role::Gateway {
        return None;
    }
    let (policy, resolver, totals) = (Arc::clone(policy), Arc::clone(resolver), Arc::clone(totals));
    let contact = settings.blocked.contact.as_deref();
    match Signals::new(&settings.signals, contact, Sources { policy, resolver, totals }) {
        Ok(signals) => Some(signals),
        Err(error) => {
            warn!(%error, "no signals are sent");
            None
        }
    }
}

/// The addresses at which questions would come back to this service, whichever process answers them.
fn own_addresses(settings: &Settings, listeners: Option<&Listeners>) -> Vec<SocketAddr> {
    match listeners {
        Some(listeners) => listeners.addresses().into_iter().map(|(address, _)| address).collect(),
        None => settings.server.listen.clone(),
    }
}

async fn bind_metrics(address: Option<SocketAddr>) -> Result<Option<TcpListener>, StartError> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await;
    listener.map(Some).map_err(|source| StartError::Metrics { address, source })
}

async fn bind_page(settings: Option<&config::Page>) -> Result<Option<(TcpListener, Vec<DomainName>)>, StartError> {
    let Some(config::Page { listen, names }) = settings else { return Ok(None) };
    match TcpListener::bind(listen).await {
        Ok(listener) => Ok(Some((listener, names.clone()))),
        Err(source) => Err(StartError::Page { address: *listen, source }),
    }
}

fn open_log(settings: &config::Log, program: Option<&LineWriter>) -> Result<QueryLog, StartError> {
    let path = || settings.file.clone().unwrap_or_default();
    QueryLog::open(settings, program).map_err(|source| StartError::Log { path: path(), source })
}

/// The history, if the settings want one and it can be had: the service is not worth less for those who ask it.
fn open_history(settings: &Settings) -> Option<Arc<History>> {
    let wanted = settings.history.as_ref()?;
    match History::open(&settings.policy.state.join(HISTORY), wanted) {
        Ok(history) => Some(Arc::new(history)),
        Err(error) => {
            warn!(%error, "no history is kept");
            None
        }
    }
}

fn compile_policy(settings: &Settings) -> (Reloader, Arc<PolicyStore>) {
    let config::Policy { source, state, .. } = &settings.policy;
    let reloader = Reloader::start(policy_origin(source), policy_options(settings), state, Arc::new(SystemClock));
    let policy = Arc::clone(reloader.store());
    (reloader, policy)
}

/// Where the policy comes from.
pub fn policy_origin(source: &PolicySource) -> Origin {
    match source {
        PolicySource::Directory(folder) => Origin::Directory(folder.clone()),
        PolicySource::Embedded(text) => Origin::Embedded(text),
    }
}

/// What the settings say about the policy.
pub fn policy_options(settings: &Settings) -> Options {
    let config::Policy { mode, group, strict, .. } = &settings.policy;
    let statics = settings.statics.keys().cloned().collect();
    let has_gateway = settings.gateway.is_some();
    Options {
        mode: *mode,
        group: group.clone(),
        strict: *strict,
        statics,
        has_gateway,
        modes: BTreeMap::new(),
        client_modes: BTreeMap::new(),
    }
}

impl Running {
    /// Ends the tasks: helpers at once, the core when answers in flight are given, a reload that has begun is through
    /// and the last lines are logged. (The log ends by itself, with the last part that could tell it of a question.)
    async fn end(mut self) {
        drop(self.stop);
        self.helpers.shutdown().await;
        let core = async { while self.core.join_next().await.is_some() {} };
        if tokio::time::timeout(PATIENCE, core).await.is_err() {
            warn!("gave up on what was still under way");
        }
    }
}

async fn succeed(work: impl Future<Output = ()>) -> io::Result<()> {
    work.await;
    Ok(())
}

/// Why a task of the core ended that nobody told to.
fn ended_early(ended: Result<io::Result<()>, JoinError>) -> io::Error {
    match ended {
        Ok(Ok(())) => io::Error::other("a part of the service ended by itself"),
        Ok(Err(error)) => error,
        Err(panic) => io::Error::other(panic),
    }
}

/// Each address once.
fn addresses(listening: &[(SocketAddr, &str)]) -> String {
    let shown = listening.iter().filter(|(_, transport)| *transport != Transport::Tcp.name());
    shown.map(|(address, _)| address.to_string()).collect::<Vec<_>>().join(" ")
}

/// The history's file in the state directory.
const HISTORY: &str = "history.redb";
/// How long stopping may take; the listeners give answers in flight three seconds of it.
const PATIENCE: Duration = Duration::from_millis(4500);
