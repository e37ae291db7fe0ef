//! Where allowed names are resolved: one exchange, a choice among servers, a cache. Knows nothing of the policy.
//!
//! ```text
//! Resolver::probe ─▶ cache ─ miss ─▶ Resolver::resolve ─▶ flights (one for equal questions) ─▶ routes ─▶ choose
//!                      ▲                   Express::ask ─▶     ┌── anything unusual ────────────────────▶  │
//!                      │                                    express ◀─▶ line (a socket for many questions) │
//!                      └────────── answer (chain: only what the question justifies) ◀── exchange or encrypted
//! ```

mod addresses;
mod answer;
mod cache;
mod chain;
mod choose;
mod counters;
mod encrypted;
mod exchange;
mod express;
mod flights;
mod inquiry;
mod line;
mod own;
mod query;
mod routes;
mod server;
mod svcb;
mod system;
#[cfg(test)]
mod testing;
mod wire;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

pub use self::answer::Answer;
#[cfg(any(test, fuzzing))]
pub use self::cache::Content;
pub use self::chain::Fault;
pub use self::counters::Counters;
pub use self::express::{Arrival, Express};
pub use self::flights::Landing;
pub use self::server::ServerCounters;

use self::cache::{Cache, Key};
use self::choose::{choose, take_over};
use self::counters::Totals;
use self::express::Begun;
use self::flights::{Boarding, Flight, Flights};
use self::inquiry::Inquiry;
use self::own::Own;
use self::routes::{Group, Routes};
use self::system::{SystemPaths, SystemServers};
use crate::config::{self, UpstreamServer};
use crate::name::{DomainName, NameRef};

/// How it stands with the servers that answer for the same names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// These and everything below them, sorted; none: all names that no route takes.
    pub domains: Vec<DomainName>,
    /// The servers; a host may have none yet.
    pub servers: Vec<ServerCounters>,
}

/// What a client wants of DNSSEC, handed on to the servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Dnssec {
    /// The DO bit: signatures are wanted (RFC 3225).
    pub ok: bool,
    /// The CD bit: no validation is wanted (RFC 4035 §3.2.2).
    pub checking_disabled: bool,
}

/// A question, borrowed, with the servers that a service has of its own.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a> {
    /// The name.
    pub name: NameRef<'a>,
    /// The record type's number.
    pub record_type: u16,
    /// What the client wants of DNSSEC.
    pub dnssec: Dnssec,
    /// Who to ask; empty: whoever the routes say.
    pub servers: &'a [SocketAddr],
}

/// A [`Lookup`] that outlives the packet it came in.
#[derive(Clone, Debug)]
pub struct OwnedLookup {
    question: Arc<Question>,
    servers: Box<[SocketAddr]>,
}

/// Name, type and DNSSEC bits of a question.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    name: DomainName,
    record_type: u16,
    dnssec: Dnssec,
}

/// An answer from the cache or from a server.
#[derive(Clone, Debug)]
pub struct Held {
    /// The answer.
    pub answer: Arc<Answer>,
    /// How long it has been held; [`Answer::write`] takes it off the TTLs.
    pub age: Duration,
    /// It is past its time, and served since no server answers (RFC 8767; EDE 3).
    pub stale: bool,
    /// It is in use and about to expire: the caller may [`refresh`](Resolver::refresh) it.
    pub refresh_due: bool,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No server answered in time (EDE 22).
    Unreachable,
    /// The servers that were reached failed or refused (EDE 23).
    Failing,
    /// Too much is under way here.
    Busy,
}

/// What the cache knows of a question.
#[derive(Clone, Debug)]
#[must_use]
pub enum Probe {
    /// An answer; a stale one only while a failure is remembered.
    Hit(Held),
    /// It failed a short while ago, and nothing stale is held.
    Failed(Failure),
    /// Nothing: ask.
    Miss,
}

/// How a question ended.
#[derive(Clone, Debug)]
#[must_use]
pub enum Resolution {
    /// With an answer, fresh or stale.
    Answer(Held),
    /// Without.
    Failed(Failure),
}

/// Why resolving cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// `system`, but the host names no server other than this program: it is between two networks, or has none yet.
    #[error(
        "the system has no DNS server other than this program: until it has, allowed names do not resolve; or name one in \
         [upstream] servers, for example \"9.9.9.9\""
    )]
    NoSystemServer,
    /// A configured server is one of our own listeners.
    #[error("the upstream server {0} is this program's own listener: name another one in [upstream] servers")]
    Own(SocketAddr),
    /// No certificate authorities to check an encrypted server with.
    #[error("no trusted certificates for an encrypted upstream: {0}; install the system's ca-certificates")]
    Trust(String),
}

/// Resolves questions: from the cache, by waiting for an equal question under way, or by asking.
#[derive(Debug)]
pub struct Resolver {
    routes: Routes,
    cache: Cache,
    flights: Flights,
    permits: Arc<Semaphore>,
    timeout: Duration,
    max_ttl: Duration,
    totals: Totals,
    /// Where questions are asked that take more than a datagram and its answer.
    runtime: Handle,
}

/// A look into the cache, as of one moment.
pub(crate) struct Glance<'r> {
    cache: &'r Cache,
    routes: routes::Current<'r>,
    now: Instant,
}

impl Lookup<'_> {
    /// A copy that can be kept.
    pub fn to_owned(&self) -> OwnedLookup {
        OwnedLookup { question: Arc::new(self.question()), servers: self.servers.into() }
    }

    fn question(&self) -> Question {
        Question { name: self.name.to_owned(), record_type: self.record_type, dnssec: self.dnssec }
    }
}

impl OwnedLookup {
    /// The same, borrowed.
    pub fn as_lookup(&self) -> Lookup<'_> {
        let Question { name, record_type, dnssec } = &*self.question;
        Lookup { name: name.as_name(), record_type: *record_type, dnssec: *dnssec, servers: &self.servers }
    }
}

impl Resolver {
    /// Begins with empty cache. `own` are the addresses this program listens on, never to be asked. With `system` among
    /// the servers a task follows the host's settings; it ends with the resolver. A host that has no server yet, as one
    /// that is booting, is waited for: until then allowed names fail. Needs a tokio runtime.
    ///
    /// # Errors
    /// A server is this program itself, or an encrypted one cannot be checked.
    pub fn start(
        upstream: &config::Upstream,
        cache: &config::Cache,
        own: &[SocketAddr],
    ) -> Result<Arc<Self>, UpstreamError> {
        Self::start_under(SystemPaths::default(), upstream, cache, own)
    }

    fn start_under(
        paths: SystemPaths,
        upstream: &config::Upstream,
        cache: &config::Cache,
        own: &[SocketAddr],
    ) -> Result<Arc<Self>, UpstreamError> {
        let follows_system = upstream.servers.contains(&UpstreamServer::System);
        let own = Own::new(own);
        let system = if follows_system { paths.read(&own) } else { SystemServers::default() };
        let resolver = Arc::new(Self {
            routes: Routes::new(upstream.clone(), &system, own.clone())?,
            cache: Cache::new(cache),
            flights: Flights::default(),
            permits: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
            timeout: upstream.timeout,
            max_ttl: cache.max_ttl,
            totals: Totals::default(),
            runtime: Handle::current(),
        });
        if resolver.routes.lead_nowhere() {
            tracing::warn!("{}", UpstreamError::NoSystemServer);
        }
        if follows_system {
            tokio::spawn(follow_system(Arc::downgrade(&resolver), paths, own, system));
        }
        Ok(resolver)
    }

    /// Looks into the cache: synchronous, allocates nothing, holds a lock for less than a microsecond.
    pub fn probe(&self, lookup: &Lookup<'_>) -> Probe {
        self.glance(Instant::now()).probe(lookup)
    }

    /// Looks into the cache as of `now`, for as many questions as come: routes and clock are read once for all of them.
    pub(crate) fn glance(&self, now: Instant) -> Glance<'_> {
        Glance { cache: &self.cache, routes: self.routes.current(), now }
    }

    /// Answers a question that [`probe`](Self::probe) missed, within the upstream time-out. Equal questions share one
    /// flight; it goes on when whoever started it stops waiting.
    pub async fn resolve(self: &Arc<Self>, lookup: OwnedLookup) -> Resolution {
        match self.set_out(lookup, Occasion::Miss) {
            Ok(landing) => landing.resolution().await,
            Err(resolution) => resolution,
        }
    }

    /// Renews an answer in the background, unless that is under way or too much else is.
    pub fn refresh(self: &Arc<Self>, lookup: OwnedLookup) {
        if self.set_out(lookup, Occasion::Refresh).is_ok() {
            self.totals.refreshed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the question goes to servers that somebody chose for it, a route's or a service's own, and not to the
    /// default ones.
    pub fn is_routed(&self, lookup: &Lookup<'_>) -> bool {
        self.routes.is_routed(lookup)
    }

    /// Counts since the start.
    pub fn counters(&self) -> Counters {
        Counters {
            in_flight: MAX_IN_FLIGHT - self.permits.available_permits(),
            cached: self.cache.len(),
            cached_bytes: self.cache.bytes(),
            evicted: self.cache.evictions(),
            servers: self.routes.known().iter().map(|server| server.counters()).collect(),
            ..self.totals.counters()
        }
    }

    /// How it stands with the servers of the default and of each route.
    pub fn destinations(&self) -> Vec<Standing> {
        let standing = |(domains, servers): (Vec<DomainName>, Group)| Standing {
            domains,
            servers: servers.iter().map(|server| server.counters()).collect(),
        };
        self.routes.destinations().into_iter().map(standing).collect()
    }
}

impl Glance<'_> {
    /// What [`Resolver::probe`] says.
    pub(crate) fn probe(&self, lookup: &Lookup<'_>) -> Probe {
        self.cache.probe(self.routes.key(lookup), self.now)
    }
}

/// What a question goes upstream for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Occasion {
    Miss,
    Refresh,
}

/// A question on its way to servers. Others wait for its flight; it counts among those under way until it is dropped.
#[derive(Debug)]
struct Voyage {
    flight: Flight,
    servers: Box<[SocketAddr]>,
    _permit: OwnedSemaphorePermit,
}

impl Voyage {
    fn question(&self) -> &Arc<Question> {
        &self.flight.key().0
    }

    fn lookup(&self) -> Lookup<'_> {
        let Question { name, record_type, dnssec } = &**self.question();
        Lookup { name: name.as_name(), record_type: *record_type, dnssec: *dnssec, servers: &self.servers }
    }

    fn key(&self) -> Key<'_> {
        let (question, route) = self.flight.key();
        let Question { name, record_type, dnssec } = &**question;
        Key { name: name.as_name(), record_type: *record_type, dnssec: *dnssec, route: *route }
    }
}

impl Resolver {
    /// Sees to it that the question is on its way. Comes back with its end if it is known at once.
    fn set_out(self: &Arc<Self>, lookup: OwnedLookup, occasion: Occasion) -> Result<Landing, Resolution> {
        Ok(match self.board(lookup, occasion, Instant::now())? {
            Boarding::Joined(landing) => landing,
            Boarding::Started(voyage) => self.ask(voyage),
        })
    }

    /// Joins the flight of an equal question or starts one. Comes back at once if that is not needed, since the answer
    /// came between, or not possible.
    fn board(&self, lookup: OwnedLookup, occasion: Occasion, now: Instant) -> Result<Boarding<Voyage>, Resolution> {
        let key = (lookup.question.clone(), self.routes.current().id(&lookup.as_lookup()));
        let boarding = self.flights.board(key, || {
            if occasion == Occasion::Miss {
                self.known(&lookup, now)?;
            }
            self.permits.clone().try_acquire_owned().map_err(|_| self.turn_away(&lookup))
        })?;
        Ok(match boarding {
            Boarding::Started((flight, permit)) => {
                self.totals.asked.fetch_add(1, Ordering::Relaxed);
                Boarding::Started(Voyage { flight, servers: lookup.servers, _permit: permit })
            }
            Boarding::Joined(landing) => {
                self.totals.coalesced.fetch_add(1, Ordering::Relaxed);
                Boarding::Joined(landing)
            }
        })
    }

    /// What the cache has come to know since it was probed.
    fn known(&self, lookup: &OwnedLookup, now: Instant) -> Result<(), Resolution> {
        match self.glance(now).probe(&lookup.as_lookup()) {
            Probe::Hit(held) => Err(Resolution::Answer(held)),
            Probe::Failed(failure) => Err(Resolution::Failed(failure)),
            Probe::Miss => Ok(()),
        }
    }

    fn turn_away(&self, lookup: &OwnedLookup) -> Resolution {
        self.totals.busy.fetch_add(1, Ordering::Relaxed);
        self.stale_or(self.routes.current().key(&lookup.as_lookup()), Failure::Busy)
    }

    /// Asks the servers in a task.
    fn ask(self: &Arc<Self>, voyage: Voyage) -> Landing {
        let (resolver, landing) = (self.clone(), voyage.flight.landing());
        self.runtime.spawn(async move {
            let servers = resolver.routes.servers(&voyage.lookup());
            let inquiry = Inquiry::new(voyage.question().clone(), resolver.max_ttl);
            let outcome = choose(&servers, inquiry, Instant::now() + resolver.timeout).await;
            let _told = resolver.land(voyage, outcome, Instant::now());
        });
        landing
    }

    /// Goes on in a task with a question that one server has been asked.
    fn take_over(self: &Arc<Self>, voyage: Voyage, servers: Group, begun: Begun) -> Landing {
        let (resolver, landing) = (self.clone(), voyage.flight.landing());
        self.runtime.spawn(async move {
            let inquiry = Inquiry::after_a_packet(voyage.question().clone(), resolver.max_ttl);
            let deadline = begun.asked + resolver.timeout;
            let outcome = take_over(&servers, inquiry, begun, deadline).await;
            let _told = resolver.land(voyage, outcome, Instant::now());
        });
        landing
    }

    /// Lets the cache know how the question went, then those who wait for it.
    fn land(&self, voyage: Voyage, outcome: Result<Answer, Failure>, now: Instant) -> Resolution {
        let key = voyage.key();
        let resolution = match outcome {
            Ok(answer) => {
                let answer = Arc::new(answer);
                self.cache.store(key, &answer, now);
                Resolution::Answer(Held { answer, age: Duration::ZERO, stale: false, refresh_due: false })
            }
            Err(failure) => {
                self.totals.failed.fetch_add(1, Ordering::Relaxed);
                if failure != Failure::Busy {
                    self.cache.fail(key, failure, now);
                }
                self.stale_or(key, failure)
            }
        };
        voyage.flight.land(resolution.clone());
        resolution
    }

    fn stale_or(&self, key: Key<'_>, failure: Failure) -> Resolution {
        let Some(held) = self.cache.stale(key, Instant::now()) else {
            return Resolution::Failed(failure);
        };
        self.totals.stale.fetch_add(1, Ordering::Relaxed);
        Resolution::Answer(held)
    }
}

/// Reads the host's settings again and again until the resolver is gone.
async fn follow_system(resolver: Weak<Resolver>, paths: SystemPaths, own: Own, mut known: SystemServers) {
    loop {
        tokio::time::sleep(SYSTEM_POLL).await;
        let (paths, own) = (paths.clone(), own.clone());
        let Ok(system) = tokio::task::spawn_blocking(move || paths.read(&own)).await else {
            return;
        };
        let Some(resolver) = resolver.upgrade() else {
            return;
        };
        if system != known {
            match resolver.routes.follow(&system) {
                Ok(()) => tracing::info!(servers = ?system.default, "the system's DNS servers changed"),
                Err(error) => tracing::warn!(%error, "the system's DNS servers changed; those from before are kept"),
            }
            known = system;
        }
    }
}

/// Questions under way upstream at a time; each has a socket or two.
const MAX_IN_FLIGHT: usize = 512;
/// How often the host's own servers are read again: a handful of small files, soon enough for a VPN that has come or gone.
const SYSTEM_POLL: Duration = Duration::from_secs(1);

/// What the targets in fuzz/ reach beside [`Answer::parse`].
#[cfg(fuzzing)]
pub mod fuzzing {
    use super::system;
    use crate::resolv_conf::ResolvConf;

    /// Takes text for a resolv.conf and for the file of a link; how many servers there are for the names of no domain.
    pub fn read_system(text: &str) -> usize {
        system::combine(ResolvConf::parse(text).servers, &[system::parse_link(text)]).default.len()
    }
}

#[cfg(test)]
mod tests;
